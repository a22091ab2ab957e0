"""What a pretraining is: a task whose sender speaks with its whole vector.

The encoder is trained by the same loop as the game, in an ``ARCAutoencoder`` with the
continuous channel; its receiver is thrown away. A registered class is a ``Task`` that is made
from its PretrainConfig and a corpus.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from arc.registry import ComponentConfig, Registry
from arc.tasks import TaskConfig

PRETRAINING: Registry[Any] = Registry("pretraining")


class PretrainConfig(ComponentConfig):
    """The keys of every pretraining; all else that it needs stands under ``training``."""

    epochs: Annotated[int, Field(ge=1)] | None
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    init_from: str | None

    @property
    def file_label(self) -> str:
        """What the encoder's file is called after ``pretrained_encoder_``."""
        return self.name

    @property
    def receiver(self) -> str:
        """The registered receiver that the encoder is trained with."""
        return f"pretrain_{self.name}"

    def game(self) -> TaskConfig:
        """Return the configuration of the task that the pretraining is."""
        return TaskConfig(name=self.name, use_input_output_pairs=False)
