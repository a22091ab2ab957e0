"""The latent of a grid depends on neither padding nor the other grids of its batch."""

import copy

import numpy as np
import pytest
import torch

from arc.data import Grids
from arc.models import ARCEncoder
from arc.models.patches import PatchBlock
from arc.models.ragged import CellConv

ARCHITECTURES = {
    "patch": {"architecture": "patch"},
    "conv": {"architecture": "patch", "mixer": "conv"},
    "cells": {"architecture": "cells"},
}


@pytest.fixture(params=ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def encoder(request: pytest.FixtureRequest) -> ARCEncoder:
    torch.manual_seed(0)
    options = {"embedding_dim": 4, "num_conv_layers": 3, **request.param}
    return ARCEncoder(hidden_dim=16, latent_dim=8, **options).eval()


def grids_of(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 10, shape, dtype=np.uint8) for shape in shapes]


def padded(array: np.ndarray, side: int, filling: int) -> Grids:
    cells = torch.full((1, side, side), filling, dtype=torch.uint8)
    cells[0, : array.shape[0], : array.shape[1]] = torch.from_numpy(array)
    return Grids(cells, torch.tensor([array.shape]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (6, 2), (10, 10), (30, 30)])
@torch.no_grad()
def test_padding_and_other_grids_have_no_effect(
    encoder: ARCEncoder, shape: tuple[int, int]
) -> None:
    (array,) = grids_of(shape)
    alone = encoder(Grids.from_arrays([array]))[0]
    others = grids_of((1, 1), (30, 30), (2, 30), (5, 5))
    for side in {max(shape), min(max(shape) + 3, 30), 30}:
        for filling in (0, 7):
            result = encoder(padded(array, side, filling))[0]
            torch.testing.assert_close(result, alone, rtol=1e-5, atol=1e-5)
    for place in range(5):
        batch = [*others[:place], array, *others[place:]]
        result = encoder(Grids.from_arrays(batch))[place]
        torch.testing.assert_close(result, alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_training_mode_uses_no_batch_statistics(encoder: ARCEncoder) -> None:
    (array,) = grids_of((4, 5))
    alone = encoder(Grids.from_arrays([array]))[0]
    batch = encoder.train()(Grids.from_arrays([*grids_of((9, 9), (2, 2)), array]))[2]
    torch.testing.assert_close(batch, alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_latent_depends_on_colour_zero_and_size(encoder: ARCEncoder) -> None:
    zeros = [np.zeros(shape, np.uint8) for shape in ((3, 3), (3, 4), (4, 3), (1, 1))]
    codes = encoder(Grids.from_arrays([*zeros, np.ones((3, 3), np.uint8)]))
    distance = torch.cdist(codes, codes) + torch.eye(5)
    assert distance.min() > 1e-3


@torch.no_grad()
def test_the_latent_depends_on_every_cell(encoder: ARCEncoder) -> None:
    (array,) = grids_of((5, 6))
    changed = []
    for row, column in np.ndindex(5, 6):
        other = array.copy()
        other[row, column] = (other[row, column] + 1) % 10
        changed.append(other)
    codes = encoder(Grids.from_arrays([array, *changed]))
    assert (codes[1:] - codes[0]).abs().amax(1).min() > 1e-4


@pytest.mark.parametrize("architecture", ["patch", "cells"])
def test_dropout_acts_in_training_only(architecture: str) -> None:
    torch.manual_seed(0)
    encoder = ARCEncoder(hidden_dim=16, latent_dim=8, dropout=0.5, architecture=architecture)
    grids = Grids.from_arrays(grids_of((5, 5)))
    assert not encoder(grids).equal(encoder(grids))
    encoder.eval()
    assert encoder(grids).equal(encoder(grids))


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize(("architecture", "layer"), [("patch", PatchBlock), ("cells", CellConv)])
def test_num_conv_layers_counts_the_layers(architecture: str, layer: type, layers: int) -> None:
    encoder = ARCEncoder(
        hidden_dim=4, latent_dim=4, num_conv_layers=layers, architecture=architecture
    )
    assert sum(isinstance(module, layer) for module in encoder.modules()) == layers
    again = copy.deepcopy(encoder)
    assert type(again) is type(encoder)
    assert again.architecture == encoder.architecture
