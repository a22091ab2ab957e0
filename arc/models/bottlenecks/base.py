"""The interface of bottlenecks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arc.registry import Registry

BOTTLENECKS: Registry[type[Bottleneck]] = Registry("bottleneck")


@dataclass(frozen=True)
class Message:
    """A batch of messages.

    ``content``: int64 [batch, max_length] symbols, or float32 [batch, latent_dim].
    ``signal``: float32 [batch, signal_width], the receiver's input; gradients pass
    through it. ``lengths``: int64 [batch] symbols sent, None for a vector.
    ``aux_loss``: scalar, added to the loss.
    """

    content: Tensor
    signal: Tensor
    lengths: Tensor | None
    aux_loss: Tensor


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return exactly ``hard``; the gradient goes to ``soft`` unchanged (Bengio et al., 2013).

    The usual ``hard + soft - soft.detach()`` equals ``hard`` only up to rounding.
    """
    return _StraightThrough.apply(hard, soft)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hard, soft):  # type: ignore[no-untyped-def]
        return hard.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return None, grad


class Bottleneck(nn.Module, ABC):
    """Maps latent vectors to messages, and messages to the receiver's signal.

    ``read(message.content)`` equals ``message.signal`` bit for bit, so that training and
    evaluation read messages in the same way. ``num_messages`` is the number of different messages
    that the channel can carry; None for a vector. The receiver may read some of them alike, such as
    two codes of one palette. ``capacity_bits`` is the capacity of a message; None if it is
    unlimited, as in a vector without noise. ``signal_unit`` is the number of adjacent values of the
    signal that go to the same patch.
    """

    signal_width: int
    signal_unit: int = 1
    vocab_size: int | None = None
    max_length: int | None = None
    num_messages: int | None = None
    capacity_bits: float | None = None
    stop_token: bool = False
    progress: float = 0.0
    is_static: bool = False  # ``forward`` does not use ``progress`` and never waits for the device

    @abstractmethod
    def forward(self, latent: Tensor) -> Message:
        """Send ``latent``, float32 [batch, latent_dim]."""

    @abstractmethod
    def read(self, content: Tensor) -> Tensor:
        """Return the signal of ``content``: float32 [batch, signal_width].

        Raises ValueError if ``content`` is not a message of this bottleneck.
        """

    def set_progress(self, fraction: float) -> None:
        """Set the completed share of the run, 0 to 1, for the bottleneck's schedules."""
        self.progress = fraction
