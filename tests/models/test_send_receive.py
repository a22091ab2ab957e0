"""``send`` and ``receive`` as people use them in their own scripts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeCorpus, MakeRun

from arc.data import DataError
from arc.models import ARCAutoencoder

GRIDS = [np.full((2, 3), 4), np.array([[1]]), np.arange(9).reshape(3, 3)]
FEW = {"selection": ["task.num_distractors=3"]}


@pytest.fixture
def model_for(make_run: MakeRun) -> Callable[..., ARCAutoencoder]:
    def build(task: str, bottleneck: str = "communication") -> ARCAutoencoder:
        return make_run(f"task={task}", f"bottleneck={bottleneck}", *FEW.get(task, [])).model.eval()

    return build


def test_symbols_are_sent(model_for: Callable[..., ARCAutoencoder], discrete: str) -> None:
    message = model_for("reconstruction", discrete).send(GRIDS)
    assert message.dtype == torch.int64
    assert message.shape == (3, 5)
    assert ((message >= 0) & (message < 25)).all()
    assert not message.requires_grad


def test_a_vector_is_sent(model_for: Callable[..., ARCAutoencoder]) -> None:
    message = model_for("reconstruction", "autoencoder").send(GRIDS)
    assert message.dtype == torch.float32
    assert message.shape == (3, 16)
    assert not message.requires_grad


def test_grids_may_be_lists_arrays_or_tensors(model_for: Callable[..., ARCAutoencoder]) -> None:
    model = model_for("reconstruction")
    forms = [GRIDS, [grid.tolist() for grid in GRIDS], [torch.from_numpy(grid) for grid in GRIDS]]
    first, *others = [model.send(form) for form in forms]
    assert all(other.equal(first) for other in others)


def test_grids_of_a_split_are_sent_as_they_are(
    model_for: Callable[..., ARCAutoencoder], make_corpus: MakeCorpus
) -> None:
    model, grids = model_for("reconstruction"), make_corpus().validation.grids
    assert model.send(grids).equal(model.send(grids.arrays()))


def test_messages_may_be_nested_lists(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("reconstruction", bottleneck)
    message, sizes = model.send(GRIDS), [(2, 3)] * 3
    forms: list[Any] = [message.tolist(), message.numpy()]
    for form in forms:
        listed = model.receive(form, sizes=sizes)
        expected = model.receive(message, sizes=sizes)
        assert all(one.equal(other) for one, other in zip(listed, expected, strict=True))


def test_each_grid_is_sent_for_itself(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("reconstruction", bottleneck)
    together, alone = model.send(GRIDS), torch.cat([model.send([grid]) for grid in GRIDS])
    torch.testing.assert_close(together, alone)


def test_what_is_no_grid_is_not_sent(model_for: Callable[..., ARCAutoencoder]) -> None:
    with pytest.raises(DataError, match="grid 1: colour 12"):
        model_for("reconstruction").send([[[1]], [[12]]])


def test_selection_answers_for_each_messages_own_candidates(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("selection", bottleneck)
    message = model.send(GRIDS[:2])
    rows = [[GRIDS[0], GRIDS[1], GRIDS[2]], [GRIDS[2], GRIDS[2], GRIDS[0]]]
    logits = model.receive(message, candidates=rows)
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    turned = model.receive(message, candidates=[row[::-1] for row in rows])
    torch.testing.assert_close(turned.flip(1), logits)
    alone = model.receive(message[1:], candidates=rows[1:])
    torch.testing.assert_close(alone[0], logits[1])
    torch.testing.assert_close(logits[1, 0], logits[1, 1])


def test_reconstruction_answers_with_the_size_asked_for(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("reconstruction", bottleneck)
    message, sizes = model.send(GRIDS), [(2, 5), (30, 1), (3, 3)]
    logits = model.receive(message, sizes=sizes)
    assert [tuple(each.shape) for each in logits] == [(10, *size) for size in sizes]
    for index, size in enumerate(sizes):
        (alone,) = model.receive(message[index : index + 1], sizes=[size])
        torch.testing.assert_close(alone, logits[index])
    for form in (torch.tensor(sizes), np.array(sizes)):
        again = model.receive(message, sizes=form)
        assert all(one.equal(other) for one, other in zip(again, logits, strict=True))


def test_classification_answers_for_every_class(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("puzzle_classification", bottleneck)
    logits = model.receive(model.send(GRIDS))
    assert logits.shape == (3, 24)  # twice the 12 puzzles of the folder
    assert not logits.requires_grad


@pytest.mark.parametrize(
    "candidates",
    [
        [[GRIDS[0]] * 2],
        [[GRIDS[0]] * 2] * 4,
        [[GRIDS[0]], [GRIDS[0]] * 2, [GRIDS[0]]],
        [[], [], []],
        [[[[77]]]] * 3,
    ],
    ids=["too few rows", "too many rows", "ragged", "empty", "no grids"],
)
def test_candidates_that_do_not_fit_are_refused(
    model_for: Callable[..., ARCAutoencoder], candidates: list[Any]
) -> None:
    model = model_for("selection")
    with pytest.raises(ValueError, match=r"candidates|grid"):
        model.receive(model.send(GRIDS), candidates=candidates)


@pytest.mark.parametrize(
    "sizes",
    [[(2, 2)], [2, 2, 2], [(2, 2, 2)] * 3, [(0, 2)] * 3, [(2, 31)] * 3, [(-1, 2)] * 3],
)
def test_sizes_that_do_not_fit_are_refused(
    model_for: Callable[..., ARCAutoencoder], sizes: list[Any]
) -> None:
    model = model_for("reconstruction")
    with pytest.raises(ValueError, match="sizes"):
        model.receive(model.send(GRIDS), sizes=sizes)


@pytest.mark.parametrize(
    ("task", "needs"), [("selection", "candidates"), ("reconstruction", "sizes")]
)
def test_what_the_task_needs_besides_the_message_is_named(
    model_for: Callable[..., ARCAutoencoder], task: str, needs: str
) -> None:
    model = model_for(task)
    with pytest.raises((TypeError, ValueError), match=needs):
        model.receive(model.send(GRIDS))


def test_a_message_of_another_channel_is_refused(
    model_for: Callable[..., ARCAutoencoder], bottleneck: str
) -> None:
    model = model_for("puzzle_classification", bottleneck)
    with pytest.raises(ValueError, match="expected"):
        model.receive(torch.zeros(2, 99))
