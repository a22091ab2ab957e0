"""A lock on a run's name, so that no two processes write the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from arc.config.files import ConfigError


@contextmanager
def run_lock(folder: Path, run_name: str) -> Iterator[Callable[[], bool]]:
    """Hold the lock on ``run_name`` in ``folder``; the system releases it if the process dies.

    Yields a function that returns whether the lock is still held: another process can get it once
    the lock file, or the folder, has been removed or replaced. Where no lock can be created, as in
    a read-only folder, none is held. Raises ConfigError if another process holds the lock.
    """
    lock = FileLock(folder / f".{run_name}.lock", timeout=0)
    path = Path(lock.lock_file)
    identity = None
    try:
        while identity is None and folder.is_dir():  # FileLock would create the folder
            lock.acquire()
            identity = _identity(path)
            if identity is None:  # its last holder removed it at this moment
                lock.release()
    except Timeout:
        raise ConfigError(
            f"another process is writing {run_name}_*.pth in {folder}: wait until it ends, or "
            "set another run_name or checkpoint.dir"
        ) from None
    except OSError:
        pass
    try:
        yield lambda: identity is None or _identity(path) == identity
    finally:
        if lock.is_locked:
            if _identity(path) == identity:
                with suppress(OSError):
                    path.unlink()
            lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
