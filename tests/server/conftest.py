"""A process that trains what its endpoint is asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers_served import Served, served
from helpers_station import GAME, Station
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from arc.config.schema import config_folder


@pytest.fixture(scope="session")
def small(arc_folder: Path) -> list[str]:
    """What is typed for a process whose runs go on until they are stopped."""
    return [
        *("data=folder", f"data.path={arc_folder}", "data.validation_fraction=0.25"),
        *("model=tiny", "device=cpu", "training.batch_size=16", "training.max_minutes=null"),
        *GAME,
    ]


@pytest.fixture(scope="session")
def serving(arc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real process that waits to be asked; each test brings it into the state that it needs."""
    with served(tmp_path_factory.mktemp("served"), arc_folder) as process:
        yield process


@pytest.fixture
def station(small: list[str], tmp_path: Path) -> Iterator[Station]:
    """A process that waits to be asked."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        station = Station([*small, f"checkpoint.dir={tmp_path / 'checkpoints'}"], tmp_path / "out")
        yield station
        station.close()
    GlobalHydra.instance().clear()


@pytest.fixture
def trained(station: Station) -> Station:
    """The same after a run of an epoch."""
    station.post("/start_train", {"overrides": ["training.max_steps=5"]})
    assert station.idle()["outcome"] == "finished"
    return station
