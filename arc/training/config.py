"""How a run is trained: the keys of ``training`` in conf/config.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from arc.registry import Settings

Count = Annotated[int, Field(ge=1)]


class TrainingConfig(Settings):
    """Length, batch size and precision of a run."""

    epochs: Count | None
    max_steps: Count | None
    max_minutes: Annotated[float, Field(gt=0)] | None
    schedule_by: Literal["steps", "time"]
    stop_at_step: Count | None
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0)]
    gradient_clip: Annotated[float, Field(gt=0)]
    precision: Literal["auto", "fp32", "bf16"]
    best_metric: Annotated[str, Field(min_length=1)] | None
