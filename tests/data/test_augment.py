"""Transforms against NumPy's, and the relations between grids that they keep."""

import itertools

import numpy as np
import pytest
import torch

from arc.data import Grids, Transform
from arc.data.augment import random_crops
from arc.data.features import FEATURES, feature_ids
from arc.data.grids import content_key

SYMMETRIES = list(itertools.product([False, True], repeat=3))
COLORS = torch.tensor([3, 0, 9, 1, 2, 8, 4, 7, 5, 6], dtype=torch.uint8)


@pytest.fixture
def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 4), (5, 2), (3, 3), (2, 5), (6, 4)]
    return [rng.integers(0, 10, shape, dtype=np.uint8) for shape in shapes]


def by_numpy(array: np.ndarray, transpose: bool, flip_rows: bool, flip_columns: bool) -> np.ndarray:
    array = array.T if transpose else array
    array = array[::-1] if flip_rows else array
    array = array[:, ::-1] if flip_columns else array
    return COLORS.numpy()[array]


def transform(*symmetries: tuple[bool, ...]) -> Transform:
    """Return one transform for all grids, or one for each."""
    transpose, flip_rows, flip_columns = torch.tensor(symmetries).t()
    return Transform(transpose, flip_rows, flip_columns, COLORS.repeat(len(symmetries), 1))


def padded(grids: Grids, side: int, filling: int) -> Grids:
    cells = torch.full((len(grids), side, side), filling, dtype=torch.uint8)
    for row, array in zip(cells, grids.arrays(), strict=True):
        row[: array.shape[0], : array.shape[1]] = torch.from_numpy(array)
    return Grids(cells, grids.sizes)


@pytest.mark.parametrize(("side", "filling"), [(6, 0), (6, 7), (30, 9)])
def test_a_transform_for_each_grid_agrees_with_numpy(
    arrays: list[np.ndarray], side: int, filling: int
) -> None:
    grids = padded(
        Grids.from_arrays([array for array in arrays for _ in SYMMETRIES]), side, filling
    )
    each = [symmetry for _ in arrays for symmetry in SYMMETRIES]
    result = transform(*each)(grids)
    for given, symmetry, made in zip(grids.arrays(), each, result.arrays(), strict=True):
        assert np.array_equal(made, by_numpy(given, *symmetry))


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_one_transform_applies_to_all_grids(
    arrays: list[np.ndarray], symmetry: tuple[bool, ...]
) -> None:
    grids = Grids.from_arrays(arrays)
    result = transform(symmetry)(grids)
    assert all(map(np.array_equal, result.arrays(), (by_numpy(a, *symmetry) for a in arrays)))
    assert result.sizes.equal(grids.sizes.flip(1) if symmetry[0] else grids.sizes)


def test_different_grids_stay_different_and_equal_grids_equal(arrays: list[np.ndarray]) -> None:
    grids = Grids.from_arrays([*arrays, *(array.T for array in arrays), arrays[2]])
    before = [content_key(array) for array in grids.arrays()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        after = [content_key(a) for a in Transform.sample(generator)(grids).arrays()]
        assert len(set(after)) == len(set(before))
        assert len(set(zip(before, after, strict=True))) == len(set(before))


@pytest.mark.parametrize("feature", FEATURES)
def test_grids_that_share_a_feature_still_share_it(arrays: list[np.ndarray], feature: str) -> None:
    grids = Grids.from_arrays([*arrays, *(array[::-1] for array in arrays)])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        before, after = (
            feature_ids(feature, each) for each in (grids, Transform.sample(generator)(grids))
        )
        assert (before[:, None] == before).equal(after[:, None] == after)


def test_equal_seeds_give_equal_transforms() -> None:
    one, other = (Transform.sample(torch.Generator().manual_seed(5), 10) for _ in range(2))
    assert all(value.equal(vars(other)[name]) for name, value in vars(one).items())


def test_symmetries_and_colours_are_uniform() -> None:
    drawn = Transform.sample(torch.Generator().manual_seed(0), 4000)
    bits = torch.stack([drawn.transpose, drawn.flip_rows, drawn.flip_columns], 1)
    symmetries = bits.unique(dim=0, return_counts=True)[1]
    assert len(symmetries) == len(SYMMETRIES)
    assert ((symmetries > 400) & (symmetries < 600)).all()
    for place in range(10):
        counts = torch.bincount(drawn.colors[:, place].long(), minlength=10)
        assert ((counts > 310) & (counts < 490)).all()
    assert (drawn.colors.sort(1).values == torch.arange(10)).all()


def test_crops_are_rectangles_of_their_grids(arrays: list[np.ndarray]) -> None:
    grids, generator = Grids.from_arrays(arrays * 200), torch.Generator().manual_seed(0)
    crops = random_crops(grids, 1.0, generator)
    for number, (given, made) in enumerate(zip(grids.arrays(), crops.arrays(), strict=True)):
        (height, width), (rows, columns) = given.shape, made.shape
        assert -(-height // 2) <= rows <= height, number
        assert -(-width // 2) <= columns <= width, number
        windows = np.lib.stride_tricks.sliding_window_view(given, made.shape)
        assert (windows == made).all((2, 3)).any(), number
    sizes = crops.sizes.view(200, len(arrays), 2)
    assert {tuple(size) for size in sizes[:, -1].tolist()} == {
        (rows, columns) for rows in (3, 4, 5, 6) for columns in (2, 3, 4)
    }


def test_a_share_of_grids_is_cropped(arrays: list[np.ndarray]) -> None:
    grids, generator = Grids.from_arrays([arrays[-1]] * 2000), torch.Generator().manual_seed(0)
    none = random_crops(grids, 0.0, generator)
    assert none.cells.equal(grids.cells)
    assert none.sizes.equal(grids.sizes)
    kept = (random_crops(grids, 0.5, generator).sizes == grids.sizes).all(1).double().mean()
    assert float(kept) == pytest.approx(0.5 + 0.5 / 12, abs=0.05)
