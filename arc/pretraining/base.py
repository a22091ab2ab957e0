"""The interface of pretraining: a task whose message is the encoder's vector.

The encoder is trained like any task, in an ``ARCAutoencoder`` with the continuous bottleneck;
the receiver is discarded. A registered class is a ``Task`` that is built from its PretrainConfig
and a corpus.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from arc.registry import ComponentConfig, PathName, Registry
from arc.tasks import TaskConfig

PRETRAINING: Registry[Any] = Registry("pretraining")


class PretrainConfig(ComponentConfig):
    """The keys of every pretraining; other settings are those of ``training``."""

    epochs: Annotated[int, Field(ge=1)] | None
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    init_from: PathName | None

    @property
    def file_label(self) -> str:
        """The part of the encoder's file name after ``pretrained_encoder_``."""
        return self.name

    @property
    def receiver(self) -> str:
        """The registered receiver to train the encoder with."""
        return f"pretrain_{self.name}"

    def task_config(self) -> TaskConfig:
        """Return the configuration of the underlying task."""
        return TaskConfig(name=self.name, use_input_output_pairs=False)
