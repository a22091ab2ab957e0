"""Validation of configurations, and the models that are built from them."""

from itertools import cycle
from typing import Any

import pytest
import torch

from arc.api import compose
from arc.config.builders import build_model, with_data
from arc.config.files import ConfigError
from arc.config.schema import RunConfig, parse_config, to_tree
from arc.models import BOTTLENECKS
from arc.tasks import TASKS

BAD_VALUES = {
    "bottleneck.vocab_size=1": "2",
    "bottleneck.vocab_size=10001": "10000",
    "bottleneck.vocab_size=abc": "integer",
    "bottleneck.vocab_size=2.5": "integer",
    "bottleneck.vocab_size=null": "integer",
    "bottleneck.max_message_length=0": "1",
    "bottleneck.stop_token=1": "boolean",
    "bottleneck.noise=white": "'none' or 'gumbel'",
    "bottleneck.temperature=0": "greater than 0",
    "bottleneck.temperature=nan": "finite",
    "bottleneck.entropy_bonus=-0.1": "0",
    "task.num_distractors=0": "1",
    "task.num_distractors=1000": "999",
    "task.distractors=easy": "same_colors, same_puzzle, same_size",
    "task.use_input_output_pairs=maybe": "boolean",
    "model.hidden_dim=0": "1",
    "model.num_conv_layers=0": "1",
    "model.dropout=1": "less than 1",
    "data.max_grids=-1": "0",
    "data.validation_fraction=1": "less than 1",
    "data.filter_grid_size=[1,2,3]": "[height, width]",
    "data.filter_grid_size=9": "list",
    "data.augment=2": "boolean",
    "data.also=arc2": "list",
    "data.synthetic=1": "less than 1",
    "data.crop=1.5": "1",
    "training.epochs=0": "1",
    "training.batch_size=1": "2",
    "training.learning_rate=0": "greater than 0",
    "training.learning_rate=1.5": "1",
    "training.max_minutes=-1": "greater than 0",
    "training.precision=fp16": "'bf16'",
    "training.schedule_by=epochs": "'time'",
    "optimizer.weight_decay=2": "1",
    "optimizer.betas=[0.9]": "at least 2 items",
    "optimizer.betas=[0.9,0.99,0.999]": "at most 2 items",
    "training.warmup_steps=-1": "0",
    "schedule.final_share=1.5": "1",
    "seed=-1": "0",
    "run_name=a/b": "letters, digits or . _",
    "device=3": "string",
}


def test_every_invalid_value_is_refused_in_a_line_with_its_key_and_what_is_allowed() -> None:
    waiting = [override.partition("=")[::2] for override in BAD_VALUES]
    while waiting:
        typed = dict(reversed(waiting))  # the first value of each key
        waiting = [each for each in waiting if each not in typed.items()]
        with pytest.raises(ConfigError) as refused:
            compose(*map("=".join, typed.items()))
        lines = [line.split(": ", 1) for line in str(refused.value).splitlines()]
        reasons = {named.replace(" ", ""): reason for named, reason in lines}
        assert reasons.keys() == set(map("=".join, typed.items()))
        assert {named for named in reasons if BAD_VALUES[named] not in reasons[named]} == set()


def test_puzzle_classification_refuses_pair_mode() -> None:
    with pytest.raises(ConfigError, match=r"^task\.use_input_output_pairs=.*puzzle_classification"):
        compose("task=puzzle_classification", "task.use_input_output_pairs=true")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("task.use_input_output_pairs=false", r"^task\.use_input_output_pairs=.*must be true"),
        ("model.architecture=cells", r"^model\.architecture=cells: .*choose one of patch$"),
        ("task.size=give", r"^task\.size=give: .*'given' or 'predicted'"),
    ],
)
def test_transformation_refuses_what_its_sender_cannot_see(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        compose("task=transformation", override)
    assert "\n" not in str(refused.value)


def test_every_patch_needs_a_share_of_the_vector() -> None:
    assert compose("model.head=direct", "model.latent_dim=16").model.latent_dim == 16
    with pytest.raises(ConfigError, match=r"latent_dim must be at least 16"):
        compose("model.head=direct", "model.latent_dim=15")


def test_every_unknown_key_is_refused_with_the_nearest_spelling() -> None:
    nearest = {
        "bottleneck.temprature": "temperature",
        "task.num_distractor": "num_distractors",
        "training.epoch": "epochs",
        "model.hiden_dim": "hidden_dim",
        "data.max_grid": "max_grids",
        "checkpoint.dirr": "dir",
        "sed": "seed",
    }
    with pytest.raises(ConfigError) as refused:
        compose(*(f"+{key}=1" for key in nearest))
    lines = dict(line.split(": ", 1) for line in str(refused.value).splitlines())
    assert lines.keys() == nearest.keys()
    for key, name in nearest.items():
        assert f"Did you mean {name!r}?" in lines[key]


def test_a_missing_key_is_named(default: RunConfig) -> None:
    stored = to_tree(default)
    del stored["bottleneck"]["noise"]
    with pytest.raises(ConfigError, match=r"^bottleneck\.noise: missing$"):
        parse_config(stored)


@pytest.mark.parametrize("key", ["data.test", "device", "checkpoint.dir"])
def test_a_stored_tree_must_not_contain_interpolations(key: str, default: RunConfig) -> None:
    stored = to_tree(default)
    *sections, name = key.split(".")
    place = stored[sections[0]] if sections else stored
    place[name] = "${oc.env:HOME}"
    with pytest.raises(ConfigError, match=f"^{key}="):
        parse_config(stored)


def test_a_configuration_cannot_be_changed(default: RunConfig) -> None:
    with pytest.raises(ValueError, match="frozen"):
        default.seed = 3  # type: ignore[misc]


# -- building ----------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "bottleneck"), list(zip(TASKS, cycle(BOTTLENECKS), strict=False)))
def test_the_configuration_alone_builds_the_model(task: str, bottleneck: str) -> None:
    chosen = with_data(
        compose(f"task={task}", f"bottleneck={bottleneck}", "model=tiny"),
        num_classes=8 if task == "puzzle_classification" else None,
    )
    torch.manual_seed(0)
    first = build_model(chosen)
    torch.manual_seed(0)
    second = build_model(parse_config(to_tree(chosen)))
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    assert first.encoder.architecture == {
        "num_colors": 10,
        "pairs": task == "transformation",
        **{
            key: getattr(chosen.model, key)
            for key in first.encoder.architecture
            if key not in ("num_colors", "pairs")
        },
    }
    assert first.bottleneck.vocab_size == getattr(chosen.bottleneck, "vocab_size", None)
    assert first.bottleneck.max_length == getattr(chosen.bottleneck, "max_message_length", None)


def test_the_bottleneck_s_settings_reach_the_model() -> None:
    chosen = compose(
        "model=tiny",
        "bottleneck.vocab_size=7",
        "bottleneck.max_message_length=3",
        "bottleneck.stop_token=true",
        "bottleneck.temperature=2",
        "model.dropout=0.25",
    )
    model: Any = build_model(chosen)
    assert (model.bottleneck.vocab_size, model.bottleneck.max_length) == (7, 3)
    assert model.bottleneck.stop_token
    assert model.bottleneck.temperature == 2.0
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}


def test_the_number_of_classes_comes_from_the_data(default: RunConfig) -> None:
    chosen = compose("task=puzzle_classification", "model=tiny")
    with pytest.raises(ValueError, match="num_classes"):
        build_model(chosen)
    filled = with_data(chosen, 8)
    assert to_tree(filled)["task"]["num_classes"] == 8
    assert with_data(default, None) == default


def test_the_large_model_and_its_optimizer_take_250_to_500_megabytes() -> None:
    model = build_model(compose("model=large"))
    sizes = [parameter.numel() for parameter in model.parameters()]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    megabytes = 3 * 4 * sum(sizes) / 1e6  # the weights and Adam's two moments
    assert 250 <= megabytes <= 500
