"""Writes checkpoints in the background while training continues.

Saves can be requested from any thread. Between two steps the training thread offers its state;
the writer copies it into its own buffers, which costs one memcpy, and a thread serializes, syncs
and renames the file. One copy is written at a time; all requests that arrive meanwhile are
written from the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.format import write_checkpoint
from arc.checkpointing.reservations import Reservations

log = logging.getLogger(__name__)
Content = dict[str, Any]
KeyPath = tuple[Any, ...]  # the keys that lead to a tensor in a tree
TAKEN = "another process may write this run too, since its lock file was replaced or removed"
MAX_ERRORS = 100
MAX_RECENT = 16


@dataclass(frozen=True)
class Save:
    """A finished save; ``error`` is None if the file is on the disk. ``time``: Unix time."""

    path: Path
    error: str | None
    time: float = field(default_factory=time.time, compare=False)


class HostBuffers:
    """Host memory for copies of tensors, allocated and touched in advance."""

    def __init__(self) -> None:
        self._buffers: dict[KeyPath, torch.Tensor] = {}

    def copy(self, tree: Any) -> Any:
        """Return ``tree`` with every tensor copied into its buffer; other values are shared.

        Tensors that share memory in ``tree``, as the encoder's do with the model's, still do.
        """
        copied = self._copy(tree, (), {})
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    def clear(self) -> None:
        """Free the buffers."""
        self._buffers.clear()

    def _copy(self, tree: Any, path: KeyPath, seen: dict[Any, torch.Tensor]) -> Any:
        if isinstance(tree, torch.Tensor):
            same = (tree.data_ptr(), tree.shape, tree.stride(), tree.dtype, tree.device)
            if same not in seen:
                seen[same] = self._buffer(path, tree).copy_(tree, non_blocking=True)
            return seen[same]
        if isinstance(tree, dict):
            return {key: self._copy(item, (*path, key), seen) for key, item in tree.items()}
        if isinstance(tree, list | tuple):
            parts = (self._copy(item, (*path, n), seen) for n, item in enumerate(tree))
            return type(tree)(parts)
        return tree

    def _buffer(self, path: KeyPath, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(path)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[path] = buffer
        return buffer


class CheckpointWriter:
    """Writes checkpoints in the background; only the training thread may call ``offer``.

    A failed save is logged and kept in ``errors``; training and later saves continue.
    ``failures`` counts all failed saves. ``on_change`` is called with the writer, from any
    thread, when ``pending`` or ``recent`` changes. ``reservations`` are the requested names, until
    they are written.
    """

    def __init__(self) -> None:
        self._buffers = HostBuffers()
        self._changed = threading.Condition()
        self._pending: list[Path] = []
        self._writing: tuple[list[Path], Content] | None = None
        self._closed = False
        self._unsaved: dict[Path, Save] = {}
        self.failures = 0
        self.reservations = Reservations()
        self.target: Callable[[Path], Path] = lambda path: path  # where a save is really written
        self.on_change: Callable[[CheckpointWriter], None] = lambda writer: None
        self._recent: deque[Save] = deque(maxlen=MAX_RECENT)
        self._thread = self._start()

    @property
    def errors(self) -> list[Save]:
        """The last MAX_ERRORS failed saves that were not retried successfully, newest last."""
        with self._changed:
            return list(self._unsaved.values())

    @property
    def recent(self) -> list[Save]:
        """The last finished saves, newest last."""
        with self._changed:
            return list(self._recent)

    @property
    def pending(self) -> list[Path]:
        """The files that are being written or waiting, in order."""
        with self._changed:
            return (self._writing[0] if self._writing else []) + self._pending

    def request(self, path: Path) -> None:
        """Request a save of the next state that is offered; may be called from any thread."""
        with self._changed:
            if self._closed:
                raise CheckpointError(f"{path}: the run has ended")
            if path not in self._pending:
                self._pending.append(path)
        self.on_change(self)

    def warm_up(self, content: Content) -> None:
        """Allocate and touch buffers for states like ``content``, if there is enough memory."""
        try:
            self._buffers.copy(content)
        except Exception:  # a failure to save must not end training
            self._buffers.clear()
            log.exception("buffers for saves could not be allocated; each save will try again")

    def offer(self, make_content: Callable[[], Content]) -> None:
        """Copy the state if a save is waiting and none is being written; never blocks.

        If the copy fails, for example for lack of memory, all waiting saves fail.
        """
        if not self._pending:  # unlocked: a request missed here is served after the next step
            return
        with self._changed:
            if self._writing is not None:
                return
        try:
            self._hand_over(self._buffers.copy(make_content()))
        except Exception as failure:  # a failure to save must not end training
            self._buffers.clear()
            self._fail_pending(failure)

    def save(self, path: Path, make_content: Callable[[], Content]) -> None:
        """Write the current state; blocks until it is copied, after any save in progress."""
        self.request(path)
        self.wait()
        self.offer(make_content)

    def wait(self) -> None:
        """Block until nothing is being written."""
        with self._changed:
            self._changed.wait_for(lambda: self._writing is None)

    def close(self, make_content: Callable[[], Content]) -> list[Save]:
        """Finish all saves and return ``errors``. May be called more than once."""
        while True:
            self.wait()
            with self._changed:
                if not self._pending:
                    self._closed = True
                    self._changed.notify_all()
                    break
            self.offer(make_content)
        self._thread.join()
        self.reservations.close()
        return self.errors

    # -- the training thread ---------------------------------------------------------------

    def _hand_over(self, content: Content) -> None:
        """Pass all waiting saves to the thread, which is restarted if it died."""
        if not self._thread.is_alive():
            self._thread = self._start()
        with self._changed:  # at once, so that a save is always either waiting or being written
            self._writing, self._pending = (self._pending, content), []
            self._changed.notify_all()

    def _fail_pending(self, failure: Exception) -> None:
        log.error("the state could not be copied; training continues", exc_info=failure)
        with self._changed:
            paths, self._pending = self._pending, []
        for path in paths:
            self._note(Save(path, f"{path}: the state could not be copied: {failure!r}"))

    # -- the writer's thread ---------------------------------------------------------------

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._write(*work)

    def _next(self) -> tuple[list[Path], Content] | None:
        """Wait for work; returns None when the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._writing is not None or self._closed)
            return self._writing

    def _write(self, paths: list[Path], content: Content) -> None:
        """Write every path; even if the thread ends here, no caller keeps waiting."""
        left = list(paths)
        try:
            while left:
                self._note(self._write_one(left[0], content))
                del left[0]
        finally:
            for path in left:
                self._note(Save(path, f"{path}: the writer thread ended"))
            with self._changed:
                self._writing = None
                self._changed.notify_all()
            self.on_change(self)

    def _write_one(self, path: Path, content: Content) -> Save:
        try:
            target = self.target(path)
            write_checkpoint(target, content)
            if target != path:
                raise CheckpointError(f"{path}: {TAKEN}; the state was saved as {target.name}")
        except CheckpointError as failure:
            log.error(f"save failed: {failure}; training continues")
            return Save(path, str(failure))
        except Exception as failure:  # one failure must not end the thread
            log.exception(f"save failed: {path}; training continues")
            return Save(path, f"{path}: {failure!r}")
        return Save(path, None)

    def _note(self, save: Save) -> None:
        self.reservations.release(save.path)
        with self._changed:
            self._recent.append(save)
            self._unsaved.pop(save.path, None)
            if save.error is not None:
                self.failures += 1
                self._unsaved[save.path] = save
            while len(self._unsaved) > MAX_ERRORS:
                del self._unsaved[next(iter(self._unsaved))]
        self.on_change(self)
