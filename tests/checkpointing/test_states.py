"""Broken states: refused in one line, or loaded into a trainer that can continue."""

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from arc.checkpointing import read_checkpoint, read_metadata
from arc.checkpointing.commands import inspect
from arc.checkpointing.errors import CheckpointError, CorruptedError
from arc.checkpointing.restore import CheckpointSource, begin_from
from arc.checkpointing.tables import sections
from arc.training import DivergedError, RunControl

STRANGE: list[Any] = [
    *(None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "x", "\x1b[2J", [], {}, [1, 2]),
    *(torch.zeros(3), torch.zeros(0), torch.ones(2, 2, dtype=torch.int64), torch.tensor(1.0)),
]


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else ()
    if isinstance(tree, list | tuple):
        items = enumerate(tree)  # type: ignore[assignment]
    for key, value in items:
        yield (*place, key)
        yield from places(value, (*place, key))


def changed(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of ``tree`` with ``value`` at ``place``."""
    if not place:
        return value
    copied = dict(tree) if isinstance(tree, dict) else list(tree)
    copied[place[0]] = changed(copied[place[0]], place[1:], value)
    return copied


@pytest.mark.parametrize(
    ("part", "count"),
    [
        *(("trainer_state", 8), ("optimizer_state_dict", 8), ("top level", 4)),
        pytest.param("trainer_state", 50, marks=pytest.mark.slow),
        pytest.param("optimizer_state_dict", 50, marks=pytest.mark.slow),
        pytest.param("top level", 50, marks=pytest.mark.slow),
    ],
)
def test_a_mutated_state_is_refused_in_one_line_or_can_be_continued(
    part: str, count: int, one: Any, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    good, choose, path = one.content, random.Random(part), tmp_path / "x.pth"
    run = make_run("task=selection", "task.num_distractors=3", "training.max_steps=100")
    where = [place for place in places(good) if part in ("top level", place[0])]
    if part == "top level":
        where = [place for place in where if len(place) == 1]
    for _ in range(count):
        place, value = choose.choice(where), choose.choice(STRANGE)
        torch.save(changed(good, place, value), path)
        error = fault(path, run)
        assert error is None or len(error.splitlines()) == 1, (place, value)
        assert error is None or len(error) < 1000, (place, value)


def fault(path: Path, run: Any) -> str | None:
    """Show a file and continue its run for a step; returns the error."""
    try:
        sections(read_metadata(path))
        content, trainer = read_checkpoint(path), run.trainer()
        begin_from(CheckpointSource("resume", path, content, True), run.config, trainer)
        next(trainer.run(RunControl()))
    except (CheckpointError, DivergedError) as error:
        return str(error)
    return None


def test_a_record_that_contradicts_the_content_is_found(
    one: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pth"
    record = {**read_metadata(one.path), "step": 10**6, "val_acc": 99.9}
    with path.open("wb+") as file:
        torch.save(one.content, file)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("archive/arc.json", json.dumps(record))
    with pytest.raises(CorruptedError, match=r"arc\.json contradicts the content: step, val_acc$"):
        read_checkpoint(path)
    assert inspect([str(path), "--verify"]) == 1
    assert "arc.json contradicts the content" in capsys.readouterr().err
