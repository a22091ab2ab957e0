"""What the machine offers: device, precision, and an allocator that keeps its memory."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
MAX_INT = 2**31 - 1
KEPT_BYTES = 2**29
KEPT_KERNELS = 32


class Heap:
    """Keeps the process's memory in bounds without giving any back at each step.

    glibc is made to keep large freed blocks for reuse, within bounds; elsewhere does nothing.

    A step allocates and frees the same large blocks as the one before. By default glibc
    returns each to the kernel, and faulting them in again can cost more than the step. Kept
    for good, on the other hand, blocks of ever other sizes leave a heap full of holes. So
    they are kept until the process has grown by half a GiB over what it uses.

    oneDNN keeps what it generated and laid out for each of the last 1024 shapes of a product.
    Batches of grids hardly ever have one shape twice, so that is a GB of no use. Its limits
    are read once, with the first product, so a Heap is made before that.
    """

    def __init__(self) -> None:
        for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
            os.environ.setdefault(cache, str(KEPT_KERNELS))
        self._libc = _glibc()
        self._limit = resident_bytes() + KEPT_BYTES if self._libc is not None else 0
        if self._libc is not None:
            for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MAX_INT), (M_TOP_PAD, 2**26)):
                self._libc.mallopt(option, value)

    def tidy(self) -> None:
        """Return free memory to the kernel if too much of it was kept; cheap if not."""
        if self._libc is not None and resident_bytes() > self._limit:
            self.trim()

    def trim(self) -> None:
        """Return all free memory to the kernel, where work of another kind begins."""
        if self._libc is not None:
            self._libc.malloc_trim(0)
            self._limit = resident_bytes() + KEPT_BYTES


def resident_bytes() -> int:
    """Return how much memory this process has in use; Linux only."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim and libc.gnu_get_libc_version else None
    except (OSError, AttributeError):
        return None
