"""Rebuilding a model from its file."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_data import sendable

import arc
from arc.checkpointing import CheckpointError, load

GRIDS = [[[0, 3], [3, 0]], [[1]], [[2] * 30] * 7]


def shapes(answer: Any) -> Any:
    return [list(part.shape) for part in answer]


def test_the_loaded_model_is_the_trained_one(saved: Any) -> None:
    loaded = load(saved.path)
    trained = saved.trainer.model.eval()
    assert loaded.config.task == saved.config.task
    assert loaded.config.bottleneck == saved.config.bottleneck
    assert loaded.config.model == saved.config.model
    assert not any(module.training for module in loaded.model.modules())
    sent = sendable(loaded.config.task.name, GRIDS)
    message = loaded.model.send(sent)
    assert torch.equal(message, trained.send(sent))
    context: dict[str, Any] = {
        "selection": {"candidates": [GRIDS] * 3},
        "reconstruction": {"sizes": [[2, 3]] * 3},
        "transformation": {"inputs": GRIDS},
    }
    chosen = context.get(loaded.config.task.name, {})
    for mine, theirs in zip(
        loaded.model.receive(message, **chosen), trained.receive(message, **chosen), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_metadata_excludes_the_states(one: Any) -> None:
    metadata = load(one.path).metadata
    assert metadata["step"] == one.trainer.step
    assert metadata["val_acc"] == one.validated.evaluation.task_metrics.accuracy
    assert metadata["task_type"] == "selection"
    assert not any(key.endswith("state_dict") for key in metadata)


@pytest.mark.parametrize("discrete", ["communication", "categorical"])
def test_discrete_messages_are_symbols(discrete: str, save_run: Callable[..., Any]) -> None:
    saved = save_run("task=reconstruction", f"bottleneck={discrete}", "bottleneck.vocab_size=7")
    message = load(saved.path).model.send(GRIDS)
    assert message.dtype == torch.int64
    assert message.shape == (3, saved.config.bottleneck.max_message_length)
    assert message.min() >= 0
    assert message.max() < 7


def test_continuous_messages_are_vectors(save_run: Callable[..., Any]) -> None:
    saved = save_run("task=reconstruction", "bottleneck=autoencoder")
    message = load(saved.path).model.send(GRIDS)
    assert message.dtype == torch.float32
    assert message.shape == (3, saved.config.model.latent_dim)


def test_the_output_of_each_receiver(bottleneck: str, save_run: Callable[..., Any]) -> None:
    channel = f"bottleneck={bottleneck}"
    game = ["task=selection", "task.num_distractors=3", channel]
    model = load(save_run(*game).path).model
    logits = model.receive(model.send(GRIDS), candidates=[GRIDS[:2]] * 3)
    assert logits.shape == (3, 2)
    model = load(save_run("task=reconstruction", channel).path).model
    built = model.receive(model.send(GRIDS), sizes=[[2, 2], [1, 30], [30, 1]])
    assert shapes(built) == [[10, 2, 2], [10, 1, 30], [10, 30, 1]]
    saved = save_run("task=puzzle_classification", channel)
    model = load(saved.path).model
    assert model.receive(model.send(GRIDS)).shape == (3, saved.config.task.num_classes)


def test_an_edited_and_resaved_file_loads(changed: Callable[..., Path]) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["note"] = "mine"
        content["model_state_dict"]["encoder.norm.weight"].zero_()

    loaded = load(changed(rename))
    assert loaded.metadata["note"] == "mine"
    assert (loaded.model.state_dict()["encoder.norm.weight"] == 0).all()


# -- refusals ----------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.pth") == "no such file"
    assert refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not a checkpoint\n", b"PK\x03\x04", bytes(1000), b"\x80\x02}q\x00."],
    ids=["empty", "a byte", "text", "a zip's head", "zeros", "a pickle"],
)
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    assert refusal(path)


def test_a_flipped_bit_in_a_weight_is_reported(one: Any, tmp_path: Path) -> None:
    whole = bytearray(one.path.read_bytes())
    with zipfile.ZipFile(one.path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        assert "/data/" in largest.filename
        whole[whole.index(archive.read(largest)) + largest.file_size // 2] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(whole)
    torch.load(path)  # torch does not look
    assert largest.filename.split("/", 1)[1] in refusal(path)


def test_torch_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in (torch.zeros(3), {"weight": torch.zeros(3)}, [1, 2], {}):
        torch.save(content, path)
        assert refusal(path)


def remove(*place: str) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        del content[place[-1]]

    return change


def replace(value: Any, *place: str) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return change


BROKEN = {
    "no config": (remove("config"), "config"),
    "a list as config": (replace([1], "config"), "config"),
    "no task": (remove("config", "task"), "task"),
    "unknown key": (replace(1, "config", "bottleneck", "vocab"), "bottleneck.vocab"),
    "out of range": (replace(1, "config", "bottleneck", "vocab_size"), "bottleneck.vocab_size=1"),
    "wrong type": (replace("64", "config", "model", "hidden_dim"), "model.hidden_dim=64"),
    "interpolation": (replace("${oc.env:HOME}", "config", "data", "path"), "data.path"),
    "code by name": (replace("os.system", "config", "task", "_target_"), "task._target_"),
    "later version": (replace(10**6, "format_version"), "format_version 1000000"),
    "no version": (remove("format_version"), "format_version None"),
    "a version that is no number": (replace("1", "format_version"), "format_version 1 (from"),
    "a truth for a version": (replace(True, "format_version"), "format_version True"),
    "version 0": (replace(0, "format_version"), "format_version 0"),
    "a section missing": (remove("config", "encoder"), "its config lacks encoder; the"),
    "no checkpoint section": (remove("config", "checkpoint"), "its config lacks checkpoint; the"),
    "keys missing": (
        lambda content: [content["config"]["model"].pop(key) for key in ("dropout", "latent_dim")],
        "its config lacks model.latent_dim, model.dropout; the",
    ),
    "no weights": (remove("model_state_dict"), "model_state_dict"),
    "a list as weights": (replace([1], "model_state_dict"), "model_state_dict"),
    "a weight missing": (
        remove("model_state_dict", "encoder.norm.weight"),
        "encoder.norm.weight",
    ),
    "a weight too many": (replace(torch.ones(1), "model_state_dict", "extra"), "extra"),
    "another size": (replace(17, "config", "model", "hidden_dim"), "weights do not fit"),
    "absurd size": (replace(4096, "config", "model", "hidden_dim"), "weights do not fit"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_invalid_content_is_refused(case: str, changed: Callable[..., Path]) -> None:
    change, named = BROKEN[case]
    assert named in refusal(changed(change))


def test_the_error_for_an_incomplete_config_names_its_version(changed: Callable[..., Path]) -> None:
    def age(content: dict[str, Any]) -> None:
        del content["config"]["task"]["num_distractors"], content["config"]["mode"]
        content["arc_version"] = "0.0.7"

    said = refusal(changed(age))
    assert "lacks mode, task.num_distractors; the file was" in said
    assert said.endswith(f"written by arc_version 0.0.7, this is {arc.__version__}")
