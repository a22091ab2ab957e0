"""A lock on a run's name, so that no two processes write the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from arc.config.files import ConfigError


@contextmanager
def run_lock(folder: Path, run_name: str) -> Iterator[None]:
    """Hold the lock on ``run_name`` in ``folder``; the system releases it if the process dies.

    Where no lock can be created, as in a read-only folder, none is held. Raises ConfigError if
    another process holds the lock.
    """
    lock = FileLock(folder / f".{run_name}.lock", timeout=0)
    try:
        if folder.is_dir():  # FileLock would create the folder
            lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another process is writing {run_name}_*.pth in {folder}: wait until it ends, or "
            "set another run_name or checkpoint.dir"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()
