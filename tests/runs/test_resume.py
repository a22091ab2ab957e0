"""Resuming a run: exactly, and with overrides laid over the stored configuration."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, Recorder, differences, place, run, run_here, tiny

from arc.api import TrainedRun
from arc.training import StepEvent, Trainer, ValidationEvent

Train = Callable[..., TrainedRun]
NOISE = [
    "bottleneck.noise=gumbel",
    "bottleneck.temperature_final=0.3",
    "bottleneck.stop_token=true",
]
RANDOM_EVERYWHERE = [
    *("training.precision=bf16", "model.dropout=0.1", "data.augment=true", "seed=3"),
    *("training.warmup_steps=2", "training.learning_rate=4e-3", "training.batch_size=24"),
    *("checkpoint.every_minutes=null", "run_name=mine", "model.latent_dim=16"),
]
SELECTION = ["task=selection", "task.num_distractors=3"]
NOISY = [*SELECTION, "bottleneck=categorical", *NOISE]
STEPS = 10


def file(folder: Path, which: str = "last") -> Path:
    return folder / "checkpoints" / f"mine_{which}.pth"


def last(folder: Path) -> dict[str, Any]:
    return dict(torch.load(file(folder)))


def events(folder: Path) -> list[dict[str, Any]]:
    """Return the logged steps and validations without their times."""
    lines = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**event, "seconds": None} for event in map(json.loads, lines)]


def settings(corpus: Path, *overrides: str) -> list[str]:
    """Return the overrides of the noisy run; the last one of a key counts."""
    every = (*tiny(corpus, STEPS), *RANDOM_EVERYWHERE, *overrides)
    return ["=".join(each) for each in dict(each.split("=", 1) for each in every).items()]


def resume(folder: Path, *overrides: str, path: Path | str | None = None) -> Outcome:
    outcome = run_here(folder, f"resume={path or file(folder)}", "device=cpu", *overrides)
    assert outcome.status == 0, outcome.err
    return outcome


@pytest.fixture(scope="module", autouse=True)
def no_test_phase() -> Iterator[None]:
    """Leave out the evaluation on the test set, which trains nothing."""
    empty: dict[str, Any] = {"test": {}, "validation": {}, "controls": {}, "language": {}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "arc.runs.run.evaluate_run",
            lambda *arguments, steps, **options: {**empty, "steps": steps},
        )
        yield


@pytest.fixture(scope="module")
def train(train_small: Train) -> Train:
    """Train the noisy run in this process; its first arguments are as those of train_small."""
    length = f"training.max_steps={STEPS}"
    return lambda folder, *overrides, **options: train_small(
        folder, *RANDOM_EVERYWHERE, length, *overrides, **options
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *NOISY)
    assert last(folder)["epoch"] == 4  # of 3 batches
    return folder


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """The folder of a run of 6 steps that was stopped after 4, with a file of its first epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    saves = ["checkpoint.every_epochs=1", "training.stop_at_step=4", "training.max_steps=6"]
    train(folder, *SELECTION, *saves)
    return folder


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(stopped_run / "checkpoints", tmp_path / "checkpoints")
    return tmp_path


# -- exactly -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stops", [[1, 3, 5], pytest.param([4, 6, 7, 8], marks=pytest.mark.slow)], ids=str
)
def test_a_resumed_run_is_exact(
    stops: list[int], whole: Path, train: Train, tmp_path: Path
) -> None:
    train(tmp_path, *NOISY, f"training.stop_at_step={stops[0]}")
    for stop in [*map(str, stops[1:]), "null"]:
        train(tmp_path, *NOISY, f"training.stop_at_step={stop}", resume=file(tmp_path))
    assert differences(last(tmp_path), last(whole)) == []
    assert differences(torch.load(file(tmp_path, "best")), torch.load(file(whole, "best"))) == []
    assert events(tmp_path) == events(whole)
    assert len(last(tmp_path)["started_from"]) == len(stops)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        pytest.param(3, signal.SIGINT, marks=pytest.mark.slow),  # before an epoch's validation
        (4, signal.SIGTERM),  # within an epoch
    ],
)
def test_a_run_that_a_signal_stopped_is_resumed_exactly(
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
        outcome = run_here(tmp_path, *settings(arc_folder, *NOISY))
    assert outcome.status == 128 + number, outcome.err
    assert last(tmp_path)["step"] == step
    assert "exact" not in resume(tmp_path).err
    assert differences(last(tmp_path), last(whole)) == []
    assert events(tmp_path) == events(whole)


@pytest.mark.parametrize("is_fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_new_process_resumes_exactly(
    is_fresh: bool, whole: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    train(tmp_path, *NOISY, "training.stop_at_step=5")
    rest = [f"resume={file(tmp_path)}", "device=cpu", "server.enabled=false"]
    outcome = run(tmp_path, *place(tmp_path), *rest, is_fresh=is_fresh)
    assert outcome.status == 0, outcome.err
    assert differences(last(tmp_path), last(whole)) == []
    assert events(tmp_path) == events(whole)


@pytest.mark.parametrize(
    "task",
    [
        ["task=reconstruction", "optimizer=sgd", "schedule=linear", *NOISE],
        *(
            pytest.param(task, marks=pytest.mark.slow)
            for task in (
                ["task=reconstruction", "bottleneck=autoencoder"],
                ["task=puzzle_classification", "bottleneck=communication", *NOISE],
            )
        ),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_other_tasks_and_optimizers_are_resumed_exactly(
    task: list[str], train: Train, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    train(one, *task, "training.stop_at_step=5")
    train(other, *task, "training.stop_at_step=2")
    train(other, *task, "training.stop_at_step=5", resume=file(other))
    assert differences(last(other), last(one)) == []
    assert events(other) == events(one)


def test_frequent_saves_do_not_change_the_run(whole: Path, train: Train, tmp_path: Path) -> None:
    train(tmp_path, *NOISY, "checkpoint.every_epochs=1", "checkpoint.every_minutes=1e-6")
    content, expected = last(tmp_path), last(whole)
    del content["config"], expected["config"]
    assert differences(content, expected) == []
    assert events(tmp_path) == events(whole)
    assert file(tmp_path, "epoch_0003").exists()


def test_a_finished_run_has_its_full_length_and_lengths_are_totals(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    before = file(tmp_path).read_bytes()
    assert f"is complete: it reached training.max_steps={STEPS}" in resume(tmp_path).err
    assert file(tmp_path).read_bytes() == before
    results = tmp_path / "checkpoints" / "mine_results.json"
    results.unlink()  # as if the process had been killed during the final evaluation
    assert "is complete" not in resume(tmp_path).err
    assert json.loads(results.read_bytes())["steps"] == STEPS
    resume(tmp_path, f"training.max_steps={STEPS + 2}")
    assert last(tmp_path)["step"] == STEPS + 2


# -- with overrides ----------------------------------------------------------------------


def test_the_stored_configuration_is_the_base(stopped: Path) -> None:
    before = last(stopped)["config"]
    assert before["training"]["learning_rate"] == 4e-3  # conf/ has another value
    assert before["training"]["stop_at_step"] is None
    assert "device" not in before
    assert "dir" not in before["checkpoint"]
    assert "exact" not in resume(stopped).err
    assert last(stopped)["config"] == before
    assert last(stopped)["step"] == 6


def test_typed_keys_and_groups_are_laid_over_it(stopped: Path, arc_folder: Path) -> None:
    before = last(stopped)["config"]
    typed = ["data=folder", f"data.path={arc_folder}", "training.max_steps=7"]
    assert "the resumed run is not bit-exact" in resume(stopped, *typed).err
    after = last(stopped)["config"]
    assert before["data"]["validation_fraction"] == 0.25
    assert after["data"]["validation_fraction"] == 0.1  # the group's own
    training = {**before["training"], "max_steps": 7}
    assert after == {**before, "data": after["data"], "training": training}


def test_a_run_of_other_examples_starts_its_epoch_again(stopped: Path) -> None:
    """As files of versions that trained on fewer targets."""
    content = last(stopped)
    source = content["trainer_state"]["source"]
    source["order"] = source["order"].argsort()[:-2].argsort()
    torch.save(content, file(stopped))
    err = resume(stopped).err
    assert "trains on other examples; the epoch starts again" in err
    assert "Traceback" not in err
    assert last(stopped)["step"] == 6


@pytest.mark.parametrize(
    ("first", "typed", "stored"),
    [
        (
            ["training.max_steps=4"],
            ["optimizer.weight_decay=0.5", "optimizer.betas=[0.8,0.95]"],
            {"weight_decay": 0.5, "betas": (0.8, 0.95)},
        ),
        (
            ["training.max_steps=4", "optimizer=sgd"],
            ["optimizer.momentum=0.5", "optimizer.nesterov=true"],
            {"momentum": 0.5, "nesterov": True},
        ),
    ],
    ids=["adamw", "sgd"],
)
def test_options_of_the_optimizer_can_change(
    first: list[str], typed: list[str], stored: dict[str, Any], train: Train, tmp_path: Path
) -> None:
    train(tmp_path, *SELECTION, *first, "training.stop_at_step=2")
    resume(tmp_path, *typed)
    (group,) = last(tmp_path)["optimizer_state_dict"]["param_groups"]
    assert {key: group[key] for key in stored} == stored


CHANGES = {
    "training.batch_size=8": "training.batch_size changed from 24 to 8",
    "training.best_metric=loss": "training.best_metric changed from None to loss",
    "schedule=linear": "schedule.name changed from cosine to linear",
    "optimizer=sgd": "optimizer.name changed from adamw to sgd",
}


@pytest.mark.parametrize(
    "typed",
    [
        list(CHANGES)[:3],
        ["optimizer=sgd"],
        *(pytest.param([each], marks=pytest.mark.slow) for each in list(CHANGES)[:3]),
    ],
    ids=" ".join,
)
def test_changed_settings_are_logged_as_not_exact(stopped: Path, typed: list[str]) -> None:
    err = resume(stopped, *typed).err
    assert all(CHANGES[each] in err for each in typed)
    assert "the resumed run is not bit-exact" in err
    content = last(stopped)
    assert content["step"] == 6
    state = content["optimizer_state_dict"]["state"]
    assert ("momentum_buffer" in state[0]) == ("optimizer=sgd" in typed)


@pytest.mark.parametrize("batch_size", [12, pytest.param(48, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        (2, StepEvent),
        pytest.param(3, StepEvent, marks=pytest.mark.slow),
        (3, ValidationEvent),
    ],
)
def test_epochs_are_totals_whatever_the_batch_size_was(
    stop: int, kind: type, batch_size: int, train: Train, tmp_path: Path
) -> None:
    """The epoch that a stop interrupts starts again; a complete one of 3 steps does not."""
    length = [*SELECTION, "training.epochs=2", "training.max_steps=null"]
    at = Recorder(lambda event: isinstance(event, kind) and getattr(event, "step", 0) == stop)
    train(tmp_path, *length, callbacks=[at], control=at.control)
    train(tmp_path, *length, f"training.batch_size={batch_size}", resume=file(tmp_path))
    steps = [event for event in events(tmp_path) if event["kind"] == "step"]
    assert (steps[-1]["epoch"], steps[-1]["batch"]) == (2, steps[-1]["batches"])
    assert len(steps) == stop + (2 - stop // 3) * steps[-1]["batches"]


def test_the_checkpoints_may_go_to_another_folder(stopped: Path, tmp_path: Path) -> None:
    before = file(stopped).read_bytes()
    resume(tmp_path / "new", path=file(stopped))
    assert last(tmp_path / "new")["step"] == 6
    assert file(stopped).read_bytes() == before


@pytest.mark.parametrize("other", ["name", "folder"])
def test_a_resumed_run_does_not_replace_another_run(
    other: str, stopped: Path, train: Train, tmp_path: Path
) -> None:
    name, folder = ("other", stopped) if other == "name" else ("mine", tmp_path / "new")
    path = folder / "checkpoints" / f"{name}_best.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"another run's")
    typed = [f"resume={file(stopped)}", "device=cpu", f"run_name={name}"]
    assert run_here(folder, *typed).complaint.startswith(f"run_name={name}: {path.parent} contains")
    with pytest.raises(ValueError, match=f"^run_name={name}: "):
        train(folder, *SELECTION, f"run_name={name}", resume=file(stopped))
    assert path.read_bytes() == b"another run's"
    path.unlink()
    resume(folder, f"run_name={name}", path=file(stopped))
    assert torch.load(path.with_name(f"{name}_last.pth"))["step"] == 6


def test_a_resumed_run_keeps_its_seed(stopped: Path, train: Train) -> None:
    complaint = run_here(stopped, f"resume={file(stopped)}", "device=cpu", "seed=4").complaint
    assert complaint.startswith("seed=4: the seed, 3, cannot change in a resumed run; finetune=")
    with pytest.raises(ValueError, match=r"^seed=4: "):
        train(stopped, *SELECTION, "seed=4", resume=file(stopped))


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ("training.batch_size=12", 3),
        ("task.near_copies=false", 3),
        ("task.num_distractors=2", 6),
        ("bottleneck.noise=gumbel", 6),
        ("training.best_metric=loss", 6),
        ("data.max_grids=60", 6),
    ],
)
def test_the_best_checkpoint_is_chosen_among_comparable_validations(
    typed: str, step: int, stopped: Path
) -> None:
    content = last(stopped)
    content["trainer_state"]["best_accuracy"] = 1e9  # no later validation is better
    torch.save(content, file(stopped))
    err = resume(stopped, typed).err
    assert ("earlier validations are not comparable" in err) == (step == 6)
    assert torch.load(file(stopped, "best"))["step"] == step
    kept = (stopped / "checkpoints").glob("mine_best_*.pth")
    assert [torch.load(path)["step"] for path in kept] == ([3] if step == 6 else [])


# -- which file --------------------------------------------------------------------------


def test_auto_resumes_the_newest_state_and_skips_a_broken_file(stopped: Path) -> None:
    (stopped / "checkpoints" / "foreign.pth").write_bytes(b"foreign")
    file(stopped, "epoch_0001").touch()  # the newest file, but not the newest state
    err = resume(stopped, "run_name=mine", "training.stop_at_step=5", path="auto").err
    assert f"resuming {file(stopped)} at step 4" in err
    assert "skipped" not in err
    strange = last(stopped)
    del strange["step"], strange["trainer_state"]
    torch.save(strange, stopped / "checkpoints" / "strange.pth")
    file(stopped).write_bytes(file(stopped).read_bytes()[:-100])
    err = resume(stopped, "run_name=mine", path="auto").err
    assert f"resume=auto: skipped: {file(stopped)}" in err
    assert "at step 3" in err
    assert last(stopped)["step"] == 6


@pytest.mark.parametrize("later", ["best", "manual"])
def test_auto_continues_after_a_return_to_an_earlier_file(later: str, stopped: Path) -> None:
    """Not the best checkpoint or a manual save of the steps that were given up."""
    content, early = last(stopped), file(stopped, "early")
    content["trainer_state"]["best_accuracy"] = -1.0  # the next validation is the best so far
    torch.save(content, file(stopped))
    shutil.copy(file(stopped), early)
    resume(stopped, "training.max_steps=9")
    if later == "manual":
        shutil.copy(file(stopped), file(stopped, "manual"))
        file(stopped, "best").unlink()
    assert torch.load(file(stopped, later))["step"] > 5
    resume(stopped, "training.max_steps=9", "training.stop_at_step=5", path=early)
    err = resume(stopped, "run_name=mine", path="auto").err
    assert f"resuming {file(stopped)} at step 5" in err
    assert last(stopped)["step"] == 9


@pytest.mark.parametrize("broken", [False, True])
def test_auto_starts_a_new_run_if_no_file_is_valid(
    broken: bool, tmp_path: Path, arc_folder: Path
) -> None:
    file(tmp_path).parent.mkdir()
    if broken:
        file(tmp_path).write_bytes(b"PK")
    overrides = settings(arc_folder, *SELECTION, "resume=auto", "training.max_steps=2")
    outcome = run_here(tmp_path, *overrides)
    assert outcome.status == 0, outcome.err
    assert "starting a new run" in outcome.err
    assert (last(tmp_path)["step"], last(tmp_path)["started_from"]) == (2, [])


def test_auto_needs_a_name(tmp_path: Path) -> None:
    assert "run_name" in run_here(tmp_path, "resume=auto").complaint


@pytest.mark.parametrize(
    "key", ["model_state_dict", "trainer_state", "trainer_state.random", "step", "data_fingerprint"]
)
def test_a_missing_entry_is_named(stopped: Path, train: Train, key: str) -> None:
    content = last(stopped)
    *above, name = key.split(".")
    del (content[above[0]] if above else content)[name]
    torch.save(content, file(stopped))
    with pytest.raises(ValueError, match=f"^{file(stopped)}: .*{name}"):
        train(stopped, *SELECTION, resume=file(stopped))


def test_a_key_that_the_stored_configuration_lacks_can_be_typed(stopped: Path) -> None:
    content = last(stopped)
    del content["config"]["model"]["dropout"]
    torch.save({**content, "arc_version": "0.0.7"}, file(stopped))
    complaint = run_here(stopped, f"resume={file(stopped)}", "device=cpu").complaint
    assert complaint.startswith(f"{file(stopped)}: ")
    for part in ("model.dropout", "0.0.7", "set them on the command line"):
        assert part in complaint
    resume(stopped, "model.dropout=0.1")
    assert last(stopped)["step"] == 6


def test_resuming_from_an_earlier_file_keeps_the_later_one(stopped: Path) -> None:
    early, folder = shutil.copy(file(stopped), file(stopped, "early")), file(stopped).parent
    resume(stopped, "training.max_steps=9", "checkpoint.every_epochs=1")
    (folder / "mine_results.json").write_text('{"steps": 9}', encoding="utf-8")
    outcome = resume(stopped, "training.max_steps=6", "training.batch_size=12", path=early)
    for which, step in (("last", 9), ("epoch_0002", 6), ("epoch_0003", 9)):
        (kept,) = folder.glob(f"mine_{which}_*.pth")
        assert torch.load(kept)["step"] == step
        assert f"preserved as {kept.name}" in outcome.err
    assert not file(stopped, "epoch_0003").exists()
    (kept,) = folder.glob("mine_results_*.json")
    assert kept.read_text(encoding="utf-8") == '{"steps": 9}'
    assert last(stopped)["step"] == torch.load(file(stopped, "best"))["step"] == 6
    assert "at step 6" in resume(stopped, "run_name=mine", "training.max_steps=7", path="auto").err
    assert len(list(folder.glob("mine_last_*.pth"))) == 1
