"""Messages that begin with the palette of the grid: the rank of each colour by frequency.

The palette is sent exactly, by a fixed code. The agents learn only where the most frequent colour
is, the second, and so on, and what they learn applies to every palette.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from arc.data.grids import NUM_COLORS
from arc.models.bottlenecks.base import Bottleneck, Message

PERMUTATIONS = math.factorial(NUM_COLORS)


def palette_length(vocab_size: int | None) -> int:
    """Return how many symbols, or numbers of a vector, a palette takes."""
    if vocab_size is None:
        return NUM_COLORS
    length = 1
    while vocab_size**length < PERMUTATIONS:
        length += 1
    return length


class PaletteBottleneck(Bottleneck):
    """Sends the palette, then what ``bottleneck`` sends.

    The signal begins with the ten ranks, float32 0 to 9.
    """

    def __init__(self, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.vocab_size, self.stop_token = bottleneck.vocab_size, bottleneck.stop_token
        self.is_static = bottleneck.is_static
        self.palette_length = palette_length(self.vocab_size)
        if bottleneck.max_length is not None:
            self.max_length = self.palette_length + bottleneck.max_length
        self.signal_width = NUM_COLORS + bottleneck.signal_width
        self.signal_unit = bottleneck.signal_unit
        size = self.vocab_size
        palettes = PERMUTATIONS if size is None else size**self.palette_length
        if bottleneck.num_messages is not None:
            self.num_messages = palettes * bottleneck.num_messages
        if bottleneck.capacity_bits is not None:
            self.capacity_bits = bottleneck.capacity_bits + math.log2(palettes)

    def forward(self, latent: Tensor, ranks: Tensor | None = None) -> Message:
        """Send ``ranks``, int64 [batch, 10], and ``latent``, float32 [batch, latent_dim]."""
        assert ranks is not None
        if self.vocab_size is None:
            latent = latent[:, : self.bottleneck.signal_width]
            palette = ranks.float() / (NUM_COLORS - 1)
        else:
            palette = _digits(_number(ranks), self.vocab_size, self.palette_length)
        message = self.bottleneck(latent)
        lengths = message.lengths
        return replace(
            message,
            content=torch.cat([palette, message.content], 1),
            signal=torch.cat([ranks.float(), message.signal], 1),
            lengths=None if lengths is None else lengths + self.palette_length,
        )

    def read(self, content: Tensor) -> Tensor:
        """Return the signal of ``content``; any numbers or symbols are a valid palette."""
        width = self.max_length or self.palette_length + self.bottleneck.signal_width
        if content.ndim != 2 or content.shape[1] != width:
            raise ValueError(f"message is {list(content.shape)}, expected [batch, {width}]")
        palette, rest = content.tensor_split([self.palette_length], 1)
        signal = self.bottleneck.read(rest)
        if self.vocab_size is None:
            ranks = palette.argsort(dim=1, stable=True).argsort(1)
        else:
            if palette.numel() and not (palette.min() >= 0 and palette.max() < self.vocab_size):
                raise ValueError(f"message has a symbol outside 0 to {self.vocab_size - 1}")
            powers = self.vocab_size ** torch.arange(self.palette_length, device=content.device)
            ranks = _permutation((palette.long() * powers).sum(1) % PERMUTATIONS)
        return torch.cat([ranks.float(), signal], 1)

    def set_progress(self, fraction: float) -> None:
        """Set the completed share of the run, 0 to 1, for the bottleneck's schedules."""
        super().set_progress(fraction)
        self.bottleneck.set_progress(fraction)


def _number(permutations: Tensor) -> Tensor:
    """Number permutations, int64 [batch, 10], from 0 to 10! - 1 (Lehmer code): int64 [batch]."""
    smaller_later = permutations[:, None, :] < permutations[:, :, None]
    later = torch.ones_like(smaller_later[0]).triu(1)
    digits = (smaller_later & later).sum(2)
    return (digits * _places(permutations.device)).sum(1)


def _permutation(numbers: Tensor) -> Tensor:
    """Return the permutation of each number, int64 [batch] to [batch, 10]."""
    digits = numbers[:, None] // _places(numbers.device)
    digits = digits % torch.arange(NUM_COLORS, 0, -1, device=numbers.device)
    free = torch.arange(NUM_COLORS, device=numbers.device).repeat(len(numbers), 1)
    chosen = []
    for digit in digits.t():
        chosen.append(free.gather(1, digit[:, None]))
        free = free[free != chosen[-1]].view(len(free), -1)
    return torch.cat(chosen, 1)


def _places(device: torch.device) -> Tensor:
    """Return the place values of the Lehmer code: 9!, 8!, ..., 0!."""
    return torch.arange(NUM_COLORS, device=device).clamp(min=1).cumprod(0).flip(0)


def _digits(numbers: Tensor, base: int, length: int) -> Tensor:
    """Write numbers, int64 [batch], with ``length`` digits, the lowest first."""
    return numbers[:, None] // base ** torch.arange(length, device=numbers.device) % base
