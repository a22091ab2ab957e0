"""The order of examples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from arc.data import BatchSampler

MakeSource = Callable[..., BatchSampler]
EXAMPLES = torch.arange(100, 123)
GROUPS = torch.arange(23) % 4


def epoch_of(source: BatchSampler) -> list[Tensor]:
    return [source.next() for _ in range(source.batches_per_epoch)]


@pytest.fixture(params=["free", "grouped"])
def make_source(request: pytest.FixtureRequest) -> MakeSource:
    options: dict[str, Any] = {} if request.param == "free" else {"groups": GROUPS, "block_size": 3}

    def make(seed: int = 0, batch_size: int = 5) -> BatchSampler:
        return BatchSampler(EXAMPLES, batch_size, seed=seed, **options)

    return make


def test_each_epoch_holds_every_example_once(make_source: MakeSource) -> None:
    source = make_source()
    for epoch in (1, 2, 3):
        batches = epoch_of(source)
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        assert torch.cat(batches).sort().values.equal(EXAMPLES)
        assert (source.epoch, source.batch, source.epoch_is_complete) == (epoch, 5, True)


def test_epochs_and_seeds_differ_and_a_seed_repeats(make_source: MakeSource) -> None:
    source, same, other = make_source(0), make_source(0), make_source(1)
    first, second = torch.cat(epoch_of(source)), torch.cat(epoch_of(source))
    assert not first.equal(second)
    assert first.equal(torch.cat(epoch_of(same)))
    assert not first.equal(torch.cat(epoch_of(other)))


def test_a_batch_may_be_larger_than_the_set(make_source: MakeSource) -> None:
    source = make_source(batch_size=64)
    assert source.next().sort().values.equal(EXAMPLES)
    assert source.epoch_is_complete


@pytest.mark.parametrize("position", range(11))
def test_a_loaded_state_continues_exactly(make_source: MakeSource, position: int) -> None:
    source, resumed = make_source(0), make_source(7)
    for _ in range(position):
        source.next()
    resumed.load_state_dict(source.state_dict())
    assert (resumed.epoch, resumed.batch) == (source.epoch, source.batch)
    for _ in range(12):
        assert resumed.next().equal(source.next())
        drawn = [torch.rand(3, generator=each.generator) for each in (resumed, source)]
        assert drawn[0].equal(drawn[1])


def test_a_state_does_not_change_with_its_source(make_source: MakeSource) -> None:
    source, resumed = make_source(), make_source(3)
    state = source.state_dict()
    expected = epoch_of(source) + epoch_of(source)
    resumed.load_state_dict(state)
    assert all(resumed.next().equal(batch) for batch in expected)


def test_a_state_of_another_set_is_refused(make_source: MakeSource) -> None:
    state = BatchSampler(torch.arange(7), 2, seed=0).state_dict()
    with pytest.raises(ValueError, match=r"7 examples.*23"):
        make_source().load_state_dict(state)


def test_blocks_hold_one_group_and_are_shuffled() -> None:
    groups = torch.tensor([0] * 12 + [1] * 9 + [2] * 6)
    source = BatchSampler(torch.arange(27), 3, seed=0, groups=groups, block_size=3)
    orders = []
    for _ in range(20):
        batches = epoch_of(source)
        assert all(groups[batch].unique().numel() == 1 for batch in batches)
        orders.append([int(groups[batch[0]]) for batch in batches])
    assert len({tuple(order) for order in orders}) > 10


def test_a_group_is_divided_differently_each_epoch() -> None:
    source = BatchSampler(torch.arange(8), 4, seed=0, groups=torch.zeros(8).long(), block_size=4)
    halves = {frozenset(epoch_of(source)[0].tolist()) for _ in range(20)}
    assert len(halves) > 10
