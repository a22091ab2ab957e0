"""Building grids: figures against a count by hand, and the guesses beside them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_data import MakeRun, Run, SavePuzzles, evaluate


@pytest.fixture
def build(make_run: MakeRun) -> MakeRun:
    def start(*overrides: str) -> Run:
        run = make_run("task=reconstruction", *overrides)
        run.model.eval()
        return run

    return start


def trained(run: Run, steps: int = 30) -> Run:
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        run.task.step(run.model, torch.arange(6), torch.Generator()).loss.backward()
        optimizer.step()
    return run


@pytest.mark.parametrize("pairs", ["true", "false"])
def test_figures_count_cells_and_whole_grids(build: MakeRun, pairs: str) -> None:
    run = trained(build(f"task.use_input_output_pairs={pairs}"))
    split, arrays = run.corpus.training, run.corpus.training.grids.arrays()
    wanted = [torch.from_numpy(arrays[index]).long() for index in split.target]
    message = run.model.send([arrays[index] for index in split.sender])
    logits = run.model.receive(message, sizes=[target.shape for target in wanted])
    right = [built.argmax(0) == target for built, target in zip(logits, wanted, strict=True)]
    losses = [
        F.cross_entropy(built[None], target[None], reduction="sum")
        for built, target in zip(logits, wanted, strict=True)
    ]
    cells = sum(target.numel() for target in wanted)
    task_metrics = evaluate(run, split)
    assert task_metrics.headline.targets == len(split)
    assert task_metrics.headline.values == pytest.approx(
        {
            "cells": 100 * sum(int(each.sum()) for each in right) / cells,
            "exact": 100 * sum(bool(each.all()) for each in right) / len(split),
        }
    )
    assert 0 < task_metrics.headline.values["exact"] < 100
    assert task_metrics.accuracy == task_metrics.headline.values["cells"]
    assert task_metrics.loss == pytest.approx(float(sum(losses)) / cells, rel=1e-4)


def test_guesses_of_a_corpus_made_by_hand(build: MakeRun, save_puzzles: SavePuzzles) -> None:
    pairs = [
        ([[0, 0, 0, 5]], [[0, 0, 1, 5]]),
        ([[7, 7]], [[2, 2], [2, 0], [3, 3]]),
    ]
    path = save_puzzles({"p": (pairs, [])})
    settings = (f"data.path={path}", "data.validation_fraction=0")
    grids = build(*settings)
    assert evaluate(grids, grids.corpus.training).headline.baselines == pytest.approx(
        {"background": 100 * 6 / 16, "majority_color": 100 * (3 + 2 + 2 + 3) / 16}
    )
    paired = build(*settings, "task.use_input_output_pairs=true")
    assert evaluate(paired, paired.corpus.training).headline.baselines == pytest.approx(
        {
            "background": 100 * 3 / 10,
            "majority_color": 100 * (2 + 3) / 10,
            "copy_of_input": 100 * (3 + 1) / 10,  # the second has another size: zeros
        }
    )


def test_each_set_has_its_own_guesses(build: MakeRun, save_puzzles: SavePuzzles) -> None:
    learning: dict[str, Any] = {
        f"p{n}": ([(np.full((1, 1 + n), 1), np.full((2, 1 + n), 0))], []) for n in range(4)
    }
    test: dict[str, Any] = {"x": ([([[0, 0]], [[0]])], [])}
    paths = (f"data.path={save_puzzles(learning)}", f"data.test={save_puzzles(test, 'test')}")
    run = build(*paths)
    found = [
        evaluate(run, split).headline.baselines["background"]
        for split in (run.corpus.training, run.corpus.test, run.corpus.training)
    ]
    assert found == pytest.approx([100 * 2 / 3, 100, 100 * 2 / 3])


def test_a_grid_counts_by_its_cells_in_the_loss(build: MakeRun, save_puzzles: SavePuzzles) -> None:
    """A large grid and a small one: the loss is the mean over cells, not over grids."""
    pairs = [(np.full((1, 1), 3), np.full((10, 10), 4))]
    run = build(f"data.path={save_puzzles({'p': (pairs, [])})}", "data.validation_fraction=0")
    generator = torch.Generator()
    with torch.no_grad():
        small, large, both = (
            float(run.task.step(run.model, torch.tensor(examples), generator).loss)
            for examples in ([0], [1], [0, 1])
        )
    assert both == pytest.approx((small + 100 * large) / 101, rel=1e-4)
    assert both != pytest.approx((small + large) / 2, rel=1e-3)
