"""The parts of a report: learning curves, examples and grids."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers_data import MakeRun

from arc.report.base import ReportedRun
from arc.report.curves import POINTS, Curves, find_curves
from arc.report.examples import examples
from arc.report.grids import grid_svg
from arc.report.measures import measures
from arc.runs.messages import message_rows
from arc.runs.results import Observed
from arc.training import evaluate_split

METADATA = {
    "config": {"logger": {"jsonl": {"filename": "metrics.jsonl"}}},
    "val_loss": 0.5,
    "val_acc": 80.0,
}


def step(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"kind": "step", "step": number, "loss": loss}


def validation(number: int, loss: float, accuracy: float) -> dict[str, Any]:
    return {"kind": "validation", "step": number, "val_loss": loss, "val_acc": accuracy}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_the_metrics_of_the_run_are_found_by_its_validation(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "x.pth"
    other = write(tmp_path / "outputs" / "a" / "1" / "metrics.jsonl", validation(1, 0.4, 80.0))
    own = write(tmp_path / "outputs" / "a" / "2" / "metrics.jsonl", validation(1, 0.5, 80.0))
    os.utime(other, (2e9, 2e9))  # newer
    found = find_curves(checkpoint, METADATA)
    assert found is not None
    assert found.path == own
    assert find_curves(checkpoint, METADATA | {"val_acc": 81.0}) is None
    assert find_curves(checkpoint, METADATA | {"val_loss": None}) is None
    assert find_curves(checkpoint, METADATA | {"config": {"logger": {}}}) is None


def test_repeated_steps_and_other_runs_of_a_file_are_left_out(tmp_path: Path) -> None:
    wanted = validation(2, 0.5, 80.0)
    path = write(
        tmp_path / "metrics.jsonl",
        *(step(1), step(2), step(3)),  # another run
        *(step(1, 5.0), step(2), wanted, step(3, 6.0), step(4)),
        *(step(3, 7.0), validation(3, 0.6, 81.0)),  # resumed
        *(step(1), validation(1, 0.7, 70.0)),  # another run
    )
    path.write_text(path.read_text(encoding="utf-8") + "{half a line", encoding="utf-8")
    found = find_curves(tmp_path / "x.pth", METADATA)
    assert found is not None
    assert [(row["step"], row["loss"]) for row in found.steps] == [(1, 5.0), (2, 1.0), (3, 7.0)]
    assert found.validation("val_acc") == ([2, 3], [80.0, 81.0])


def test_long_curves_are_means_over_steps() -> None:
    steps = [step(number, float(number)) for number in range(1, 2 * POINTS + 1)]
    curves = Curves(Path(), steps, [])
    x, y = curves.training("loss")
    assert len(x) == POINTS
    assert (x[0], y[0], y[-1]) == (1.5, 1.5, 2 * POINTS - 0.5)
    assert curves.training("absent") == curves.validation("absent") == ([], [])


def test_the_best_and_the_worst_examples_have_an_accuracy(make_run: MakeRun) -> None:
    run = make_run("task=selection", "task.num_distractors=5", "task.distractors=same_size")
    split = run.corpus.validation
    with torch.no_grad():
        evaluation = evaluate_split(run.model, run.task, split)
        rows = list(message_rows(run.model, run.task, split, evaluation))
    observed = Observed(split, evaluation, run.model.bottleneck.vocab_size, rows)
    shown = examples([ReportedRun("x", Path(), {}, observed, None)]).tables["examples"]
    covered = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    of_kind = {
        kind: [row["accuracy"] for row in shown if row["kind"] == kind]
        for kind in ("worst", "best")
    }
    assert of_kind["worst"] == sorted(of_kind["worst"])
    assert of_kind["best"] == sorted(of_kind["best"], reverse=True)
    assert (of_kind["worst"][0], of_kind["best"][0]) == (min(covered), max(covered))


def test_the_measures_of_runs_with_an_underscore_in_their_names_are_side_by_side() -> None:
    seen: Any = None
    runs = [
        ReportedRun(f"a_{n}", Path(), {"measures": {"zipf_slope": {"value": n / 4}}}, seen, None)
        for n in (1, 2)
    ]
    (table,) = measures(runs).blocks
    assert (table.head, table.items) == (
        ["measure", "a_1", "a_2"],
        [["zipf slope", "0.250", "0.500"]],
    )


def test_a_grid_shows_its_cells_and_its_wrong_cells() -> None:
    grid = np.array([[1, 1, 0], [2, 1, 1]], np.uint8)
    drawn = grid_svg(grid, 'a "name"')
    assert 'fill="#0074d9" d="M0 0h2v1h-2zM1 1h2v1h-2z"' in drawn
    assert "a &#34;name&#34;, 2 by 3: 0 black ×1, 1 blue ×4, 2 red ×1" in drawn
    assert 'stroke="#000"' not in drawn
    target = np.array([[1, 1, 0], [2, 1, 3]], np.uint8)
    crossed = grid_svg(grid, "built", target)
    assert crossed.count("M2.2 1.2l.6 .6") == 2  # white below black
    assert "1 cells wrong" in crossed
    assert "6 cells wrong" in grid_svg(grid, "built", target[:1])
