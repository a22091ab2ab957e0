"""Memory allocation of the process: glibc and oneDNN settings, and trimming between steps.

A training step allocates and frees the same large blocks as the one before. By default glibc
returns each block to the kernel, and faulting them in again can cost more than the step. If
freed blocks were kept without a limit, blocks of varying sizes would fragment the heap. Therefore
glibc keeps freed blocks, and they are returned whenever the process has grown by KEPT_BYTES. The
growth counts from the first step after the last return, so that a large batch keeps its memory.

oneDNN caches the code and layout of each of the last 1024 product shapes. Batches of grids rarely
repeat a shape, so the cache would hold about 1 GB that is never used; its limit is lowered.
"""

from __future__ import annotations

import ctypes
import os
import sys

from arc.training.callbacks import Callback
from arc.training.events import StepEvent

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
MAX_INT = 2**31 - 1
KEPT_BYTES = 2**29
KEPT_KERNELS = 32


def configure_allocator() -> None:
    """Set the options of glibc and oneDNN; call it before the first matrix product.

    Does nothing to glibc on other systems.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, str(KEPT_KERNELS))
    if (libc := _glibc()) is not None:
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MAX_INT), (M_TOP_PAD, 2**26)):
            libc.mallopt(option, value)


def trim() -> None:
    """Return all free memory to the kernel."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


class MemoryTrimmer(Callback):
    """Returns free memory to the kernel whenever too much of it has accumulated."""

    def __init__(self) -> None:
        self._is_enabled = _glibc() is not None
        self._limit: int | None = None

    def on_event(self, event: object) -> None:
        """Trim after a step if the process has grown by KEPT_BYTES; cheap otherwise."""
        if not isinstance(event, StepEvent) or not self._is_enabled:
            return
        resident = resident_bytes()
        if self._limit is None:  # includes the blocks that each step allocates
            self._limit = resident + KEPT_BYTES
        elif resident > self._limit:
            trim()
            self._limit = None


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; Linux only."""
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
