"""A lock on a run's name, so that no two processes write the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from arc.checkpointing.format import identity
from arc.config.files import ConfigError


class _RunLock:
    """A lock file that is checked, and created again, while it is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, timeout=0)
        self._identity: tuple[int, int] | None = None

    def acquire(self) -> None:
        """Create and lock the file, if there is its folder; raises Timeout or OSError."""
        while self._identity is None and self._path.parent.is_dir():
            lock = FileLock(self._path, timeout=0)
            lock.acquire()
            self._identity, self._lock = identity(self._path), lock
            if self._identity is None:  # its last holder removed it at this moment
                lock.release()

    def is_held(self, may_renew: Callable[[], bool]) -> bool:
        """Return whether the lock is held; without a lock file it is created again if allowed."""
        if self._identity is None or identity(self._path) == self._identity:
            return True
        if not may_renew():
            return False
        before, self._identity = self._identity, None
        with suppress(OSError, Timeout):
            self.acquire()
        is_renewed = self._identity is not None
        self._identity = self._identity or before
        return is_renewed

    def release(self) -> None:
        """Remove the file, unless it is another process's, and unlock it."""
        if self._lock.is_locked:
            if identity(self._path) == self._identity:
                with suppress(OSError):
                    self._path.unlink()
            self._lock.release()


@contextmanager
def run_lock(
    folder: Path, run_name: str, may_renew: Callable[[], bool] = lambda: False
) -> Iterator[Callable[[], bool]]:
    """Hold the lock on ``run_name`` in ``folder``; the system releases it if the process dies.

    Yields a function that returns whether the lock is still held: another process can get it once
    the lock file, or the folder, has been removed or replaced. If ``may_renew`` returns true and no
    other process has got it, it is created again. Where no lock can be created, as in a read-only
    folder, none is held. Raises ConfigError if another process holds the lock.
    """
    lock = _RunLock(folder / f".{run_name}.lock")
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another process is writing {run_name}_*.pth in {folder}: wait until it ends, or "
            "set another run_name or checkpoint.dir"
        ) from None
    except OSError:
        pass
    try:
        yield lambda: lock.is_held(may_renew)
    finally:
        lock.release()
