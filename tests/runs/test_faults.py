"""Faults during a run: what is saved, what is logged, and how the run ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Recorder, differences, run_here, tiny

import arc.tasks
from arc.api import TrainedRun
from arc.checkpointing import load
from arc.checkpointing.policy import CheckpointPolicy
from arc.runs import RunEnded, RunStarted
from arc.tasks import Task
from arc.training import Callback, StepEvent

Train = Callable[..., TrainedRun]


class SavesAt(Callback):
    """Requests a named save after ``step``; it is pending when the next step fails."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_event(self, event: object) -> None:
        if isinstance(event, RunStarted):
            self.policy = event.run.policy
        if isinstance(event, StepEvent) and event.step == self.step:
            for name in ("one", "two"):
                self.policy.request(name)


def fail_at(monkeypatch: pytest.MonkeyPatch, target: Any, number: int, error: Any) -> None:
    """Raise ``error`` at the end of call ``number`` of ``target.step``."""
    take_step, calls = target.step, list[None]()

    def step(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        output = take_step(*arguments, **options)
        if len(calls) == number:
            raise error
        return output

    monkeypatch.setattr(target, "step", step)


NOISY = [
    *("task=selection", "task.num_distractors=3", "bottleneck=categorical", "model.dropout=0.1"),
    *("bottleneck.noise=gumbel", "data.augment=true", "training.max_steps=7"),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, train_small: Train) -> dict[str, Any]:
    """The last checkpoint of a run without a fault."""
    run = train_small(tmp_path_factory.mktemp("uninterrupted"), *NOISY)
    assert run.checkpoints.last is not None
    return dict(torch.load(run.checkpoints.last))


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (3, RuntimeError("CUDA error: out of memory\nmore lines")),
        pytest.param(4, MemoryError(), marks=pytest.mark.slow),
        pytest.param(6, OSError(24, "Too many open files"), marks=pytest.mark.slow),
        (7, SystemExit(3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_in_a_step_loses_no_save_and_the_run_resumes_exactly(
    step: int,
    error: BaseException,
    uninterrupted: dict[str, Any],
    train_small: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = tmp_path / "checkpoints" / "mine_last.pth"
    with monkeypatch.context() as patched:
        fail_at(patched, arc.tasks.TASKS["selection"], step, error)
        run = train_small(tmp_path, *NOISY, callbacks=[SavesAt(step - 1)])
    assert run.outcome.kind == "failed"
    assert run.outcome.error is not None
    assert run.outcome.error.startswith(f"{type(error).__name__}: ")
    assert len(run.outcome.error.splitlines()) == 1
    assert run.outcome.error.endswith(f"The last state is in {last}")
    assert Path(__file__).name in (tmp_path / "out" / "traceback.txt").read_text(encoding="utf-8")
    for name in ("one", "two", "mine_last"):
        assert torch.load(last.with_name(f"{name}.pth"))["step"] == step - 1
    resumed = train_small(tmp_path, *NOISY, resume=last)
    assert resumed.outcome.kind == "finished"
    assert differences(torch.load(last), uninterrupted) == []


def test_a_failed_run_ends_the_command_with_status_1_and_one_line(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, arc.tasks.TASKS["reconstruction"], 3, RuntimeError("broken\nin two lines"))
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction", "run_name=mine")
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if "RuntimeError" in line]
    assert "RuntimeError: broken (traceback: " in line
    assert line == outcome.err.splitlines()[-1]
    assert outcome.out == ""
    assert torch.load(tmp_path / "checkpoints" / "mine_last.pth")["step"] == 2


@pytest.mark.parametrize("poison", ["nan", "inf"])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_state(
    poison: str, train_small: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross_entropy, calls = torch.nn.functional.cross_entropy, list[None]()

    def poisoned(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(None)
        return cross_entropy(*arguments, **options) * (1.0 if len(calls) < 3 else float(poison))

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    large_batch = ["task=puzzle_classification", "training.batch_size=256"]
    run = train_small(tmp_path, *large_batch)
    last = tmp_path / "checkpoints" / "mine_last.pth"
    assert run.outcome.error is not None
    assert f"loss {poison}" in run.outcome.error
    assert "training.learning_rate" in run.outcome.error
    assert str(last) in run.outcome.error
    assert run.results is None
    assert not last.with_name("mine_results.json").exists()
    loaded = load(last)
    assert loaded.metadata["step"] >= 1
    assert all(weight.isfinite().all() for weight in loaded.model.state_dict().values())
    for state in torch.load(last)["optimizer_state_dict"]["state"].values():
        assert all(value.isfinite().all() for value in state.values())


def test_a_callback_that_fails_is_disabled_and_the_run_continues(
    train_small: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        def on_event(self, event: object) -> None:
            super().on_event(event)
            if isinstance(event, StepEvent):
                raise SystemExit("broken callback")

    broken, sound = Broken(), Recorder()
    run = train_small(
        tmp_path, "task=reconstruction", "training.max_steps=3", callbacks=[broken, sound]
    )
    assert run.outcome.kind == "finished"
    assert [type(event) for event in broken.events] == [RunStarted, StepEvent]
    assert isinstance(sound.events[-1], RunEnded)
    (line,) = [line for line in caplog.messages if "Broken failed and is disabled" in line]
    assert "broken callback" in line


def test_a_fault_in_the_checkpoint_policy_ends_the_run(
    train_small: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_event = CheckpointPolicy.on_event

    def fail(self: CheckpointPolicy, event: object) -> None:
        on_event(self, event)
        if isinstance(event, StepEvent) and event.step == 2:
            raise RuntimeError("broken policy")

    monkeypatch.setattr(CheckpointPolicy, "on_event", fail)
    run = train_small(tmp_path, "task=reconstruction")
    assert run.outcome.error is not None
    assert run.outcome.error.startswith("RuntimeError: broken policy")
    assert torch.load(tmp_path / "checkpoints" / "mine_last.pth")["step"] == 2


@pytest.mark.parametrize("stop", ["training.stop_at_step=2", "training.stop_at_step=null"])
def test_a_run_whose_last_state_is_not_saved_has_failed(
    stop: str, tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    outcome = run_here(tmp_path, *tiny(arc_folder), "task=reconstruction", "run_name=mine", stop)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert "No space left on device" in outcome.err.splitlines()[-1]
    assert "Nothing was saved" in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.pth"))


def test_a_test_phase_that_fails_keeps_the_checkpoints(
    train_small: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Task, "send_all", fail)
    run = train_small(
        tmp_path, "task=reconstruction", "training.max_steps=2", "data.validation_fraction=0"
    )
    assert run.outcome.error is not None
    assert run.outcome.error.startswith("the final evaluation failed: MemoryError")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["mine_last.pth"]
