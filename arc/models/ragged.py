"""Batches of grids as one flat list of cells, with convolution and pooling.

The grids of a batch differ in size by a factor of up to 900. A batch is therefore the list of all
cells of its grids. Without padding, no computation is wasted and no padding affects the result.
A 3x3 convolution gathers each cell's neighbours and multiplies once (cells outside the
grid count as zero); pooling to a fixed lattice, and back, is a weighted sum.

Shapes: T cells in all, B grids, C channels, K = LATTICE * LATTICE points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, Grids, inside_grids, uses_dense_cells

LATTICE = 4
KERNEL = 3
CELLS_AT_A_TIME = 4096
OUTSIDE = -100  # in a list of colours; a cross-entropy ignores it


@dataclass(frozen=True)
class Layout:
    """The positions of a batch's cells, computed from the sizes of the grids.

    ``grid``, ``row``, ``column``: int64 [T]. ``neighbours``: int32 [T, 9], T meaning outside.
    ``corners``, ``weights``: [T, 4], the lattice points (of B * K) around a cell and its share
    in each, which adds up to 1. ``bag_*``: the same relation, sorted by lattice point.
    """

    sizes: Tensor
    grid: Tensor
    row: Tensor
    column: Tensor
    neighbours: Tensor
    corners: Tensor
    weights: Tensor
    bag_cells: Tensor
    bag_weights: Tensor
    bag_offsets: Tensor
    point_mass: Tensor

    @classmethod
    def of(cls, sizes: Tensor) -> Layout:
        """Lay out grids of ``sizes``, int64 [B, 2]."""
        batch, inside = len(sizes), inside_grids(sizes, int(sizes.max()))
        grid, row, column = inside.nonzero(as_tuple=True)
        corners, weights = _lattice(grid, row, column, sizes[grid])
        order = corners.flatten().argsort(stable=True)
        points = torch.arange(batch * LATTICE**2, device=sizes.device)
        mass = torch.zeros(len(points), device=sizes.device)
        sorted_corners, sorted_weights = corners.flatten()[order], weights.flatten()[order]
        offsets = torch.searchsorted(sorted_corners, points)
        mass = F.embedding_bag(
            torch.arange(len(order), device=sizes.device),
            sorted_weights[:, None],
            offsets,
            mode="sum",
        )
        return cls(
            sizes=sizes,
            grid=grid,
            row=row,
            column=column,
            neighbours=_neighbours(inside, grid, row, column),
            corners=corners,
            weights=weights,
            bag_cells=order // 4,
            bag_weights=sorted_weights,
            bag_offsets=offsets,
            point_mass=mass.clamp(min=1e-6),
        )

    def values(self, grids: Grids) -> Tensor:
        """Return the colour of every cell of ``grids``, which have this layout: int64 [T]."""
        return grids.cells[self.grid, self.row, self.column].long()

    def rows(self, cells: Tensor) -> Tensor:
        """Return values of cells, [T, C], in the order of cell_values, as a dense list on CUDA."""
        if not uses_dense_cells(cells.device):
            return cells
        place = (self.grid * MAX_GRID_SIZE + self.row) * MAX_GRID_SIZE + self.column
        dense = cells.new_zeros(len(self.sizes) * MAX_GRID_SIZE**2, cells.shape[1])
        return dense.index_copy(0, place, cells)

    def __len__(self) -> int:
        """Return the number of cells, T."""
        return len(self.grid)


def _neighbours(inside: Tensor, grid: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return int32 [T, 9]: the cell at each offset (row-major), or T if that is outside."""
    batch, side, _ = inside.shape
    total = len(grid)
    index = torch.full((batch, side + 2, side + 2), total, dtype=torch.int32, device=inside.device)
    index[:, 1:-1, 1:-1][inside] = torch.arange(total, dtype=torch.int32, device=inside.device)
    shifts = range(KERNEL)
    return torch.stack([index[grid, row + dy, column + dx] for dy in shifts for dx in shifts], 1)


def _lattice(grid: Tensor, row: Tensor, column: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return each cell's four lattice points and bilinear weights: [T, 4] and [T, 4]."""

    def axis(position: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        point = ((position + 0.5) / length * LATTICE - 0.5).clamp(0, LATTICE - 1)
        low = point.floor().clamp(max=LATTICE - 2)
        return low.long(), point - low

    y, fy = axis(row, sizes[:, 0])
    x, fx = axis(column, sizes[:, 1])
    corner = grid * LATTICE**2 + y * LATTICE + x
    corners = torch.stack([corner, corner + 1, corner + LATTICE, corner + LATTICE + 1], 1)
    weights = torch.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], 1)
    return corners, weights


def cell_values(grids: Grids) -> Tensor:
    """Return the colour of every cell, grid by grid and row by row: int64 [T].

    In a dense list (see uses_dense_cells), the rows outside of a grid are OUTSIDE.
    """
    if not uses_dense_cells(grids.cells.device):
        return grids.cells[grids.inside].long()
    inside = inside_grids(grids.sizes, MAX_GRID_SIZE)
    return torch.where(inside, grids.padded.long(), OUTSIDE).flatten()


def _neighbourhoods(x: Tensor, neighbours: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the cells with their neighbourhoods, concatenated: [t, 9 * C].

    On a CPU the slices are short: the gathered values stay in the cache until they are
    multiplied, and the largest memory blocks have one size, which the allocator can reuse.
    """
    padded = torch.cat([x, x.new_zeros(1, x.shape[1])])
    count = CELLS_AT_A_TIME if x.device.type == "cpu" else max(len(neighbours), 1)
    for start in range(0, len(neighbours), count):
        part = slice(start, start + count)
        some = neighbours[part]
        yield part, F.embedding(some.flatten(), padded).view(len(some), -1)


def _convolve(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    """Return [T, out] from [T, in] and [9, in, out]."""
    out, matrix = x.new_empty(len(x), weight.shape[2]), weight.flatten(0, 1)
    for part, around in _neighbourhoods(x, neighbours):
        torch.mm(around, matrix, out=out[part])
    return out


class _Convolve(torch.autograd.Function):
    """Gather and multiply. The backward pass gathers as well, where autograd would scatter."""

    @staticmethod
    def forward(ctx, x, weight, neighbours):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight, neighbours)
        return _convolve(x, weight, neighbours)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight, neighbours = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[
            0
        ]:  # being a neighbour is symmetric: rotate the kernel by 180 degrees
            grad_x = _convolve(grad, weight.flip(0).transpose(1, 2), neighbours)
        if ctx.needs_input_grad[1]:
            total = torch.zeros(weight.flatten(0, 1).shape, device=x.device)
            for part, around in _neighbourhoods(x, neighbours):
                total += around.t() @ grad[part]
            grad_weight = total.view_as(weight).to(weight.dtype)
        return grad_x, grad_weight, None


class _Pool(torch.autograd.Function):
    """Cells to lattice points: the weighted mean of the cells around each point."""

    @staticmethod
    def forward(ctx, x, layout):  # type: ignore[no-untyped-def]
        ctx.layout, ctx.dtype = layout, x.dtype
        return _cells_to_points(x.float(), layout) / layout.point_mass

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        grad = (grad / ctx.layout.point_mass).contiguous()
        return _points_to_cells(grad, ctx.layout).to(ctx.dtype), None


class _Spread(torch.autograd.Function):
    """Lattice points to cells: bilinear interpolation."""

    @staticmethod
    def forward(ctx, points, layout):  # type: ignore[no-untyped-def]
        ctx.layout, ctx.dtype = layout, points.dtype
        return _points_to_cells(points.float(), layout)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _cells_to_points(grad.float(), ctx.layout).to(ctx.dtype), None


def _cells_to_points(x: Tensor, layout: Layout) -> Tensor:
    return F.embedding_bag(
        layout.bag_cells,
        x.contiguous(),
        layout.bag_offsets,
        mode="sum",
        per_sample_weights=layout.bag_weights,
    )


def _points_to_cells(points: Tensor, layout: Layout) -> Tensor:
    return F.embedding_bag(
        layout.corners, points.contiguous(), mode="sum", per_sample_weights=layout.weights
    )


def pool(x: Tensor, layout: Layout) -> Tensor:
    """Average cells [T, C] around each lattice point: float32 [B, K * C]."""
    return _Pool.apply(x, layout).view(len(layout.sizes), -1)


def spread(points: Tensor, layout: Layout) -> Tensor:
    """Interpolate lattice points [B, K * C] at each cell: float32 [T, C]."""
    return _Spread.apply(points.reshape(len(layout.sizes) * LATTICE**2, -1), layout)


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of matrix products of ``x`` under the current autocast setting."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class CellConv(nn.Module):
    """A 3x3 convolution over each grid of a batch, with zero padding.

    ``weight`` is [9, in_channels, out_channels]: one matrix per offset, row-major.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(KERNEL**2, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=(KERNEL**2 * in_channels) ** -0.5)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Map [T, in_channels] to [T, out_channels]."""
        dtype = autocast_dtype(x)
        out = _Convolve.apply(x.to(dtype), self.weight.to(dtype), layout.neighbours)
        return out + self.bias.to(dtype)


class CellBlock(nn.Module):
    """A pre-norm residual block: normalise each cell, GELU, convolve, add."""

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv = CellConv(channels, channels)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Map [T, channels] to [T, channels]."""
        return x + self.conv(self.dropout(activate(self.norm, x)), layout)


def activate(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return GELU of ``x`` normalised, in the dtype of ``x``.

    It is normalised in fp32: in bf16, a CPU adds up the gradients of weight and bias in bf16,
    and a sum over many cells stops growing.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.gelu(norm(x.float()).to(x.dtype))


class SizeEmbedding(nn.Module):
    """A learned vector for each height plus one for each width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.height = nn.Embedding(MAX_GRID_SIZE, dim)
        self.width = nn.Embedding(MAX_GRID_SIZE, dim)

    def forward(self, sizes: Tensor) -> Tensor:
        """Embed ``sizes`` int64 [batch, 2]: float32 [batch, dim]."""
        return self.height(sizes[:, 0] - 1) + self.width(sizes[:, 1] - 1)
