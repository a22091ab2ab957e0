"""Writing past the page cache.

A checkpoint is written once and hardly ever read soon. Through the page cache it first takes as
much memory that nobody has touched, which on a machine that trains can cost several times the
writing itself, and pushes out what others keep there. Where the system and the disk can
(``O_DIRECT``), the bytes go to the disk from one small buffer.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

BUFFER_BYTES = 4 * 2**20  # of whole pages, as direct writes must be
DIRECT = getattr(os, "O_DIRECT", 0)


class DirectFile:
    """What ``torch.save`` writes to: an open file's descriptor, from its beginning.

    ``finish`` writes what is left; what is written to the descriptor before is out of order.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = mmap.mmap(-1, BUFFER_BYTES)
        self._filled = 0
        self._set_direct(True)

    def write(self, data: Any) -> int:
        """Take in bytes; raises OSError if the disk does not."""
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):
            count = min(len(view) - done, BUFFER_BYTES - self._filled)
            self._buffer[self._filled : self._filled + count] = view[done : done + count]
            self._filled, done = self._filled + count, done + count
            if self._filled == BUFFER_BYTES:
                self._drain()
        return len(view)

    def flush(self) -> None:
        """Do nothing: ``finish`` does."""

    def finish(self) -> None:
        """Write the rest, which fills no page, in the ordinary way; raises OSError."""
        self._set_direct(False)
        self._drain()
        self._buffer.close()

    def _drain(self) -> None:
        with memoryview(self._buffer) as whole:
            start = 0
            while start < self._filled:
                start += self._write_some(whole[start : self._filled])
        self._filled = 0

    def _write_some(self, part: memoryview) -> int:
        with part:
            try:
                return os.write(self._descriptor, part)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            self._set_direct(False)  # a disk that cannot, or a short write before this one
            return os.write(self._descriptor, part)

    def _set_direct(self, wanted: bool) -> None:
        if fcntl is None or not DIRECT:
            return
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        flags = flags | DIRECT if wanted else flags & ~DIRECT
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags)
        except OSError:
            if not wanted:
                raise
