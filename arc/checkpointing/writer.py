"""CheckpointPolicy while training goes on.

Anybody may ask for a save, from any thread. The loop offers its state between two steps;
the writer copies it into buffers of its own, which takes one memcpy, and a thread does the
rest: serialise, sync, rename. One save is written at a time. What is asked for meanwhile
waits for the next copy, and all that waits is written from that one.
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

log = logging.getLogger(__name__)
Content = dict[str, Any]
Place = tuple[Any, ...]  # the keys that lead to a tensor in a tree
MAX_ERRORS = 100
RECENT = 16


@dataclass(frozen=True)
class Save:
    """One finished save; ``error`` is None if the file is durable. ``time``: since the epoch."""

    path: Path
    error: str | None
    time: float = field(default_factory=time.time, compare=False)


class HostBuffers:
    """Copies of tensors in memory that was allocated and touched before it is needed."""

    def __init__(self) -> None:
        self._buffers: dict[Place, torch.Tensor] = {}

    def copy(self, tree: Any) -> Any:
        """Return ``tree`` with every tensor copied into its buffer; all else is shared.

        Tensors that are one memory in ``tree`` (an encoder's, in the model's state) stay one.
        """
        copied = self._copy(tree, (), {})
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    def clear(self) -> None:
        """Give the memory back."""
        self._buffers.clear()

    def _copy(self, tree: Any, place: Place, seen: dict[Any, torch.Tensor]) -> Any:
        if isinstance(tree, torch.Tensor):
            same = (tree.data_ptr(), tree.shape, tree.stride(), tree.dtype, tree.device)
            if same not in seen:
                seen[same] = self._buffer(place, tree).copy_(tree, non_blocking=True)
            return seen[same]
        if isinstance(tree, dict):
            return {key: self._copy(item, (*place, key), seen) for key, item in tree.items()}
        if isinstance(tree, list | tuple):
            parts = (self._copy(item, (*place, n), seen) for n, item in enumerate(tree))
            return type(tree)(parts)
        return tree

    def _buffer(self, place: Place, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(place)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[place] = buffer
        return buffer


class CheckpointWriter:
    """Writes checkpoints in the background; ``offer`` is called by the training thread only.

    A save that fails, at whatever point, costs its file and nothing else: it is logged and kept
    in ``errors``, and training and later saves go on. ``failures`` counts them all.
    ``on_change`` is called with the writer, from any thread, when ``pending`` or ``recent`` is new.
    """

    def __init__(self) -> None:
        self._buffers = HostBuffers()
        self._changed = threading.Condition()
        self._pending: list[Path] = []
        self._writing: tuple[list[Path], Content] | None = None
        self._closed = False
        self._unsaved: dict[Path, Save] = {}
        self.failures = 0
        self.on_change: Callable[[CheckpointWriter], None] = lambda writer: None
        self._recent: deque[Save] = deque(maxlen=RECENT)
        self._thread = self._start()

    @property
    def errors(self) -> list[Save]:
        """The failed saves, newest last, that no later save of the same name made good.

        At most MAX_ERRORS, so that a disk that stays full does not fill the memory.
        """
        with self._changed:
            return list(self._unsaved.values())

    @property
    def recent(self) -> list[Save]:
        """The saves that ended last, newest last."""
        with self._changed:
            return list(self._recent)

    @property
    def pending(self) -> list[Path]:
        """What is being written or waits to be, in order."""
        with self._changed:
            return (self._writing[0] if self._writing else []) + self._pending

    def request(self, path: Path) -> None:
        """Ask for a save of the next state that the loop offers; safe from any thread."""
        with self._changed:
            if self._closed:
                raise CheckpointError(f"{path}: the run has ended")
            if path not in self._pending:
                self._pending.append(path)
        self.on_change(self)

    def warm_up(self, content: Content) -> None:
        """Allocate and touch the buffers for a state like ``content``, if there is memory."""
        try:
            self._buffers.copy(content)
        except Exception:  # the edge of the saving: a run may train that cannot be saved
            self._buffers.clear()
            log.exception("no memory set aside for saves; each one will ask for it")

    def offer(self, make_content: Callable[[], Content]) -> None:
        """Copy the state if a save waits and none is being written; returns at once if not.

        A copy that fails (for want of memory, say) fails all that waits for it.
        """
        if not self._pending:  # a look without the lock: a request that is missed waits a step
            return
        with self._changed:
            if self._writing is not None:
                return
        try:
            self._hand_over(self._buffers.copy(make_content()))
        except Exception as failure:  # the edge of the saving: a fault in it must not end training
            self._buffers.clear()
            self._fail_pending(failure)

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
        """Finish what is under way and what waits; returns ``errors``. May be called again."""
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

    # -- the training thread ---------------------------------------------------------------

    def _hand_over(self, content: Content) -> None:
        """Give all that waits to the thread, which is started anew if it died."""
        if not self._thread.is_alive():
            self._thread = self._start()
        with self._changed:  # only now: a name is always either waiting or being written
            self._writing, self._pending = (self._pending, content), []
            self._changed.notify_all()

    def _fail_pending(self, failure: Exception) -> None:
        log.error("the state could not be copied; training goes on", exc_info=failure)
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
        """Wait for work; returns None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._writing is not None or self._closed)
            return self._writing

    def _write(self, paths: list[Path], content: Content) -> None:
        """Write every path; whatever ends this, nobody waits for it any longer."""
        left = list(paths)
        try:
            while left:
                self._note(self._write_one(left[0], content))
                del left[0]
        finally:
            for path in left:
                self._note(Save(path, f"{path}: the writer's thread ended"))
            with self._changed:
                self._writing = None
                self._changed.notify_all()
            self.on_change(self)

    def _write_one(self, path: Path, content: Content) -> Save:
        try:
            write_checkpoint(path, content)
        except CheckpointError as failure:
            log.error(f"save failed: {failure}; training goes on")
            return Save(path, str(failure))
        except Exception as failure:  # the edge of a thread: a fault must not end the saving
            log.exception(f"save failed: {path}; training goes on")
            return Save(path, f"{path}: {failure!r}")
        return Save(path, None)

    def _note(self, save: Save) -> None:
        with self._changed:
            self._recent.append(save)
            self._unsaved.pop(save.path, None)
            if save.error is not None:
                self.failures += 1
                self._unsaved[save.path] = save
            while len(self._unsaved) > MAX_ERRORS:
                del self._unsaved[next(iter(self._unsaved))]
        self.on_change(self)
