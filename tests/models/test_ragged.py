"""Convolution and pooling over flat cells, against dense references."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arc.data import Grids
from arc.models.ragged import LATTICE, CellConv, Layout, cell_values, pool, spread

SIZES = torch.tensor([[1, 1], [2, 5], [30, 3], [4, 4], [1, 7], [9, 10]])
MANY = torch.tensor([[30, 30]] * 6 + [[3, 5]])


@pytest.fixture
def layout() -> Layout:
    return Layout.of(SIZES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(x: Tensor, layout: Layout) -> list[Tensor]:
    """Cut [T, C] into one [1, C, height, width] for each grid."""
    parts = x.split(layout.sizes.prod(1).tolist())
    return [
        part.t().reshape(1, -1, *size)
        for part, size in zip(parts, layout.sizes.tolist(), strict=True)
    ]


def cells(pictures: list[Tensor]) -> Tensor:
    return torch.cat([picture.flatten(2)[0].t() for picture in pictures])


def test_cells_are_ordered_by_grid_and_row() -> None:
    grids = Grids.from_arrays([[[1, 2], [3, 4]], [[5, 6, 7]], [[8], [9]]])
    assert cell_values(grids).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("sizes", [SIZES, MANY], ids=["different sizes", "many cells"])
def test_convolution_is_zero_padded_conv2d(sizes: Tensor) -> None:
    layout = Layout.of(sizes)
    conv = CellConv(3, 5)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(len(layout), 3, requires_grad=True)
    kernel = conv.weight.view(3, 3, 3, 5).permute(3, 2, 0, 1)
    expected = cells([F.conv2d(i, kernel, conv.bias, padding=1) for i in images(x, layout)])
    result = conv(x, layout)
    torch.testing.assert_close(result, expected)
    upstream = torch.randn_like(result)
    inputs = (x, conv.weight, conv.bias)
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        rtol=1e-4,
        atol=1e-5,
    )


def test_convolution_needs_no_gradient_of_its_input(layout: Layout) -> None:
    conv = CellConv(3, 2)
    conv(torch.randn(len(layout), 3), layout).sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.abs().sum() > 0


def test_convolution_under_autocast_is_close_to_full_precision(layout: Layout) -> None:
    conv, x = CellConv(8, 8), torch.randn(len(layout), 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv(x, layout)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), conv(x, layout), rtol=0.05, atol=0.05)


def test_a_lattice_point_is_a_mean_of_cells_of_its_own_grid(layout: Layout) -> None:
    matrix = pool(torch.eye(len(layout)), layout).view(len(SIZES), LATTICE**2, len(layout))
    assert (matrix >= 0).all()
    weight = matrix.sum(2)
    large = (SIZES >= LATTICE).all(1)
    torch.testing.assert_close(weight[large], torch.ones_like(weight[large]))
    near = weight > 0
    torch.testing.assert_close(weight[near], torch.ones_like(weight[near]))
    assert near.any(1).all()
    assert (matrix.sum((0, 1)) > 0).all(), "every cell is pooled"
    assert (layout.weights >= 0).all()
    torch.testing.assert_close(layout.weights.sum(1), torch.ones(len(layout)))
    own = torch.arange(len(SIZES))[:, None, None] == layout.grid
    assert (matrix.masked_select(~own) == 0).all()


def test_pooling_a_lattice_sized_grid_is_the_identity() -> None:
    layout = Layout.of(torch.tensor([[LATTICE, LATTICE]]))
    x = torch.randn(LATTICE**2, 3)
    torch.testing.assert_close(pool(x, layout), x.view(1, -1))


def test_spreading_is_bilinear_interpolation(layout: Layout) -> None:
    points = torch.randn(len(SIZES), LATTICE**2 * 3)
    lattices = points.view(-1, LATTICE, LATTICE, 3).permute(0, 3, 1, 2)
    expected = cells(
        [
            F.interpolate(lattice[None], size, mode="bilinear", align_corners=False)
            for lattice, size in zip(lattices, SIZES.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(spread(points, layout), expected)


@pytest.mark.parametrize("operation", [pool, spread])
def test_gradients_are_those_of_a_linear_map(layout: Layout, operation: Any) -> None:
    """A x . y = x . A'y for every x and y, where A'y is what backward gives."""
    cell_side, point_side = (len(layout), 4), (len(SIZES), LATTICE**2 * 4)
    given, made = (cell_side, point_side) if operation is pool else (point_side, cell_side)
    x, y, probe = torch.randn(given, requires_grad=True), torch.randn(made), torch.randn(given)
    (back,) = torch.autograd.grad(operation(x, layout), x, y)
    forward = (operation(probe, layout) * y).sum()
    torch.testing.assert_close((probe * back).sum(), forward, rtol=1e-4, atol=1e-4)


def test_pool_sums_half_precision_in_full(layout: Layout) -> None:
    x = torch.randn(len(layout), 4).bfloat16().requires_grad_()
    result = pool(x, layout)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, pool(x.detach().float(), layout))
    result.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
