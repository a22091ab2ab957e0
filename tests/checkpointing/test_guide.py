"""The route by keywords: a script that knows the flat keys and two classes, and no more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_data import sendable

from arc.checkpointing import load
from arc.models import ARCAutoencoder, ARCEncoder
from arc.tasks import TASKS

V1 = Path(__file__).parent / "data" / "v1_selection.pth"
GRIDS = [[[0, 3], [3, 0]], [[1]], [[2] * 30] * 7]


def rebuilt(
    stored: dict[str, Any], encoder: dict[str, Any] | None = None, **options: Any
) -> ARCAutoencoder:
    """Build what the flat keys describe and load the weights strictly."""
    if stored["task_type"] == "transformation":
        encoder, options = {"pairs": True}, {"size": stored["config"]["task"]["size"]}
    shared = {key: stored[key] for key in ("num_colors", "embedding_dim", "hidden_dim")}
    layers = stored["num_conv_layers"]
    sender = ARCEncoder(
        latent_dim=stored["latent_dim"], num_conv_layers=layers, **shared, **(encoder or {})
    )
    whole = ARCAutoencoder(
        encoder=sender,
        vocab_size=stored["vocab_size"],
        max_length=stored["max_message_length"],
        max_grid_size=stored["max_grid_size"],
        bottleneck_type=stored["bottleneck_type"],
        task_type=stored["task_type"],
        num_conv_layers=layers,
        num_classes=stored["num_classes"],
        **shared,
        **options,
    )
    whole.load_state_dict(stored["model_state_dict"])
    return whole.eval()


def test_the_flat_keys_rebuild_the_model(saved: Any) -> None:
    model, sent = rebuilt(saved.content), sendable(saved.content["task_type"], GRIDS)
    assert torch.equal(model.send(sent), load(saved.path).model.send(sent))


def test_an_older_model_is_rebuilt_by_its_architecture_and_score() -> None:
    model = rebuilt(torch.load(V1), {"architecture": "cells"}, score="cosine")
    message = model.send(GRIDS)
    assert torch.equal(message, load(V1).model.send(GRIDS))
    logits = load(V1).model.receive(message, candidates=[GRIDS] * 3)
    assert torch.equal(model.receive(message, candidates=[GRIDS] * 3), logits)


@pytest.mark.parametrize("options", [["model.architecture=cells"], ["model.mixer=conv"]])
def test_flat_keys_name_the_architecture(options: list[str], save_run: Callable[..., Any]) -> None:
    saved = save_run("task=reconstruction", *options)
    stored = saved.content
    model = rebuilt(stored, {key: stored[key] for key in ("architecture", "mixer")})
    assert torch.equal(model.send(GRIDS), load(saved.path).model.send(GRIDS))


def test_only_puzzle_classification_needs_num_classes(saved: Any) -> None:
    stored = saved.content
    needed = stored["task_type"] == "puzzle_classification"
    assert (stored["num_classes"] is not None) == needed
    if needed:
        with pytest.raises(ValueError, match="num_classes"):
            rebuilt({**stored, "num_classes": None})


def test_the_encoder_weights_load_into_an_encoder(saved: Any) -> None:
    stored = saved.content
    keys = ("num_colors", "embedding_dim", "hidden_dim", "latent_dim", "num_conv_layers")
    pairs = TASKS[stored["task_type"]].sends_pairs
    encoder = ARCEncoder(**{key: stored[key] for key in keys}, pairs=pairs)
    encoder.load_state_dict(stored["encoder_state_dict"])
    for name, weight in saved.trainer.model.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], weight), name


def test_the_optimizer_state_loads_into_torch_adam(saved: Any) -> None:
    stored = saved.content
    model = rebuilt(stored)
    optimizer = torch.optim.Adam(model.parameters(), lr=stored["learning_rate"])
    optimizer.load_state_dict(stored["optimizer_state_dict"])
    trained = list(saved.trainer.optimizer.state.values())
    for mine, theirs in zip(optimizer.state.values(), trained, strict=True):
        assert mine["step"] == theirs["step"] == saved.trainer.step
        assert torch.equal(mine["exp_avg"], theirs["exp_avg"])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    changed = [
        name
        for name, _ in model.named_parameters()
        if not torch.equal(before[name], model.state_dict()[name])
    ]
    assert changed == [name for name, _ in model.named_parameters()]


def test_settings_outside_the_guide_do_not_change_weights(
    save_run: Callable[..., Any],
) -> None:
    saved = save_run(
        "task=reconstruction",
        "model.dropout=0.5",
        "bottleneck.stop_token=true",
        "bottleneck.noise=gumbel",
        "bottleneck.entropy_bonus=0.1",
    )
    model = rebuilt(saved.content)
    for name, weight in saved.trainer.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
