"""Transformation: what each agent sees, the metrics and the baselines."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_data import MakeRun, Run, evaluate

from arc.data import Transform

TASK = "task=transformation"
VECTOR = ["bottleneck=autoencoder", "model.latent_dim=2"]
PAIRS = [  # a changed cell, a larger output, a copy
    ([[0, 0, 0, 5]], [[0, 0, 1, 5]]),
    ([[7, 2]], [[7, 2], [2, 2], [2, 2], [7, 7]]),
    ([[3, 3]], [[3, 3]]),
]


def trained(run: Run, steps: int = 60) -> Run:
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        run.task.step(run.model, torch.arange(6), torch.Generator()).loss.backward()
        optimizer.step()
    run.model.eval()
    return run


@pytest.mark.parametrize("size", ["given", "predicted"])
def test_metrics_describe_what_the_receiver_builds(build: MakeRun, size: str) -> None:
    run = trained(build(TASK, f"task.size={size}"))
    split, arrays = run.corpus.training, run.corpus.training.grids.arrays()
    inputs, targets = ([arrays[n] for n in side] for side in (split.sender, split.target))
    message = run.model.send(list(zip(inputs, targets, strict=True)))
    told = [target.shape for target in targets]
    context = {"sizes": told} if size == "given" else {}
    built = [
        each.argmax(0).numpy() for each in run.model.receive(message, inputs=inputs, **context)
    ]
    given = run.model.receive(message, inputs=inputs, sizes=told)
    fits = [one.shape == other.shape for one, other in zip(built, targets, strict=True)]
    right = [
        int((one == other).sum()) if one.shape == other.shape else 0
        for one, other in zip(built, targets, strict=True)
    ]
    cells = [target.size for target in targets]
    shares = [count / total for count, total in zip(right, cells, strict=True)]
    expected = {
        "exact": 100 * shares.count(1) / len(split),
        "grids": 100 * np.mean(shares),
        "cells": 100 * sum(right) / sum(cells),
    } | ({"sizes": 100 * np.mean(fits)} if size == "predicted" else {})
    measured = evaluate(run, split)
    assert measured.headline.targets == len(split)
    assert measured.headline.values == pytest.approx(expected)
    assert 0 < measured.accuracy == measured.headline.values["exact"] < 100
    assert (size == "given") or 0 < measured.headline.values["sizes"] < 100
    if size == "given":
        losses = [
            F.cross_entropy(each[None], torch.from_numpy(target).long()[None], reduction="sum")
            for each, target in zip(given, targets, strict=True)
        ]
        assert measured.loss == pytest.approx(float(sum(losses)) / sum(cells), rel=1e-4)
    shown = run.task.predict(
        run.model, split, torch.arange(len(split)), run.task.send_all(run.model, split)[1]
    )
    assert [each["built"] for each in shown] == [each.tolist() for each in built]
    assert [each["correct"] for each in shown] == [share == 1 for share in shares]


@pytest.mark.parametrize(
    ("options", "copied", "corrected", "kept"),
    [  # resized: rows 7 2 against 7 2, 2 2, 2 2, 7 7; 7 symbols correct 6, 5, 7 cells and hold 9
        (["bottleneck.max_message_length=7"], [3 / 4, 5 / 8, 1], [1, 1, 1], [1, 1, 1]),
        # the size takes log2(900) of 23.2 bits; the rest corrects 2, 2 and 3 cells and holds 4
        (["task.size=predicted"], [3 / 4, 0, 1], [1, 7 / 8, 1], [1, 5 / 8, 1]),
        (VECTOR, [3 / 4, 5 / 8, 1], [1, 6 / 8, 1], [3 / 4, 3 / 8, 1]),
    ],
)
def test_baselines_of_three_pairs(
    build: MakeRun,
    options: list[str],
    copied: list[float],
    corrected: list[float],
    kept: list[float],
) -> None:
    run = build(TASK, *options, puzzles={"p": (PAIRS, [])})
    cells = np.array([4, 8, 2])
    shares = {
        "copy_of_input": copied,
        "majority_color": [2 / 4, 5 / 8, 1],
        "corrected_copy": corrected,
        "subsampled": kept,
    }
    expected = {
        f"{name}{end}": 100 * value
        for name, share in ((name, np.array(each)) for name, each in shares.items())
        for end, value in (
            ("", (share == 1).mean()),
            ("_grids", share.mean()),
            ("_cells", (share * cells).sum() / cells.sum()),
        )
    }
    assert evaluate(run, run.corpus.training).headline.baselines == pytest.approx(expected)


def test_the_final_report_has_the_codec_for_symbols(build: MakeRun) -> None:
    run = build(TASK, "bottleneck.max_message_length=20", puzzles={"p": (PAIRS, [])})
    baselines = evaluate(run, run.corpus.training, full=True).headline.baselines
    assert [baselines[f"codec{value}"] for value in ("", "_grids", "_cells")] == [100, 100, 100]
    assert not any(
        name.startswith("codec") for name in evaluate(run, run.corpus.training).headline.baselines
    )


def test_a_transform_applies_to_both_grids_of_a_pair(make_run: MakeRun) -> None:
    """A step on transformed pairs is the step on a corpus that was transformed beforehand."""
    transform = Transform.sample(torch.Generator().manual_seed(4))
    run, other = make_run(TASK), make_run(TASK)
    split = other.corpus.training
    training = replace(split, grids=transform(split.grids))
    other.task.corpus = replace(other.corpus, training=training)
    plain, online = (
        run.task.step(run.model, torch.arange(12), torch.Generator(), each).loss
        for each in (None, transform)
    )
    before = other.task.step(other.model, torch.arange(12), torch.Generator()).loss
    torch.testing.assert_close(online, before)
    assert not plain.allclose(online)


@torch.no_grad()
def test_an_untrained_receiver_copies_and_the_message_can_say_where_not_to(
    build: MakeRun,
) -> None:
    run: Any = build(TASK, puzzles={"p": (PAIRS, [])})
    receiver, signal = run.model.receiver, torch.zeros(1, run.model.bottleneck.signal_width)
    for parameter in receiver.color.parameters():
        parameter.zero_()
    grid = np.arange(9).reshape(3, 3)
    (built,) = receiver.receive(signal, inputs=[grid], sizes=[(3, 3)])
    assert built.argmax(0).tolist() == grid.tolist()
    (larger,) = receiver.receive(signal, inputs=[grid], sizes=[(6, 6)])
    assert larger.argmax(0).tolist() == np.kron(grid, np.ones((2, 2), int)).tolist()
    receiver.copy.bias.fill_(-3.0)
    (built,) = receiver.receive(signal, inputs=[grid], sizes=[(3, 3)])
    assert not (built.argmax(0).numpy() == grid).any()


@torch.no_grad()
def test_colors_are_numbered_by_their_frequency_in_the_input(build: MakeRun) -> None:
    """Permuted colours give the same message, and an output that is permuted likewise."""
    model = build(TASK, "bottleneck=autoencoder").model
    given, made = np.array([[3, 3, 3], [3, 5, 5], [9, 5, 3]]), np.array([[5, 5, 3], [9, 9, 9]])
    permuted = np.array([4, 0, 2, 7, 3, 8, 1, 6, 5, 9])
    message = model.send([(given, made)])
    torch.testing.assert_close(model.send([(permuted[given], permuted[made])]), message)
    (built,) = model.receive(message, inputs=[given], sizes=[(4, 4)])
    (other,) = model.receive(message, inputs=[permuted[given]], sizes=[(4, 4)])
    for color in (3, 5, 9):
        torch.testing.assert_close(built[color], other[permuted[color]])
    assert not model.send([(given, permuted[made])]).allclose(message)


@torch.no_grad()
def test_a_grid_has_the_weight_of_the_root_of_its_cells(build: MakeRun) -> None:
    pairs = [(np.full((1, 1), 3), np.full((1, 1), 4)), (np.full((5, 5), 1), np.full((5, 5), 2))]
    run = build(TASK, puzzles={"p": (pairs, [])})
    small, large, both = (
        float(run.task.step(run.model, torch.tensor(examples), torch.Generator()).loss)
        for examples in ([0], [1], [0, 1])
    )
    assert both == pytest.approx((1 * small + 5 * large) / 6, rel=1e-4)
    assert both != pytest.approx((small + 25 * large) / 26, rel=1e-3)
