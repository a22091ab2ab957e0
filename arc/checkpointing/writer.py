"""Saving while training goes on.

Anybody may ask for a save, from any thread. The loop offers its state between two steps;
the writer copies it into buffers of its own, which takes one memcpy, and a thread does the
rest: serialise, sync, rename. One save is written at a time. What is asked for meanwhile
waits for the next copy, and all that waits is written from that one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arc.archive import CheckpointError
from arc.checkpointing.format import write_checkpoint

log = logging.getLogger(__name__)
Content = dict[str, Any]


@dataclass(frozen=True)
class Save:
    """One finished save; ``error`` is None if the file is durable."""

    path: Path
    error: str | None


class HostBuffers:
    """Copies of tensors in memory that was allocated and touched before it is needed."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def copy(self, tree: Any) -> Any:
        """Return ``tree`` with every tensor copied into its buffer; all else is shared.

        Tensors that are one memory in ``tree`` (an encoder's, in the model's state) stay one.
        """
        copied = self._copy(tree, "", {})
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    def _copy(self, tree: Any, place: str, seen: dict[Any, torch.Tensor]) -> Any:
        if isinstance(tree, torch.Tensor):
            same = (tree.data_ptr(), tree.shape, tree.stride(), tree.dtype, tree.device)
            if same not in seen:
                seen[same] = self._buffer(place, tree).copy_(tree, non_blocking=True)
            return seen[same]
        if isinstance(tree, dict):
            return {key: self._copy(item, f"{place}/{key}", seen) for key, item in tree.items()}
        if isinstance(tree, list | tuple):
            parts = (self._copy(item, f"{place}/{n}", seen) for n, item in enumerate(tree))
            return type(tree)(parts)
        return tree

    def _buffer(self, place: str, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(place)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[place] = buffer
        return buffer


class CheckpointWriter:
    """Writes checkpoints in the background; ``offer`` is called by the training thread only."""

    def __init__(self) -> None:
        self._buffers = HostBuffers()
        self._changed = threading.Condition()
        self._pending: list[Path] = []
        self._writing: tuple[list[Path], Content] | None = None
        self._closed = False
        self.last: Save | None = None
        self.errors: list[Save] = []
        self._thread = threading.Thread(target=self._write, name="checkpoints", daemon=True)
        self._thread.start()

    def request(self, path: Path) -> None:
        """Ask for a save of the next state that the loop offers; safe from any thread."""
        with self._changed:
            if self._closed:
                raise CheckpointError(f"{path}: the run has ended")
            if path not in self._pending:
                self._pending.append(path)

    @property
    def pending(self) -> list[Path]:
        """What is being written or waits to be, in order."""
        with self._changed:
            return (self._writing[0] if self._writing else []) + self._pending

    def warm_up(self, content: Content) -> None:
        """Allocate and touch the buffers for a state like ``content``."""
        self._buffers.copy(content)

    def offer(self, make_content: Callable[[], Content]) -> None:
        """Copy the state if a save waits and none is being written; returns at once if not."""
        if not self._pending:  # a look without the lock: a request that is missed waits a step
            return
        with self._changed:
            if self._writing is not None:
                return
        content = self._buffers.copy(make_content())
        with self._changed:  # only now: a name is always either waiting or being written
            self._writing, self._pending = (self._pending, content), []
            self._changed.notify_all()

    def save(self, path: Path, make_content: Callable[[], Content]) -> None:
        """Copy the state of this very moment, after a save under way, and write it."""
        self.request(path)
        self.wait()
        self.offer(make_content)

    def wait(self) -> None:
        """Return when nothing is being written."""
        with self._changed:
            self._changed.wait_for(lambda: self._writing is None)

    def close(self, make_content: Callable[[], Content]) -> list[Save]:
        """Finish what is under way and what waits; returns the saves that failed."""
        while True:
            self.wait()
            with self._changed:
                if not self._pending:
                    self._closed = True
                    self._changed.notify_all()
                    break
            self.offer(make_content)
        self._thread.join()
        return self.errors

    def _write(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # training first, on a busy machine
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._writing is not None or self._closed)
                if self._writing is None:
                    return
                paths, content = self._writing
            for path in paths:
                self._finish(path, content)
            with self._changed:
                self._writing = None
                self._changed.notify_all()

    def _finish(self, path: Path, content: Content) -> None:
        error = None
        try:
            write_checkpoint(path, content)
        except CheckpointError as failure:
            error = str(failure)
            log.error(f"save failed: {failure}; training goes on")
        except Exception as failure:  # the edge of a thread: a fault must not end the saving
            error = f"{path}: {failure}"
            log.exception("save failed")
        self.last = Save(path, error)
        if error is not None:
            self.errors.append(self.last)
