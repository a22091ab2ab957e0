"""Pretraining by real or fake: fakes share simple statistics with a real grid."""

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
    """Augmented grids of many sizes and three colours each."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.choice(rng.permutation(NUM_COLORS)[:3], size=rng.integers(3, 12, 2)).astype(np.uint8)
        for _ in range(40)
    ]
    return Transform.sample(generator(), 40)(Grids.from_arrays(arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_is_another_grid_of_the_same_size(real: Grids, kind: str) -> None:
    for grid, fake in pairs_of(kind, real):
        assert fake.shape == grid.shape
        assert not np.array_equal(fake, grid)


def test_shuffling_keeps_every_cell(real: Grids) -> None:
    for grid, fake in pairs_of("shuffled", real):
        assert np.array_equal(histogram(fake), histogram(grid))


def test_resampling_keeps_the_colors_and_roughly_their_frequencies(real: Grids) -> None:
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


def test_the_colors_of_noise_are_uniform(real: Grids) -> None:
    fakes = np.concatenate([fake.ravel() for _, fake in pairs_of("noise", real)])
    assert np.all(np.abs(histogram(fakes) / fakes.size - 1 / NUM_COLORS) < 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_fakes(real: Grids, kind: str) -> None:
    one, other = (make_fakes(kind, real, generator(7)).arrays() for _ in range(2))
    assert all(map(np.array_equal, one, other))
    another = make_fakes(kind, real, generator(8)).arrays()
    assert not all(map(np.array_equal, one, another))


@pytest.mark.parametrize("kind", ["shuffled", "resampled", "spliced"])
def test_a_grid_of_one_color_has_no_fake(kind: str) -> None:
    plain = Grids.from_arrays([np.full((3, 4), 2, np.uint8)])
    ((grid, fake),) = pairs_of(kind, plain)
    assert np.array_equal(grid, fake)


def task_and_model(make_config: MakeConfig, *overrides: str) -> tuple[Any, Any]:
    config = make_config("pretrain=binary", *overrides)
    task = build_pretraining(config)
    return task, build_pretraining_model(config, task.num_classes).eval()


@torch.no_grad()
def test_a_fake_equal_to_its_grid_is_not_counted(make_config: MakeConfig) -> None:
    """Shuffling a grid of one colour changes nothing: only the real grids count."""
    task, model = task_and_model(make_config, "pretrain.fakes=[shuffled]")
    plain = Grids.from_arrays([np.full((3, 3), color, np.uint8) for color in range(8)])
    task.sender_input = lambda *_: plain
    output = task.step(model, torch.arange(8), generator())
    logits = model.receiver(model(plain).signal)
    torch.testing.assert_close(output.loss, torch.nn.functional.softplus(-logits).mean())


@torch.no_grad()
@pytest.mark.parametrize("kinds", [["shuffled"], ["spliced", "noise"]])
def test_a_receiver_that_answers_real_is_at_chance(
    make_config: MakeConfig, kinds: list[str]
) -> None:
    task, model = task_and_model(make_config, f"pretrain.fakes=[{','.join(kinds)}]")
    split = task.corpus.validation
    model.receiver.real.weight.zero_()
    model.receiver.real.bias.fill_(1.0)
    _, signal, _ = task.send_all(model, split)
    metric = task.evaluate(model, split, signal).headline
    assert metric.values == {"accuracy": 50.0, "real": 100.0, **dict.fromkeys(kinds, 0.0)}
    assert metric.baselines == {"chance": 50.0}
    assert metric.targets == len(split)


@pytest.mark.parametrize("fakes", ["[]", "[noise,noise]", "[painted]"])
def test_invalid_fakes_are_refused(make_config: MakeConfig, fakes: str) -> None:
    with pytest.raises(ValueError, match=r"pretrain\.fakes"):
        make_config("pretrain=binary", f"pretrain.fakes={fakes}")
