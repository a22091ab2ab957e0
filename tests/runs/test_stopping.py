"""Signals and failures: what is saved, what is said, what status is left."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import finish, place, run_here, start, tiny, wait_for

import arc.runs.run
from arc.checkpointing import load

# Two steps as they are (an epoch, its validation and the best checkpoint); the third takes long.
SLOW_THIRD_STEP = """
import sys, time, torch, arc.train
step, calls = torch.optim.AdamW.step, []
def slow(*arguments, **options):
    calls.append(None)
    if len(calls) == 3:
        print("in the third step", file=sys.stderr, flush=True)
        time.sleep(SECONDS)
    return step(*arguments, **options)
torch.optim.AdamW.step = slow
arc.train.main()
"""


def endless(folder: Path, corpus: Path) -> list[str]:
    game = ["task=reconstruction", "training.batch_size=64", "run_name=mine"]
    return [*place(folder), *tiny(corpus, steps=None), *game]


def steps_recorded(folder: Path) -> list[int]:
    text = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["step"] for line in lines if line["kind"] == "step"]


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_finishes_the_step_and_saves(
    number: signal.Signals, status: int, tmp_path: Path, arc_folder: Path
) -> None:
    script = SLOW_THIRD_STEP.replace("SECONDS", "1")
    process = start(tmp_path, *endless(tmp_path, arc_folder), script=script)
    wait_for(process, "in the third step")
    process.send_signal(number)
    outcome = finish(process)
    assert outcome.status == status, outcome.err
    assert "Traceback" not in outcome.err
    assert number.name in outcome.err
    assert outcome.out == ""
    assert files(tmp_path) == {"mine_last.pth", "mine_best.pth"}
    last = tmp_path / "checkpoints" / "mine_last.pth"
    assert str(last) in outcome.err
    assert load(last).metadata["step"] == 3  # the step under way, and none after it
    assert steps_recorded(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_and_harms_no_file(
    number: signal.Signals, tmp_path: Path, arc_folder: Path
) -> None:
    script = SLOW_THIRD_STEP.replace("SECONDS", "100")
    process = start(tmp_path, *endless(tmp_path, arc_folder), script=script)
    wait_for(process, "in the third step")
    best = tmp_path / "checkpoints" / "mine_best.pth"
    while not best.exists() and process.poll() is None:  # written in the background
        time.sleep(0.05)
    before = best.read_bytes()
    process.send_signal(signal.SIGINT)
    wait_for(process, "once more")
    began = time.monotonic()
    process.send_signal(number)
    outcome = finish(process)
    assert time.monotonic() - began < 20
    assert outcome.status in (-number, 128 + number)
    assert "Traceback" not in outcome.err
    assert files(tmp_path) == {"mine_best.pth", ".mine.lock"}  # whose lock has gone
    assert best.read_bytes() == before
    assert load(best).metadata["step"] == 2
    assert steps_recorded(tmp_path) == [1, 2]


def interrupt_then(action: Any) -> Any:
    """Return ``action`` with one Ctrl-C before its first call."""
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return action(*arguments, **options)

    return interrupted


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT do what it does in a shell, whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_before_the_first_step(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arc.runs.run, "build_model", interrupt_then(arc.runs.run.build_model))
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction")
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_the_last_state_is_saved_does_not_lose_it(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = ["task=reconstruction", "training.stop_at_step=2", "run_name=mine"]
    monkeypatch.setattr(torch, "save", interrupt_then(torch.save))
    outcome = run_here(tmp_path, *tiny(arc_folder), *stop)
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert files(tmp_path) == {"mine_last.pth"}
    assert load(tmp_path / "checkpoints" / "mine_last.pth").metadata["step"] == 2


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_testing_keeps_what_was_saved(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arc.runs.run, "evaluate", interrupt_then(arc.runs.run.evaluate))
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction", "run_name=mine")
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert {"mine_last.pth", "mine_best.pth"} <= files(tmp_path)
    assert load(tmp_path / "checkpoints" / "mine_last.pth").metadata["step"] == 4


def test_signals_are_the_programs_own_again_after_a_run(tmp_path: Path, arc_folder: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_here(tmp_path, *tiny(arc_folder), "task=reconstruction").status == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("poison", ["nan", "inf"])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_state(
    poison: str, tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = torch.nn.functional.cross_entropy, []

    def poisoned(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(None)
        return honest(*arguments, **options) * (1.0 if len(calls) < 3 else float(poison))

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    whole = ["training.batch_size=256", "schedule.warmup_steps=0", "run_name=mine"]
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=puzzle_classification", *whole)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if f"loss {poison}" in line]
    assert "training.learning_rate" in line
    last = tmp_path / "checkpoints" / "mine_last.pth"
    assert str(last) in line
    assert not (tmp_path / "checkpoints" / "mine_results.json").exists()
    loaded = load(last)
    assert loaded.metadata["step"] >= 1
    assert all(weight.isfinite().all() for weight in loaded.model.state_dict().values())
    for state in torch.load(last)["optimizer_state_dict"]["state"].values():
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize("stop", ["training.stop_at_step=2", "training.stop_at_step=null"])
def test_a_last_state_that_could_not_be_saved_is_no_success(
    stop: str, tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction", "run_name=mine", stop)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert "No space left on device" in outcome.err.splitlines()[-1]
    assert f"saved {tmp_path / 'checkpoints' / 'mine_last.pth'}" not in outcome.err
    assert not list(tmp_path.rglob("*.pth"))
