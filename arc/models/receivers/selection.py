"""The receiver of selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.grids import Grids
from arc.models.encoders import ARCEncoder
from arc.models.receivers.base import RECEIVERS, Receiver, ReceiverShape

SCORES = ("cosine", "distance")
# Adam moves every parameter by about the learning rate; the scale of distances must move faster.
SCALE_SPEED = 10.0


@RECEIVERS.register("selection")
class SelectionReceiver(Receiver):
    """Encodes candidates by its own encoder and compares them with the message.

    ``distance`` predicts the signal that the sender would send for a candidate; the logit is minus
    the scaled squared distance to the signal received. ``cosine`` maps the signal into the space
    of the encodings; the logit is the scaled cosine.
    """

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        if shape.score not in SCORES:
            raise ValueError(f"unknown score {shape.score!r}; choose one of: {', '.join(SCORES)}")
        self.by_distance = shape.score == "distance"
        self.encoder = ARCEncoder(
            shape.num_colors,
            shape.embedding_dim,
            shape.hidden_dim,
            shape.latent_dim,
            shape.num_conv_layers,
            dropout=shape.dropout,
            architecture=shape.architecture,
            mixer=shape.mixer,
            head=shape.head,
        )
        if self.by_distance:
            self.signal = nn.Linear(shape.latent_dim, shape.signal_width)
            self.log_scale = nn.Parameter(torch.tensor(math.log(5.0) / SCALE_SPEED))
        else:
            self.message = nn.Linear(shape.signal_width, shape.latent_dim)
            self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def embed(self, candidates: Grids) -> Tensor:
        """Encode ``candidates`` [pool], float32 [pool, width].

        By distance, ``width`` is the signal's; by cosine, latent_dim, and vectors have length 1.
        """
        encoded = self.encoder(candidates)
        if self.by_distance:
            return self.signal(encoded).float()
        return F.normalize(encoded, dim=-1)

    def score(self, signal: Tensor, embedded: Tensor) -> Tensor:
        """Return the logit of each embedded candidate for each message: [batch, pool].

        ``signal`` [batch, signal_width] and ``embedded`` [pool, width] may have further dimensions
        in front: games, each with messages and a pool of its own.
        """
        wanted = signal if self.by_distance else F.normalize(self.message(signal).float(), dim=-1)
        speed = SCALE_SPEED if self.by_distance else 1.0
        scale = (speed * self.log_scale).exp().clamp(max=100.0)
        with torch.autocast(signal.device.type, enabled=False):  # bf16 would make ties
            if self.by_distance:
                lengths = wanted.square().sum(-1, keepdim=True)
                lengths = lengths + embedded.square().sum(-1)[..., None, :]
                return (2 * wanted @ embedded.mT - lengths) * scale
            return wanted @ embedded.mT * scale

    def forward(self, signal: Tensor, pool: Grids) -> Tensor:
        """Score every grid of a shared ``pool`` for every message: float32 [batch, pool]."""
        return self.score(signal, self.embed(pool))

    def receive(self, signal: Tensor, *, candidates: Sequence[Sequence[Any]]) -> Tensor:
        """Return float32 [batch, k], the logits of each message's own k candidate grids."""
        counts = {len(row) for row in candidates}
        if len(candidates) != len(signal) or len(counts) != 1:
            raise ValueError(
                f"candidates: expected {len(signal)} lists of one length, "
                f"got {len(candidates)} of lengths {sorted(counts)}"
            )
        flat = Grids.from_arrays([grid for row in candidates for grid in row], signal.device)
        embedded = self.embed(flat).unflatten(0, (len(signal), -1))
        return self.score(signal[:, None], embedded)[:, 0]
