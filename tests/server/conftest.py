"""A process that trains what its endpoint is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers_station import GAME, Station
from hydra import initialize_config_dir

from arc.config import config_folder


@pytest.fixture(scope="session")
def small(arc_folder: Path) -> list[str]:
    """What is typed for a process whose runs go on until they are stopped."""
    return [
        *("data=folder", f"data.path={arc_folder}", "data.validation_fraction=0.25"),
        *("model=tiny", "device=cpu", "training.batch_size=16", "training.max_minutes=null"),
        *GAME,
    ]


@pytest.fixture(scope="module")
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@contextmanager
def opened(typed: list[str], folder: Path) -> Iterator[Station]:
    station = Station([*typed, f"checkpoint.dir={folder / 'checkpoints'}"], folder / "out")
    yield station
    station.close()


def train(station: Station) -> Station:
    station.post("/start_train", {"overrides": ["training.max_steps=5"]})
    assert station.idle()["outcome"] == "finished"
    return station


@pytest.fixture
def station(_hydra: None, small: list[str], tmp_path: Path) -> Iterator[Station]:
    """A process that waits to be asked."""
    with opened(small, tmp_path) as station:
        yield station


@pytest.fixture
def trained(station: Station) -> Station:
    """The same after a run of an epoch."""
    return train(station)


@pytest.fixture(scope="module")
def seen(
    _hydra: None, small: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """A process after a run, for tests that only look."""
    with opened(small, tmp_path_factory.mktemp("seen")) as station:
        yield train(station)
