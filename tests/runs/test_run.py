"""Runs from the command line to their results."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, run, run_here, tiny

CONTROLS = {"shuffled_messages", "constant_message", "untrained_sender"}
VALUES = {
    "selection": ["accuracy"],
    "reconstruction": ["cells", "exact"],
    "puzzle_classification": ["top1", "top5"],
}


def strict_json(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def metrics(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.rglob("metrics.jsonl")
    return [strict_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(checkpoints: Path) -> dict[str, Any]:
    (path,) = checkpoints.glob("*_results.json")
    return strict_json(path.read_text(encoding="utf-8"))


def without_machine(config: dict[str, Any]) -> dict[str, Any]:
    checkpoint = {key: value for key, value in config["checkpoint"].items() if key != "dir"}
    run = {key: value for key, value in config.items() if key != "device"}
    return {**run, "checkpoint": checkpoint}


def check_figures(figures: dict[str, Any], task: str) -> None:
    assert next(iter(figures.values()))["targets"] > 0
    for figure in figures.values():
        assert list(figure) == [*VALUES[task], "targets", "baselines"]
        values = [figure[name] for name in VALUES[task]]
        if figure["targets"] == 0:
            assert values == [None] * len(values)
        else:
            assert all(0 <= value <= 100 for value in (*values, *figure["baselines"].values()))
            assert figure["baselines"]


def check_finished(outcome: Outcome, checkpoints: Path, task: str, steps: int) -> None:
    """Hold the outcome of a whole run against the contract."""
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.err
    content = results(checkpoints)
    expected = {"test", "validation", "controls", "language", "minutes", "steps", "config"}
    assert set(content) == expected
    check_figures(content["test"], task)
    check_figures(content["validation"], task)
    assert set(content["controls"]) == CONTROLS
    for figures in content["controls"].values():
        check_figures(figures, task)
    assert content["steps"] == steps
    assert 0 <= content["minutes"] < 5
    name = next(iter(content["test"])).replace("_", " ")
    rows = [line for line in outcome.out.splitlines() if line.startswith("test ")]
    assert len(rows) == sum(figure["targets"] > 0 for figure in content["test"].values())
    assert name in rows[0]
    headline = next(iter(content["validation"].values()))[VALUES[task][0]]
    for which in ("last", "best"):
        (path,) = checkpoints.glob(f"*_{which}.pth")
        stored = torch.load(path)
        assert without_machine(content["config"]) == without_machine(stored["config"])
        assert stored["step"] == steps
        assert stored["val_acc"] == pytest.approx(headline, abs=1e-3)
    assert sorted(path.suffix for path in checkpoints.iterdir()) == [".json", ".pth", ".pth"]


def test_every_game_through_every_channel(
    game: list[str], tmp_path: Path, arc_folder: Path
) -> None:
    outcome = run_here(tmp_path, *tiny(arc_folder, steps=2), *game)
    task = game[0].removeprefix("task=")
    check_finished(outcome, tmp_path / "checkpoints", task, steps=2)
    discrete = "bottleneck=autoencoder" not in game
    assert ("language: " in outcome.out) == discrete
    assert bool(results(tmp_path / "checkpoints")["language"]) == discrete


def test_what_belongs_to_the_machine_is_in_no_file(tmp_path: Path, arc_folder: Path) -> None:
    assert run_here(tmp_path, *tiny(arc_folder, steps=1), "task=reconstruction").status == 0
    checkpoints = tmp_path / "checkpoints"
    (last,) = checkpoints.glob("*_last.pth")
    for config in (torch.load(last)["config"], results(checkpoints)["config"]):
        assert "device" not in config
        assert "dir" not in config.get("checkpoint", {})


def test_the_default_game_on_arc_in_a_process_of_its_own(tmp_path: Path) -> None:
    few = ["model=tiny", "training.max_steps=3", "training.batch_size=16"]
    data = ["data.filter_grid_size=[10,10]", "data.max_grids=300", "task.num_distractors=9"]
    outcome = run(tmp_path, *few, *data, "run_name=mine")
    checkpoints = tmp_path / "checkpoints"
    check_finished(outcome, checkpoints, "selection", steps=3)
    names = {path.name for path in checkpoints.iterdir()}
    assert names == {"mine_last.pth", "mine_best.pth", "mine_results.json"}
    figures = results(checkpoints)["test"]
    kinds = ("random", "same_size", "same_colors", "same_puzzle")
    assert set(figures) == {f"{kind}_{count}" for kind in kinds for count in (9, 49, 99, 999)}
    assert next(iter(figures)) == "random_9"
    assert figures["random_9"]["targets"] > 100
    baselines = figures["random_9"]["baselines"]
    assert baselines["chance"] == baselines["size"] == 10  # all grids have one size
    assert "max_grids: the first 300 of" in outcome.err  # what was left out is said


def test_metrics_tell_of_each_step_and_each_validation(tmp_path: Path, arc_folder: Path) -> None:
    game = ["task=reconstruction", "training.epochs=2", "training.max_steps=null"]
    assert run_here(tmp_path, *tiny(arc_folder), *game).status == 0
    lines = metrics(tmp_path)
    steps = [line for line in lines if line["kind"] == "step"]
    validations = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == 2 * steps[0]["batches"]
    assert [line["epoch"] for line in validations] == [1, 2]
    assert all(math.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 100 for line in steps)
    assert all(0 <= line["val_cells"] <= 100 for line in validations)
    assert validations[-1]["step"] == len(steps)


@pytest.mark.parametrize("task", ["selection", "reconstruction"])
def test_a_run_without_held_out_puzzles(task: str, tmp_path: Path, arc_folder: Path) -> None:
    game = [f"task={task}", *(["task.num_distractors=3"] if task == "selection" else [])]
    outcome = run_here(tmp_path, *tiny(arc_folder), *game, "data.validation_fraction=0")
    assert outcome.status == 0, outcome.err
    content = results(tmp_path / "checkpoints")
    check_figures(content["test"], task)
    (figure,) = content["validation"].values()
    assert figure["targets"] == 0
    assert all(figure[name] is None for name in VALUES[task])
    (last,) = (tmp_path / "checkpoints").glob("*.pth")
    assert last.name.endswith("_last.pth")
    assert [line["kind"] for line in metrics(tmp_path)] == ["step"] * 4 + ["validation"]


@pytest.mark.parametrize("task", ["selection", "reconstruction"])
def test_a_run_without_a_test_set(task: str, tmp_path: Path, arc_folder: Path) -> None:
    game = [f"task={task}", *(["task.num_distractors=3"] if task == "selection" else [])]
    outcome = run_here(tmp_path, *tiny(arc_folder / "training"), *game)
    assert outcome.status == 0, outcome.err
    content = results(tmp_path / "checkpoints")
    check_figures(content["validation"], task)
    assert all(figure["targets"] == 0 for figure in content["test"].values())


def test_what_is_meant_otherwise_is_said(tmp_path: Path, arc_folder: Path) -> None:
    game = [*tiny(arc_folder), "task=puzzle_classification"]
    rising, drawn = "the learning rate was still rising", "stays as it was drawn at random"
    said = run_here(tmp_path / "a", *game, "encoder.freeze=true").err
    assert rising in said
    assert drawn in said
    said = run_here(tmp_path / "b", *game, "schedule.warmup_steps=4").err
    assert rising not in said
    assert drawn not in said


def test_stop_at_step_saves_and_tests_nothing(tmp_path: Path, arc_folder: Path) -> None:
    stop = ["task.num_distractors=3", "training.stop_at_step=2", "run_name=mine"]
    outcome = run_here(tmp_path, *tiny(arc_folder, steps=4), *stop)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"mine_last.pth"}
    assert torch.load(tmp_path / "checkpoints" / "mine_last.pth")["step"] == 2
    assert str(tmp_path / "checkpoints" / "mine_last.pth") in outcome.err
    assert outcome.out == ""


def test_stop_at_step_does_not_change_the_steps_before_it(tmp_path: Path, arc_folder: Path) -> None:
    def losses(folder: Path, *overrides: str) -> list[tuple[float, float]]:
        game = [*tiny(arc_folder, steps=4), "task=reconstruction", *overrides]
        assert run_here(folder, *game).status == 0
        return [
            (line["loss"], line["learning_rate"])
            for line in metrics(folder)
            if line["kind"] == "step"
        ]

    whole = losses(tmp_path / "whole")
    assert len(whole) == 4
    assert losses(tmp_path / "part", "training.stop_at_step=3") == whole[:3]
    assert losses(tmp_path / "other", "training.stop_at_step=3", "seed=1") != whole[:3]


def test_each_job_of_a_sweep_has_a_folder_of_its_own(tmp_path: Path, arc_folder: Path) -> None:
    sweep = ["-m", "seed=0,1", "task=reconstruction", "hydra.sweep.dir=sweep", "run_name=mine"]
    outcome = run(tmp_path, *sweep, *tiny(arc_folder, steps=1))
    assert outcome.status == 0, outcome.err
    assert not (tmp_path / "checkpoints").exists()
    seeds = []
    for job in ("0", "1"):
        checkpoints = tmp_path / "sweep" / job / "checkpoints"
        seeds.append(torch.load(checkpoints / "mine_last.pth")["config"]["seed"])
        assert results(checkpoints)["config"]["seed"] == seeds[-1]
    assert seeds == [0, 1]


def test_each_job_of_a_sweep_goes_on_from_its_own_folder(tmp_path: Path, arc_folder: Path) -> None:
    sweep = ["-m", "seed=0,1", "task=reconstruction", "hydra.sweep.dir=sweep", "run_name=mine"]
    sweep += ["resume=auto", *tiny(arc_folder, steps=3)]
    assert run(tmp_path, *sweep, "training.stop_at_step=1").status == 0
    outcome = run(tmp_path, *sweep)
    assert outcome.status == 0, outcome.err
    for seed in (0, 1):
        last = torch.load(tmp_path / "sweep" / str(seed) / "checkpoints" / "mine_last.pth")
        assert (last["config"]["seed"], last["step"]) == (seed, 3)
        assert last["started_from"] == ["resume mine_last.pth step 1"]


def test_a_sweep_may_start_from_a_saved_run(tmp_path: Path, arc_folder: Path) -> None:
    start = ["task=reconstruction", "run_name=first", *tiny(arc_folder, steps=1)]
    assert run_here(tmp_path, *start).status == 0
    path = tmp_path / "checkpoints" / "first_last.pth"
    rates = "training.learning_rate=1e-3,1e-4"
    where = ["hydra.sweep.dir=sweep", "server.enabled=false", "device=cpu", "run_name=mine"]
    outcome = run(tmp_path, "-m", rates, f"finetune={path}", *where)
    assert outcome.status == 0, outcome.err
    for job, rate in (("0", 1e-3), ("1", 1e-4)):
        last = torch.load(tmp_path / "sweep" / job / "checkpoints" / "mine_last.pth")
        assert (last["task_type"], last["learning_rate"]) == ("reconstruction", rate)


def test_a_sweep_that_meets_a_bad_value_says_so(tmp_path: Path, arc_folder: Path) -> None:
    outcome = run(tmp_path, "-m", "seed=0,-1", "task=reconstruction", *tiny(arc_folder, steps=1))
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: seed=-1: ")
    assert "Traceback" not in outcome.err
    assert len(list(tmp_path.rglob("*_last.pth"))) == 1  # the job before it is kept
