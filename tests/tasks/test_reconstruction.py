"""Reconstruction: metrics against a count by hand, and the baselines."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_data import MakeRun, Run, evaluate

TASK, PAIRS = "task=reconstruction", "task.use_input_output_pairs=true"


def trained(run: Run, steps: int = 60) -> Run:
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        run.task.step(run.model, torch.arange(6), torch.Generator()).loss.backward()
        optimizer.step()
    return run


@pytest.mark.parametrize("pairs", ["true", "false"])
def test_metrics_count_cells_and_whole_grids(build: MakeRun, pairs: str) -> None:
    run = trained(build(TASK, f"task.use_input_output_pairs={pairs}"))
    split, arrays = run.corpus.training, run.corpus.training.grids.arrays()
    targets = [torch.from_numpy(arrays[index]).long() for index in split.target]
    message = run.model.send([arrays[index] for index in split.sender])
    built = run.model.receive(message, sizes=[target.shape for target in targets])
    both = list(zip(built, targets, strict=True))
    right = [logits.argmax(0) == target for logits, target in both]
    losses = [F.cross_entropy(each[None], target[None], reduction="sum") for each, target in both]
    cells = sum(target.numel() for target in targets)
    measured = evaluate(run, split)
    assert measured.headline.targets == len(split)
    assert measured.headline.values == pytest.approx(
        {
            "grids": 100 * sum(float(each.double().mean()) for each in right) / len(split),
            "cells": 100 * sum(int(each.sum()) for each in right) / cells,
            "exact": 100 * sum(bool(each.all()) for each in right) / len(split),
        }
    )
    assert 0 < measured.headline.values["exact"] < 100
    assert measured.accuracy == measured.headline.values["grids"]
    assert measured.loss == pytest.approx(float(sum(losses)) / cells, rel=1e-4)


PUZZLES: Any = {"p": ([([[0, 0, 0, 5]], [[0, 0, 1, 5]]), ([[7, 7]], [[2, 2], [2, 0], [3, 3]])], [])}


def test_baselines_of_two_pairs(build: MakeRun) -> None:
    """Of each grid, in order: the share of zeros and of its most frequent colour."""
    grids = build(TASK, "bottleneck.max_message_length=1", puzzles=PUZZLES)  # tells one cell
    assert evaluate(grids, grids.corpus.training).headline.baselines == pytest.approx(
        {
            "background": 100 * (3 / 4 + 2 / 4 + 0 + 1 / 6) / 4,
            "majority_color": 100 * (3 / 4 + 2 / 4 + 1 + 3 / 6) / 4,
            "subsampled": 100 * (3 / 4 + 2 / 4 + 1 + 3 / 6) / 4,
        }
    )
    paired = build(TASK, PAIRS, puzzles=PUZZLES)
    assert evaluate(paired, paired.corpus.training).headline.baselines == pytest.approx(
        {
            "background": 100 * (2 / 4 + 1 / 6) / 2,
            "majority_color": 100 * (2 / 4 + 3 / 6) / 2,
            "copy_of_input": 100 * (3 / 4 + 1 / 6) / 2,  # the second has another size: zeros
        }
    )


def test_the_final_report_has_the_baselines_of_every_value(build: MakeRun) -> None:
    run = build(TASK, "bottleneck.max_message_length=20", puzzles=PUZZLES)
    split = run.corpus.training
    baselines = evaluate(run, split, full=True).headline.baselines
    names = ("background", "majority_color", "subsampled", "codec")
    values = ("", "_cells", "_exact")
    assert set(baselines) == {name + value for name in names for value in values}
    assert baselines["majority_color_cells"] == pytest.approx(100 * (3 + 2 + 2 + 3) / 16)
    assert baselines["majority_color_exact"] == 25
    assert [baselines["codec" + value] for value in values] == [100, 100, 100]
    assert [baselines["subsampled" + value] for value in values] == [100, 100, 100]
    assert set(evaluate(run, split).headline.baselines) == set(names) - {"codec"}


@pytest.mark.parametrize(("numbers", "right"), [(2, (3 / 4 + 3 / 4 + 1 + 5 / 6) / 4), (6, 1)])
def test_a_vector_is_compared_with_as_many_cells_as_it_has_numbers(
    build: MakeRun, numbers: int, right: float
) -> None:
    vector = ["bottleneck=autoencoder", f"model.latent_dim={numbers}", "task.palette=none"]
    run = build(TASK, *vector, puzzles=PUZZLES)
    baselines = evaluate(run, run.corpus.training, full=True).headline.baselines
    assert baselines["subsampled"] == pytest.approx(100 * right)
    assert "codec" not in baselines


def test_each_split_has_its_own_baselines(build: MakeRun) -> None:
    learned: Any = {
        f"p{n}": ([(np.full((1, 1 + n), 1), np.zeros((2, 1 + n), int))], []) for n in (0, 1)
    }
    run = build(TASK, puzzles=learned, test={"x": ([([[0, 0]], [[0]])], [])})
    found = [
        evaluate(run, split).headline.baselines["background"]
        for split in (run.corpus.training, run.corpus.test, run.corpus.training)
    ]
    assert found == pytest.approx([50, 100, 50])


@torch.no_grad()
@pytest.mark.parametrize(("weight", "large_weight"), [("linear", 100), ("sqrt", 10)])
def test_a_grid_is_weighted_by_its_cells(build: MakeRun, weight: str, large_weight: float) -> None:
    overrides = (TASK, f"task.grid_weight={weight}")
    run = build(*overrides, puzzles={"p": ([(np.full((1, 1), 3), np.full((10, 10), 4))], [])})
    small, large, both = (
        float(run.task.step(run.model, torch.tensor(examples), torch.Generator()).loss)
        for examples in ([0], [1], [0, 1])
    )
    mean = (small + large_weight * large) / (1 + large_weight)
    assert both == pytest.approx(mean, rel=1e-4)
