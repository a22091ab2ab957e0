"""Messages that begin with the palette of the grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from arc.data import Grids
from arc.data.features import color_ranks
from arc.models import ARCAutoencoder, ARCEncoder
from arc.models.bottlenecks.palette import palette_length

GRIDS = Grids.from_arrays(
    [[[3, 3, 0], [3, 0, 7]], [[5]], [[2, 1], [1, 2], [4, 4], [4, 0], [0, 0]], [[9, 8, 9]]]
)


def make(vocab_size: int | None, length: int | None, **options: Any) -> ARCAutoencoder:
    torch.manual_seed(0)
    encoder = ARCEncoder(
        embedding_dim=3, hidden_dim=8, latent_dim=24, num_conv_layers=1, head="patch"
    )
    return ARCAutoencoder(
        encoder,
        vocab_size,
        length,
        hidden_dim=8,
        num_conv_layers=1,
        bottleneck_type="autoencoder" if vocab_size is None else "communication",
        palette="rank",
        **options,
    ).eval()


def test_ranks_follow_the_frequency_of_colors() -> None:
    ranks = color_ranks(GRIDS)
    assert [ranks[0, color].item() for color in (3, 0, 7, 1)] == [0, 1, 2, 3]
    assert ranks[2, [0, 4, 1, 2]].tolist() == [0, 1, 2, 3]  # equally frequent: by number
    ranked = GRIDS.recolored(ranks)
    assert ranked.arrays()[0].tolist() == [[0, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize(("vocab_size", "length"), [(2, 22), (3, 14), (25, 5), (10_000, 2)])
def test_the_palette_takes_as_few_symbols_as_possible(vocab_size: int, length: int) -> None:
    assert palette_length(vocab_size) == length


@pytest.mark.parametrize(("vocab_size", "length"), [(None, None), (2, 23), (25, 7), (300, 8)])
@torch.no_grad()
def test_the_palette_is_read_exactly(vocab_size: int | None, length: int | None) -> None:
    model = make(vocab_size, length)
    rows = torch.stack([torch.randperm(10) for _ in range(200)])
    full = Grids(torch.arange(10, dtype=torch.uint8).expand(200, 10, 10), torch.full((200, 2), 10))
    cells = torch.where(torch.ones(10, 10).tril().bool(), 0, full.cells)  # 0 most frequent, then 1
    grids = Grids(cells, full.sizes).recolored(rows)
    message = model(grids)
    assert model.bottleneck.read(message.content).equal(message.signal)
    assert message.content.shape[1] == (length or 24)
    assert message.signal[:, :10].equal(color_ranks(grids).float())
    assert model.bottleneck.max_length == length


@pytest.mark.parametrize(("vocab_size", "length"), [(None, None), (25, 8)])
@torch.no_grad()
def test_what_is_said_of_ranks_holds_for_every_palette(
    vocab_size: int | None, length: int | None
) -> None:
    """Other colours change the palette alone, and the receiver's answer accordingly."""
    model = make(vocab_size, length)
    colors = torch.tensor([4, 8, 0, 5, 1, 9, 2, 3, 7, 6])
    grids = Grids.from_arrays([[[3, 3, 0], [3, 0, 7]], [[1, 1, 1, 1, 2, 2, 2, 8, 8, 6]]])
    others = grids.recolored(colors.expand(2, -1))
    one, other = model.send(grids), model.send(others)
    length_of_palette = palette_length(vocab_size)
    assert one[:, length_of_palette:].equal(other[:, length_of_palette:])
    assert not one[:, :length_of_palette].equal(other[:, :length_of_palette])
    present = [[0, 3, 7], [1, 2, 6, 8]]  # the order of absent colours is arbitrary
    answers = [model.receive(sent, sizes=grids.sizes) for sent in (one, other)]
    for known, left, right in zip(present, *answers, strict=True):
        torch.testing.assert_close(left[known], right[colors[known]])


@pytest.mark.parametrize(
    ("vocab_size", "length", "message", "fault"),
    [
        (None, None, [[0.0] * 10], r"message is \[1, 10\], expected \[batch, 24\]"),
        (25, 7, [[1] * 5], r"message is \[1, 5\], expected \[batch, 7\]"),
        (25, 7, [[0, 1, 2, 3, 25, 0, 0]], "symbol outside 0 to 24"),
        (25, 7, [[0, 1, 2, 3, 4, 0, 25]], "symbol outside 0 to 24"),
    ],
)
def test_what_is_no_message_is_refused(
    vocab_size: int | None, length: int | None, message: Any, fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        make(vocab_size, length).receive(message, sizes=[[2, 2]])


@torch.no_grad()
def test_every_sequence_of_symbols_is_a_message() -> None:
    model = make(25, 7)
    message = torch.randint(25, (50, 7))
    ranks = model.bottleneck.read(message)[:, :10]
    assert ranks.sort(1).values.equal(torch.arange(10.0).expand(50, 10))


def test_a_stop_symbol_ends_the_part_after_the_palette() -> None:
    model = make(25, 9, bottleneck_options={"stop_token": True})
    lengths = model(GRIDS).lengths
    assert lengths is not None
    assert ((lengths >= 6) & (lengths <= 9)).all()


@pytest.mark.parametrize(
    ("vocab_size", "length", "fault"),
    [(25, 5, "max_message_length must be above 5, got 5"), (2, 20, "above 22, got 20")],
)
def test_a_message_must_be_longer_than_the_palette(
    vocab_size: int, length: int, fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        make(vocab_size, length)


def test_an_unknown_palette_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown palette 'ranks'; choose one of: none, rank"):
        ARCAutoencoder(ARCEncoder(latent_dim=24), 25, 7, palette="ranks")
