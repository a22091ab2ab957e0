"""Naming puzzles: figures against a count by hand, and the guess beside them."""

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from helpers_data import MakeRun, Run, SavePuzzles, evaluate

from arc.config.schema import ConfigError


@pytest.fixture
def name(make_run: MakeRun) -> MakeRun:
    def start(*overrides: str) -> Run:
        run = make_run("task=puzzle_classification", *overrides)
        run.model.eval()
        return run

    return start


def test_figures_count_the_first_and_the_five_best(name: MakeRun) -> None:
    run = name()
    split, arrays = run.corpus.test, run.corpus.test.grids.arrays()
    logits = run.model.receive(run.model.send([arrays[index] for index in split.sender]))
    rank = (logits > logits.gather(1, split.label[:, None])).sum(1)
    figure = evaluate(run, split).headline
    assert figure.targets == len(split)
    assert figure.values == pytest.approx(
        {
            "top1": 100 * float((rank == 0).double().mean()),
            "top5": 100 * float((rank < 5).double().mean()),
        }
    )
    assert 0 < figure.values["top5"] < 100
    assert evaluate(run, split).loss == pytest.approx(float(F.cross_entropy(logits, split.label)))


def test_the_classes_are_twice_the_puzzles_and_stand_in_the_configuration(name: MakeRun) -> None:
    run = name()
    assert run.task.num_classes == 24
    assert run.config.task.model_dump()["num_classes"] == 24


def test_the_guess_beside_it_is_the_commonest_class_in_training(
    name: MakeRun, save_puzzles: SavePuzzles
) -> None:
    """Nine puzzles, eighteen classes; the last has twice as many demonstrations."""
    puzzles: dict[str, Any] = {}
    for height, count in enumerate([2] * 8 + [4], start=1):
        shapes = [(height, width) for width in range(1, 1 + count)]
        puzzles[f"p{height}"] = ([(np.full(shape, 1), np.full(shape, 2)) for shape in shapes], [])
    run = name(f"data.path={save_puzzles(puzzles)}")
    figure = evaluate(run, run.corpus.validation).headline
    assert figure.targets == 18
    assert figure.baselines == pytest.approx({"prior": 100 / 18, "prior_top5": 100 * 5 / 18})


def test_fewer_than_five_classes_are_all_among_the_five_best(
    name: MakeRun, save_puzzles: SavePuzzles
) -> None:
    puzzles: dict[str, Any] = {
        "p": ([(np.full((1, m), 1), np.full((1, m), 2)) for m in (1, 2, 3)], [])
    }
    run = name(f"data.path={save_puzzles(puzzles)}")
    figure = evaluate(run, run.corpus.validation).headline
    assert figure.values["top5"] == figure.baselines["prior_top5"] == 100


def test_pairs_make_no_sense_here_and_the_error_says_so(name: MakeRun) -> None:
    with pytest.raises(ConfigError, match=r"task\.use_input_output_pairs=True: .*one grid"):
        name("task.use_input_output_pairs=true")
