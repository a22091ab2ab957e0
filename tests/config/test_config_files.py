"""What stands in conf/, held against the schemas beside the components."""

import json
from typing import Any

import pytest
from helpers_cli import composed
from omegaconf import OmegaConf
from pydantic import BaseModel

from arc.config.schema import (
    ProcessConfig,
    RunConfig,
    config_folder,
    parse_config,
    to_tree,
)
from arc.data import DATASETS
from arc.evaluate import EvaluateConfig
from arc.models import BOTTLENECKS
from arc.pretraining import PRETRAINING
from arc.tasks import TASKS

CONF = config_folder()
REGISTRIES = {
    "task": TASKS,
    "bottleneck": BOTTLENECKS,
    "data": DATASETS,
    "pretrain": PRETRAINING,
}
OPTIONS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml"))
EXPERIMENTS = [option for option in OPTIONS if option.startswith("experiment/")]
COMPONENTS = [option for option in OPTIONS if option.split("/")[0] in {*REGISTRIES, "model"}]
MAIN = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
SECTIONS = [
    schema
    for schema in (
        field.annotation
        for fields in (RunConfig.model_fields, ProcessConfig.model_fields)
        for field in fields.values()
    )
    if isinstance(schema, type) and issubclass(schema, BaseModel)
]
SCHEMAS = [
    RunConfig,
    ProcessConfig,
    EvaluateConfig,
    *SECTIONS,
    *(registry.config(name) for registry in REGISTRIES.values() for name in registry),
]


def plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("group", REGISTRIES)
def test_a_group_has_one_option_for_each_registered_name(group: str) -> None:
    assert {path.stem for path in (CONF / group).glob("*.yaml")} == set(REGISTRIES[group])


def test_the_main_file_holds_exactly_the_keys_of_the_run() -> None:
    groups = {next(iter(entry)) for entry in MAIN["defaults"] if isinstance(entry, dict)}
    own = set(MAIN) - {"defaults", "hydra"}
    assert own.isdisjoint(groups)
    known = set(RunConfig.model_fields) | set(ProcessConfig.model_fields)
    assert own | groups - {"experiment"} == known


def test_the_file_of_evaluation_holds_exactly_the_keys_of_its_schema() -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / "evaluate.yaml"))
    assert set(content) - {"defaults", "hydra"} == set(EvaluateConfig.model_fields)


@pytest.mark.parametrize("section", [key for key, value in MAIN.items() if isinstance(value, dict)])
def test_a_section_of_the_main_file_holds_exactly_the_keys_of_its_schema(section: str) -> None:
    if section == "hydra":  # not ours; ours must not move the working directory
        assert MAIN["hydra"]["job"]["chdir"] is False
    else:
        fields = {**RunConfig.model_fields, **ProcessConfig.model_fields}
        schema = fields[section].annotation
        assert isinstance(schema, type)
        assert set(MAIN[section]) == set(schema.model_fields)


@pytest.mark.parametrize("schema", dict.fromkeys(SCHEMAS), ids=lambda schema: schema.__name__)
def test_defaults_stand_in_conf_alone(schema: type[BaseModel]) -> None:
    given = [name for name, field in schema.model_fields.items() if not field.is_required()]
    assert given == []


def test_nothing_in_conf_names_code() -> None:
    files = list(CONF.rglob("*.yaml"))
    assert len(files) > len(OPTIONS)
    assert [path.name for path in files if "_target_" in path.read_text(encoding="utf-8")] == []


# -- composing ---------------------------------------------------------------------------


@pytest.mark.parametrize("option", COMPONENTS)
def test_every_option_composes_to_the_keys_of_its_schema(option: str) -> None:
    group, name = option.split("/")
    assert getattr(composed(f"{group}={name}"), group).name == name


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_every_experiment_composes_and_changes_something(option: str) -> None:
    changed = composed(f"experiment={option.split('/')[1]}")
    assert changed != composed()
    assert parse_config(to_tree(changed)) == changed


def test_what_is_typed_wins_over_an_experiment() -> None:
    assert composed("experiment=hard").task.num_distractors == 9
    assert composed("experiment=hard", "task.num_distractors=3").task.num_distractors == 3


@pytest.mark.parametrize("bottleneck", list(BOTTLENECKS))
@pytest.mark.parametrize("task", list(TASKS))
def test_a_stored_tree_gives_the_configuration_back(task: str, bottleneck: str) -> None:
    before = composed(f"task={task}", f"bottleneck={bottleneck}", "data.filter_grid_size=[3,4]")
    stored = to_tree(before)
    assert plain(stored)
    assert parse_config(stored) == before
    assert parse_config(json.loads(json.dumps(stored))) == before
    assert parse_config(OmegaConf.create(stored)) == before
