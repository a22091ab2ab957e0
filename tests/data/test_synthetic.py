"""Synthetic grids have the properties of their kind, and the tasks train on them."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeConfig, MakeRun
from torch import Tensor

from arc.config.builders import build_pretraining
from arc.data import DataError, Grids
from arc.data.features import periods, symmetries
from arc.data.synthetic import KINDS, LONGEST_PERIOD, SyntheticGrids, synthetic_grids

SIZES = torch.randint(1, 31, (700, 2), generator=torch.Generator().manual_seed(5))


def made(sizes: Tensor = SIZES, seed: int = 0, **options: Any) -> SyntheticGrids:
    return synthetic_grids(sizes, torch.Generator().manual_seed(seed), **options)


def grids_of(kind: str, count: int = 200) -> Grids:
    """Return grids of 20 x 17 cells."""
    several = made(torch.tensor([[20, 17]]).expand(count, 2))
    rows = (several.kind == list(KINDS).index(kind)).nonzero()[:, 0]
    assert len(rows) > count / 20
    return several.grids[rows]


def components(filled: np.ndarray) -> int:
    """Count the groups of cells that touch, at corners too."""
    waiting, count = set(zip(*filled.nonzero(), strict=True)), 0
    while waiting:
        count += 1
        group = [waiting.pop()]
        while group:
            row, column = group.pop()
            near = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & waiting
            waiting -= near
            group += near
    return count


def test_grids_have_their_sizes_and_every_kind_is_drawn() -> None:
    several = made()
    assert several.grids.sizes.equal(SIZES)
    assert several.grids.cells.shape == (700, 30, 30)
    assert several.grids.cells.max() == 9
    assert not several.grids.cells[~several.grids.inside].any()
    assert several.kind.bincount().min() > 70
    assert len(several.kind.bincount()) == len(KINDS)
    several = made(SIZES.clamp(max=3), side=3)
    assert several.grids.cells.shape == (700, 3, 3)


def test_the_generator_determines_the_grids() -> None:
    assert made().grids.cells.equal(made().grids.cells)
    assert not made().grids.cells.equal(made(seed=1).grids.cells)


@pytest.mark.parametrize("kind", ["tiling", "mosaic"])
def test_patterns_repeat_themselves(kind: str) -> None:
    found = periods(grids_of(kind))
    assert found.min() >= 1
    assert found.max() <= LONGEST_PERIOD


def test_mirrored_grids_are_symmetric() -> None:
    found = symmetries(grids_of("mirrored"))
    assert found.any(1).all()
    assert (~found).any(0).all()


def test_a_frame_has_one_colour() -> None:
    for grid in grids_of("framed").arrays():
        assert len({*grid[0], *grid[-1], *grid[:, 0], *grid[:, -1]}) == 1


def test_boxes_are_between_lines_of_one_colour() -> None:
    for grid in grids_of("boxes").arrays():
        for lines in (grid, grid.T):
            assert any(len(set(line)) == 1 for line in lines)


@pytest.mark.parametrize("side", [1, 2, 3, 12, 30])
def test_objects_are_counted_and_do_not_touch(side: int) -> None:
    sizes = SIZES[:60].clamp(max=side)
    colors, objects = KINDS["objects"](sizes, side, torch.Generator().manual_seed(1))
    for (height, width), grid, count in zip(sizes.tolist(), colors, objects, strict=True):
        filled = (grid > 0).numpy()
        assert not filled[height:].any()
        assert not filled[:, width:].any()
        assert components(filled) == count >= 1


# -- training ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["reconstruction", "selection"])
def test_a_share_of_the_batch_is_synthetic(make_run: MakeRun, task: str) -> None:
    few = ["task.num_distractors=3"] if task == "selection" else []
    run = make_run(f"task={task}", "data.synthetic=0.4", *few)
    split, examples = run.corpus.training, torch.arange(12)
    real = split.grids[split.target[examples]]
    grids = run.task.training_grids(examples, torch.Generator())
    assert grids.sizes.equal(real.sizes)
    assert grids.cells[:8].equal(real.cells[:8])
    assert not (grids.cells[8:] == real.cells[8:]).flatten(1).all(1).any()
    assert run.task.training_grids(examples[:2], torch.Generator()).cells.equal(real.cells[:2])
    output = run.task.step(run.model, examples, torch.Generator())
    assert len(output.message.content) == (24 if task == "selection" else 12)


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=puzzle_classification"],
        ["task=reconstruction", "task.use_input_output_pairs=true"],
        ["task=selection", "task.use_input_output_pairs=true"],
        ["task=selection", "task.negatives=game", "task.near_copies=false"],
    ],
)
def test_other_tasks_refuse_synthetic_grids(make_run: MakeRun, overrides: list[str]) -> None:
    with pytest.raises(DataError, match=r"^data\.synthetic=0\.1: .*task\.negatives=batch"):
        make_run(*overrides, "data.synthetic=0.1")


@pytest.mark.parametrize(
    ("pretraining", "ignored"),
    [
        ("binary", ["synthetic: 0.1", "crop: 0.5"]),
        ("selection", ["synthetic: 0.1", "crop: 0.5"]),
        ("puzzle_classification", ["synthetic: 0.1"]),
    ],
)
def test_pretraining_ignores_shares_that_it_does_not_use(
    make_config: MakeConfig, pretraining: str, ignored: list[str]
) -> None:
    """The overrides of the main training are kept; they do not change what is held out."""
    main = ["task=reconstruction", f"pretrain={pretraining}"]
    if pretraining == "selection":
        main.append("pretrain.num_distractors=3")
    plain = build_pretraining(make_config(*main))
    task = build_pretraining(make_config(*main, "data.synthetic=0.1", "data.crop=0.5"))
    notes = [note for note in task.notes if note not in plain.notes]
    assert [note.split(" is ignored")[0] for note in notes] == ignored
    assert task.corpus.fingerprint == plain.corpus.fingerprint
