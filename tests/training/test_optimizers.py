"""Optimizers and schedules of the registries."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers_cli import Make

from arc.api import compose
from arc.config.files import ConfigError
from arc.config.schema import RunConfig
from arc.training import OPTIMIZERS
from arc.training.schedules import learning_rate_factor

COSINE = 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2


@pytest.mark.parametrize(
    ("schedule", "quarter", "end"),
    [("constant", 1.0, 1.0), ("linear", 0.775, 0.1), ("cosine", COSINE, 0.1)],
)
def test_a_schedule_warms_up_and_decreases_to_its_final_share(
    make_config: Callable[..., RunConfig], schedule: str, quarter: float, end: float
) -> None:
    final = [] if schedule == "constant" else ["schedule.final_share=0.1"]
    config = make_config(f"schedule={schedule}", *final).schedule
    warmup = [learning_rate_factor(config, 4, step, 0.0) for step in range(6)]
    assert warmup == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert learning_rate_factor(config, 4, 9, 0.25) == pytest.approx(quarter)
    assert learning_rate_factor(config, 4, 9, 1.0) == pytest.approx(end)
    assert learning_rate_factor(config, 4, 9, None) == 1.0  # a run without a length


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_is_torchs_with_one_group_and_its_settings(make_run: Make, name: str) -> None:
    trainer = make_run(
        "task=reconstruction",
        f"optimizer={name}",
        "optimizer.weight_decay=0.02",
        "training.learning_rate=0.01",
        "training.max_steps=3",
    ).trainer()
    classes: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    assert type(trainer.optimizer).__base__ is classes[name]  # AdamW is an Adam
    (group,) = trainer.optimizer.param_groups
    assert group["weight_decay"] == 0.02
    assert [id(weight) for weight in group["params"]] == [
        id(weight) for weight in trainer.model.parameters()
    ]
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.9, False)
    else:
        assert group["betas"] == (0.9, 0.999)


def test_nesterov_without_momentum_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match="optimizer: nesterov=true: needs momentum above 0"):
        compose("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=true")
