"""Puzzle classification: metrics against a count by hand, and the baselines."""

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from helpers_data import MakeRun, evaluate

from arc.config.files import ConfigError

TASK = "task=puzzle_classification"


def test_metrics_are_top1_and_top5_accuracy(build: MakeRun) -> None:
    run = build(TASK)
    split, arrays = run.corpus.test, run.corpus.test.grids.arrays()
    logits = run.model.receive(run.model.send([arrays[index] for index in split.sender]))
    rank = (logits > logits.gather(1, split.label[:, None])).sum(1)
    top1, top5 = (100 * float((rank < count).double().mean()) for count in (1, 5))
    metric = evaluate(run, split).headline
    assert metric.targets == len(split)
    assert metric.values == pytest.approx({"top1": top1, "top5": top5})
    assert 0 < metric.values["top5"] < 100
    assert evaluate(run, split).loss == pytest.approx(float(F.cross_entropy(logits, split.label)))


def test_the_configuration_stores_two_classes_per_puzzle(build: MakeRun) -> None:
    run = build(TASK)
    assert run.task.num_classes == 24
    assert run.config.task.model_dump()["num_classes"] == 24


def test_the_baseline_is_the_most_frequent_class_in_training(build: MakeRun) -> None:
    """Nine puzzles, eighteen classes; the last has twice as many demonstrations."""
    puzzles: dict[str, Any] = {}
    for height, count in enumerate([2] * 8 + [4], start=1):
        shapes = [(height, width) for width in range(1, 1 + count)]
        puzzles[f"p{height}"] = ([(np.full(shape, 1), np.full(shape, 2)) for shape in shapes], [])
    run = build(TASK, "data.validation_fraction=0.25", puzzles=puzzles)
    metric = evaluate(run, run.corpus.validation).headline
    assert metric.targets == 18
    assert metric.baselines["prior"] == pytest.approx(100 / 18)
    assert metric.baselines["prior_top5"] == pytest.approx(100 * 5 / 18)


def test_the_nearest_training_grid_is_a_baseline(build: MakeRun) -> None:
    """Of four test grids, the input of ``a`` looks like those of ``b``."""

    def pair(one: int, other: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((2, width), one), np.full((2, width), other)

    puzzles: Any = {
        "a": ([pair(1, 2, width) for width in (1, 2, 3)], [pair(3, 2, 4)]),
        "b": ([pair(3, 4, width) for width in (1, 2, 3)], [pair(3, 4, 5)]),
    }
    run = build(TASK, "data.validation_fraction=0.25", puzzles=puzzles)
    metric = evaluate(run, run.corpus.test).headline
    assert metric.targets == 4
    assert metric.baselines["nearest_grid"] == pytest.approx(75)
    assert metric.baselines["nearest_grid_top5"] == pytest.approx(100)


def test_with_fewer_than_five_classes_top5_is_100(build: MakeRun) -> None:
    puzzles: Any = {"p": ([(np.full((1, m), 1), np.full((1, m), 2)) for m in (1, 2, 3)], [])}
    run = build(TASK, "data.validation_fraction=0.25", puzzles=puzzles)
    metric = evaluate(run, run.corpus.validation).headline
    assert metric.values["top5"] == metric.baselines["prior_top5"] == 100


def test_pair_mode_is_refused(build: MakeRun) -> None:
    with pytest.raises(ConfigError, match=r"task\.use_input_output_pairs=True: .*one grid"):
        build(TASK, "task.use_input_output_pairs=true")
