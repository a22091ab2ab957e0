"""Data and checkpoints in other folders; nothing held out."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Recorder, call, differences, run_here, tiny
from helpers_data import SavePuzzles

import arc.evaluate
from arc.api import TrainedRun, corpus, evaluate
from arc.checkpointing import load
from arc.config.files import ConfigError
from arc.data import DataError
from arc.runs.export import card
from arc.runs.tables import format_results
from arc.training import StepEvent

Train = Callable[..., TrainedRun]
SMALL = ("task=reconstruction", "training.max_steps=6", "training.batch_size=24")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train_small: Train) -> TrainedRun:
    """A finished run."""
    return train_small(tmp_path_factory.mktemp("whole"), *SMALL)


@pytest.fixture(scope="module")
def stopped_run(
    tmp_path_factory: pytest.TempPathFactory, train_small: Train, arc_folder: Path
) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    data = shutil.copytree(arc_folder, folder / "puzzles")
    at = Recorder(lambda event: isinstance(event, StepEvent) and event.step == 4)
    typed = (*SMALL, f"data.path={data}")
    run = train_small(folder / "a", *typed, callbacks=[at], control=at.control)
    shutil.rmtree(data)
    assert run.checkpoints.best is not None
    assert run.checkpoints.last is not None
    return folder / "a"


@pytest.fixture
def stopped(tmp_path: Path, stopped_run: Path, arc_folder: Path) -> Path:
    """The last file of the same run, stopped within its second epoch; its data are elsewhere."""
    shutil.copytree(stopped_run, tmp_path / "a")
    (tmp_path / "moved").symlink_to(arc_folder)
    return tmp_path / "a" / "checkpoints" / "mine_last.pth"


def resume(last: Path, *overrides: str) -> Any:
    """Resume in another folder, ``b``."""
    folder = last.parents[2]
    typed = (f"resume={last}", f"data.path={folder}/moved", "device=cpu", "server.enabled=false")
    return run_here(folder / "b", *typed, *overrides)


def test_a_run_on_moved_data_is_resumed_exactly(stopped: Path, whole: TrainedRun) -> None:
    outcome = resume(stopped)
    assert outcome.status == 0, outcome.err
    assert "bit-exact" not in outcome.err
    assert "the examples are the same" in outcome.err
    assert whole.checkpoints.last is not None
    contents = [torch.load(whole.checkpoints.last)]
    contents.append(torch.load(stopped.parents[2] / "b" / "checkpoints" / "mine_last.pth"))
    paths = [content["config"]["data"].pop("path") for content in contents]
    assert paths[1] == f"{stopped.parents[2]}/moved"
    assert differences(*contents) == []


@pytest.mark.parametrize(
    "changed",
    [
        "data.augment=true",
        pytest.param("data.synthetic=0.5", marks=pytest.mark.slow),
        pytest.param("data.crop=0.5", marks=pytest.mark.slow),
    ],
)
def test_other_batches_of_the_same_data_are_not_exact_but_continue_the_epoch(
    stopped: Path, changed: str
) -> None:
    batch = torch.load(stopped)["batch"]
    outcome = resume(stopped, changed, "training.stop_at_step=5")
    assert "not bit-exact" in outcome.err
    after = torch.load(stopped.parents[2] / "b" / "checkpoints" / "mine_last.pth")
    assert after["batch"] == batch + 1


def test_the_best_file_comes_along_into_another_folder(stopped: Path) -> None:
    best = stopped.with_name("mine_best.pth")
    content = torch.load(stopped)
    content["trainer_state"]["best_accuracy"] = 1e9  # no later validation is better
    torch.save(content, stopped)
    outcome = resume(stopped)
    assert f"{best} is copied" in outcome.err
    copied = torch.load(stopped.parents[2] / "b" / "checkpoints" / "mine_best.pth")
    assert differences(torch.load(best), copied) == []


@pytest.mark.parametrize("best", ["gone", pytest.param("later", marks=pytest.mark.slow)])
def test_a_best_file_that_is_missing_is_reported_and_replaced(stopped: Path, best: str) -> None:
    path = stopped.with_name("mine_best.pth")
    content = torch.load(path)
    path.unlink()
    if best == "later":
        torch.save({**content, "step": 99}, path)
    outcome = resume(stopped)
    assert outcome.status == 0
    assert f"the best checkpoint so far cannot be used: {path}: " in outcome.err
    replaced = torch.load(stopped.parents[2] / "b" / "checkpoints" / "mine_best.pth")
    assert replaced["step"] == 6


# -- evaluation --------------------------------------------------------------------------


def test_moved_data_can_be_evaluated(stopped: Path, arc_folder: Path) -> None:
    moved = stopped.parents[2] / "moved"
    assert "set data.path" in call(arc.evaluate.main, f"path={stopped}", "device=cpu").complaint
    outcome = call(arc.evaluate.main, f"path={stopped}", "device=cpu", f"data.path={moved}")
    assert outcome.status == 0, outcome.err
    assert "data differ" not in outcome.err
    one = evaluate(stopped, f"data.path={moved}", device="cpu")
    other = evaluate(stopped, f"data.path={arc_folder}", device="cpu")
    assert one.pop("config") != other.pop("config")
    assert one == other


def test_moved_additional_puzzles_can_be_named(
    tmp_path: Path, train_small: Train, save_puzzles: SavePuzzles
) -> None:
    also = save_puzzles({"new": ([([[1, 2]], [[3, 4]])], [])})
    run = train_small(tmp_path, *SMALL, "training.max_steps=1", f"data.also=[{also}]")
    also.rename(tmp_path / "moved")
    path = f"path={run.checkpoints.last}"
    gone = call(arc.evaluate.main, path, "device=cpu").complaint
    assert gone.startswith("data.also=")
    outcome = call(arc.evaluate.main, path, "device=cpu", f"data.also=[{tmp_path}/moved]")
    assert outcome.status == 0, outcome.err
    assert "data differ" not in outcome.err


def test_another_test_set_can_be_evaluated(whole: TrainedRun, arc_folder: Path) -> None:
    path = str(whole.checkpoints.last)
    results = evaluate(path, f"data.test={arc_folder / 'evaluation' / 'e01.json'}", device="cpu")
    assert whole.results is not None
    targets = [each["test"]["reconstruction"]["targets"] for each in (results, whole.results)]
    assert targets == [8, 24]
    assert results["validation"] == whole.results["validation"]
    assert results["leaked"] == 0
    assert results["config"]["data"]["test"].endswith("e01.json")


def test_examples_that_the_run_was_trained_on_are_no_test(
    whole: TrainedRun, arc_folder: Path
) -> None:
    assert whole.checkpoints.last is not None
    trained = corpus(whole.config).training
    typed = (f"path={whole.checkpoints.last}", "device=cpu")
    outcome = call(arc.evaluate.main, *typed, f"data.test={arc_folder / 'training'}")
    assert outcome.status == 0, outcome.err
    assert "data differ" not in outcome.err
    (line,) = (line for line in outcome.err.splitlines() if "was trained on their grids" in line)
    leaked = int(line.split("test: ")[1].split()[0])
    results = evaluate(whole, f"data.test={arc_folder / 'training'}", device="cpu")
    targets = results["test"]["reconstruction"]["targets"]
    assert results["leaked"] == leaked
    assert leaked + targets == 96  # of the 12 puzzles
    assert len(trained) <= leaked < 96


def test_another_test_set_takes_the_place_of_one_that_is_gone(
    tmp_path: Path, train_small: Train, arc_folder: Path
) -> None:
    gone = shutil.copytree(arc_folder / "evaluation", tmp_path / "gone")
    run = train_small(tmp_path, *SMALL, "training.max_steps=1", f"data.test={gone}")
    shutil.rmtree(gone)
    path = f"path={run.checkpoints.last}"
    assert "gone" in call(arc.evaluate.main, path, "device=cpu").complaint
    other = f"data.test={arc_folder / 'evaluation' / 'e01.json'}"
    outcome = call(arc.evaluate.main, path, "device=cpu", other)
    assert outcome.status == 0, outcome.err
    assert "the data of the run cannot be loaded as they were: data.test=" in outcome.err


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("data.max_grids=3", "data.max_grids: no such key. Known: path, test, also"),
        ("data.tset=arc1", "data.tset: no such key. Did you mean 'test'? Known: path, test, also"),
        ("+data.foo=1", "data.foo: no such key. Known: path, test, also"),
        ("data=arc2", "data: set one of its keys: data.path, data.test, data.also"),
        ("data.path=3", "data.path=3: input should be a valid string"),
    ],
)
def test_other_keys_of_the_data_are_refused(whole: TrainedRun, typed: str, fault: str) -> None:
    typed_path = f"path={whole.checkpoints.last}"
    assert call(arc.evaluate.main, typed_path, typed).complaint == fault


def test_only_the_data_of_an_evaluation_can_be_set(whole: TrainedRun) -> None:
    assert whole.checkpoints.last is not None
    with pytest.raises(ConfigError, match=r"^seed=1: only data\.… can be set"):
        evaluate(whole.checkpoints.last, "seed=1", device="cpu")


def test_puzzles_of_another_number_of_classes_are_refused(
    tmp_path: Path, train_small: Train, arc_folder: Path
) -> None:
    run = train_small(tmp_path, "task=puzzle_classification", "training.max_steps=1")
    with pytest.raises(DataError, match=r"classifies 24 classes, the data have 6; set data\.path"):
        evaluate(run, f"data.path={arc_folder / 'evaluation'}", device="cpu")


# -- pretraining -------------------------------------------------------------------------


def test_an_encoder_that_was_pretrained_on_the_same_data_elsewhere(
    tmp_path: Path, train_small: Train, arc_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "puzzles"
    shutil.copytree(arc_folder, data)
    pretrained = train_small(
        tmp_path / "a",
        "mode=pretrain",
        "pretrain=binary",
        "pretrain.epochs=1",
        "training.max_steps=1",
        f"data.path={data}",
    )
    start = f"encoder.pretrained={pretrained.checkpoints.best}"
    train_small(tmp_path / "b", *SMALL, "training.max_steps=1", start)
    assert "on other data" not in caplog.text
    train_small(tmp_path / "c", *SMALL, "training.max_steps=1", start, "data.split_seed=1")
    assert "on other data" in caplog.text


def test_too_many_distractors_of_a_pretraining_are_named(
    tmp_path: Path, train_small: Train
) -> None:
    with pytest.raises(DataError, match=r"^pretrain\.num_distractors=999: "):
        train_small(tmp_path, "mode=pretrain", "pretrain.num_distractors=999")


# -- nothing held out --------------------------------------------------------------------


def test_without_held_out_data_no_figure_is_shown(tmp_path: Path, arc_folder: Path) -> None:
    typed = ["data.validation_fraction=0", "task.num_distractors=3", "run_name=r"]
    outcome = run_here(tmp_path, *tiny(arc_folder / "training", 2), *typed)
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip() == "no test and no validation set"
    assert not re.search(r"\bnan\b", outcome.err)
    path = tmp_path / "checkpoints" / "r_last.pth"
    text = card(path, load(path))
    assert "no validation results" in text
    assert not re.search(r"\bnan\b", text)
    outcome = call(arc.evaluate.main, f"path={path}", "device=cpu")
    assert outcome.out.strip() == "no test and no validation set"


def test_results_without_any_set_have_no_table() -> None:
    empty: dict[str, Any] = {"r": {"accuracy": None, "targets": 0, "baselines": {}}}
    results = {"test": empty, "validation": empty, "controls": {}, "language": {}}
    assert format_results(results) == "no test and no validation set"
