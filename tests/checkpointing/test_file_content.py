"""What stands in a checkpoint file."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import arc
from arc.checkpointing import load, make_checkpoint, read_metadata
from arc.config.schema import parse_config

BUILT_IN = (bool, int, float, str, type(None), torch.Tensor)
STATE = {
    "epoch",
    "batch",
    "step",
    "val_loss",
    "val_acc",
    "model_state_dict",
    "encoder_state_dict",
    "optimizer_state_dict",
    "config",
    "format_version",
}
FLAT = {
    "task_type": "task.name",
    "bottleneck_type": "bottleneck.name",
    "num_distractors": "task.num_distractors",
    "use_input_output_pairs": "task.use_input_output_pairs",
    "num_classes": "task.num_classes",
    "hidden_dim": "model.hidden_dim",
    "latent_dim": "model.latent_dim",
    "num_conv_layers": "model.num_conv_layers",
    "embedding_dim": "model.embedding_dim",
    "architecture": "model.architecture",
    "mixer": "model.mixer",
    "head": "model.head",
    "shared_encoder": "model.shared_encoder",
    "shared_init": "model.shared_init",
    "score": "task.score",
    "vocab_size": "bottleneck.vocab_size",
    "max_message_length": "bottleneck.max_message_length",
    "temperature": "bottleneck.temperature",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "num_epochs": "training.epochs",
    "max_grids": "data.max_grids",
    "filter_grid_size": "data.filter_grid_size",
}


def walk(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf and every container that is not exactly a dict, list or tuple."""
    if type(value) is dict:
        for key, item in value.items():
            yield from walk(key, f"{place} key")
            yield from walk(item, f"{place}.{key}")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield from walk(item, f"{place}[{index}]")
    else:
        yield place, value


def tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for _, leaf in walk(value) if isinstance(leaf, torch.Tensor)]


def test_a_file_contains_only_built_in_types_and_tensors(saved: Any) -> None:
    leaves = list(walk(saved.content))
    assert len(leaves) > 50
    assert {place: type(leaf) for place, leaf in leaves if type(leaf) not in BUILT_IN} == {}


def test_a_file_has_every_documented_key(saved: Any) -> None:
    content = saved.content
    assert STATE | set(FLAT) | {"num_colors", "max_grid_size"} <= set(content)
    assert (content["num_colors"], content["max_grid_size"]) == (10, 30)
    for key, place in FLAT.items():
        value = content["config"]
        for part in place.split("."):
            value = value.get(part)
        assert content[key] == value, key


def test_the_stored_configuration_equals_the_original(saved: Any) -> None:
    stored = saved.content["config"]
    assert OmegaConf.to_container(OmegaConf.create(stored)) == stored
    assert json.loads(json.dumps(stored)) == stored
    machine = {"device": saved.config.device, "dir": saved.config.checkpoint.dir}
    assert "device" not in stored
    assert "dir" not in stored.get("checkpoint", {})
    checkpoint = {**stored.get("checkpoint", {}), "dir": machine["dir"]}
    whole = {**stored, "device": machine["device"], "checkpoint": checkpoint}
    assert parse_config(whole) == saved.config


def test_counters_and_validation_results_are_stored(saved: Any) -> None:
    content, trainer = saved.content, saved.trainer
    assert content["step"] == trainer.step == saved.validated.step + 1
    assert content["epoch"] == 2  # the first batch of the second epoch was trained
    assert content["batch"] == 1
    assert content["val_loss"] == saved.validated.evaluation.task_metrics.loss
    assert content["val_acc"] == saved.validated.evaluation.task_metrics.accuracy
    assert 0 <= content["val_acc"] <= 100
    assert math.isfinite(content["val_loss"])


def test_the_stored_state_equals_the_trainers(saved: Any) -> None:
    content, model = saved.content, saved.trainer.model
    assert content["model_state_dict"].keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(content["model_state_dict"][name], weight), name
    encoder = model.encoder.state_dict()
    assert content["encoder_state_dict"].keys() == encoder.keys()
    for name, weight in encoder.items():
        assert torch.equal(content["encoder_state_dict"][name], weight), name


def test_no_weight_is_stored_twice(saved: Any) -> None:
    content = saved.content
    weights = content["model_state_dict"].values()
    assert len({weight.data_ptr() for weight in weights}) == len(weights)
    for name, weight in content["encoder_state_dict"].items():  # shared, not copied
        assert weight.data_ptr() == content["model_state_dict"][f"encoder.{name}"].data_ptr()
    needed = sum(weight.nbytes for weight in weights) + sum(
        state.nbytes for state in tensors(content["optimizer_state_dict"])
    )
    with zipfile.ZipFile(saved.path) as archive:
        stored = sum(entry.file_size for entry in archive.infolist() if "/data/" in entry.filename)
    rest = sum(tensor.nbytes for tensor in tensors(content["trainer_state"]))
    assert stored <= needed + rest + 1024


def test_one_optimizer_group_in_the_order_of_the_parameters(saved: Any) -> None:
    state = saved.content["optimizer_state_dict"]
    shapes = [parameter.shape for parameter in saved.trainer.model.parameters()]
    (group,) = state["param_groups"]
    assert group["params"] == list(range(len(shapes)))
    for index, shape in enumerate(shapes):
        assert state["state"][index]["exp_avg"].shape == shape
        assert state["state"][index]["exp_avg_sq"].shape == shape


def test_provenance_is_stored(one: Any) -> None:
    content = one.content
    assert content["arc_version"] == arc.__version__
    assert content["torch_version"] == str(torch.__version__)
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(content["created"])).days) < 1
    assert content["data_fingerprint"] == one.trainer.task.corpus.fingerprint


def test_the_label_map_names_the_puzzle_of_each_class(save_run: Callable[..., Any]) -> None:
    saved = save_run("task=puzzle_classification")
    content, corpus = saved.content, saved.trainer.task.corpus
    names = content["label_map"]
    assert content["num_classes"] == 2 * len(names)
    for split in (corpus.training, corpus.validation, corpus.test):
        for label, place in zip(split.label.tolist(), split.example_ids, strict=True):
            puzzle, *_, side = place.split()
            assert names[label // 2] == puzzle
            assert label % 2 == (side == "output")


def test_other_tasks_have_no_label_map(one: Any) -> None:
    assert one.content["label_map"] == []


@pytest.mark.parametrize("overrides", [["optimizer=sgd"], ["encoder.freeze=true"]])
def test_a_file_of_a_shared_encoder_can_be_read(
    save_run: Callable[..., Any], overrides: list[str]
) -> None:
    """No weight stands twice in it, whatever the size of the optimizer's state."""
    shared = ["task=selection", "task.num_distractors=3", "model.shared_encoder=true"]
    saved = save_run(*shared, *overrides)
    model = load(saved.path).model
    assert model.receiver.encoder is model.encoder
    own = sum(parameter.numel() for parameter in model.parameters())
    assert read_metadata(saved.path)["num_parameters"] == own


def test_a_file_before_the_first_validation_has_no_results(make_run: Callable[..., Any]) -> None:
    run = make_run("task=reconstruction")
    content = make_checkpoint(run.config, run.trainer())
    assert (content["epoch"], content["batch"], content["step"]) == (1, 0, 0)
    assert content["val_loss"] is None
    assert content["val_acc"] is None


@pytest.mark.parametrize("key", ["num_distractors", "vocab_size", "temperature", "num_classes"])
def test_flat_keys_that_do_not_apply_are_none(key: str, save_run: Callable[..., Any]) -> None:
    content = save_run("task=reconstruction", "bottleneck=autoencoder").content
    assert content[key] is None
