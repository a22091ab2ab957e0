"""A file to which whole records are appended, whatever happens to the disk."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


class LineFile:
    """Appends records to a file; each is written whole or not at all.

    While the file cannot be written, records are dropped; the error is logged once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._failing = False

    def append(self, record: bytes) -> None:
        """Append one record."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(record)
            if written != len(record):
                raise OSError(f"{written} of {len(record)} bytes were written")
            self._failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            if not self._failing:
                log.error(f"{self.path}: cannot be written: {error}; training continues")
            self._failing = True

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        self._file.truncate(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
