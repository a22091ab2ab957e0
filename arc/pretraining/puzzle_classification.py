"""Pretraining by naming puzzles, on pairs held out of each puzzle.

Of the puzzles that the main training trains on only: its validation puzzles stay unseen.
"""

from __future__ import annotations

from arc.data import Corpus
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.tasks.puzzle_classification import PuzzleClassificationConfig, PuzzleClassificationTask


class ClassificationPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/puzzle_classification.yaml."""

    @property
    def file_label(self) -> str:
        """The short word that its files have always had."""
        return "puzzle"

    @property
    def receiver(self) -> str:
        """The game's own."""
        return self.name

    def game(self) -> PuzzleClassificationConfig:
        """Return the game's configuration; the corpus decides the number of classes."""
        return PuzzleClassificationConfig(
            name=self.name, use_input_output_pairs=False, num_classes=None
        )


@PRETRAINING.register("puzzle_classification", config=ClassificationPretrainConfig)
class ClassificationPretraining(PuzzleClassificationTask):
    """The game itself, through a vector."""

    held_out = "training_pairs"

    def __init__(self, config: ClassificationPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.game(), corpus)
