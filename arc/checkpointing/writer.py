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
from arc.checkpointing.format import identity, write_checkpoint
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
    """Host memory for copies of tensors, allocated and touched in advance.

    The state changes with the next step, so it is copied first: from host memory into the
    buffers, and within a CUDA device, which takes little time. ``to_host`` completes the copy
    on a stream of its own, in any thread, while training continues.
    """

    def __init__(self) -> None:
        self._buffers: dict[KeyPath, torch.Tensor] = {}
        self._device = torch.device("cpu")
        self._copied: torch.cuda.Event | None = None

    def copy(self, tree: Any) -> Any:
        """Return ``tree`` with a copy of every tensor; other values are shared.

        Tensors that share memory in ``tree``, as the encoder's do with the model's, still do.
        """
        originals: list[torch.Tensor] = []
        copies: list[torch.Tensor] = []

        def copied(path: KeyPath, tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_cuda:
                return self._buffer(path, tensor).copy_(tensor)
            originals.append(tensor)
            copies.append(torch.empty_like(tensor))
            return copies[-1]

        try:
            tree_of_copies = _with_tensors(tree, copied)
        except torch.OutOfMemoryError:  # no memory for the copies on the device
            return _with_tensors(tree, lambda path, each: self._buffer(path, each).copy_(each))
        if copies:
            torch._foreach_copy_(copies, originals)
            self._device = copies[0].device
            self._copied = torch.cuda.current_stream(self._device).record_event()
        return tree_of_copies

    def to_host(self, tree: Any) -> Any:
        """Return what ``copy`` returned with every tensor in host memory."""
        if self._copied is None:
            return tree
        stream = torch.cuda.Stream(self._device)
        stream.wait_event(self._copied)
        with torch.cuda.stream(stream):
            on_host = _with_tensors(
                tree,
                lambda path, each: (
                    self._buffer(path, each).copy_(each, non_blocking=True)
                    if each.is_cuda
                    else each
                ),
            )
        stream.synchronize()
        return on_host

    def clear(self) -> None:
        """Free the buffers."""
        self._buffers.clear()

    def _buffer(self, path: KeyPath, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(path)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[path] = buffer
        return buffer


def _with_tensors(tree: Any, replace: Callable[[KeyPath, torch.Tensor], torch.Tensor]) -> Any:
    """Return ``tree`` with every tensor replaced; equal views of one memory share a result."""
    seen: dict[Any, torch.Tensor] = {}

    def visit(node: Any, path: KeyPath) -> Any:
        if isinstance(node, torch.Tensor):
            same = (node.data_ptr(), node.shape, node.stride(), node.dtype, node.device)
            if same not in seen:
                seen[same] = replace(path, node)
            return seen[same]
        if isinstance(node, dict):
            return {key: visit(item, (*path, key)) for key, item in node.items()}
        if isinstance(node, list | tuple):
            return type(node)(visit(item, (*path, n)) for n, item in enumerate(node))
        return node

    return visit(tree, ())


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
        self.written: dict[Path, tuple[int, int] | None] = {}  # the identity of each file
        self.target: Callable[[Path], Path] = lambda path: path  # where a save is really written
        self.on_change: Callable[[CheckpointWriter], None] = lambda writer: None
        self._recent: deque[Save] = deque(maxlen=MAX_RECENT)
        self._thread: threading.Thread | None = None  # from the first save on

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
            self._buffers.to_host(self._buffers.copy(content))
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
        if self._thread is not None:
            self._thread.join()
        self.reservations.close()
        return self.errors

    # -- the training thread ---------------------------------------------------------------

    def _hand_over(self, content: Content) -> None:
        """Pass all waiting saves to the thread, which is started if there is none or it died."""
        if self._thread is None or not self._thread.is_alive():
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
            content = self._buffers.to_host(content)
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
            self.written[path] = identity(target)
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
