"""Each task and bottleneck overfits a few examples; transforms apply to all grids of a step."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeRun

from arc.data import Grids, Transform

STEPS = 80


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=reconstruction", "task.use_input_output_pairs=true"],
        ["task=puzzle_classification"],
        ["task=transformation", "bottleneck=autoencoder", "model.latent_dim=64"],
        [
            *("task=selection", "task.num_distractors=3", "bottleneck=categorical"),
            "task.near_copies=false",
        ],
        *(
            pytest.param(overrides, marks=pytest.mark.slow)
            for overrides in (
                ["task=selection", "task.num_distractors=3", "task.use_input_output_pairs=true"],
                ["task=selection", "task.num_distractors=3", "bottleneck=autoencoder"],
                ["task=reconstruction", "bottleneck=autoencoder"],
                [
                    *("task=selection", "task.num_distractors=3", "task.score=cosine"),
                    *("task.negatives=game", "task.near_copies=false", "model.architecture=cells"),
                ],
            )
        ),
    ],
    ids=lambda overrides: "-".join(each.split("=")[1] for each in overrides),
)
def test_a_model_overfits_a_few_examples(make_run: MakeRun, overrides: list[str]) -> None:
    run = make_run(*overrides, "data.validation_fraction=0", "data.max_grids=24")
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=5e-3)
    losses, accuracies = [], []
    for _ in range(STEPS):
        output = run.task.step(run.model, torch.arange(8), generator)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
        accuracies.append(float(output.accuracy))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    assert np.mean(accuracies[-10:]) > max(60, accuracies[0])


def record(encoder: Any) -> list[Grids]:
    """Return a list that collects the inputs of ``encoder``."""
    inputs: list[Grids] = []
    encoder.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    return inputs


def same(grids: Grids, others: Grids) -> bool:
    return all(map(np.array_equal, grids.arrays(), others.arrays()))


def test_a_transform_applies_to_the_sender_and_every_candidate(make_run: MakeRun) -> None:
    pairs = ["task.use_input_output_pairs=true", "task.near_copies=false"]
    run = make_run("task=selection", "task.num_distractors=3", *pairs)
    sent, candidates = record(run.model.encoder), record(run.model.receiver.encoder)
    transform = Transform.sample(torch.Generator().manual_seed(4))
    for each in (None, transform):
        run.task.step(run.model, torch.arange(12), torch.Generator().manual_seed(0), each)
    assert not same(sent[0], sent[1])
    assert same(transform(sent[0]), sent[1])
    assert same(transform(candidates[0]), candidates[1])


@pytest.mark.parametrize("pairs", ["true", "false"])
def test_a_transform_applies_to_the_target(make_run: MakeRun, pairs: str) -> None:
    """A step on transformed grids is the step on a corpus that was transformed beforehand."""
    overrides = ("task=reconstruction", f"task.use_input_output_pairs={pairs}")
    transform = Transform.sample(torch.Generator().manual_seed(4))
    run, other = make_run(*overrides), make_run(*overrides)
    split = other.corpus.training
    training = replace(split, grids=transform(split.grids))
    other.task.corpus = replace(other.corpus, training=training)
    generator = torch.Generator()
    plain = run.task.step(run.model, torch.arange(12), generator)
    online = run.task.step(run.model, torch.arange(12), generator, transform)
    before = other.task.step(other.model, torch.arange(12), generator)
    torch.testing.assert_close(online.loss, before.loss)
    assert not plain.loss.allclose(online.loss)


@torch.no_grad()
@pytest.mark.parametrize(("grid_weight", "power"), [("linear", 1.0), ("sqrt", 0.5)])
def test_each_pair_has_its_own_transform_and_weight(
    make_run: MakeRun, grid_weight: str, power: float
) -> None:
    """The loss of a batch with a transform for each pair is that of the pairs one by one."""
    pairs = ("task=reconstruction", "task.use_input_output_pairs=true")
    run = make_run(*pairs, f"task.grid_weight={grid_weight}")
    split, generator = run.corpus.training, torch.Generator().manual_seed(0)
    many = Transform.sample(generator, 12)
    together = run.task.step(run.model, torch.arange(12), generator, many).loss
    weight = split.grids.sizes[split.target[:12]].prod(1).double() ** power
    alone = []
    for index in torch.arange(12).split(1):
        one = Transform(*(part[index] for part in vars(many).values()))
        alone.append(run.task.step(run.model, index, generator, one).loss)
    wanted = (torch.stack(alone) * weight).sum() / weight.sum()
    torch.testing.assert_close(together, wanted.float())
