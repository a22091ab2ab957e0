"""Contrastive pretraining: select the target by the embedding of another view of it.

One encoder embeds both sides, as in SimCLR (Chen et al., 2020): a view of the target (turned,
recoloured, or the other grid of its pair) and the unchanged candidates.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from arc.data import Corpus, Grids, Split, Transform
from arc.data.distractors import DistractorKind
from arc.models import ARCAutoencoder
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.tasks.selection import SelectionConfig, SelectionTask


class SelectionPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/selection.yaml."""

    num_distractors: Annotated[int, Field(ge=1, le=999)]
    distractors: DistractorKind
    view: Literal["turned", "augmented", "paired"]

    def task_config(self) -> SelectionConfig:
        """Return the configuration of the selection task."""
        return SelectionConfig(
            name=self.name,
            num_distractors=self.num_distractors,
            distractors=self.distractors,
            use_input_output_pairs=self.view == "paired",
            negatives="game",
            near_copies=False,
            label_smoothing=0.0,
            score="cosine",
        )


@PRETRAINING.register("selection", config=SelectionPretrainConfig)
class SelectionPretraining(SelectionTask):
    """Selection with one encoder for the sender and for the candidates."""

    section = "pretrain"

    def __init__(self, config: SelectionPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.task_config(), corpus)
        self.view = config.view

    def sender_input(
        self,
        split: Split,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> Grids:
        """Return another view of each target; with ``view=paired`` it is the input."""
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
