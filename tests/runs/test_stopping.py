"""Signals and stops: what is saved, what is logged, and the exit status."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Recorder, finish, place, run_here, start, tiny, until, wait_for
from helpers_data import TASK_OVERRIDES

import arc.runs.results
import arc.runs.run
from arc.api import TrainedRun
from arc.checkpointing import load
from arc.runs import RunEnded, RunStarted, TrainingEnded
from arc.training import EvaluationEvent, StepEvent, ValidationEvent

Train = Callable[..., TrainedRun]

# Two steps (an epoch, its validation and the best checkpoint), then one that waits for a file.
WAITING_THIRD_STEP = """
import os, sys, time, torch, arc.train
step, calls = torch.optim.AdamW.step, []
def waiting(*arguments, **options):
    calls.append(None)
    if len(calls) == 3:
        print("in the third step", file=sys.stderr, flush=True)
        end = time.monotonic() + 600
        while not os.path.exists("go on") and time.monotonic() < end:
            time.sleep(0.01)
    return step(*arguments, **options)
torch.optim.AdamW.step = waiting
arc.train.main()
"""


def endless(folder: Path, corpus: Path) -> list[str]:
    task = ["task=reconstruction", "training.batch_size=64", "run_name=mine"]
    return [*place(folder), *tiny(corpus, steps=None), *task]


def logged_steps(folder: Path) -> list[int]:
    text = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["step"] for line in lines if line["kind"] == "step"]


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


# -- signals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_one_signal_completes_the_step_and_saves(
    number: signal.Signals, status: int, tmp_path: Path, arc_folder: Path
) -> None:
    process = start(tmp_path, *endless(tmp_path, arc_folder), script=WAITING_THIRD_STEP)
    wait_for(process, "in the third step")
    process.send_signal(number)
    (tmp_path / "go on").touch()
    outcome = finish(process)
    assert outcome.status == status, outcome.err
    assert "Traceback" not in outcome.err
    assert number.name in outcome.err
    assert outcome.out == ""
    assert files(tmp_path) == {"mine_last.pth", "mine_best.pth"}
    last = tmp_path / "checkpoints" / "mine_last.pth"
    assert str(last) in outcome.err
    assert load(last).metadata["step"] == 3  # the step during which the signal came
    assert logged_steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_second_signal_ends_the_process_at_once_and_damages_no_file(
    number: signal.Signals, tmp_path: Path, arc_folder: Path
) -> None:
    process = start(tmp_path, *endless(tmp_path, arc_folder), script=WAITING_THIRD_STEP)
    wait_for(process, "in the third step")
    best = tmp_path / "checkpoints" / "mine_best.pth"
    until(lambda: best.exists() or process.poll() is not None, bool)  # written in the background
    before = best.read_bytes()
    process.send_signal(signal.SIGINT)
    wait_for(process, "a second SIGINT ends the process")
    process.send_signal(number)
    outcome = finish(process)
    assert outcome.status in (-number, 128 + number)
    assert "Traceback" not in outcome.err
    assert files(tmp_path) == {"mine_best.pth", ".mine.lock"}  # a stale lock file is not a lock
    assert best.read_bytes() == before
    assert load(best).metadata["step"] == 2
    assert logged_steps(tmp_path) == [1, 2]


def interrupt_then(action: Any) -> Any:
    """Return ``action`` with a SIGINT before its first call."""
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return action(*arguments, **options)

    return interrupted


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Give SIGINT Python's handler, as in a shell, wherever the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("moment", "left"),
    {
        "arc.runs.run.build_model": set(),  # before the first step
        "torch.save": {"mine_last.pth"},  # during the save of the last state
        "arc.runs.run.evaluate_run": {"mine_last.pth", "mine_best.pth", "mine_results.json"},
    }.items(),
)
def test_ctrl_c_at_any_moment_loses_nothing(
    moment: str, left: set[str], tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = ["training.stop_at_step=2"] if moment == "torch.save" else []
    target, name = moment.rsplit(".", 1)
    module = torch if target == "torch" else arc.runs.run
    monkeypatch.setattr(module, name, interrupt_then(getattr(module, name)))
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction", "run_name=mine", *stop)
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert files(tmp_path) == left
    if left:
        step = load(tmp_path / "checkpoints" / "mine_last.pth").metadata["step"]
        assert step == (2 if stop else 4)
    if "mine_results.json" in left:  # the results so far are printed and written
        content = json.loads((tmp_path / "checkpoints" / "mine_results.json").read_text())
        assert content["stopped"] is True
        assert "the evaluation was stopped" in outcome.out


def test_signal_handlers_are_restored_after_a_run(tmp_path: Path, arc_folder: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    task = ["task=reconstruction", "training.stop_at_step=1"]
    assert run_here(tmp_path, *tiny(arc_folder), *task).status == 0
    assert [signal.getsignal(number) for number in numbers] == before


# -- the final evaluation ----------------------------------------------------------------------


@pytest.fixture
def every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report the progress of the final evaluation before every chunk of examples."""
    monkeypatch.setattr(arc.runs.results, "REPORT_EVERY_SECONDS", 0.0)


@pytest.mark.usefixtures("every_chunk")
@pytest.mark.parametrize(
    "task",
    [
        pytest.param(
            task, marks=[] if task in ("reconstruction", "selection") else [pytest.mark.slow]
        )
        for task in TASK_OVERRIDES
    ],
)
def test_the_events_of_a_run_come_in_order_and_progress_goes_from_0_to_1(
    train_small: Train, task: str, tmp_path: Path
) -> None:
    recorder = Recorder()
    train_small(tmp_path, *TASK_OVERRIDES[task], "training.max_steps=2", callbacks=[recorder])
    kinds = list(dict.fromkeys(type(event) for event in recorder.events))
    assert kinds == [
        RunStarted,
        StepEvent,
        ValidationEvent,
        TrainingEnded,
        EvaluationEvent,
        RunEnded,
    ]
    testing = [event for event in recorder.events if isinstance(event, EvaluationEvent)]
    progress = [event.progress for event in testing]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)
    assert progress[-2] > 0.5
    assert list(dict.fromkeys(event.stage for event in testing)) == [
        "test",
        "validation",
        "controls",
    ]
    assert all(event.seconds_left is not None for event in testing[1:])


@pytest.mark.usefixtures("every_chunk")
@pytest.mark.parametrize("stage", ["test", "validation", "controls"])
def test_a_stop_ends_the_test_phase_and_keeps_the_results_so_far(
    stage: str, train_small: Train, tmp_path: Path
) -> None:
    recorder = Recorder(lambda event: isinstance(event, EvaluationEvent) and event.stage == stage)
    task = ["task=reconstruction", "training.max_steps=2"]
    run = train_small(tmp_path, *task, callbacks=[recorder], control=recorder.control)
    assert run.outcome.kind == "stopped"
    assert len([e for e in recorder.events if getattr(e, "stage", None) == stage]) == 1
    content = json.loads((tmp_path / "checkpoints" / "mine_results.json").read_text())
    assert content == run.results
    assert content["stopped"] is True
    stages = ("test", "validation", "controls")
    assert [name for name in stages if content[name]] == list(stages[: stages.index(stage)])
