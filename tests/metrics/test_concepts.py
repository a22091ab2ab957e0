"""Concepts of grids made by hand, against a slow reference, and for the examples of a split."""

from collections.abc import Callable

import numpy as np
import pytest
from helpers_data import random_grids

from arc.data import Corpus, Grids
from arc.metrics.concepts import NO_COLOR, Array, ConceptTable, grid_concepts, split_concepts

CROSS = [[0, 2, 0], [2, 2, 2], [0, 2, 0]]
STAIRS = [[1, 3, 3], [3, 1, 3], [3, 3, 1]]


def concepts(grid: object) -> dict[str, int]:
    table = grid_concepts(Grids.from_arrays([grid]))
    return dict(zip(table.names, table.values[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ([[7]], {"height": 1, "width": 1, "area": 1, "num_colors": 1, "colors": 1 << 7}),
        ([[7]], {"background": 7, "foreground": NO_COLOR, "largest_color": NO_COLOR}),
        ([[7]], {"objects_4": 0, "objects_8": 0, "largest_size": 0}),
        ([[0, 5], [5, 0]], {"background": 0, "foreground": 5, "colors": 1 | 1 << 5}),
        (CROSS, {"background": 2, "objects_4": 4, "objects_8": 4, "largest_size": 1}),
        (CROSS, dict.fromkeys(["left_right", "up_down", "diagonal", "antidiagonal"], 1)),
        (STAIRS, {"objects_4": 3, "objects_8": 1, "largest_size": 3, "largest_color": 1}),
        (STAIRS, {"left_right": 0, "up_down": 0, "diagonal": 1, "antidiagonal": 1, "rotation": 1}),
        ([[1, 0, 2, 2, 0, 0]], {"foreground": 2, "objects_4": 2, "largest_color": 2, "up_down": 1}),
        ([[1, 2], [1, 2]], {"left_right": 0, "up_down": 1, "rotation": 0}),
        ([[1, 2, 1]], {"left_right": 1, "diagonal": 0, "antidiagonal": 0, "rotation": 1}),
        ([[0, 0, 0, 4, 0, 3]], {"objects_8": 2, "largest_size": 1, "largest_color": 3}),
    ],
)
def test_a_grid_made_by_hand(grid: list[list[int]], expected: dict[str, int]) -> None:
    found = concepts(grid)
    assert {name: found[name] for name in expected} == expected


def components(grid: Array, background: int, reach: int) -> list[tuple[int, int]]:
    """Colour and size of each object, by flood fill; ``reach``: 1 for 4 neighbours, 2 for 8."""
    left = {(int(r), int(c)) for r, c in np.argwhere(grid != background)}
    found = []
    while left:
        stack, size = [left.pop()], 0
        color = int(grid[stack[0]])
        while stack:
            row, column = stack.pop()
            size += 1
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    cell = (row + down, column + right)
                    near = abs(down) + abs(right) <= reach
                    if near and cell in left and grid[cell] == color:
                        left.remove(cell)
                        stack.append(cell)
        found.append((color, size))
    return found


def test_concepts_agree_with_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    grids = [grid % int(rng.integers(1, 5)) for grid in random_grids(150, sides=(1, 2, 3, 6))]
    table = grid_concepts(Grids.from_arrays(grids))
    for grid, row in zip(grids, table.values, strict=True):
        counts = np.bincount(grid.ravel(), minlength=10)
        background = int(counts.argmax())
        objects = components(grid, background, 2)
        largest = max((size for _, size in objects), default=0)
        square = grid.shape[0] == grid.shape[1]
        assert dict(zip(table.names, row.tolist(), strict=True)) == {
            "height": grid.shape[0],
            "width": grid.shape[1],
            "area": grid.size,
            "num_colors": len(np.unique(grid)),
            "colors": sum(1 << int(color) for color in np.unique(grid)),
            "background": background,
            "foreground": max(
                (color for color in np.unique(grid) if color != background),
                key=lambda color: (counts[color], -int(color)),
                default=NO_COLOR,
            ),
            "objects_4": len(components(grid, background, 1)),
            "objects_8": len(objects),
            "largest_size": largest,
            "largest_color": min(
                (color for color, size in objects if size == largest), default=NO_COLOR
            ),
            "left_right": np.array_equal(grid, grid[:, ::-1]),
            "up_down": np.array_equal(grid, grid[::-1]),
            "diagonal": square and np.array_equal(grid, grid.T),
            "antidiagonal": square and np.array_equal(grid, grid[::-1, ::-1].T),
            "rotation": np.array_equal(grid, grid[::-1, ::-1]),
        }


def test_the_examples_of_a_split_have_the_concepts_of_the_sender_s_grid(
    make_corpus: Callable[..., Corpus],
) -> None:
    split = make_corpus().training
    table, arrays = split_concepts(split), split.grids.arrays()
    expected = [concepts(arrays[number]) for number in split.sender.tolist()]
    names = list(expected[0])
    assert table.select(*names).values.tolist() == [list(each.values()) for each in expected]
    assert table.select("output").values[:, 0].tolist() == (split.label % 2).tolist()
    assert table.select("puzzle").values[:, 0].tolist() == split.puzzle.tolist()
    assert table.attributes.names == (*names, "output")


def test_a_table_selects_concepts_and_examples() -> None:
    table = ConceptTable(("a", "puzzle"), np.array([[4, 0], [7, 1], [4, 2]]))
    assert table.codes.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert table.sizes == [2, 3]
    assert table[np.array([1])].values.tolist() == [[7, 1]]
    assert table.select("puzzle").attributes.names == ("puzzle",)
    with pytest.raises(ValueError, match="unknown concept 'b'; choose from: a, puzzle"):
        table.select("b")


@pytest.mark.parametrize(
    ("names", "values", "error"),
    [
        (("a",), np.zeros((2, 2), int), "2 different names are needed, got a"),
        (("a", "a"), np.zeros((2, 2), int), "2 different names are needed, got a, a"),
        (("a",), np.zeros(2, int), r"integers \[examples, concepts\] are needed, got int64 \[2\]"),
        (("a",), np.zeros((0, 1), int), r"got int64 \[0, 1\]"),
        (("a",), np.zeros((2, 1)), r"got float64 \[2, 1\]"),
    ],
)
def test_a_table_that_does_not_fit_is_rejected(
    names: tuple[str, ...], values: Array, error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        ConceptTable(names, values)
