"""Transforms against NumPy's own, and what they must leave alone."""

import itertools

import numpy as np
import pytest
import torch

from arc.data import Grids, Transform
from arc.data.features import FEATURES, feature_ids
from arc.data.grids import content_key

SYMMETRIES = list(itertools.product([False, True], repeat=3))
COLORS = torch.tensor([3, 0, 9, 1, 2, 8, 4, 7, 5, 6])


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 4), (5, 2), (3, 3), (2, 5), (6, 4)]
    return [rng.integers(0, 10, shape, dtype=np.uint8) for shape in shapes]


def by_numpy(array, transpose, flip_rows, flip_columns):
    array = array.T if transpose else array
    array = array[::-1] if flip_rows else array
    array = array[:, ::-1] if flip_columns else array
    return COLORS.numpy()[array]


def padded(grids, side, filling):
    cells = torch.full((len(grids), side, side), filling, dtype=torch.uint8)
    for row, array in zip(cells, grids.arrays(), strict=True):
        row[: array.shape[0], : array.shape[1]] = torch.from_numpy(array)
    return Grids(cells, grids.sizes)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize(("side", "filling"), [(6, 0), (6, 7), (30, 9)])
def test_transforms_agree_with_numpy_whatever_the_padding(arrays, symmetry, side, filling):
    grids = padded(Grids.from_arrays(arrays), side, filling)
    result = Transform(*symmetry, COLORS)(grids)
    for given, made in zip(arrays, result.arrays(), strict=True):
        assert np.array_equal(made, by_numpy(given, *symmetry))
    expected = grids.sizes.flip(1) if symmetry[0] else grids.sizes
    assert result.sizes.equal(expected)


def test_different_grids_stay_different_and_equal_ones_equal(arrays):
    grids = Grids.from_arrays([*arrays, *(array.T for array in arrays), arrays[2]])
    before = [content_key(array) for array in grids.arrays()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        after = [content_key(a) for a in Transform.sample(generator)(grids).arrays()]
        assert len(set(after)) == len(set(before))
        assert len(set(zip(before, after, strict=True))) == len(set(before))


@pytest.mark.parametrize("feature", FEATURES)
def test_grids_that_share_a_feature_still_share_it(arrays, feature):
    grids = Grids.from_arrays([*arrays, *(array[::-1] for array in arrays)])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        before, after = (
            feature_ids(feature, each) for each in (grids, Transform.sample(generator)(grids))
        )
        assert (before[:, None] == before).equal(after[:, None] == after)


def test_a_seed_repeats_its_transforms():
    def draw():
        generator = torch.Generator().manual_seed(5)
        return [Transform.sample(generator) for _ in range(10)]

    for one, other in zip(draw(), draw(), strict=True):
        assert vars(one).keys() == vars(other).keys()
        assert one.colors.equal(other.colors)
        assert (one.transpose, one.flip_rows, one.flip_columns) == (
            other.transpose,
            other.flip_rows,
            other.flip_columns,
        )


def test_every_symmetry_and_colour_is_drawn_alike():
    generator = torch.Generator().manual_seed(0)
    drawn = [Transform.sample(generator) for _ in range(4000)]
    symmetries = [(t.transpose, t.flip_rows, t.flip_columns) for t in drawn]
    assert all(400 < symmetries.count(symmetry) < 600 for symmetry in SYMMETRIES)
    first = torch.bincount(torch.stack([t.colors for t in drawn])[:, 0], minlength=10)
    assert ((first > 320) & (first < 480)).all()
    assert all(sorted(t.colors.tolist()) == list(range(10)) for t in drawn[:50])
