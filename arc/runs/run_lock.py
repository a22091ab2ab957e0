"""Holding a run's name, so that no two processes write one set of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from arc.config.schema import ConfigError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def run_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold ``name`` in ``folder`` while the context lasts, by a lock that dies with the process.

    Where there are no locks, or nothing can be written, nothing is held. Raises ConfigError if
    another process has it.
    """
    path = folder / f".{name}.lock"
    descriptor = _locked(path)
    if descriptor == -1:
        raise ConfigError(
            f"another process is writing {name}_*.pth in {folder}: wait for its end, or choose "
            "another run_name or checkpoint.dir"
        )
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """Return the descriptor of the locked file, -1 if another has it, None without locks."""
    while fcntl is not None:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return -1
        except FileNotFoundError:  # its last holder took it away meanwhile
            pass
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)
    return None
