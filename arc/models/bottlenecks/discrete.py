"""The base of discrete bottlenecks: hard symbols, noise, a stop symbol.

With ``stop_token`` symbol 0 ends the message. It is one of the
``vocab_size`` symbols and counts in the length of a message (so an immediate stop has
length 1, and a message that never stops has length ``max_message_length``). Symbols
after it are set to 0, and the receiver gets zeros in their place.

With ``by_patch`` each patch of the grid sends its own symbols: symbol i is computed from the share
of the latent vector that belongs to patch i % 16, and its code is in that patch's share of the
signal.

Shapes: B batch, L max_length, V vocab_size, D dimensions of a symbol's code.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from arc.models.bottlenecks.base import Bottleneck, Message, straight_through
from arc.models.patches import from_shares, share_width, to_shares
from arc.registry import ComponentConfig

STOP = 0


class DiscreteConfig(ComponentConfig):
    """The keys of every discrete bottleneck."""

    vocab_size: Annotated[int, Field(ge=2, le=10_000)]
    max_message_length: Annotated[int, Field(ge=1, le=1000)]
    stop_token: bool
    length_cost: Annotated[float, Field(ge=0)]
    noise: Literal["none", "gumbel"]
    temperature: Annotated[float, Field(gt=0, le=100)]
    temperature_final: Annotated[float, Field(gt=0, le=100)] | None
    entropy_bonus: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _length_can_change(self) -> DiscreteConfig:
        if self.length_cost > 0 and not self.stop_token:
            raise ValueError("length_cost needs stop_token=true: without it all lengths are equal")
        return self


class DiscreteBottleneck(Bottleneck):
    """L symbols out of V, each read by the receiver as a fixed code of D numbers."""

    codes: Tensor
    vocab_size: int
    max_length: int

    def __init__(
        self,
        latent_dim: int,
        vocab_size: int,
        max_length: int,
        *,
        codes: Tensor,
        stop_token: bool = False,
        length_cost: float = 0.0,
        noise: str = "none",
        temperature: float = 1.0,
        temperature_final: float | None = None,
        entropy_bonus: float = 0.0,
        by_patch: bool = False,
    ) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.num_messages = message_count(vocab_size, max_length, stop_token=stop_token)
        self.capacity_bits = math.log2(self.num_messages)
        self.stop_token, self.length_cost = stop_token, length_cost
        self.noise, self.entropy_bonus = noise, entropy_bonus
        self.temperatures = (temperature, temperature_final or temperature)
        self.is_static = temperature_final is None
        dimensions = codes.shape[1]
        self.signal_width = max_length * (dimensions + 1)
        self.register_buffer("codes", codes, persistent=False)
        self.by_patch = by_patch
        if by_patch:
            self.signal_unit = dimensions + 1
            width = share_width(max_length * dimensions, dimensions)
            self.project = nn.Linear(share_width(latent_dim), width)
        else:
            self.project = nn.Linear(latent_dim, max_length * dimensions)

    @abstractmethod
    def score(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits [B, L, V], and [B, L, D] that receives the gradient (None: softmax)."""

    def project_symbols(self, latent: Tensor) -> Tensor:
        """Return the linear layer's output for each symbol, float32 [B, L, D]."""
        dimensions = self.codes.shape[1]
        if self.by_patch:
            width = self.max_length * dimensions
            flat = from_shares(self.project(to_shares(latent)), width, dimensions)
        else:
            flat = self.project(latent)
        return flat.float().view(-1, self.max_length, dimensions)

    @property
    def temperature(self) -> float:
        """The current temperature: constant, or geometric towards ``temperature_final``."""
        start, end = self.temperatures
        return start * (end / start) ** self.progress

    def forward(self, latent: Tensor) -> Message:
        """Send ``latent``, float32 [B, latent_dim], as hard symbols."""
        logits, relaxed = self.score(latent)
        noisy = logits / self.temperature
        if self.training and self.noise == "gumbel":  # Jang et al., 2017; Maddison et al., 2017
            gumbel = -torch.empty_like(logits).exponential_().log()
            noisy, relaxed = (logits + gumbel) / self.temperature, None
        symbols = noisy.argmax(-1)
        if relaxed is None:
            relaxed = noisy.softmax(-1) @ self.codes
        sent = straight_through(self.codes[symbols], relaxed)
        probabilities = logits.softmax(-1)
        alive = self._alive(symbols)
        survival = self._survival(probabilities)
        cost = self.length_cost * survival.sum(1).mean() + self._entropy_cost(probabilities)
        return Message(
            content=symbols * alive,
            signal=_signal(sent, straight_through(alive.float(), survival)),
            lengths=alive.sum(1),
            aux_loss=cost,
        )

    def read(self, content: Tensor) -> Tensor:
        """Return the signal of symbols, int64 [B, L]."""
        if content.is_floating_point() or content.ndim != 2:
            found = f"{content.dtype} {list(content.shape)}"
            raise ValueError(f"message is {found}, expected int64 [batch, {self.max_length}]")
        if content.shape[1] != self.max_length:
            raise ValueError(f"message has {content.shape[1]} symbols, expected {self.max_length}")
        if content.numel() and not (content.min() >= 0 and content.max() < self.vocab_size):
            raise ValueError(f"message has a symbol outside 0 to {self.vocab_size - 1}")
        content = content.long()
        return _signal(self.codes[content], self._alive(content).float())

    def _alive(self, symbols: Tensor) -> Tensor:
        """Return bool [B, L]: the positions up to and including the first stop symbol."""
        if not self.stop_token:
            return torch.ones_like(symbols, dtype=torch.bool)
        stops = (symbols == STOP).long()
        return stops.cumsum(1) - stops == 0

    def _survival(self, probabilities: Tensor) -> Tensor:
        """Return [B, L]: the probability that the message reaches each position."""
        if not self.stop_token:
            return probabilities.new_ones(probabilities.shape[:2])
        going_on = (1 - probabilities[..., STOP]).cumprod(1)
        return torch.cat([torch.ones_like(going_on[:, :1]), going_on[:, :-1]], 1)

    def _entropy_cost(self, probabilities: Tensor) -> Tensor:
        """Return minus the entropy bonus of the symbols over the batch."""
        if self.entropy_bonus == 0:
            return probabilities.new_zeros(())
        use = probabilities.mean(0)
        return self.entropy_bonus * (use * use.clamp(min=1e-9).log()).sum(-1).mean()


def message_count(vocab_size: int, max_length: int, *, stop_token: bool) -> int:
    """Return the number of messages that differ before or at their stop symbol."""
    if not stop_token:
        return vocab_size**max_length
    going_on = vocab_size - 1
    return sum(going_on**length for length in range(max_length)) + going_on**max_length


def _signal(codes: Tensor, alive: Tensor) -> Tensor:
    """Return [B, L * (D + 1)]: each symbol's code, and 1 if it was sent, else 0."""
    return torch.cat([codes * alive[..., None], alive[..., None]], -1).flatten(1)
