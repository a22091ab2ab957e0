"""Processes with an endpoint, and stations in this process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from helpers_served import Client, Served
from helpers_station import GAME, Station, server_config
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from arc.config.files import config_folder
from arc.server.endpoint import endpoint


@pytest.fixture(scope="session")
def small(arc_folder: Path) -> list[str]:
    """Overrides of a process whose runs continue until they are stopped."""
    return [
        *("data=folder", f"data.path={arc_folder}", "data.validation_fraction=0.25"),
        *("model=tiny", "device=cpu", "training.batch_size=16", "training.max_minutes=null"),
        *("training.max_steps=null", *GAME),
    ]


@pytest.fixture(scope="session")
def serving(arc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real process; each test brings it into the state that it needs."""
    with Served.started(tmp_path_factory.mktemp("served"), arc_folder) as process:
        yield process


def hydra_ready() -> AbstractContextManager[None]:
    """Initialize Hydra, unless a station of a wider scope has done so."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return initialize_config_dir(str(config_folder()), version_base="1.3")


@contextmanager
def make_station(small: list[str], folder: Path) -> Iterator[Station]:
    """A station with its files below ``folder``."""
    with hydra_ready():
        station = Station([*small, f"checkpoint.dir={folder / 'checkpoints'}"], folder / "out")
        try:
            yield station
        finally:
            station.end()


@pytest.fixture
def station(small: list[str], tmp_path: Path) -> Iterator[Station]:
    """An idle station."""
    with make_station(small, tmp_path) as station:
        yield station


@pytest.fixture(scope="module")
def trained(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station after a finished run, which tests do not change."""
    with make_station(small, tmp_path_factory.mktemp("trained")) as station:
        station.finish("training.max_steps=5")
        yield station


@pytest.fixture(scope="module")
def live(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A station behind a real socket; each test brings it into the state that it needs."""
    folder = tmp_path_factory.mktemp("live")
    with (
        make_station(small, folder) as station,
        endpoint(server_config(), station.session) as address,
    ):
        assert address is not None
        yield Client(int(address.rsplit(":", 1)[1]), folder)
