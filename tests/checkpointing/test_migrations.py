"""Files of older format versions keep their meaning."""

import copy
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import run_here

from arc.api import evaluate
from arc.checkpointing import CheckpointError, load, metadata, read_checkpoint, read_metadata

# Written by version 0.1.0 after 6 of 8 steps of task=selection on small random puzzles.
V1 = Path(__file__).parent / "data" / "v1_selection.pth"
GRIDS = [[[0, 3], [3, 0]], [[1]], [[2] * 30] * 7]


@pytest.mark.parametrize("read", [read_checkpoint, read_metadata])
def test_a_version_1_file_reads_as_the_current_version(read: Any) -> None:
    content = read(V1)
    assert content["format_version"] == 6
    assert content["step"] == 6
    config = content["config"]
    assert config["optimizer"] == {"name": "adamw", "weight_decay": 0.01, "betas": [0.9, 0.999]}
    assert config["schedule"] == {"name": "cosine", "final_share": 0.01}
    assert config["logger"] == {"jsonl": {"filename": "metrics.jsonl"}}
    assert config["metric"] == {"entropy": {}, "usage": {}}
    assert (config["model"]["architecture"], config["model"]["mixer"]) == ("cells", "attention")
    added = {"also": [], "synthetic": 0.0, "crop": 0.0}
    assert {key: config["data"][key] for key in added} == added
    game = {"num_distractors": 3, "distractors": "random", "use_input_output_pairs": False}
    trained = {
        **{"negatives": "game", "near_copies": False, "score": "cosine"},
        "label_smoothing": 0.0,
    }
    assert config["task"] == {"name": "selection", **game, **trained}
    assert config["training"] == {
        **{"epochs": None, "max_steps": 8, "max_minutes": None, "stop_at_step": None},
        **{"batch_size": 16, "learning_rate": 0.002, "gradient_clip": 1.0, "precision": "fp32"},
        **{"warmup_steps": 2, "schedule_by": "time", "best_metric": None},
    }


def test_a_version_1_model_sends_the_same_messages() -> None:
    model = load(V1).model
    message = [[1, 0, 2, 0, 0], [0, 1, 2, 1, 1], [0, 1, 2, 0, 1]]
    assert model.send(GRIDS).tolist() == message
    logits = [[-6.9556, 1.7136, -8.4131], [-8.6484, 3.2196, -8.0634], [-7.9067, 2.3955, -8.8505]]
    torch.testing.assert_close(
        model.receive(message, candidates=[GRIDS] * 3), torch.tensor(logits), atol=1e-3, rtol=0
    )


def test_a_version_1_run_is_resumed_and_evaluated(tmp_path: Path, arc_folder: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    old = Path(shutil.copy(V1, tmp_path / "checkpoints" / "v1_selection_last.pth"))
    results = evaluate(old, f"data.path={arc_folder}", device="cpu")
    assert results["test"]["random_3"]["targets"] > 0
    assert "messages_matched_exactly" in results["controls"]
    outcome = run_here(
        tmp_path, f"resume={old}", "device=cpu", "server.enabled=false", f"data.path={arc_folder}"
    )
    assert outcome.status == 0, outcome.err
    content = torch.load(old)
    assert (content["step"], content["format_version"]) == (8, 6)
    assert (content["architecture"], content["score"]) == ("cells", "cosine")
    assert content["config"]["task"]["negatives"] == "game"


@pytest.mark.parametrize("task", ["selection", "reconstruction"])
def test_version_2_becomes_the_current_version(task: str) -> None:
    sizes = {"embedding_dim": 2, "hidden_dim": 4}
    config = {
        **{"model": dict(sizes), "task": {"name": task}, "data": {"name": "arc1"}},
        "bottleneck": {"name": "autoencoder"},
    }
    stored = {"format_version": 2, "config": config, "encoder_architecture": dict(sizes)}
    migrated = metadata.migrated("x.pth", stored)
    cells = {**sizes, "architecture": "cells", "mixer": "attention", "head": "joint"}
    assert migrated["encoder_architecture"] == cells
    assert migrated["config"]["bottleneck"] == {"name": "autoencoder", "noise": 0.0}
    assert migrated["config"]["model"] == {
        **cells,
        **{"shared_encoder": False, "shared_init": False},
    }
    trained = {
        **{"negatives": "game", "near_copies": False, "score": "cosine"},
        "label_smoothing": 0.0,
    }
    assert migrated["config"]["task"] == {
        "name": task,
        **(trained if task == "selection" else {"palette": "none", "grid_weight": "linear"}),
    }
    added = {"also": [], "synthetic": 0.0, "crop": 0.0, "augment_colors": True}
    assert migrated["config"]["data"] == {"name": "arc1", **added}
    assert stored["encoder_architecture"] == sizes


def test_version_5_has_a_shared_encoder_twice(save_run: Any, tmp_path: Path) -> None:
    saved = save_run("task=selection", "task.num_distractors=3", "model.shared_encoder=true")
    content, path = saved.content, tmp_path / "x.pth"
    weights = content["model_state_dict"]
    again = {f"receiver.{key}": value for key, value in weights.items() if key[:7] == "encoder"}
    assert again
    torch.save({**content, "format_version": 5, "model_state_dict": {**weights, **again}}, path)
    assert read_checkpoint(path)["model_state_dict"].keys() == weights.keys()
    assert torch.equal(load(path).model.send(GRIDS), load(saved.path).model.send(GRIDS))


def test_a_migration_changes_nothing_in_place_and_no_other_key() -> None:
    stored = torch.load(V1)
    before = copy.deepcopy(stored["config"])
    migrated = metadata.migrated(V1, stored)
    assert stored["config"] == before
    assert {key: migrated[key] for key in stored.keys() - {"config", "format_version"}} == {
        key: stored[key] for key in stored.keys() - {"config", "format_version"}
    }


def test_a_constant_schedule_has_no_final_share() -> None:
    training = {"schedule": "constant", "warmup_steps": 5, "weight_decay": 0.0}
    stored = {"format_version": 1, "config": {"training": training}}
    config = metadata.migrated("x.pth", stored)["config"]
    assert config["schedule"] == {"name": "constant"}
    assert config["optimizer"]["weight_decay"] == 0


@pytest.mark.parametrize("training", [None, [1], "x", {}, {"schedule": ["cosine"]}])
def test_an_invalid_section_is_reported_by_the_config_check(training: Any, tmp_path: Path) -> None:
    stored = torch.load(V1)
    path = tmp_path / "x.pth"
    torch.save({**stored, "config": {**stored["config"], "training": training}}, path)
    assert read_metadata(path)["format_version"] == 6
    with pytest.raises(CheckpointError, match="its config"):
        load(path)


def test_migrations_are_applied_one_after_the_other(
    one: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As if the next version had added a key, and the one after it had renamed this key."""
    now = metadata.FORMAT_VERSION

    def add(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "format_version": now + 1, "error_rate": 100 - content["val_acc"]}

    def rename(content: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in content.items() if key != "error_rate"}
        return {**rest, "format_version": now + 2, "val_error": content["error_rate"]}

    monkeypatch.setattr(metadata, "MIGRATIONS", {now: add, now + 1: rename})
    monkeypatch.setattr(metadata, "FORMAT_VERSION", now + 2)
    again = tmp_path / "again.pth"  # without a metadata record
    torch.save(one.content, again)
    for path in (one.path, again):
        for content in (read_checkpoint(path), read_metadata(path), load(path).metadata):
            assert math.isclose(content["val_error"], 100 - one.content["val_acc"])
            assert content["format_version"] == now + 2
    torch.save({**one.content, "format_version": now + 3}, again)
    known = f"{now}, {now + 1}, {now + 2}"
    with pytest.raises(CheckpointError, match=rf"format_version {now + 3} \(from .*: {known}$"):
        load(again)


def test_every_older_version_has_a_migration() -> None:
    assert set(metadata.MIGRATIONS) == set(range(1, metadata.FORMAT_VERSION))
