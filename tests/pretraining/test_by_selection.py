"""Pretraining by selection: the encoder's embedding identifies another view of a grid."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeConfig, histogram

from arc.config.builders import build_pretraining, build_pretraining_model

Make = Callable[..., tuple[Any, Any]]


@pytest.fixture
def make(make_config: MakeConfig) -> Make:
    def make(*overrides: str) -> tuple[Any, Any]:
        config = make_config("pretrain=selection", "pretrain.num_distractors=3", *overrides)
        task = build_pretraining(config)
        torch.manual_seed(0)
        return task, build_pretraining_model(config, task.num_classes)

    return make


def shown(task: Any, count: int = 12) -> tuple[list[np.ndarray], list[np.ndarray]]:
    split = task.corpus.training
    grids = task.sender_input(split, torch.arange(count), torch.Generator().manual_seed(1))
    return grids.arrays(), split.grids[split.target[:count]].arrays()


@pytest.mark.parametrize("view", ["turned", "augmented"])
def test_a_view_rearranges_cells_and_may_recolor_them(make: Make, view: str) -> None:
    pairs = list(zip(*shown(make(f"pretrain.view={view}")[0]), strict=True))
    counts = [(histogram(one), histogram(target)) for one, target in pairs]
    recolored = [not np.array_equal(one, target) for one, target in counts]
    assert all(sorted(one.shape) == sorted(target.shape) for one, target in pairs)
    assert all(sorted(one) == sorted(target) for one, target in counts)
    assert np.mean(recolored) > 0.9 if view == "augmented" else not any(recolored)
    assert not all(np.array_equal(one, target) for one, target in pairs)


def test_a_paired_view_is_the_input_of_the_output(make: Make) -> None:
    task, _ = make("pretrain.view=paired")
    split = task.corpus.training
    views, _ = shown(task)
    assert all(map(np.array_equal, views, split.grids[split.sender[:12]].arrays()))
    assert not split.sender.equal(split.target)


def test_gradients_reach_the_encoder_from_both_sides(make: Make) -> None:
    task, model = make()
    split, generator = task.corpus.training, torch.Generator().manual_seed(0)
    view = model(task.sender_input(split, torch.arange(8), generator)).signal
    embedded = task.embed(model, split.grids[split.target[:8]])
    for sent, candidates in ((view, embedded.detach()), (view.detach(), embedded)):
        model.zero_grad()
        scores = task.score(model, sent, candidates)
        torch.nn.functional.cross_entropy(scores, torch.arange(8)).backward(retain_graph=True)
        assert all(weight.grad.abs().sum() > 0 for weight in model.encoder.parameters())


def test_a_linear_scorer_gives_the_sender_no_gradient(make: Make) -> None:
    """Why embeddings are compared: a term common to all candidates cancels in the softmax."""
    _, model = make()
    grids = make()[0].corpus.training.grids[torch.arange(8)]
    sent = model.encoder(grids)
    sent.retain_grad()
    candidates = model.encoder(grids).detach()
    linear = torch.nn.Linear(2 * sent.shape[1], 1)
    both = torch.cat([sent[:, None].expand(-1, 8, -1), candidates[None].expand(8, -1, -1)], dim=-1)
    torch.nn.functional.cross_entropy(linear(both)[..., 0], torch.arange(8)).backward()
    assert sent.grad.abs().max() < 1e-6


def test_the_encoder_learns_to_recognize_turned_grids(make: Make) -> None:
    task, model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        output = task.step(model, torch.arange(24), generator)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
