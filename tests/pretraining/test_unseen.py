"""Pretraining does not train on validation or test data of the main task."""

import pytest
from helpers_data import MakeConfig, contents

from arc.config.builders import build_pretraining, build_task
from arc.data import Corpus, Split

Corpora = tuple[Corpus, Corpus]
TASKS = {
    "grids": ("task=reconstruction",),
    "pairs": ("task=reconstruction", "task.use_input_output_pairs=true"),
    "classification": ("task=puzzle_classification",),
}
PRETRAININGS = {
    "grids": ("pretrain=binary",),
    "pairs": ("pretrain=selection", "pretrain.num_distractors=1", "pretrain.view=paired"),
    "classification": ("pretrain=puzzle_classification",),
}


def units(split: Split, words: int) -> set[tuple[str, ...]]:
    """Return the first of the words puzzle, part, number and side of each example."""
    return {tuple(place.split()[:words]) for place in split.example_ids}


@pytest.fixture(scope="module", params=list(TASKS.values()), ids=list(TASKS))
def main(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture(scope="module", params=list(PRETRAININGS.values()), ids=list(PRETRAININGS))
def pretraining(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture(scope="module", params=["data.max_grids=null", "data.max_grids=40"])
def corpora(
    request: pytest.FixtureRequest,
    make_config: MakeConfig,
    main: tuple[str, ...],
    pretraining: tuple[str, ...],
) -> Corpora:
    config = make_config(*main, *pretraining, request.param, "data.validation_fraction=0.25")
    return build_pretraining(config).corpus, build_task(config).corpus


def test_no_held_out_grid_is_in_training(corpora: Corpora) -> None:
    before, after = corpora
    assert contents(before.training)
    held = contents(after.validation) | contents(after.test)
    assert contents(before.training).isdisjoint(held)


def test_no_held_out_unit_is_in_training(corpora: Corpora, main: tuple[str, ...]) -> None:
    before, after = corpora
    words = 3 if "task=puzzle_classification" in main else 1
    held = units(after.validation, words) | units(after.test, words)
    assert held
    assert units(before.training, words).isdisjoint(held)


def test_notes_list_what_is_left_out(make_config: MakeConfig) -> None:
    config = make_config("task=puzzle_classification", "pretrain=binary")
    notes = build_pretraining(config).corpus.notes
    assert [note for note in notes if "held out by the main training" in note]
