"""Sweeps: the names of jobs, failures, interruptions, launchers and sweepers."""

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, call, differences, finish, run, start, tiny, until, wait_for

import arc.train
from arc.api import TrainedRun
from arc.config.run_status import read_status
from arc.config.sweeps import job_name, latest_sweep, sweep_settings
from arc.runs import build_run
from arc.tasks import TASKS

Train = Callable[..., TrainedRun]


def sweep_here(arc_folder: Path, *overrides: str, steps: int = 2) -> Outcome:
    return call(
        arc.train.main, "-m", "task=reconstruction", *tiny(arc_folder, steps=steps), *overrides
    )


def states(folder: Path) -> dict[str, str]:
    found = {path.parent.name: read_status(path.parent) for path in folder.rglob("status.json")}
    return {name: status["state"] for name, status in found.items()}


def results_of(checkpoints: Path) -> Any:
    (path,) = checkpoints.glob("*_results.json")
    return json.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("seed=1,task.distractors=same_size", "seed=1,task.distractors=same_size"),
        ("", "3"),
        ("seed=-1", "seed=-1"),
        ("encoder.pretrained=a/b.pth", "encoder.pretrained=a-b.pth-"),
        ("encoder.pretrained=a-b.pth", "encoder.pretrained=a-b.pth"),
        ("data.path='/é x'", "data.path=-x-"),
        ("..", ""),
        ("x=" + "y" * 300, "x=yyy"),
    ],
)
def test_a_job_is_named_after_its_overrides(overrides: str, name: str) -> None:
    found = job_name(overrides, 3)
    assert found.startswith(name)
    assert len(found.encode()) <= 100
    assert os.path.basename(found) == found
    assert found[0].isalnum()
    if name.endswith("-"):
        assert found != job_name(overrides + "_", 3)


@pytest.mark.parametrize(
    ("typed", "left_out"),
    [
        (["seed=0,1", "model=tiny", "resume=auto"], ["model", "resume"]),
        (["seed=choice(0,1)", "+data.also=[]", "hydra.sweep.dir=x"], ["data.also"]),
        (["seed=3", "run_name=x", "server.port=0"], ["run_name", "server.port"]),
        (["server.token=a,b", "seed=1"], ["server.token", "seed"]),
        (["hydra.launcher.n_jobs=1,2", "seed=3"], []),
    ],
)
def test_the_names_of_jobs_leave_out_what_is_the_same(
    typed: list[str], left_out: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ",".join(f"'{key}'" for key in left_out)
    expected = f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"
    assert sweep_settings(typed)[0] == expected


def test_the_newest_sweep_of_the_same_command_is_continued(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two jobs has finished; the other one has lost its results."""
    monkeypatch.chdir(tmp_path)
    first = sweep_here(arc_folder, "seed=0,1", "training.epochs=null", "resume=auto")
    assert first.status == 0, first.err
    assert "multirun/ has no sweep of this command" in first.err
    (folder,) = tmp_path.glob("multirun/*/*")
    assert states(folder) == {"seed=0": "finished", "seed=1": "finished"}
    (folder / "seed=1" / "checkpoints" / "seed=1_results.json").unlink()
    again = sweep_here(arc_folder, "training.epochs=null", "resume=auto", "seed=0,1")
    assert again.status == 0, again.err
    assert f"resume=auto: continuing the sweep {folder.relative_to(tmp_path)}" in again.err
    assert "job seed=0: finished earlier; skipped" in again.err
    assert "job seed=1: finished earlier" not in again.err
    assert results_of(folder / "seed=1" / "checkpoints")["steps"] == 2
    *_, counted, comparison = again.err.splitlines()
    assert counted.endswith(": 2 finished")
    assert comparison == f"compare: python scripts/compare.py {folder.relative_to(tmp_path)}"
    assert latest_sweep(["seed=0,1"]) is None


def test_a_job_that_is_not_continued_refuses_the_folder_of_another(
    tmp_path: Path, arc_folder: Path
) -> None:
    sweep = [f"hydra.sweep.dir={tmp_path}", "seed=0,0"]
    outcome = sweep_here(arc_folder, *sweep, steps=1)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: job seed=0: run_name=seed=0: ")
    assert "resume=auto" in outcome.err.splitlines()[-1]
    before = read_status(tmp_path / "seed=0")
    more = sweep_here(arc_folder, *sweep, "resume=auto", steps=2)
    assert more.status == 0, more.err
    assert "job seed=0: finished earlier; skipped" in more.err
    assert "compare.py" not in more.err  # there is only one job
    after = read_status(tmp_path / "seed=0")
    assert (before["state"], after["state"], after["step"]) == ("finished", "finished", 2)
    rows = content_of(tmp_path / "seed=0")["rows"]
    assert [row["step"] for row in rows if row["kind"] == "step"] == [1, 2]


@pytest.mark.filterwarnings("ignore")  # of Optuna and SQLAlchemy
def test_a_sweep_optimises_the_validation_of_the_best_checkpoint(
    tmp_path: Path, arc_folder: Path
) -> None:
    study = [
        "hydra/sweeper=optuna_study",
        "hydra.sweeper.n_trials=1",
        f"hydra.sweep.dir={tmp_path}",
    ]
    space = "training.learning_rate=tag(log,interval(1e-4,1e-2))"
    for _ in range(2):
        outcome = sweep_here(arc_folder, *study, space, steps=1)
        assert outcome.status == 0, outcome.err
    with sqlite3.connect(tmp_path / "study.db") as database:
        values = [row[0] for row in database.execute("SELECT value FROM trial_values")]
        directions = database.execute("SELECT direction FROM study_directions").fetchall()
    found = [read_status(path.parent) for path in tmp_path.rglob("status.json")]
    assert directions == [("MAXIMIZE",)]
    assert len(values) == 2
    assert sorted(values) == sorted(status["objective"] for status in found)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_jobs_in_other_processes(tmp_path: Path, arc_folder: Path, launcher: str) -> None:
    """Ray starts where its extra is installed; it is not among the dependencies of the tests."""
    if launcher == "ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    sweep = ["-m", "seed=0,1,-1", "task=reconstruction", *tiny(arc_folder, steps=1)]
    sweep += [f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
    outcome = run(tmp_path, *sweep, is_fresh=True)
    assert outcome.status == 1, outcome.err
    assert "sweep sweep: 1 failed, 2 finished" in outcome.err
    assert "\nerror: job seed=-1: seed=-1: " in outcome.err
    found = states(tmp_path / "sweep")
    assert found == {"seed=0": "finished", "seed=1": "finished", "seed=-1": "failed"}


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_a_signal_to_the_command_ends_a_sweep_whose_jobs_are_continued(
    tmp_path: Path, arc_folder: Path, launcher: str
) -> None:
    sweep = ["-m", "seed=0,1,2", "task=reconstruction", *tiny(arc_folder, steps=10**6)]
    sweep += [f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
    sweep += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    process = start(tmp_path, *sweep, is_fresh=launcher != "basic")
    steps = tmp_path / "sweep" / "seed=0" / "metrics.jsonl"
    until(lambda: steps.exists() and steps.stat().st_size, bool)
    os.kill(process.pid, signal.SIGTERM)
    outcome = finish(process)
    assert outcome.status == 128 + signal.SIGTERM, outcome.err
    assert "with resume=auto continues it" in outcome.err.splitlines()[-1]
    found = states(tmp_path / "sweep")
    assert found["seed=0"] == "interrupted"
    assert "seed=2" not in found
    step = read_status(tmp_path / "sweep" / "seed=0")["step"]
    last = torch.load(tmp_path / "sweep" / "seed=0" / "checkpoints" / "seed=0_last.pth")
    assert last["step"] == step > 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_twenty_times_gives_the_same_results(
    tmp_path: Path, arc_folder: Path
) -> None:
    moments = random.Random(0)
    seeds = "seed=" + ",".join(map(str, range(20)))
    sweep = ["-m", seeds, "task=reconstruction", *tiny(arc_folder, steps=20)]
    sweep += ["checkpoint.every_minutes=0.001", "resume=auto"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    begun = time.monotonic()
    assert finish(start(whole, *sweep), 600).status == 0
    duration = (time.monotonic() - begun) / 20  # of a job
    kills = 0
    while kills < 20:
        process = start(broken, *sweep, new_session=True)
        wait_for(process, "run seed=")  # a job that has not finished is built
        time.sleep(moments.uniform(0, duration))
        os.killpg(process.pid, signal.SIGKILL)
        kills += finish(process).status == -signal.SIGKILL
    outcome = finish(start(broken, *sweep), 600)
    assert outcome.status == 0, outcome.err
    (one,), (other,) = (list(folder.glob("multirun/*/*")) for folder in (whole, broken))
    lasts = list(other.rglob("*_last.pth"))
    assert any(torch.load(path)["started_from"] for path in lasts)  # a kill after a save
    for seed in range(20):
        left, right = (each / f"seed={seed}" for each in (one, other))
        for end in ("best", "last"):
            name = f"checkpoints/seed={seed}_{end}.pth"
            assert differences(torch.load(left / name), torch.load(right / name)) == []
        assert differences(content_of(left), content_of(right)) == []


def content_of(job: Path) -> dict[str, Any]:
    """Return the results and the rows of metrics of a job, without times and folders."""
    results = results_of(job / "checkpoints")
    del results["minutes"], results["config"]["checkpoint"]
    lines = (job / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "results": results,
        "rows": [json.loads(line) for line in lines],
    }


def test_each_job_of_a_sweep_has_and_resumes_from_its_own_folder(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ["seed=0,1", "hydra.sweep.dir=sweep", "run_name=mine", "resume=auto"]
    assert sweep_here(arc_folder, *sweep, "training.stop_at_step=1", steps=3).status == 0
    assert not (tmp_path / "checkpoints").exists()
    outcome = sweep_here(arc_folder, *sweep, steps=3)
    assert outcome.status == 0, outcome.err
    for seed in (0, 1):
        checkpoints = tmp_path / "sweep" / f"seed={seed}" / "checkpoints"
        last = torch.load(checkpoints / "mine_last.pth")
        assert (last["config"]["seed"], last["step"]) == (seed, 3)
        assert last["started_from"] == ["resume mine_last.pth step 1"]
        assert results_of(checkpoints)["config"]["seed"] == seed


@pytest.mark.parametrize("start", ["finetune", "resume"])
def test_each_job_of_a_sweep_can_start_from_one_saved_run(
    start: str, train_small: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name; jobs of a fine-tuning that were stopped are continued by the same command."""
    monkeypatch.chdir(tmp_path)
    train_small(tmp_path, "task=reconstruction", "training.max_steps=1")
    saved = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    where = ["hydra.sweep.dir=sweep", "server.enabled=false", "device=cpu", "run_name=tuned"]
    rates = "training.learning_rate=1e-3,1e-4"
    sweep = ["-m", rates, f"{start}=mine_last", *where, "training.max_steps=3"]
    outcome = call(arc.train.main, *sweep, "training.stop_at_step=2")
    assert outcome.status == 0, outcome.err
    assert "2 interrupted" in outcome.err.splitlines()[-1]
    assert ("resume=auto" in outcome.err.splitlines()[-1]) == (start == "finetune")
    steps = 2
    if start == "finetune":
        again = call(arc.train.main, *sweep, "resume=auto")
        assert again.status == 0, again.err
        steps = 3
    for job, rate in (("0.001", 1e-3), ("0.0001", 1e-4)):
        last = torch.load(
            tmp_path / "sweep" / f"training.learning_rate={job}" / "checkpoints" / "tuned_last.pth"
        )
        assert (last["task_type"], last["learning_rate"]) == ("reconstruction", rate)
        assert last["step"] == steps
        assert last["started_from"][0] == f"{start} mine_last.pth step 1"
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == saved


def test_a_sweep_continues_after_failed_jobs_and_names_them_at_the_end(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job 0 has an invalid value, job 1 fails while it trains, job 2 raises, job 3 finishes."""
    take_step = TASKS["reconstruction"].step

    def step(task: Any, *arguments: Any) -> Any:
        if torch.initial_seed() == 1:
            raise MemoryError("step")
        return take_step(task, *arguments)

    def building(plan: Any, *arguments: Any) -> Any:
        if plan.config.seed == 2:
            raise OSError(24, "Too many open files")
        return build_run(plan, *arguments)

    monkeypatch.setattr(TASKS["reconstruction"], "step", step)
    monkeypatch.setattr("arc.server.process.build_run", building)
    settings = ["task=reconstruction", *tiny(arc_folder, steps=1), f"hydra.sweep.dir={tmp_path}"]
    sweep = ["-m", "seed=-1,1,2,3", "hydra.sweeper.max_batch_size=1"]
    outcome = call(arc.train.main, *settings, *sweep)
    assert outcome.status == 1
    ends = [line for line in outcome.err.splitlines() if line.startswith("error: job")]
    assert outcome.err.splitlines()[-3:] == ends
    for end, beginning in zip(
        ends,
        (
            "error: job seed=-1: seed=-1: ",
            "error: job seed=1: MemoryError: step",
            "error: job seed=2: OSError: [Errno 24] Too many open files",
        ),
        strict=True,
    ):
        assert end.startswith(beginning)
    assert [path.parent.parent.name for path in tmp_path.rglob("*_last.pth")] == ["seed=3"]


def test_a_signal_ends_the_whole_sweep(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = TASKS["reconstruction"].step

    def step(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return take_step(*arguments)

    monkeypatch.setattr(TASKS["reconstruction"], "step", step)
    settings = ["task=reconstruction", *tiny(arc_folder, steps=9), f"hydra.sweep.dir={tmp_path}"]
    assert call(arc.train.main, *settings, "-m", "seed=0,1").status == 130
    (last,) = tmp_path.rglob("*_last.pth")
    assert torch.load(last)["step"] == 1
    assert not (tmp_path / "seed=1").exists()
