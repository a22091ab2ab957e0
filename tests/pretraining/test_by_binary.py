"""Fakes that have what is easily counted in common with a real grid, and how they are judged."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeConfig, histogram

from arc.config.builders import build_pretraining, build_pretraining_model
from arc.data import NUM_COLORS, Grids, Transform
from arc.pretraining.binary import make_fakes

KINDS = ("shuffled", "resampled", "spliced", "noise")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs_of(kind: str, grids: Grids) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(grids.arrays(), make_fakes(kind, grids, generator()).arrays(), strict=True))


@pytest.fixture(scope="module")
def real() -> Grids:
    """Grids of many sizes and few colours each; after a transform, as augmentation leaves them."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.choice(rng.permutation(NUM_COLORS)[:3], size=rng.integers(3, 12, 2)).astype(np.uint8)
        for _ in range(40)
    ]
    return Transform.sample(generator(), 40)(Grids.from_arrays(arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_has_the_size_of_its_grid_and_is_another_grid(real: Grids, kind: str) -> None:
    for grid, fake in pairs_of(kind, real):
        assert fake.shape == grid.shape
        assert not np.array_equal(fake, grid)


def test_shuffling_keeps_every_cell(real: Grids) -> None:
    for grid, fake in pairs_of("shuffled", real):
        assert np.array_equal(histogram(fake), histogram(grid))


def test_resampling_keeps_to_the_colors_and_about_their_shares(real: Grids) -> None:
    off = []
    for grid, fake in pairs_of("resampled", real):
        assert set(np.unique(fake)) <= set(np.unique(grid))
        off.append((histogram(fake) - histogram(grid)) / grid.size)
    assert 0.01 < np.abs(off).mean() < 0.1


def test_a_splice_is_a_rectangle_of_another_grid(real: Grids) -> None:
    arrays = real.arrays()
    for number, (grid, fake) in enumerate(pairs_of("spliced", real)):
        rows, columns = np.nonzero(fake != grid)
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        others = [
            other[box]
            for index, other in enumerate(arrays)
            if index != number and np.all(np.array(other[box].shape) == fake[box].shape)
        ]
        assert any(np.array_equal(fake[box], other) for other in others)


def test_noise_has_every_color_as_often(real: Grids) -> None:
    fakes = np.concatenate([fake.ravel() for _, fake in pairs_of("noise", real)])
    assert np.all(np.abs(histogram(fakes) / fakes.size - 1 / NUM_COLORS) < 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_makes_the_same_fakes(real: Grids, kind: str) -> None:
    one, other = (make_fakes(kind, real, generator(7)).arrays() for _ in range(2))
    assert all(map(np.array_equal, one, other))
    another = make_fakes(kind, real, generator(8)).arrays()
    assert not all(map(np.array_equal, one, another))


@pytest.mark.parametrize("kind", ["shuffled", "resampled", "spliced"])
def test_a_grid_of_one_color_alone_has_no_fake_of_its_own_cells(kind: str) -> None:
    plain = Grids.from_arrays([np.full((3, 4), 2, np.uint8)])
    ((grid, fake),) = pairs_of(kind, plain)
    assert np.array_equal(grid, fake)


def task_and_model(make_config: MakeConfig, *overrides: str) -> tuple[Any, Any]:
    config = make_config("pretrain=binary", *overrides)
    task = build_pretraining(config)
    return task, build_pretraining_model(config, task.num_classes).eval()


@torch.no_grad()
def test_a_fake_that_is_its_grid_is_not_counted(make_config: MakeConfig) -> None:
    """Of a batch of grids of one colour nothing can be shuffled: only the real ones count."""
    task, model = task_and_model(make_config, "pretrain.fakes=[shuffled]")
    plain = Grids.from_arrays([np.full((3, 3), color, np.uint8) for color in range(8)])
    task.sender_input = lambda *_: plain
    output = task.step(model, torch.arange(8), generator())
    logits = model.receiver(model(plain).signal)
    torch.testing.assert_close(output.loss, torch.nn.functional.softplus(-logits).mean())


@torch.no_grad()
@pytest.mark.parametrize("kinds", [["shuffled"], ["spliced", "noise"]])
def test_each_kind_is_judged_and_a_receiver_that_says_real_is_at_chance(
    make_config: MakeConfig, kinds: list[str]
) -> None:
    task, model = task_and_model(make_config, f"pretrain.fakes=[{','.join(kinds)}]")
    split = task.corpus.validation
    with torch.no_grad():
        model.receiver.real.weight.zero_()
        model.receiver.real.bias.fill_(1.0)
    _, signal, _ = task.send_all(model, split)
    figure = task.evaluate(model, split, signal).headline
    assert figure.values == {"accuracy": 50.0, "real": 100.0, **dict.fromkeys(kinds, 0.0)}
    assert figure.baselines == {"chance": 50.0}
    assert figure.targets == len(split)


@pytest.mark.parametrize("fakes", ["[]", "[noise,noise]", "[painted]"])
def test_fakes_are_kinds_each_once(make_config: MakeConfig, fakes: str) -> None:
    with pytest.raises(ValueError, match=r"pretrain\.fakes"):
        make_config("pretrain=binary", f"pretrain.fakes={fakes}")
