"""The messages on disk: their rows, their files, and reading them back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_cli import Make

from arc.api import read_messages
from arc.data.grids import content_key
from arc.runs.messages import message_rows, write_messages
from arc.tasks.base import ranked
from arc.training import evaluate_split

START = ["puzzle", "example", "split"]


def rows_of(run: Any) -> tuple[list[dict[str, Any]], Any]:
    """The rows of the validation set, and its evaluation."""
    split = run.corpus.validation
    with torch.no_grad():
        evaluation = evaluate_split(run.model, run.task, split)
        return list(message_rows(run.model, run.task, split, evaluation)), evaluation


def test_each_example_has_a_row_that_agrees_with_the_metrics(
    make_run: Make, task_and_bottleneck: list[str]
) -> None:
    run = make_run(*task_and_bottleneck)
    split = run.corpus.validation
    rows, evaluation = rows_of(run)
    assert [row["example"] for row in rows] == list(split.example_ids)
    assert {row["puzzle"] for row in rows} == set(split.puzzle_ids)
    sent = ["vector"] if "bottleneck=autoencoder" in task_and_bottleneck else ["message", "length"]
    assert all(list(row)[:6] == [*START, *sent, "accuracy", "prediction"][:6] for row in rows)
    headline, covered = evaluation.task_metrics, [r for r in rows if r["accuracy"] is not None]
    assert np.mean([row["accuracy"] for row in covered]) == pytest.approx(headline.accuracy)
    assert len(covered) == headline.headline.targets
    values = headline.headline.values
    if "wrong_cells" in rows[0]:
        cells = split.grids.sizes[split.target].prod(1)
        wrong = sum(row["wrong_cells"] for row in rows)
        assert 100 * (1 - wrong / int(cells.sum())) == pytest.approx(values["cells"])
        shares = [row["right_cells"] for row in rows]
        assert np.mean(shares) == pytest.approx(values["grids"], abs=1e-6)
        assert all(row["correct"] == (row["wrong_cells"] == 0) for row in rows)
    else:
        for row in rows:
            assert row["correct"] == (row["rank"] == 1)
            assert 1 <= row["rank"] <= row["candidates"]
            assert 0 < row["probability"] <= 1
    if "top5" in values:
        assert 100 * np.mean([row["rank"] <= 5 for row in rows]) == pytest.approx(values["top5"])


def test_the_choice_of_selection_is_a_grid_of_the_distractor_group(make_run: Make) -> None:
    run = make_run("task=selection", "task.num_distractors=3", "task.distractors=same_size")
    grids = dict(
        zip(
            run.corpus.validation.example_ids,
            run.corpus.validation.grids[run.corpus.validation.target].arrays(),
            strict=True,
        )
    )
    rows, _ = rows_of(run)
    for row in rows:
        chosen, target = grids[row["prediction"]], grids[row["example"]]
        assert chosen.shape == target.shape
        assert row["correct"] == (content_key(chosen) == content_key(target))
        same = {content_key(grid) for grid in grids.values() if grid.shape == target.shape}
        assert row["candidates"] == len(same)


def test_an_example_with_too_few_distractors_has_no_accuracy(make_run: Make) -> None:
    run = make_run("task=selection", "task.num_distractors=5", "task.distractors=same_size")
    rows, _ = rows_of(run)
    available = run.task.groups("same_size", run.corpus.validation).available
    uncovered = (available < 5).tolist()
    assert {*uncovered} == {True, False}
    assert [row["accuracy"] is None for row in rows] == uncovered


def test_a_message_with_a_stop_symbol_has_its_length(make_run: Make) -> None:
    run = make_run("task=reconstruction", "bottleneck.stop_token=true", "bottleneck.vocab_size=2")
    rows, _ = rows_of(run)
    for row in rows:
        sent = row["message"][: row["length"]]
        assert all(sent[:-1])
        assert row["message"][row["length"] :] == [0] * (len(row["message"]) - row["length"])


@pytest.mark.parametrize(
    ("scores", "rank", "choice"),
    [
        ([3.0, 1.0, 2.0], 1, 0),
        ([1.0, 1.0, 0.0], 2, 1),  # a tie counts against the target
        ([1.0, -torch.inf, 4.0], 2, 2),
        ([torch.nan, 0.0, -torch.inf], 2, 1),
        ([1.0, -torch.inf, -torch.inf], 1, 0),
    ],
)
def test_the_rank_of_the_target(scores: list[float], rank: int, choice: int) -> None:
    found = ranked(torch.tensor([scores]), torch.tensor([0]))
    assert (int(found[0]), int(found[2])) == (rank, choice)


ROWS = [
    {"example": "a", "message": [1, 2], "accuracy": 50.0, "correct": True, "rank": 1},
    {"example": "b", "message": [0, 2], "accuracy": float("nan"), "correct": False, "rank": 3},
]


def check_columns(columns: dict[str, Any]) -> None:
    assert {key: list(values) for key, values in columns.items()} == {
        "example": ["a", "b"],
        "message": [[1, 2], [0, 2]],
        "accuracy": [50.0, None],
        "correct": [True, False],
        "rank": [1, 3],
    }
    assert columns["correct"].dtype == bool
    assert columns["rank"].dtype == np.int64


def test_messages_are_read_as_columns(tmp_path: Path) -> None:
    path = tmp_path / "x_messages.jsonl"
    path.write_text("old", encoding="utf-8")
    assert write_messages(path, ROWS)[0] == path
    check_columns(read_messages(str(path)))
    assert [json.loads(line)["example"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert {each.suffix for each in tmp_path.iterdir()} <= {".jsonl", ".parquet"}


def test_messages_are_also_parquet(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "x_messages.jsonl", ROWS)[1]
    assert path.name == "x_messages.parquet"
    check_columns(read_messages(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"x_messages\.parquet: not a Parquet file"):
        read_messages(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"example": "a"}\n{"exam', "line 2: not JSON"),
        (b'{"step": 1}\n', "line 1: not the message of an example"),
        (b"\xff\n", "not UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.jsonl.*{fault}"):
        read_messages(path)
