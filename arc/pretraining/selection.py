"""Pretraining by recognition: the encoder's own embedding picks the target's other view.

One encoder sees both sides (Chen et al., 2020): the sender a view of the target, turned or
recoloured, or the other grid of its pair; the candidates as they are.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from arc.data import Corpus, Grids, Split, Transform
from arc.models import RECEIVERS, ARCAutoencoder, Receiver, ReceiverShape
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.tasks.selection import SelectionConfig, SelectionTask


class SelectionPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/selection.yaml."""

    num_distractors: Annotated[int, Field(ge=1, le=999)]
    distractors: Literal["random", "same_size", "same_colors", "same_puzzle"]
    view: Literal["turned", "augmented", "paired"]

    def game(self) -> SelectionConfig:
        """Return the configuration of the game that this is."""
        return SelectionConfig(
            name=self.name,
            num_distractors=self.num_distractors,
            distractors=self.distractors,
            use_input_output_pairs=self.view == "paired",
        )


@RECEIVERS.register("pretrain_selection")
class EmbeddingReceiver(Receiver):
    """Compares two embeddings; all that it learns is the temperature."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the scaled cosines of [batch, dim] with [pool, dim]: float32 [batch, pool]."""
        with torch.autocast(one.device.type, enabled=False):  # bf16 would make ties
            cosine = F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).t()
            return cosine * self.log_scale.exp().clamp(max=100.0)

    def receive(self, signal: Tensor, *, embedded: Tensor) -> Tensor:
        """Return the logits of embedded candidates [pool, dim] for each message."""
        return self(signal, embedded)


@PRETRAINING.register("selection", config=SelectionPretrainConfig)
class SelectionPretraining(SelectionTask):
    """The selection game in which the receiver looks through the sender's eyes."""

    def __init__(self, config: SelectionPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.game(), corpus)
        self.view = config.view

    def sender_input(
        self,
        split: Split,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> Grids:
        """Return each target's other view; in pairs it is the input."""
        grids = super().sender_input(split, examples, generator, transform)
        if self.view == "paired":
            return grids
        return Transform.sample(generator, len(grids), colors=self.view == "augmented")(grids)

    def embed(self, model: ARCAutoencoder, candidates: Grids) -> Tensor:
        """Encode candidates with the sender's encoder, float32 [pool, latent_dim]."""
        return model.encoder(candidates)

    def score(self, model: ARCAutoencoder, signal: Tensor, embedded: Tensor) -> Tensor:
        """Return the logit of each embedded candidate for each view, float32 [batch, pool]."""
        return model.receiver(signal, embedded)
