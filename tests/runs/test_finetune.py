"""Starting a run from another run's weights."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, run_here, tiny

import arc.runs.run
from arc.checkpointing.loader import mismatches

NAME = "selection_communication"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, arc_folder: Path) -> Path:
    """The file of a trained run."""
    folder = tmp_path_factory.mktemp("source")
    game = ["task=selection", "task.num_distractors=3", "run_name=source", "model.latent_dim=16"]
    rest = ["training.learning_rate=4e-3", "training.stop_at_step=4", "training.max_steps=9"]
    outcome = run_here(folder, *tiny(arc_folder)[:-1], *game, *rest)
    assert outcome.status == 0, outcome.err
    return folder / "checkpoints" / "source_last.pth"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The state of every trainer just after it took what its origin gives."""
    states: list[dict[str, Any]] = []
    begin_from = arc.runs.run.begin_from

    def noted(origin: Any, config: Any, trainer: Any) -> None:
        before = trainer.model.state_dict()
        faults = mismatches(trainer.model, origin.content["model_state_dict"])
        before = {name: weight.clone() for name, weight in before.items()}
        begin_from(origin, config, trainer)
        state = copy.deepcopy(trainer.state_dict())
        states.append({**state, "before": before, "faults": faults})

    monkeypatch.setattr(arc.runs.run, "begin_from", noted)
    return states


def finetune(folder: Path, source: Path, *overrides: str) -> Outcome:
    return run_here(folder, f"finetune={source}", "device=cpu", *overrides)


def written(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "checkpoints").glob("*_last.pth")
    return {**torch.load(path), "name": path.name}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_weights_are_taken_and_all_else_is_fresh(
    source: Path, begun: list[dict[str, Any]], tmp_path: Path
) -> None:
    stored, before = torch.load(source), source.read_bytes()
    assert stored["optimizer_state_dict"]["state"]
    outcome = finetune(tmp_path, source, "training.learning_rate=1e-6", "training.max_steps=2")
    assert outcome.status == 0, outcome.err
    (state,) = begun
    assert_equal(state["model"], stored["model_state_dict"])
    assert state["optimizer"]["state"] == {}
    assert (state["step"], state["seconds"], state["val_acc"]) == (0, 0.0, None)
    assert (state["source"]["epoch"], state["sums"]["steps"]) == (1, 0)
    after = written(tmp_path)
    assert after["step"] == 2
    assert after["started_from"] == ["finetune source_last.pth step 4"]
    assert after["optimizer_state_dict"]["state"][0]["step"] == 2
    assert source.read_bytes() == before


def test_a_new_name_and_the_stored_config_under_what_was_typed(
    source: Path, tmp_path: Path
) -> None:
    assert finetune(tmp_path, source, "training.max_steps=2").status == 0
    stored, after = torch.load(source)["config"], written(tmp_path)
    assert after["name"].startswith(NAME)
    assert after["config"]["run_name"] == after["name"].removesuffix("_last.pth")
    assert stored["training"]["learning_rate"] == 4e-3  # conf/ says otherwise
    training = {**stored["training"], "max_steps": 2}
    assert after["config"] == {
        **stored,
        "training": training,
        "run_name": after["config"]["run_name"],
    }


def test_a_typed_name_must_be_free(source: Path, tmp_path: Path) -> None:
    typed = ["run_name=tuned", "training.max_steps=2"]
    assert finetune(tmp_path, source, *typed).status == 0
    assert written(tmp_path)["name"] == "tuned_last.pth"
    assert "run_name=tuned" in finetune(tmp_path, source, *typed).complaint


@pytest.mark.parametrize("bottleneck", ["autoencoder", "categorical"])
def test_another_bottleneck_is_refused_by_the_tensor_unless_not_strict(
    bottleneck: str, source: Path, begun: list[dict[str, Any]], tmp_path: Path
) -> None:
    typed = [f"bottleneck={bottleneck}", "training.max_steps=2"]
    outcome = finetune(tmp_path, source, *typed)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    line = outcome.err.splitlines()[-1]
    assert line.startswith(f"error: {source} (strict=false")
    assert "bottleneck." in line
    assert list((tmp_path / "checkpoints").iterdir()) == []

    outcome = finetune(tmp_path, source, *typed, "strict=false")
    assert outcome.status == 0, outcome.err
    (state,) = begun
    told = [line.split("not loaded: ")[1] for line in outcome.err.splitlines() if "not lo" in line]
    assert told == state["faults"] != []
    named = {line.split()[0] for line in told}
    stored = torch.load(source)["model_state_dict"]
    for name, weight in state["model"].items():
        assert weight.equal((state["before"] if name in named else stored)[name]), name
    assert named < state["model"].keys() | stored.keys()
    assert written(tmp_path)["bottleneck_type"] == bottleneck


def test_other_sizes_are_refused_by_shape(source: Path, tmp_path: Path) -> None:
    outcome = finetune(tmp_path, source, "model.latent_dim=8")
    assert outcome.status == 1
    assert "in the file" in outcome.err.splitlines()[-1]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_resume_and_finetune_exclude_each_other(source: Path, tmp_path: Path) -> None:
    said = finetune(tmp_path, source, f"resume={source}").complaint
    assert "resume" in said
    assert "finetune" in said


def test_absent_and_foreign_files_are_refused_in_a_line(source: Path, tmp_path: Path) -> None:
    absent, foreign, cut = (tmp_path / name for name in ("absent.pth", "foreign.pth", "cut.pth"))
    torch.save({"weight": torch.zeros(2)}, foreign)
    cut.write_bytes(source.read_bytes()[:-1000])
    for start in ("finetune", "resume"):
        for path in (absent, foreign, cut):
            said = run_here(tmp_path, f"{start}={path}", "device=cpu").complaint
            assert said.startswith(f"{path}: ")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("strict", ["true", "false"])
@pytest.mark.parametrize("broken", ["no weights", "a text as weight", "no history"])
def test_a_strange_content_is_refused_or_passed_over(
    broken: str, strict: str, source: Path, tmp_path: Path
) -> None:
    content, path = torch.load(source), tmp_path / "strange.pth"
    if broken == "no weights":
        del content["model_state_dict"]
    elif broken == "no history":
        del content["started_from"], content["step"]
    else:
        content["model_state_dict"]["encoder.color.weight"] = "x"
    torch.save(content, path)
    outcome = finetune(tmp_path, path, f"strict={strict}", "training.max_steps=1")
    if outcome.status == 0:
        assert broken == "no history" or "not loaded: encoder.color.weight" in outcome.err
    else:
        assert outcome.status == 1
        assert outcome.err.splitlines()[-1].startswith(f"error: {path}")
