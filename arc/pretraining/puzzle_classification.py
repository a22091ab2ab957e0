"""Pretraining by puzzle classification.

It uses only the training puzzles of the main training, not its validation puzzles.
"""

from __future__ import annotations

from arc.data import Corpus
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.tasks.puzzle_classification import PuzzleClassificationConfig, PuzzleClassificationTask


class ClassificationPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/puzzle_classification.yaml."""

    @property
    def file_label(self) -> str:
        """The short form ``puzzle``."""
        return "puzzle"

    @property
    def receiver(self) -> str:
        """The receiver of the task itself."""
        return self.name

    def task_config(self) -> PuzzleClassificationConfig:
        """Return the task's configuration; the corpus decides the number of classes."""
        return PuzzleClassificationConfig(
            name=self.name, use_input_output_pairs=False, num_classes=None
        )


@PRETRAINING.register("puzzle_classification", config=ClassificationPretrainConfig)
class ClassificationPretraining(PuzzleClassificationTask):
    """The task itself, with a continuous message."""

    held_out = "training_pairs"

    def __init__(self, config: ClassificationPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.task_config(), corpus)
