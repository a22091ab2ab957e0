"""Continuing a run through the command line: exactly, and with what was typed."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, place, run, run_here, tiny

import arc.runs.run
from arc.training import Trainer

NOISE = [
    "bottleneck.noise=gumbel",
    "bottleneck.temperature_final=0.3",
    "bottleneck.stop_token=true",
]
RANDOM_EVERYWHERE = [
    *("training.precision=bf16", "model.dropout=0.1", "data.augment=true", "seed=3"),
    *("schedule.warmup_steps=2", "training.learning_rate=4e-3", "training.batch_size=24"),
    *("checkpoint.every_minutes=null", "run_name=mine", "model.latent_dim=16"),
]
SELECTION = ["task=selection", "task.num_distractors=3"]
GAME = [*SELECTION, "bottleneck=categorical", *NOISE]
STEPS = 10


def file(folder: Path, which: str = "last") -> Path:
    return folder / "checkpoints" / f"mine_{which}.pth"


def last(folder: Path) -> dict[str, Any]:
    return torch.load(file(folder))


def events(folder: Path) -> list[dict[str, Any]]:
    """Return all that was recorded of every step and validation, but the time."""
    lines = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**event, "seconds": None} for event in map(json.loads, lines)]


def settings(corpus: Path, *overrides: str, steps: int = STEPS) -> list[str]:
    """Overrides for the noisy run, in which later ones of a key replace earlier ones."""
    every = (*tiny(corpus, steps), *RANDOM_EVERYWHERE, *overrides)
    return ["=".join(each) for each in dict(each.split("=", 1) for each in every).items()]


def fresh(folder: Path, corpus: Path, *overrides: str, steps: int = STEPS) -> Outcome:
    outcome = run_here(folder, *settings(corpus, *overrides, steps=steps))
    assert outcome.status == 0, outcome.err
    return outcome


def resume(folder: Path, *overrides: str, path: Path | str | None = None) -> Outcome:
    outcome = run_here(folder, f"resume={path or file(folder)}", "device=cpu", *overrides)
    assert outcome.status == 0, outcome.err
    return outcome


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return every leaf of a file by its place, tensors as type and numbers."""
    if isinstance(value, dict):
        parts = [(key, value[key]) for key in value.keys() - {"seconds", "created", "started_from"}]
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return {at: (value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value}
    return {k: v for key, item in parts for k, v in flat(item, f"{at}.{key}").items()}


def assert_same(one: Any, other: Any) -> None:
    """Compare two files' content; tensors bit for bit."""
    left, right = flat(one), flat(other)
    assert len(left) > 50
    assert left.keys() == right.keys()
    assert [place for place in left if left[place] != right[place]] == []


EMPTY: Any = {"test": {}, "validation": {}, "controls": {}, "language": {}}


@pytest.fixture(scope="module", autouse=True)
def no_report() -> Iterator[None]:
    """Leave out the final test, which trains nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arc.runs.run.Run, "report", lambda self: EMPTY)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, arc_folder: Path) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    fresh(folder, arc_folder, *GAME)
    assert last(folder)["epoch"] == 4  # of 3 batches
    return folder


@pytest.fixture
def stopped(tmp_path: Path, arc_folder: Path) -> Path:
    """The folder of a run of few steps that was stopped after 4, its first epoch saved."""
    saves = ["checkpoint.every_epochs=1", "training.stop_at_step=4"]
    fresh(tmp_path, arc_folder, *SELECTION, *saves, steps=6)
    return tmp_path


@pytest.mark.parametrize("stops", [[1], [3], [4, 5], [6, 7, 8]], ids=str)
def test_a_run_goes_on_exactly(
    stops: list[int], whole: Path, tmp_path: Path, arc_folder: Path
) -> None:
    fresh(tmp_path, arc_folder, *GAME, f"training.stop_at_step={stops[0]}")
    for stop in [*stops[1:], None]:
        resume(tmp_path, *([] if stop is None else [f"training.stop_at_step={stop}"]))
    assert_same(last(tmp_path), last(whole))
    assert_same(torch.load(file(tmp_path, "best")), torch.load(file(whole, "best")))
    assert events(tmp_path) == events(whole)
    assert len(last(tmp_path)["started_from"]) == len(stops)


@pytest.mark.parametrize("step", [3, 4])  # at the end of an epoch, before its validation; in one
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_signalled_goes_on_exactly(
    step: int,
    number: signal.Signals,
    whole: Path,
    tmp_path: Path,
    arc_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = Trainer.run

    def signalled(self: Trainer, control: Any) -> Iterator[Any]:
        for event in train(self, control):
            if event.step == step:
                os.kill(os.getpid(), number)
            yield event

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run", signalled)
        outcome = run_here(tmp_path, *settings(arc_folder, *GAME))
    assert outcome.status == 128 + number, outcome.err
    assert last(tmp_path)["step"] == step
    resume(tmp_path)
    assert_same(last(tmp_path), last(whole))
    assert events(tmp_path) == events(whole)


def test_new_processes_go_on_exactly(
    whole: Path, tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    first = settings(arc_folder, *GAME, "training.stop_at_step=5")
    for overrides in (first, [f"resume={file(tmp_path)}", "device=cpu"]):
        outcome = run(tmp_path, *place(tmp_path), *overrides)
        assert outcome.status == 0, outcome.err
    assert_same(last(tmp_path), last(whole))
    assert events(tmp_path) == events(whole)


@pytest.mark.parametrize("task", ["reconstruction", "selection", "puzzle_classification"])
def test_every_game_goes_on_exactly(
    task: str, bottleneck: str, tmp_path: Path, arc_folder: Path
) -> None:
    noise = [] if bottleneck == "autoencoder" else NOISE
    game = [f"task={task}", f"bottleneck={bottleneck}", *noise]
    game += SELECTION[1:] if task == "selection" else []
    one, other = tmp_path / "one", tmp_path / "other"
    fresh(one, arc_folder, *game, "training.stop_at_step=5")
    fresh(other, arc_folder, *game, "training.stop_at_step=2")
    resume(other, "training.stop_at_step=5")
    assert_same(last(other), last(one))
    assert events(other) == events(one)


def test_saving_often_changes_nothing(whole: Path, tmp_path: Path, arc_folder: Path) -> None:
    saves = ["checkpoint.every_epochs=1", "checkpoint.every_minutes=1e-6"]
    fresh(tmp_path, arc_folder, *GAME, *saves)
    content, expected = last(tmp_path), last(whole)
    del content["config"], expected["config"]
    assert_same(content, expected)
    assert events(tmp_path) == events(whole)
    assert file(tmp_path, "epoch_0004").exists()


def test_a_finished_run_says_so_and_lengths_are_totals(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    before = file(tmp_path).read_bytes()
    assert f"full length, {STEPS} steps" in resume(tmp_path).err
    assert file(tmp_path).read_bytes() == before
    resume(tmp_path, f"training.max_steps={STEPS + 2}")
    assert last(tmp_path)["step"] == STEPS + 2


def test_the_stored_config_is_the_base(stopped: Path) -> None:
    before = last(stopped)["config"]
    assert before["training"]["learning_rate"] == 4e-3  # conf/ says otherwise
    assert before["training"]["stop_at_step"] is None
    assert "device" not in before
    assert "dir" not in before["checkpoint"]
    assert "exact" not in resume(stopped).err
    assert last(stopped)["config"] == before
    assert last(stopped)["step"] == 6


def test_typed_keys_and_groups_are_laid_over_it(stopped: Path, arc_folder: Path) -> None:
    before = last(stopped)["config"]
    typed = ["data=folder", f"data.path={arc_folder}", "training.max_steps=7"]
    assert "not bit-exact" in resume(stopped, *typed).err
    after = last(stopped)["config"]
    assert before["data"]["validation_fraction"] == 0.25
    assert after["data"]["validation_fraction"] == 0.1  # the group's own
    training = {**before["training"], "max_steps": 7}
    assert after == {**before, "data": after["data"], "training": training}


def test_a_changed_batch_size_is_said(stopped: Path) -> None:
    said = resume(stopped, "training.batch_size=8").err
    assert "training.batch_size was 24, is 8" in said
    assert "not bit-exact" in said
    assert last(stopped)["step"] == 6


def test_the_data_may_have_moved(stopped: Path, arc_folder: Path) -> None:
    moved = shutil.copytree(arc_folder, stopped / "moved")
    assert "the data differ" not in resume(stopped, f"data.path={moved}").err
    assert last(stopped)["config"]["data"]["path"] == str(moved)


def test_the_folder_is_the_machines(stopped: Path, tmp_path: Path) -> None:
    before = file(stopped).read_bytes()
    resume(tmp_path / "new", path=file(stopped))
    assert last(tmp_path / "new")["step"] == 6
    assert file(stopped).read_bytes() == before


def test_auto_takes_the_most_steps_and_passes_over_a_broken_file(stopped: Path) -> None:
    (stopped / "checkpoints" / "foreign.pth").write_bytes(b"foreign")
    file(stopped, "epoch_0001").touch()  # newer by time, older by steps
    said = resume(stopped, "run_name=mine", "training.stop_at_step=5", path="auto").err
    assert f"resuming {file(stopped)} at step 4" in said
    assert "passed over" not in said
    strange = last(stopped)
    del strange["step"], strange["trainer_state"]
    torch.save(strange, stopped / "checkpoints" / "strange.pth")
    file(stopped).write_bytes(file(stopped).read_bytes()[:-100])
    said = resume(stopped, "run_name=mine", path="auto").err
    assert f"passed over: {file(stopped)}" in said
    assert "at step 3" in said
    assert last(stopped)["step"] == 6


@pytest.mark.parametrize("broken", [False, True])
def test_auto_starts_afresh_where_no_file_is_valid(
    broken: bool, tmp_path: Path, arc_folder: Path
) -> None:
    file(tmp_path).parent.mkdir()
    if broken:
        file(tmp_path).write_bytes(b"PK")
    assert "fresh start" in fresh(tmp_path, arc_folder, *SELECTION, "resume=auto", steps=2).err
    assert (last(tmp_path)["step"], last(tmp_path)["started_from"]) == (2, [])


def test_auto_needs_a_name(tmp_path: Path) -> None:
    assert "run_name" in run_here(tmp_path, "resume=auto").complaint


@pytest.mark.parametrize(
    "key", ["model_state_dict", "trainer_state", "trainer_state.random", "step", "data_fingerprint"]
)
def test_a_file_that_lacks_something_is_refused_by_name(stopped: Path, key: str) -> None:
    content = last(stopped)
    *above, name = key.split(".")
    del (content[above[0]] if above else content)[name]
    torch.save(content, file(stopped))
    outcome = run_here(stopped, f"resume={file(stopped)}", "device=cpu")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith(f"error: {file(stopped)}")
    assert name in outcome.err.splitlines()[-1]


def test_a_key_that_a_files_config_lacks_can_be_typed(stopped: Path) -> None:
    content = last(stopped)
    del content["config"]["model"]["dropout"]
    torch.save({**content, "arc_version": "0.0.7"}, file(stopped))
    outcome = run_here(stopped, f"resume={file(stopped)}", "device=cpu")
    assert outcome.complaint.startswith(f"{file(stopped)}: its config lacks model.dropout, which")
    assert "arc_version 0.0.7" in outcome.complaint
    assert outcome.complaint.endswith("type them to go on")
    resume(stopped, "model.dropout=0.1")
    assert last(stopped)["step"] == 6


def test_going_on_from_an_earlier_save_loses_no_later_one(arc_folder: Path, tmp_path: Path) -> None:
    fresh(tmp_path, arc_folder, *SELECTION, steps=4)
    early = shutil.copy(file(tmp_path), tmp_path / "early.pth")
    resume(tmp_path, "training.max_steps=8")
    later = last(tmp_path)
    outcome = resume(tmp_path, "training.max_steps=6", path=early)
    kept = [path for path in file(tmp_path).parent.glob("mine_last_*.pth") if path != early]
    assert [torch.load(path)["step"] for path in kept] == [later["step"]] == [8]
    assert last(tmp_path)["step"] == 6
    assert f"kept as {kept[0].name}" in outcome.err
    resume(tmp_path, "training.max_steps=7")
    assert len(list(file(tmp_path).parent.glob("mine_last_*.pth"))) == 1
