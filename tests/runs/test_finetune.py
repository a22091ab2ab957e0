"""Starting a run from the weights of another run."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Make, Outcome, run_here

from arc.checkpointing import CheckpointError
from arc.checkpointing.loader import mismatches
from arc.checkpointing.restore import begin_from
from arc.runs.plan import checkpoint_path, read_source

NAME = "selection_communication"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> Path:
    """The last checkpoint of a stopped run."""
    task = ["task=selection", "task.num_distractors=3", "training.learning_rate=4e-3"]
    length = ["training.stop_at_step=4", "training.max_steps=9"]
    run = train_small(tmp_path_factory.mktemp("source"), *task, *length)
    assert run.checkpoints.last is not None
    return run.checkpoints.last


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The state of each trainer before and after it starts from a file."""
    states: list[dict[str, Any]] = []

    def recorded(source: Any, config: Any, trainer: Any) -> list[str]:
        before = trainer.model.state_dict()
        faults = mismatches(trainer.model, source.content["model_state_dict"])
        before = {name: weight.clone() for name, weight in before.items()}
        started_from = begin_from(source, config, trainer)
        state = copy.deepcopy(trainer.state_dict())
        states.append({**state, "before": before, "faults": faults})
        return started_from

    monkeypatch.setattr("arc.runs.run.begin_from", recorded)
    return states


def finetune(folder: Path, source: Path, *overrides: str) -> Outcome:
    length = "training.stop_at_step=1"  # no final evaluation
    return run_here(folder, f"finetune={source}", "device=cpu", length, *overrides)


def written(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "checkpoints").glob("*_last.pth")
    return {**torch.load(path), "name": path.name}


@pytest.mark.parametrize("typed", [[], ["data.split_seed=1"]], ids=["same data", "another split"])
def test_data_that_the_weights_may_have_seen_are_reported(
    source: Path, tmp_path: Path, typed: list[str]
) -> None:
    outcome = finetune(tmp_path, source, "training.max_steps=1", *typed)
    assert outcome.status == 0, outcome.err
    warned = "it may have seen the validation or test data of this run" in outcome.err
    assert warned == bool(typed)


def test_a_new_run_has_the_weights_and_the_stored_configuration_under_the_typed_one(
    source: Path, begun: list[dict[str, Any]], tmp_path: Path
) -> None:
    stored, before = torch.load(source), source.read_bytes()
    assert stored["optimizer_state_dict"]["state"]
    outcome = finetune(tmp_path, source, "training.max_steps=2", "optimizer=sgd")
    assert outcome.status == 0, outcome.err
    (state,) = begun
    assert state["model"].keys() == stored["model_state_dict"].keys()
    assert all(stored["model_state_dict"][n].equal(w) for n, w in state["model"].items())
    assert state["optimizer"]["state"] == {}
    assert (state["step"], state["seconds"], state["val_acc"]) == (0, 0.0, None)
    assert (state["source"]["epoch"], state["sums"]["steps"]) == (1, 0)
    after = written(tmp_path)
    assert after["step"] == 1
    assert after["started_from"] == ["finetune mine_last.pth step 4"]
    assert "momentum_buffer" in after["optimizer_state_dict"]["state"][0]
    assert source.read_bytes() == before
    assert after["name"].startswith(NAME)
    config = stored["config"]
    assert config["training"]["learning_rate"] == 4e-3  # conf/ has another value
    assert after["config"] == {
        **config,
        "training": {**config["training"], "max_steps": 2, "learning_rate": 0.05},
        "optimizer": after["config"]["optimizer"],
        "run_name": after["name"].removesuffix("_last.pth"),
    }
    assert after["config"]["optimizer"]["name"] == "sgd"


def test_a_typed_name_must_be_free(source: Path, tmp_path: Path) -> None:
    assert finetune(tmp_path, source, "run_name=tuned").status == 0
    assert written(tmp_path)["name"] == "tuned_last.pth"
    assert "run_name=tuned" in finetune(tmp_path, source, "run_name=tuned").complaint


def test_another_bottleneck_is_refused_by_the_tensor_unless_strict_is_false(
    source: Path, begun: list[dict[str, Any]], tmp_path: Path
) -> None:
    typed = "bottleneck=autoencoder"
    outcome = finetune(tmp_path, source, typed)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    line = outcome.err.splitlines()[-1]
    assert line.startswith(f"error: {source}: weights do not fit the architecture: ")
    assert line.endswith("; strict=false loads the tensors that fit")
    assert "bottleneck." in line
    assert list((tmp_path / "checkpoints").iterdir()) == []

    outcome = finetune(tmp_path, source, typed, "strict=false")
    assert outcome.status == 0, outcome.err
    (state,) = begun
    lines = [line for line in outcome.err.splitlines() if "not loaded: " in line]
    faults = [line.split("not loaded: ")[1] for line in lines]
    assert faults == state["faults"] != []
    named = {fault.split()[0] for fault in faults}
    stored = torch.load(source)["model_state_dict"]
    for name, weight in state["model"].items():
        assert weight.equal((state["before"] if name in named else stored)[name]), name
    assert named < state["model"].keys() | stored.keys()
    assert written(tmp_path)["bottleneck_type"] == "autoencoder"


def test_the_same_command_starts_a_fine_tuned_run_and_continues_it(
    source: Path, tmp_path: Path
) -> None:
    same = [f"finetune={source}", "resume=auto", "run_name=tuned", "device=cpu"]
    for step in (1, 2):
        outcome = run_here(tmp_path, *same, f"training.stop_at_step={step}")
        assert outcome.status == 0, outcome.err
    after = written(tmp_path)
    assert (after["step"], after["name"]) == (2, "tuned_last.pth")
    steps = ["finetune mine_last.pth step 4", "resume tuned_last.pth step 1"]
    assert after["started_from"] == steps


def test_another_size_is_refused_by_the_shapes(source: Path, tmp_path: Path) -> None:
    outcome = finetune(tmp_path, source, "model.latent_dim=8")
    assert outcome.status == 1
    assert "in the file" in outcome.err.splitlines()[-1]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_resume_and_finetune_exclude_each_other(source: Path, tmp_path: Path) -> None:
    complaint = finetune(tmp_path, source, f"resume={source}").complaint
    assert "resume" in complaint
    assert "finetune" in complaint


@pytest.mark.parametrize("start", ["finetune", "resume"])
def test_a_file_that_is_absent_foreign_or_cut_is_refused_in_one_line(
    start: str, source: Path, tmp_path: Path
) -> None:
    absent, foreign, cut = (tmp_path / name for name in ("absent.pth", "foreign.pth", "cut.pth"))
    torch.save({"weight": torch.zeros(2)}, foreign)
    cut.write_bytes(source.read_bytes()[:-1000])
    for path in (absent, foreign, cut):
        complaint = run_here(tmp_path, f"{start}={path}", "device=cpu").complaint
        assert complaint.startswith(f"{path}: ")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("strict", ["true", "false"])
@pytest.mark.parametrize("broken", ["no weights", "a text as weight", "no history"])
def test_an_altered_file_is_refused_or_loaded_as_far_as_possible(
    broken: str, strict: str, source: Path, tmp_path: Path
) -> None:
    content, path = torch.load(source), tmp_path / "altered.pth"
    if broken == "no weights":
        del content["model_state_dict"]
    elif broken == "no history":
        del content["started_from"], content["step"]
    else:
        content["model_state_dict"]["encoder.norm.weight"] = "x"
    torch.save(content, path)
    outcome = finetune(tmp_path, path, f"strict={strict}")
    if broken == "no history":
        assert outcome.status == 0, outcome.err
    elif broken == "a text as weight" and strict == "false" and outcome.status == 0:
        assert "not loaded: encoder.norm.weight" in outcome.err
    else:
        assert outcome.status == 1
        assert outcome.err.splitlines()[-1].startswith(f"error: {path}")


def test_a_checkpoint_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    assert checkpoint_path("mine", tmp_path) == tmp_path / "mine.pth"
    assert checkpoint_path("mine.pth", tmp_path) == tmp_path / "mine.pth"
    assert checkpoint_path("other", tmp_path) == Path("other")
    assert checkpoint_path("folder/mine", tmp_path) == Path("folder/mine")
    assert checkpoint_path("~/mine.pth", tmp_path) == Path.home() / "mine.pth"
    fault = f"other: no such file, and no checkpoint of that name in {tmp_path}"
    with pytest.raises(CheckpointError, match=re.escape(fault)):
        read_source("other", None, tmp_path)
