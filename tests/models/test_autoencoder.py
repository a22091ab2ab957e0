"""The whole model: every task with one bottleneck, every bottleneck with one task."""

from typing import Any

import pytest
import torch
from helpers_data import MakeRun, Run, sendable
from torch import Tensor

from arc.data import GridPairs, Grids
from arc.models import ARCAutoencoder, ARCEncoder

CELLS = ["model.architecture=cells"]
COMBINATIONS = {
    "selection-cells": [
        *("task=selection", "task.num_distractors=3", "task.score=cosine", *CELLS),
        *("task.negatives=game", "task.near_copies=false"),
    ],
    "reconstruction-cells": ["task=reconstruction", *CELLS, "model.head=direct"],
    "conv": ["task=reconstruction", "model.mixer=conv"],
    "selection": ["task=selection", "task.num_distractors=3"],
    "reconstruction-direct": [
        *("task=reconstruction", "task.palette=rank", "model.head=direct"),
        "bottleneck.max_message_length=29",
    ],
    "transformation-direct": ["task=transformation", "model.head=direct"],
    "reconstruction-pairs": ["task=reconstruction", "task.use_input_output_pairs=true"],
    "puzzle_classification": ["task=puzzle_classification"],
    "transformation": ["task=transformation", "task.size=given"],
    "transformation-size": ["task=transformation", "task.size=predicted"],
    "categorical": ["task=reconstruction", "bottleneck=categorical"],
    "autoencoder": ["task=reconstruction", "bottleneck=autoencoder"],
}


@pytest.fixture(params=list(COMBINATIONS.values()), ids=list(COMBINATIONS))
def run(make_run: MakeRun, request: pytest.FixtureRequest) -> Run:
    return make_run(*request.param)


def sent(run: Run, count: int = 8) -> list[Any]:
    return sendable(run.config.task.name, run.corpus.training.grids.arrays()[:count])


def batch(run: Run, count: int = 8) -> Grids:
    return (GridPairs if run.task.sends_pairs else Grids).from_arrays(sent(run, count))


def context_of(run: Run, count: int = 8) -> dict[str, Any]:
    """Return the receiver's input besides the message."""
    arrays = run.corpus.training.grids.arrays()
    contexts: dict[str, dict[str, Any]] = {
        "selection": {"candidates": [arrays[n : n + 3] for n in range(count)]},
        "reconstruction": {"sizes": [[1 + n % 4, 2 + n % 5] for n in range(count)]},
        "puzzle_classification": {},
        "transformation": {
            "inputs": arrays[:count],
            "sizes": [[1 + n % 4, 2 + n % 5] for n in range(count)],
        },
    }
    return contexts[run.config.task.name]


def listed(answer: Any) -> list[Tensor]:
    return list(answer) if isinstance(answer, list) else [answer]


@torch.no_grad()
def test_training_and_evaluation_are_equal_bit_for_bit(run: Run) -> None:
    grids = batch(run)
    trained, evaluated = run.model.train()(grids), run.model.eval()(grids)
    assert trained.content.equal(evaluated.content)
    assert trained.signal.equal(evaluated.signal)
    assert run.model.bottleneck.read(evaluated.content).equal(evaluated.signal)
    context = context_of(run)
    in_training = run.model.train().receive(trained.content, **context)
    in_evaluation = run.model.eval().receive(trained.content, **context)
    for one, other in zip(listed(in_training), listed(in_evaluation), strict=True):
        assert one.equal(other)


@torch.no_grad()
def test_a_training_pass_equals_sending_and_receiving(run: Run) -> None:
    model, grids = run.model.train(), batch(run)
    context = context_of(run)
    through = listed(model.receiver.receive(model(grids).signal, **context))
    apart = listed(model.receive(model.send(sent(run)), **context))
    for one, other in zip(through, apart, strict=True):
        assert one.equal(other)


def assert_gradients_reach_everything(run: Run) -> None:
    split, task = run.corpus.training, run.task
    examples, _, _ = task.training_order()
    generator = torch.Generator().manual_seed(0)
    reached = {name: False for name, _ in run.model.named_parameters()}
    run.model.train()
    for batch in examples[torch.randperm(len(split), generator=generator)].split(16):
        run.model.zero_grad()
        task.step(run.model, batch, generator).loss.backward()
        for name, parameter in run.model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            reached[name] |= bool((parameter.grad != 0).any())
    assert [name for name, done in reached.items() if not done] == []


def test_gradients_reach_every_parameter(run: Run) -> None:
    assert_gradients_reach_everything(run)


@pytest.mark.parametrize("noise", ["none", "gumbel"])
def test_gradients_reach_every_parameter_with_noise(
    make_run: MakeRun, discrete: str, noise: str
) -> None:
    options = ["bottleneck.stop_token=true", "bottleneck.length_cost=0.01"]
    run = make_run(
        "task=reconstruction", f"bottleneck={discrete}", f"bottleneck.noise={noise}", *options
    )
    assert_gradients_reach_everything(run)


def test_no_weight_is_stored_twice(run: Run) -> None:
    state = run.model.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert list(state) == [name for name, _ in run.model.named_parameters()]


def test_a_documented_construction_loads_the_weights(run: Run) -> None:
    model, bottleneck = run.config.model, run.config.bottleneck
    other: dict[str, Any] = {}  # needed for models other than the default
    if (model.architecture, model.mixer) != ("patch", "attention"):
        other = {"architecture": model.architecture, "mixer": model.mixer}
    if model.head != "joint":
        other["head"] = model.head
    if run.task.sends_pairs:
        other["pairs"] = True
    keys = [key for key in ("score", "size", "palette") if hasattr(run.config.task, key)]
    options: dict[str, Any] = {key: getattr(run.config.task, key) for key in keys}
    encoder = ARCEncoder(
        num_colors=10,
        embedding_dim=model.embedding_dim,
        hidden_dim=model.hidden_dim,
        latent_dim=model.latent_dim,
        num_conv_layers=model.num_conv_layers,
        **other,
    )
    rebuilt = ARCAutoencoder(
        encoder=encoder,
        vocab_size=getattr(bottleneck, "vocab_size", None),
        max_length=getattr(bottleneck, "max_message_length", None),
        num_colors=10,
        embedding_dim=model.embedding_dim,
        hidden_dim=model.hidden_dim,
        max_grid_size=30,
        bottleneck_type=bottleneck.name,
        task_type=run.config.task.name,
        num_conv_layers=model.num_conv_layers,
        num_classes=getattr(run.config.task, "num_classes", None),
        **options,
    )
    assert rebuilt.load_state_dict(run.model.state_dict()).missing_keys == []
    assert rebuilt.eval().send(sent(run)).equal(run.model.eval().send(sent(run)))
    encoder_weights = {
        key.removeprefix("encoder."): value
        for key, value in run.model.state_dict().items()
        if key.startswith("encoder.")
    }
    encoder.load_state_dict(encoder_weights)  # the sender's encoder is `encoder`, and whole


def test_equal_seeds_give_equal_weights(make_run: MakeRun) -> None:
    states = [
        make_run(f"seed={seed}", "task.num_distractors=3").model.state_dict() for seed in (3, 3, 4)
    ]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert not all(states[0][key].equal(states[2][key]) for key in states[0])


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"bottleneck_type": "pigeon"}, "bottleneck 'pigeon'.*autoencoder, .*communication"),
        ({"task_type": "selektion"}, "Did you mean 'selection'"),
        ({"task_type": "puzzle_classification"}, "num_classes"),
        ({"max_grid_size": 20}, "max_grid_size must be 30, got 20"),
    ],
)
def test_invalid_arguments_are_named(overrides: dict[str, Any], named: str) -> None:
    encoder = ARCEncoder(hidden_dim=4, latent_dim=4)
    with pytest.raises(ValueError, match=named):
        ARCAutoencoder(**{"encoder": encoder, "vocab_size": 4, "max_length": 2, **overrides})


@pytest.mark.parametrize("key", [None, "shared_init", "shared_encoder"])
def test_the_agents_share_what_the_configuration_says(make_run: MakeRun, key: str | None) -> None:
    options = ["task=selection", "task.num_distractors=3"]
    run = make_run(*options, *([] if key is None else [f"model.{key}=true"]))
    sender: Any = run.model.encoder
    receiver: Any = run.model.receiver.encoder

    def equal() -> bool:
        pairs = zip(sender.parameters(), receiver.parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    assert equal() == (key is not None)
    run.trainer()._train_step()
    assert equal() == (key == "shared_encoder")
    weights, separate = (
        sum(each.numel() for each in model.parameters())
        for model in (run.model, make_run(*options).model)
    )
    own = sum(each.numel() for each in receiver.parameters())
    assert separate - weights == (own if key == "shared_encoder" else 0)


def test_weights_of_a_shared_encoder_are_loaded_once(make_run: MakeRun) -> None:
    options = ["task=selection", "task.num_distractors=3", "model.shared_encoder=true"]
    one, other = make_run(*options), make_run(*options, "seed=1")
    weights = one.model.state_dict()
    assert len({tensor.data_ptr() for tensor in weights.values()}) == len(weights)
    other.model.load_state_dict(weights)
    assert other.model.receiver.encoder is other.model.encoder
    grids = batch(one)
    assert one.model.eval()(grids).signal.equal(other.model.eval()(grids).signal)


@pytest.mark.parametrize("key", ["shared_init", "shared_encoder"])
def test_only_selection_has_two_encoders(make_run: MakeRun, key: str) -> None:
    with pytest.raises(ValueError, match=f"^model.{key}=true requires task=selection"):
        make_run("task=reconstruction", f"model.{key}=true")
