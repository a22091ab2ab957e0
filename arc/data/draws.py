"""Random numbers of a training step, which can be kept in fixed buffers.

Augmentation, crops and near copies draw from a generator on the CPU, so that a run can be resumed
exactly on any device. A CUDA graph reads its inputs from fixed memory: a Recorder keeps the
numbers of one step in buffers on the device and refills them, in the same order, for the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw float32 numbers from 0 to 1; on the CPU, or on the device of an active Recorder."""
    return _draw(lambda: torch.rand(shape, generator=generator))


def integers(generator: torch.Generator, high: int, *shape: int) -> Tensor:
    """Draw int64 numbers below ``high``; on the CPU, or on the device of an active Recorder."""
    return _draw(lambda: torch.randint(high, shape, generator=generator))


def _draw(draw: Callable[[], Tensor]) -> Tensor:
    recorder = _recorder.get()
    return draw() if recorder is None else recorder.draw(draw)


class Recorder:
    """The random numbers of one step, in buffers on ``device``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._draws: list[Callable[[], Tensor]] = []
        self._buffers: list[Tensor] = []
        self._next: int | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what is drawn within the context."""
        with self._active(None):
            yield

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Within the context, draws return the buffers, in the order of the recording."""
        with self._active(0):
            yield

    @contextmanager
    def _active(self, start: int | None) -> Iterator[None]:
        self._next, token = start, _recorder.set(self)
        try:
            yield
        finally:
            _recorder.reset(token)

    def draw(self, draw: Callable[[], Tensor]) -> Tensor:
        """Record a draw, or return the next buffer."""
        if self._next is None:
            self._draws.append(draw)
            self._buffers.append(draw().to(self.device))
            return self._buffers[-1]
        self._next += 1
        return self._buffers[self._next - 1]

    def redraw(self) -> None:
        """Fill the buffers with new numbers, in the order of the recording."""
        for draw, buffer in zip(self._draws, self._buffers, strict=True):
            buffer.copy_(draw(), non_blocking=True)
