"""The Python API: the same code as the command line, in one process."""

import json
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from helpers_cli import Recorder, placed, tiny
from hydra.version import getbase

from arc.api import compare, compose, corpus, cross_play, evaluate, load, train
from arc.checkpointing.policy import CheckpointPolicy
from arc.config.run_status import read_status
from arc.config.schema import RunConfig
from arc.runs import RunEnded, RunStarted
from arc.training import Callback, EvaluationEvent, StepEvent


@pytest.fixture
def config(arc_folder: Path, tmp_path: Path) -> RunConfig:
    task = ["task=selection", "task.num_distractors=3", "task.use_input_output_pairs=true"]
    return placed(compose(*tiny(arc_folder, steps=3), *task), tmp_path)


def test_train_evaluate_and_send(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    threads = set(threading.enumerate())
    callback = Recorder()
    run = train(config, callbacks=[callback])
    assert run.outcome.kind == "finished"
    steps = [event.step for event in callback.events if isinstance(event, StepEvent)]
    assert steps == [1, 2, 3]
    assert callback.events[-1] == RunEnded(run.outcome, run.results)
    assert callback.is_closed
    assert repr(run) == f"TrainedRun({run.config.run_name}, finished)"
    assert Path.cwd() == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "outputs"}
    assert [signal.getsignal(number) for number in numbers] == handlers
    assert not set(threading.enumerate()) - threads

    assert run.checkpoints.best is not None
    results = evaluate(run)
    assert run.results is not None
    assert results["test"] == evaluate(run.checkpoints.best)["test"] == run.results["test"]
    weights = load(run.checkpoints.best).model.state_dict()
    assert all(weight.equal(weights[name]) for name, weight in run.model.state_dict().items())
    assert not run.model.training

    grids = corpus(run.config).validation.grids
    message = run.model.send(grids)
    assert message.dtype == torch.int64
    assert len(message) == len(grids)
    assert run.model.send([grid.tolist() for grid in grids.arrays()]).equal(message)
    candidates = [[[[0]], [[1, 2], [3, 4]]] for _ in range(len(grids))]
    logits = run.model.receive(message, candidates=candidates)
    assert logits.shape == (len(grids), 2)
    assert run.model.receive(message.tolist(), candidates=candidates).equal(logits)


def test_a_run_resumed_into_its_output_folder_logs_each_step_once(
    config: RunConfig, tmp_path: Path
) -> None:
    first = train(config, output=tmp_path / "out")
    last = first.checkpoints.last
    assert last is not None
    early = last.with_name("early.pth")
    shutil.copy(last, early)
    for steps in (5, 6):  # the second time, steps 4 and 5 are repeated
        longer = compose(f"training.max_steps={steps}", "device=cpu", base=early)
        train(placed(longer, tmp_path), resume=early, output=tmp_path / "out")
    text = (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_train_twice_then_resume_and_finetune(config: RunConfig, tmp_path: Path) -> None:
    first, second = (train(config, output=tmp_path / "out") for _ in range(2))
    assert first.config.run_name != second.config.run_name
    assert first.results is not None
    assert second.results is not None
    assert first.results["test"] == second.results["test"]
    last = first.checkpoints.last
    assert last is not None
    threads = set(threading.enumerate())
    again = train(config, resume=last, output=tmp_path / "out")
    assert again.outcome.kind == "finished"  # is complete
    assert again.results is not None
    assert again.results["test"] == first.results["test"]
    assert set(threading.enumerate()) <= threads
    longer = placed(compose("training.max_steps=5", "device=cpu", base=last), tmp_path)
    assert longer.training.batch_size == config.training.batch_size
    resumed = train(longer, resume=last, output=tmp_path / "out")
    assert resumed.config.run_name == first.config.run_name
    assert torch.load(last)["step"] == 5
    tuned = train(config, finetune=last, output=tmp_path / "out")
    assert tuned.checkpoints.last is not None
    origins = torch.load(tuned.checkpoints.last)["started_from"]
    assert origins == [f"resume {last.name} step 3", f"finetune {last.name} step 5"]
    assert tuned.results is not None
    assert tuned.results["started_from"] == origins
    assert evaluate(tuned, device="cpu")["started_from"] == origins


def test_a_callback_can_stop_the_run(config: RunConfig, tmp_path: Path) -> None:
    callback = Recorder(lambda event: isinstance(event, StepEvent) and event.step == 2)
    run = train(config, callbacks=[callback], control=callback.control, output=tmp_path / "out")
    assert (run.outcome.kind, run.results, run.checkpoints.best) == ("stopped", None, None)
    with pytest.raises(ValueError, match="no best checkpoint"):
        evaluate(run)


@pytest.mark.parametrize(
    ("moment", "step", "saved"),
    [
        (RunStarted, 0, set()),
        (StepEvent, 2, {"mine_last", "pending"}),
        (EvaluationEvent, 3, {"mine_last", "mine_best"}),
    ],
)
def test_an_interrupted_run_saves_its_state_and_says_so(
    moment: type, step: int, saved: set[str], config: RunConfig, tmp_path: Path
) -> None:
    class Interrupt(Callback):
        def on_event(self, event: object) -> None:
            if isinstance(event, RunStarted):
                self.run = event.run
            if isinstance(event, moment) and self.run.trainer.step == step:
                if "pending" in saved:
                    self.run.policy.request("pending")
                raise KeyboardInterrupt

    folder, out = tmp_path / "checkpoints", tmp_path / "out"
    config = config.model_copy(update={"run_name": "mine"})
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[Interrupt()], output=out)
    status = read_status(out)
    assert (status["state"], status["error"], status["step"]) == ("interrupted", None, step)
    assert {path.stem for path in folder.glob("*.pth")} == saved
    for name in saved - {"mine_best"}:
        assert torch.load(folder / f"{name}.pth")["step"] == step
    if saved:
        run = train(config, resume=folder / "mine_last.pth", output=out)
        assert run.outcome.kind == read_status(out)["state"] == "finished"


def test_an_interrupt_during_the_last_saves_loses_none(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, interrupts = CheckpointPolicy.finish, iter([KeyboardInterrupt])

    def interrupted(policy: CheckpointPolicy) -> Any:
        for interrupt in interrupts:
            raise interrupt
        return finish(policy)

    monkeypatch.setattr(CheckpointPolicy, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, output=tmp_path / "out")
    assert read_status(tmp_path / "out")["state"] == "interrupted"
    (path,) = (tmp_path / "checkpoints").glob("*_last.pth")
    assert torch.load(path)["step"] == 3


def test_files_may_be_named_below_the_home_folder(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    runs = [train(config, output="~/out") for _ in range(2)]
    assert (tmp_path / "out" / "status.json").is_file()
    paths = [f"~/checkpoints/{run.config.run_name}_best.pth" for run in runs]
    assert compose(base=paths[0]).task == config.task
    assert load(paths[0]).config.task == config.task
    assert evaluate(paths[0], device="cpu", measures="none", messages=True)["test"]
    assert len(list((tmp_path / "checkpoints").glob("*_messages.jsonl"))) == 1
    assert cross_play(paths, device="cpu")["matrix"]
    assert compare("~/checkpoints")["runs"]


def test_the_options_of_a_stored_configuration_are_kept(arc_folder: Path, tmp_path: Path) -> None:
    """Keys of options that are not conf/'s defaults can be overridden."""
    stopped = [*tiny(arc_folder), "task=reconstruction", "training.stop_at_step=1"]
    options = ["bottleneck=categorical", "schedule=constant", "optimizer=sgd", "metric=[usage]"]
    run = train(placed(compose(*stopped, *options), tmp_path), output=tmp_path / "out")
    assert run.checkpoints.last is not None
    changed = compose(
        "optimizer.momentum=0.5", f"data.path={arc_folder}", base=run.checkpoints.last
    )
    assert changed.optimizer.model_dump()["momentum"] == 0.5
    assert changed.schedule.name == "constant"
    assert list(changed.metric.selected) == ["usage"]


def test_compose_reads_conf_in_a_program_that_uses_hydra(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n", encoding="utf-8")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert compose("seed=3").seed == 3
        assert hydra.compose("config", ["mine=2"]) == {"mine": 2}
        assert str(getbase()) == "1.2"


ERRORS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unknown key": (lambda folder: compose("sede=1"), "sede: no such key"),
    "invalid value": (lambda folder: compose("seed=-1"), "seed=-1: "),
    "name of an option": (
        lambda folder: compose("bottleneck.name=autoencoder"),
        "choose the option by its group: bottleneck=autoencoder",
    ),
    "no data": (
        lambda folder: corpus(compose("data=folder", f"data.path={folder / 'absent'}")),
        "absent: no such",
    ),
    "no file": (lambda folder: evaluate(folder / "absent.pth"), "absent.pth: no such file"),
    "no base": (lambda folder: compose(base=folder / "absent.pth"), "absent.pth: no such file"),
    "no start": (
        lambda folder: train(compose(), resume=folder / "absent.pth"),
        "absent.pth: no such file",
    ),
    "two starts": (
        lambda folder: train(compose(), resume=folder / "a.pth", finetune=folder / "b.pth"),
        "resume and finetune are mutually exclusive",
    ),
    "unknown device": (
        lambda folder: train(placed(compose("device=foo"), folder), output=folder / "out"),
        "use auto, cpu, cuda or cuda:N",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(case: str, tmp_path: Path) -> None:
    call, part = ERRORS[case]
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        call(tmp_path)
    assert part in str(error.value)
