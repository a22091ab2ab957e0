"""The codec of grids: exact lengths, round trips, and grids from too few bits."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from arc.data import Grids
from arc.metrics import Codec, context_model

NOISE = np.random.default_rng(0)
TRAINING = [np.pad(np.full((k, 3), k), 2) for k in range(1, 7)]
GRIDS = {
    "one cell": np.array([[7]]),
    "one row": np.array([[0, 0, 3, 0, 0, 3, 0]]),
    "one column": np.array([[5], [5], [1]]),
    "largest, one colour": np.full((30, 30), 4),
    "noise": NOISE.integers(0, 10, (9, 11)),
    "mirrored": np.block([[TRAINING[2], TRAINING[2][:, ::-1]]]),
    "like the training grids": TRAINING[3],
}


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.fit(Grids.from_arrays(TRAINING))


@pytest.fixture(scope="module")
def grids() -> Grids:
    return Grids.from_arrays(list(GRIDS.values()))


@pytest.fixture(scope="module")
def bits(codec: Codec, grids: Grids) -> list[float]:
    lengths: list[float] = codec.bits(grids).tolist()
    return lengths


def same(one: Grids, other: Grids) -> list[bool]:
    return [np.array_equal(*pair) for pair in zip(one.arrays(), other.arrays(), strict=True)]


def test_every_grid_is_decoded_from_as_many_bits_as_its_code_has(
    codec: Codec, grids: Grids, bits: list[float]
) -> None:
    messages = 2 ** math.ceil(max(bits))
    sent = codec.encode(grids, messages)
    assert all(0 <= message < messages for message in sent)
    assert same(codec.decode(sent, messages, grids.sizes), grids) == [True] * len(grids)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=name, marks=[pytest.mark.slow] if "largest" in name else [])
        for number, name in enumerate(GRIDS)
    ],
)
def test_a_grid_alone_has_the_same_code(
    codec: Codec, grids: Grids, bits: list[float], number: int
) -> None:
    alone = grids[torch.tensor([number])]
    assert codec.bits(alone).tolist() == [bits[number]]
    messages = math.ceil(2 ** bits[number])
    (sent,) = codec.encode(alone, messages)
    assert same(codec.decode([sent], messages, alone.sizes), alone) == [True]


def test_too_few_bits_give_the_first_cells_and_then_the_most_probable_colours(
    codec: Codec, grids: Grids, bits: list[float]
) -> None:
    noise = list(GRIDS).index("noise")
    wanted = grids.arrays()[noise].ravel()
    alone, right = grids[torch.tensor([noise])], []
    for share in (0, 0.25, 0.5, 0.75):
        messages = math.ceil(2 ** (share * bits[noise]))
        (built,) = codec.decode(codec.encode(alone, messages), messages, alone.sizes).arrays()
        wrong = np.flatnonzero(built.ravel() != wanted)
        right.append(wrong[0] / wanted.size)
    assert right == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.1)


def test_what_was_fitted_costs_least(codec: Codec, bits: list[float]) -> None:
    lengths = dict(zip(GRIDS, bits, strict=True))
    assert lengths["like the training grids"] < 10 < 300 < lengths["noise"]
    assert lengths["noise"] == pytest.approx(99 * math.log2(10), rel=0.25)
    assert lengths["largest, one colour"] < 40


@pytest.mark.parametrize("message", [-1, 8])
def test_a_message_outside_the_code_is_refused(codec: Codec, message: int) -> None:
    with pytest.raises(ValueError, match="messages must lie in 0 to 7"):
        codec.decode([message], 8, torch.tensor([[2, 2]]))


def test_the_same_grids_are_fitted_once(codec: Codec) -> None:
    assert Codec.fit(Grids.from_arrays(TRAINING)) is codec
    other = Codec.fit(Grids.from_arrays(TRAINING[:4]))
    assert other is not codec
    assert other.bits(Grids.from_arrays([TRAINING[5]])) > codec.bits(
        Grids.from_arrays([TRAINING[5]])
    )


def test_fitting_to_more_grids_takes_little_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_model, "SAMPLE", 100)
    monkeypatch.setattr(context_model, "BATCH", 8)

    def peak(grids: int) -> int:
        squares = Grids.from_arrays(list(NOISE.integers(0, 10, (grids, 12, 12))))
        tracemalloc.start()
        Codec.fit(squares)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few = peak(8)
    assert peak(72) - few < 64 * 144 * 60  # bytes: 60 for each cell


def test_an_exception_of_on_chunk_ends_the_work(codec: Codec, grids: Grids) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Codec.fit(Grids.from_arrays(TRAINING[:2]), stop)
    with pytest.raises(InterruptedError):
        codec.encode(grids, 8, stop)
    with pytest.raises(InterruptedError):
        codec.decode([0] * len(grids), 8, grids.sizes, stop)
