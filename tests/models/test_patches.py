"""Patches: each cell has one place in one patch, in the encoder and in the receiver."""

import pytest
import torch
from torch import nn

from arc.data import Grids
from arc.models import ARCAutoencoder, ARCEncoder
from arc.models.patches import (
    PATCHES,
    PLACES,
    REACH,
    PatchLayout,
    from_shares,
    share_width,
    to_shares,
)
from arc.models.ragged import cell_values
from arc.models.receivers.reconstruction import PatchReconstruction

SIZES = torch.cartesian_prod(torch.arange(1, 31), torch.arange(1, 31))
ARRAYS = [torch.randint(10, size).numpy() for size in ((5, 30), (1, 1), (9, 4), (3, 2))]


def test_every_cell_has_one_place_of_one_patch_in_every_size() -> None:
    layout = PatchLayout.of(SIZES)
    assert len(layout.patch) == int(SIZES.prod(1).sum())
    assert (layout.patch // PATCHES).equal(layout.grid)
    assert 0 <= int(layout.place.min()) <= int(layout.place.max()) < PLACES == 8 * 8
    assert len((layout.patch * PLACES + layout.place).unique()) == len(layout.patch)
    assert layout.counts.sum((1, 2)).ge(SIZES.prod(1)).all()  # an empty patch counts as one


@pytest.mark.parametrize(("width", "unit"), [(48, 1), (41, 1), (48, 3), (57, 3), (9, 3)])
def test_the_units_of_a_vector_are_dealt_to_the_patches_in_turn(width: int, unit: int) -> None:
    vector = torch.arange(1.0, 2 * width + 1).view(2, width)
    shares = to_shares(vector, unit)
    assert shares.shape == (2, PATCHES, share_width(width, unit))
    for patch in range(PATCHES):
        own = [vector[:, n] for n in range(width) if n // unit % PATCHES == patch]
        assert shares[:, patch, : len(own)].equal(torch.stack(own, 1) if own else vector[:, :0])
        assert not shares[:, patch, len(own) :].any()
    assert from_shares(shares, width, unit).equal(vector)


@pytest.mark.parametrize("palette", ["none", "rank"])
@torch.no_grad()
def test_direct_shares_carry_a_patch_to_the_same_patch_of_the_receiver(palette: str) -> None:
    """Without the other layers, a changed cell changes the symbols and logits of its patch only."""
    torch.manual_seed(0)
    encoder = ARCEncoder(hidden_dim=4, latent_dim=48, head="direct")
    model = ARCAutoencoder(encoder, 25, 45, hidden_dim=4, palette=palette).eval()
    first = 5 if palette == "rank" else 0  # symbols of the palette
    weights = dict(model.named_parameters())
    for layer in ("encoder.head", "receiver.color"):
        weights[f"{layer}.weight"].zero_()
        weights[f"{layer}.bias"].zero_()
    weights["encoder.embed.direct"].mul_(10)
    grid = torch.zeros(1, 9, 11, dtype=torch.long)
    grid[0, 8, 10] = 7
    changed = grid.clone()
    changed[0, 5, 3] = 7  # the palette stays the same
    patch = 4 * (4 * 5 // 9) + 4 * 3 // 11
    one, other = model.send(list(grid.numpy())), model.send(list(changed.numpy()))
    assert one[:, :first].equal(other[:, :first])
    differs = (one != other)[0, first:].nonzero()[:, 0]
    assert differs.tolist()
    assert {symbol % PATCHES for symbol in differs.tolist()} == {patch}
    built, rebuilt = (model.receive(each, sizes=[[9, 11]])[0] for each in (one, other))
    rows, columns = (built != rebuilt).any(0).nonzero(as_tuple=True)
    assert set((4 * (4 * rows // 9) + 4 * columns // 11).tolist()) == {patch}


def place_of(row: int, column: int, height: int, width: int) -> int:
    """Return the patch and the place in it as one number, from the definition."""
    patch_row = [4 * r // height for r in range(height)]
    patch_column = [4 * c // width for c in range(width)]
    y, x = patch_row[row], patch_column[column]
    place = (row - patch_row.index(y)) * REACH + column - patch_column.index(x)
    return (4 * y + x) * PLACES + place


def test_logits_stand_in_the_order_of_the_cells() -> None:
    """The head is replaced: the first logit of each place of each patch is its own number."""
    model = ARCAutoencoder(
        ARCEncoder(hidden_dim=4, latent_dim=16),
        None,
        None,
        hidden_dim=4,
        bottleneck_type="autoencoder",
    )
    receiver, grids = model.receiver, Grids.from_arrays(ARRAYS)
    assert isinstance(receiver, PatchReconstruction)

    class Numbers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            numbers = torch.arange(len(x) * PATCHES * PLACES, dtype=torch.float32)
            return numbers[:, None].expand(-1, 10).reshape(len(x), PATCHES, -1)

    receiver.color = Numbers()  # type: ignore[assignment]
    expected = [
        number * PATCHES * PLACES + place_of(row, column, *array.shape)
        for number, array in enumerate(ARRAYS)
        for row in range(array.shape[0])
        for column in range(array.shape[1])
    ]
    logits = receiver(torch.zeros(len(ARRAYS), 16), grids.sizes)
    assert logits[:, 0].long().tolist() == expected
    assert len(cell_values(grids)) == len(expected)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecture": "patches"}, "architecture 'patches'.*Did you mean 'patch'"),
        ({"mixer": "convs"}, "mixer 'convs'.*Did you mean 'conv'"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ARCEncoder(hidden_dim=4, latent_dim=4, **options)  # type: ignore[arg-type]


def test_an_unknown_score_is_refused() -> None:
    encoder = ARCEncoder(hidden_dim=4, latent_dim=4)
    with pytest.raises(ValueError, match="score 'dot'; choose one of: cosine, distance"):
        ARCAutoencoder(encoder, 4, 2, hidden_dim=4, task_type="selection", score="dot")
