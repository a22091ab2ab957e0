"""Validation of grids, and sets of them."""

from typing import Any

import numpy as np
import pytest
import torch

from arc.data import DataError, GridPairs, Grids
from arc.data.features import color_counts, color_ranks, feature_ids
from arc.data.grids import check_grid, content_key


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[1, 2], [3]], r"lengths \[2, 1\]"),
        ([[1, 10]], "colour 10"),
        ([[-1]], "colour -1"),
        (np.zeros((31, 31), int), "31 x 31"),
        (np.zeros((31, 1), int), "31 x 1"),
        ([], "non-empty"),
        ([[]], "non-empty"),
        ([1, 2], "list of rows"),
        ([[[1]]], "list of rows"),
        (5, "list of rows"),
        (None, "list of rows"),
        ([[1.0, 2.0]], "float"),
        ([["1", "2"]], "integers 0 to 9"),
        ([[True, False]], "bool"),
        ([[None]], "integers 0 to 9"),
    ],
)
def test_an_invalid_grid_is_an_error_with_its_place(rows: Any, named: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.json, train\[3\]\.input: .*{named}"):
        check_grid(rows, "a.json, train[3].input")


@pytest.mark.parametrize("shape", [(1, 1), (30, 30), (1, 30)])
def test_every_allowed_size_is_accepted(shape: tuple[int, int]) -> None:
    grid = check_grid(np.full(shape, 9).tolist(), "here")
    assert grid.dtype == np.uint8
    assert grid.shape == shape


def test_arrays_are_those_that_were_given() -> None:
    given = [[[1, 2, 3]], np.array([[0], [9]]), torch.tensor([[4, 5], [6, 7]])]
    grids = Grids.from_arrays(given)
    assert len(grids) == 3
    for held, array in zip(grids.arrays(), given, strict=True):
        assert np.array_equal(held, np.asarray(array))
    assert grids.sizes.tolist() == [[1, 3], [2, 1], [2, 2]]


def test_a_tensor_may_be_on_another_device() -> None:
    class OnDevice(torch.Tensor):
        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

        def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    grid = torch.tensor([[4, 5], [6, 7]])
    assert check_grid(grid.as_subclass(OnDevice), "here").tolist() == grid.tolist()


def test_an_index_selects_grids_in_its_order() -> None:
    grids = Grids.from_arrays([[[1]], [[2, 2]], [[3], [3]]])
    chosen = grids[torch.tensor([2, 0, 2])].arrays()
    assert [grid.tolist() for grid in chosen] == [[[3], [3]], [[1]], [[3], [3]]]


@pytest.mark.parametrize(
    ("arrays", "named"), [([[[1]], [[11]]], "grid 1: colour 11"), ([], "empty list")]
)
def test_invalid_sets_of_grids_are_refused(arrays: list[Any], named: str) -> None:
    with pytest.raises(DataError, match=named):
        Grids.from_arrays(arrays)


def test_the_content_key_covers_shape_and_cells() -> None:
    different = ([[1, 1]], [[1], [1]], [[1, 0]], [[1]])
    keys = {content_key(np.array(rows, np.uint8)) for rows in different}
    assert len(keys) == 4
    assert content_key(np.array([[1, 1]], np.uint8)) in keys


def test_features_distinguish_grids() -> None:
    grids = Grids.from_arrays([[[1, 2]], [[2, 1]], [[3, 2]], [[1, 1]], [[1], [2]], [[1, 2]]])

    def same_as_first(feature: str) -> list[bool]:
        ids = feature_ids(feature, grids)
        return (ids == ids[0]).tolist()

    assert same_as_first("size") == [True, True, True, True, False, True]
    assert same_as_first("colors") == [True, True, False, False, False, True]
    wide = Grids.from_arrays([[[1, 2, 2]], [[1, 1, 2]], [[2, 1, 2]]])
    assert feature_ids("colors", wide).unique().numel() == 1
    counts = feature_ids("histogram", wide)
    assert counts[0] == counts[2] != counts[1]


def test_padding_is_not_counted() -> None:
    grids = Grids.from_arrays([[[1]], np.zeros((4, 4), int)])
    assert color_counts(grids).tolist() == [[0, 1, *[0] * 8], [16, *[0] * 9]]


def test_resized_grids_repeat_or_skip_rows_and_columns() -> None:
    arrays = [np.array([[1, 2], [3, 4]]), np.arange(6).reshape(2, 3), np.array([[7]])]
    sizes = torch.tensor([[4, 2], [1, 2], [3, 1]])
    for padding in (0, 20):
        grids = Grids.from_arrays([*arrays, np.zeros((3 + padding, 1), int)])[torch.arange(3)]
        resized = [grid.tolist() for grid in grids.resized(sizes).arrays()]
        assert resized == [[[1, 2], [1, 2], [3, 4], [3, 4]], [[0, 1]], [[7], [7], [7]]]


def test_pairs_keep_inputs_and_outputs_together() -> None:
    given = [(np.full((1, n + 1), n), np.full((2, 1), n + 5)) for n in range(4)]
    pairs = GridPairs.from_arrays(given)[torch.tensor([2, 0])].to("cpu")
    assert [grid.tolist() for grid in pairs.inputs.arrays()] == [[[2, 2, 2]], [[0]]]
    assert [grid.tolist() for grid in pairs.outputs.arrays()] == [[[7], [7]], [[5], [5]]]
    assert (len(pairs), repr(pairs)) == (2, "GridPairs(2 pairs on cpu)")
    for wrong in ([given[0][:1]], []):
        with pytest.raises(DataError, match=r"pair 0: expected|empty list"):
            GridPairs.from_arrays(wrong)


def test_colors_are_ranked_by_frequency_and_grids_recolored() -> None:
    grids = Grids.from_arrays([np.array([[7, 7, 2], [7, 2, 0]]), np.array([[1], [4], [4]])])
    ranks = color_ranks(grids)
    assert [ranks[0, color].item() for color in (7, 2, 0, 1, 9)] == [0, 1, 2, 3, 9]
    assert [ranks[1, color].item() for color in (4, 1, 0, 9)] == [0, 1, 2, 9]
    recolored = [grid.tolist() for grid in grids.recolored(ranks).arrays()]
    assert recolored == [[[0, 0, 1], [0, 1, 2]], [[1], [0], [0]]]
