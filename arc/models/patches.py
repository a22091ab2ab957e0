"""Grids of any size as a lattice of 4 x 4 patches, and the layers over them.

Each grid, whatever its size, is cut into patches of nearly equal size: row r of a grid of height h
belongs to patch row 4 r // h, and columns likewise. A patch has at most 8 x 8 cells; some have none
if a side is shorter than 4. A grid is therefore always 16 tokens.

Shapes: B grids, T cells in all (grid by grid, row by row), K = 16 patches, P = 64 places in a
patch, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, Grids, inside_grids, uses_dense_cells
from arc.models.ragged import SizeEmbedding
from arc.registry import Registry

SIDE = 4
PATCHES = SIDE**2
REACH = -(-MAX_GRID_SIZE // SIDE)
PLACES = REACH**2
HEAD_WIDTH = 16
HEADS = ("joint", "patch", "direct")
MIXERS: Registry[type[nn.Module]] = Registry("mixer")


@dataclass(frozen=True)
class PatchLayout:
    """The patch and the place within it of every cell.

    ``grid``, ``row``, ``column``: int64 [T]. ``patch``: int64 [T], out of B * K. ``place``: int64
    [T], out of P. ``counts``: float32 [B, K, 1], the number of cells of each patch, at least 1.
    ``inside``: bool [T] in a dense list (see uses_dense_cells), False in rows outside of the grid,
    whose ``patch`` and ``place`` have no meaning; otherwise None.
    """

    sizes: Tensor
    grid: Tensor
    row: Tensor
    column: Tensor
    patch: Tensor
    place: Tensor
    counts: Tensor
    inside: Tensor | None

    @classmethod
    def of(cls, sizes: Tensor) -> PatchLayout:
        """Lay out grids of ``sizes``, int64 [B, 2]."""
        dense = uses_dense_cells(sizes.device)
        side = MAX_GRID_SIZE if dense else int(sizes.max())
        line = torch.arange(side, device=sizes.device)
        part = (line * SIDE // sizes[:, :, None]).clamp(max=SIDE - 1)  # of rows and columns
        first = -(-part * sizes[:, :, None] // SIDE)
        place = (line - first).clamp(max=REACH - 1)
        number = torch.arange(len(sizes), device=sizes.device)[:, None, None] * PATCHES
        patches = number + part[:, 0, :, None] * SIDE + part[:, 1, None]
        places = place[:, 0, :, None] * REACH + place[:, 1, None]
        inside = inside_grids(sizes, side)
        counts = torch.zeros(len(sizes) * PATCHES, device=sizes.device)
        if dense:
            cells = torch.meshgrid(number[:, 0, 0] // PATCHES, line, line, indexing="ij")
            grid, row, column = (index.flatten() for index in cells)
            patch, place = patches.flatten(), places.flatten()
            counts.index_add_(0, patch, inside.flatten().to(counts.dtype))
        else:
            grid, row, column = inside.nonzero(as_tuple=True)
            patch, place = patches[grid, row, column], places[grid, row, column]
            counts.index_add_(0, patch, torch.ones_like(patch, dtype=counts.dtype))
        return cls(
            sizes=sizes,
            grid=grid,
            row=row,
            column=column,
            patch=patch,
            place=place,
            counts=counts.clamp(min=1).view(-1, PATCHES, 1),
            inside=inside.flatten() if dense else None,
        )

    def sum_in_patches(self, grids: Grids, table: Tensor) -> Tensor:
        """Return the sum over the cells of each patch of their rows in ``table``, [B * K, C].

        ``table`` is [P, num_colors, C]: the row of a cell is that of its place and colour.
        """
        num_colors = table.shape[1]
        table = table.flatten(0, 1)
        rows = len(self.sizes) * PATCHES
        if self.inside is not None:  # shapes do not depend on the grids: a product with one-hots
            marks = torch.zeros(rows, len(table), dtype=table.dtype, device=table.device)
            mark = self.patch * len(table) + self.place * num_colors + grids.padded.flatten()
            marks.view(-1).index_add_(0, mark, self.inside.to(table.dtype))
            return (marks @ table).float()
        colors = grids.cells[self.grid, self.row, self.column].long()
        by_patch = self.patch.argsort(stable=True)
        ends = torch.bincount(self.patch, minlength=rows).cumsum(0)
        cells = (self.place * num_colors + colors)[by_patch]
        return F.embedding_bag(cells, table.float(), F.pad(ends, (1, -1)), mode="sum")


class PatchPosition(nn.Module):
    """A learned vector for each patch, plus one for the grid's height and one for its width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patch = nn.Parameter(torch.empty(PATCHES, channels))
        nn.init.normal_(self.patch, std=0.5)
        self.size = SizeEmbedding(channels)

    def forward(self, sizes: Tensor) -> Tensor:
        """Embed ``sizes`` int64 [B, 2]: float32 [B, K, C]."""
        return self.patch + self.size(sizes)[:, None]


class PatchEmbedding(nn.Module):
    """Grids to tokens: the embedded cells of each patch, its position, and the grid's size.

    A cell's embedding is its colour's, mapped by the matrix of its place. Their sum is divided by
    the square root of the number of cells, so that small and large patches have equal scale.

    With ``direct`` > 0, ``shares`` also maps the cells of each patch to that many numbers: the sum
    of a learned vector for each place and colour.
    """

    def __init__(self, num_colors: int, embedding_dim: int, channels: int, direct: int = 0) -> None:
        super().__init__()
        self.widths = (channels, direct)
        self.color = nn.Embedding(num_colors, embedding_dim)
        self.place = nn.Parameter(torch.empty(PLACES, embedding_dim, channels))
        nn.init.normal_(self.place)
        self.position = PatchPosition(channels)
        if direct > 0:
            self.direct = nn.Parameter(torch.empty(PLACES, num_colors, direct))
            nn.init.normal_(self.direct, std=0.1)

    def forward(self, grids: Grids, layout: PatchLayout) -> Tensor:
        """Embed ``grids`` [B]: float32 [B, K, C]."""
        return self.with_shares(grids, layout)[0]

    def with_shares(self, grids: Grids, layout: PatchLayout) -> tuple[Tensor, Tensor]:
        """Return the embedding of ``grids`` [B], and their shares: float32 [B, K, direct]."""
        table = (self.color.weight / self.color.embedding_dim**0.5) @ self.place
        if self.widths[1] > 0:
            table = torch.cat([table.float(), self.direct], -1)
        sums = layout.sum_in_patches(grids, table).view(len(layout.sizes), PATCHES, -1)
        tokens, shares = sums.split(self.widths, -1)
        return tokens / layout.counts.sqrt() + self.position(layout.sizes), shares


@MIXERS.register("attention")
class PatchAttention(nn.Module):
    """Attention over the patches of a grid, with a learned bias for each pair of positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // HEAD_WIDTH, 1) if channels % HEAD_WIDTH == 0 else 1
        self.project = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.zeros(self.heads, PATCHES, PATCHES))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, K, C] to [B, K, C]."""
        parts = self.project(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + self.bias
        mixed = scores.softmax(-1).to(value.dtype) @ value
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


@MIXERS.register("conv")
class PatchConv(nn.Module):
    """A 3 x 3 convolution over the lattice of patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, K, C] to [B, K, C]."""
        image = x.transpose(1, 2).reshape(len(x), -1, SIDE, SIDE)
        return self.conv(image).flatten(2).transpose(1, 2)


class PatchBlock(nn.Module):
    """A pre-norm residual block: mix the patches, then an MLP of twice the width."""

    def __init__(self, channels: int, mixer: str = "attention", dropout: float = 0.0) -> None:
        super().__init__()
        self.mix_norm = nn.LayerNorm(channels)
        self.mix = MIXERS[mixer](channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, K, C] to float32 [B, K, C]."""
        x = x + self.dropout(self.mix(self.mix_norm(x))).float()
        return x + self.dropout(self.mlp(self.norm(x))).float()


def share_width(width: int, unit: int = 1) -> int:
    """Return the length of the shares of a vector of ``width`` numbers, see ``to_shares``."""
    return -(-width // (PATCHES * unit)) * unit


def from_shares(shares: Tensor, width: int, unit: int = 1) -> Tensor:
    """Interleave the patches' shares of a vector: [B, K, n] to [B, width].

    The vector consists of units of ``unit`` numbers; unit i belongs to patch i % K. Numbers beyond
    ``width`` are dropped.
    """
    return shares.unflatten(2, (-1, unit)).transpose(1, 2).flatten(1)[:, :width]


def to_shares(vector: Tensor, unit: int = 1) -> Tensor:
    """Return each patch's share of a vector, [B, width] to [B, K, n]; missing numbers are 0."""
    share = share_width(vector.shape[1], unit)
    padded = F.pad(vector, (0, share * PATCHES - vector.shape[1]))
    return padded.view(-1, share // unit, PATCHES, unit).transpose(1, 2).flatten(2)
