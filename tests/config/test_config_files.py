"""The files of conf/ agree with the schemas."""

import json
import shutil
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import run_here
from omegaconf import OmegaConf
from pydantic import BaseModel

from arc.api import compose
from arc.config.files import ConfigError, config_folder
from arc.config.schema import (
    EvaluateConfig,
    EvaluateDataConfig,
    ProcessConfig,
    RunConfig,
    Selection,
    parse_config,
    to_tree,
)
from arc.data import DATASETS
from arc.loggers import LOGGERS
from arc.metrics import METRICS
from arc.models import BOTTLENECKS
from arc.pretraining import PRETRAINING
from arc.registry import Registry
from arc.tasks import TASKS
from arc.training import OPTIMIZERS, SCHEDULES

CONF = config_folder()
CHOICES: dict[str, Registry[Any]] = {
    "task": TASKS,
    "bottleneck": BOTTLENECKS,
    "data": DATASETS,
    "pretrain": PRETRAINING,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
SELECTIONS: dict[str, Registry[Any]] = {"logger": LOGGERS, "metric": METRICS}
REGISTRIES = {**CHOICES, **SELECTIONS}
OPTIONS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml"))
EXPERIMENTS = [option for option in OPTIONS if option.startswith("experiment/")]
COMPONENTS = {
    group: [option.split("/")[1] for option in OPTIONS if option.startswith(f"{group}/")]
    for group in (*CHOICES, "model")
}
MAIN: dict[str, Any] = {
    str(key): value
    for key, value in dict(OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))).items()  # type: ignore[arg-type]
}
FIELDS = {**RunConfig.model_fields, **ProcessConfig.model_fields}
SECTIONS = [
    field.annotation
    for field in FIELDS.values()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
]
SCHEMAS = [
    RunConfig,
    ProcessConfig,
    EvaluateConfig,
    EvaluateDataConfig,
    *(schema for schema in SECTIONS if not issubclass(schema, Selection)),
    *(registry.config(name) for registry in REGISTRIES.values() for name in registry),
]


def is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("group", REGISTRIES)
def test_a_group_has_one_file_for_each_registered_name(group: str) -> None:
    assert {path.stem for path in (CONF / group).glob("*.yaml")} == set(REGISTRIES[group])


def test_the_main_file_has_exactly_the_keys_of_a_run() -> None:
    groups = {next(iter(entry)) for entry in MAIN["defaults"] if isinstance(entry, dict)}
    own = set(MAIN) - {"defaults", "hydra"}
    assert own & groups == set(SELECTIONS)  # present and empty, so that [] selects nothing
    assert own | groups - {"experiment", "override hydra/job_logging"} == set(FIELDS)
    for section, value in MAIN.items():
        if isinstance(value, dict) and section not in ("hydra", *SELECTIONS):
            schema = FIELDS[section].annotation
            assert isinstance(schema, type)
            assert set(value) == set(schema.model_fields)
    assert MAIN["hydra"]["job"]["chdir"] is False


def test_the_file_of_the_evaluation_has_exactly_the_keys_of_its_schema() -> None:
    content = OmegaConf.load(CONF / "evaluate.yaml")
    assert set(content) - {"defaults", "hydra"} == set(EvaluateConfig.model_fields)
    assert set(content.data) == set(EvaluateDataConfig.model_fields)


@pytest.mark.parametrize("schema", dict.fromkeys(SCHEMAS), ids=lambda schema: schema.__name__)
def test_defaults_are_in_conf_alone(schema: type[BaseModel]) -> None:
    given = [name for name, field in schema.model_fields.items() if not field.is_required()]
    assert given == []


def test_no_file_of_conf_names_code() -> None:
    files = list(CONF.rglob("*.yaml"))
    assert len(files) > len(OPTIONS)
    assert [path.name for path in files if "_target_" in path.read_text(encoding="utf-8")] == []


# -- composing ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(train_small: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of one step."""
    small = ("task=reconstruction", "training.max_steps=1", "data.test=null")
    return Path(train_small(tmp_path_factory.mktemp("stored"), *small).checkpoints.last)


@pytest.mark.parametrize("options", list(zip_longest(*COMPONENTS.values())))
def test_every_option_composes_to_the_keys_of_its_schema(options: tuple[str | None, ...]) -> None:
    chosen = {group: name for group, name in zip(COMPONENTS, options, strict=True) if name}
    config = compose(*map("=".join, chosen.items()))
    assert {group: getattr(config, group).name for group in chosen} == chosen


def test_a_list_selects_components_and_an_empty_one_none() -> None:
    names = {group: list(SELECTIONS[group]) for group in SELECTIONS}
    whole = compose(*(f"{group}=[{','.join(names[group])}]" for group in names))
    none = compose(*(f"{group}=[]" for group in names))
    for group in names:
        assert list(getattr(whole, group).selected) == names[group]
        assert getattr(none, group).selected == {}


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_every_experiment_composes_and_changes_something(option: str, default: RunConfig) -> None:
    changed = compose(f"experiment={option.split('/')[1]}")
    assert changed != default
    assert parse_config(to_tree(changed)) == changed


@pytest.mark.parametrize(
    ("task", "preset"), [(name, each) for name in TASKS for each in TASKS[name].presets]
)
def test_the_presets_of_a_task_augment_its_data(task: str, preset: str) -> None:
    config = compose(f"experiment={preset}")
    assert (config.task.name, config.data.augment) == (task, True)


def test_no_experiment_and_several_change_a_stored_run_as_they_change_conf(
    stored: Path, default: RunConfig
) -> None:
    assert compose("experiment=null") == default
    assert compose("experiment=null", base=stored).task.name == "reconstruction"
    changed = compose("experiment=[hard,single_distractor]", base=stored)
    fresh = compose("experiment=[hard,single_distractor]")
    assert (changed.task, changed.bottleneck) == (fresh.task, fresh.bottleneck)
    assert (changed.training.batch_size, changed.training.learning_rate) == (32, 1e-3)
    assert changed.training.max_steps == 1
    with pytest.raises(ConfigError, match=r"^experiment=foo: "):
        compose("experiment=[foo]", base=stored)


def test_some_options_have_learning_rates_of_their_own(stored: Path) -> None:
    categorical = "bottleneck=categorical"
    assert compose().training.learning_rate == 6e-3
    assert compose(categorical).training.learning_rate == 2e-3
    assert compose(categorical, "training.learning_rate=1e-3").training.learning_rate == 1e-3
    assert compose(categorical, "model=large").training.learning_rate == 1e-4
    assert compose("optimizer=sgd").training.learning_rate == 0.05
    assert compose(categorical, "experiment=reconstruction_20").training.learning_rate == 2e-3
    changed = compose(categorical, base=stored)
    assert (changed.bottleneck.name, changed.training.learning_rate) == ("categorical", 2e-3)
    assert changed.training.max_steps == 1
    fixed = compose(categorical, "training.learning_rate=1e-3", base=stored)
    assert fixed.training.learning_rate == 1e-3


def test_a_stored_run_keeps_its_learning_rate_if_its_bottleneck_is_typed_again(
    stored: Path, tmp_path: Path
) -> None:
    content = torch.load(stored)
    bottleneck = to_tree(compose("bottleneck=categorical"))["bottleneck"]
    content["config"] |= {"bottleneck": bottleneck}
    torch.save(content, tmp_path / "categorical.pth")
    again = compose("bottleneck=categorical", base=tmp_path / "categorical.pth")
    assert again.training.learning_rate == content["config"]["training"]["learning_rate"] != 2e-3


def test_an_experiment_applies_with_the_one_that_it_extends(stored: Path) -> None:
    changed, fresh = (
        compose("experiment=reconstruction_20", base=stored),
        compose("experiment=reconstruction_20"),
    )
    assert (changed.task, changed.bottleneck) == (fresh.task, fresh.bottleneck)
    assert (changed.model.head, changed.model.latent_dim) == ("direct", 256)
    assert (changed.data.crop, changed.training.max_steps) == (0.5, 4000)


def test_an_experiment_of_the_user_applies_to_a_resumed_run(stored: Path, tmp_path: Path) -> None:
    own = tmp_path / "own" / "experiment" / "longer.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\ndefaults:\n  - override /schedule: linear\n"
        "training:\n  max_steps: 3\n",
        encoding="utf-8",
    )
    folder = ["--config-dir", str(own.parents[1])]
    outcome = run_here(
        tmp_path,
        *folder,
        f"resume={shutil.copy(stored, tmp_path)}",
        "experiment=longer",
        "device=cpu",
        "server.enabled=false",
    )
    assert outcome.status == 0, outcome.err
    content = torch.load(tmp_path / "checkpoints" / stored.name)
    assert content["step"] == 3
    assert content["config"]["schedule"]["name"] == "linear"


def test_a_typed_key_overrides_an_experiment() -> None:
    assert to_tree(compose("experiment=hard"))["task"]["num_distractors"] == 9
    typed = compose("experiment=hard", "task.num_distractors=3")
    assert to_tree(typed)["task"]["num_distractors"] == 3


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=reconstruction", "bottleneck=autoencoder", "schedule=constant", "logger=[]"],
        ["task=selection", "bottleneck=communication", "optimizer=sgd", "metric=[usage]"],
        ["task=puzzle_classification", "bottleneck=categorical", "data.filter_grid_size=[3,4]"],
    ],
)
def test_a_stored_tree_gives_the_configuration_back(overrides: list[str]) -> None:
    before = compose(*overrides)
    stored = to_tree(before)
    assert is_plain(stored)
    assert parse_config(stored) == before
    assert parse_config(json.loads(json.dumps(stored))) == before
    assert parse_config(OmegaConf.create(stored)) == before
