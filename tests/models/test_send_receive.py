"""``send`` and ``receive`` of a model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeRun
from torch.utils.flop_counter import FlopCounterMode

from arc.data import DataError, GridPairs, Grids
from arc.models import ARCAutoencoder

MakeModel = Callable[..., ARCAutoencoder]
GRIDS = [np.full((2, 3), 4), np.array([[1]]), np.arange(9).reshape(3, 3)]
FEW = {"selection": ["task.num_distractors=3"]}


@pytest.fixture
def model_for(make_run: MakeRun) -> MakeModel:
    def build(task: str, bottleneck: str = "communication") -> ARCAutoencoder:
        return make_run(f"task={task}", f"bottleneck={bottleneck}", *FEW.get(task, [])).model.eval()

    return build


def test_a_message_is_symbols_or_a_vector(model_for: MakeModel, bottleneck: str) -> None:
    message = model_for("reconstruction", bottleneck).send(GRIDS)
    if bottleneck == "autoencoder":
        assert (message.dtype, message.shape) == (torch.float32, (3, 16))
    else:
        assert (message.dtype, message.shape) == (torch.int64, (3, 5))
        assert ((message >= 0) & (message < 25)).all()
    assert not message.requires_grad


def test_grids_are_lists_arrays_or_tensors(model_for: MakeModel) -> None:
    model = model_for("reconstruction")
    forms: list[Any] = [
        GRIDS,
        [grid.tolist() for grid in GRIDS],
        [torch.from_numpy(grid) for grid in GRIDS],
    ]
    first, *others = [model.send(form) for form in [*forms, Grids.from_arrays(GRIDS)]]
    assert all(other.equal(first) for other in others)


def test_messages_are_lists_or_arrays(model_for: MakeModel, bottleneck: str) -> None:
    model = model_for("reconstruction", bottleneck)
    message, sizes = model.send(GRIDS), [(2, 3)] * 3
    forms: list[Any] = [message.tolist(), message.numpy()]
    for form in forms:
        listed = model.receive(form, sizes=sizes)
        expected = model.receive(message, sizes=sizes)
        assert all(one.equal(other) for one, other in zip(listed, expected, strict=True))


def test_a_message_depends_on_its_grid_alone(model_for: MakeModel, bottleneck: str) -> None:
    model = model_for("reconstruction", bottleneck)
    together, alone = model.send(GRIDS), torch.cat([model.send([grid]) for grid in GRIDS])
    torch.testing.assert_close(together, alone)


def test_an_invalid_grid_is_refused(model_for: MakeModel) -> None:
    with pytest.raises(DataError, match="grid 1: colour 12"):
        model_for("reconstruction").send([[[1]], [[12]]])


def test_selection_scores_the_candidates_of_each_message(
    model_for: MakeModel, bottleneck: str
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


@pytest.mark.parametrize("score", ["distance", "cosine"])
def test_each_message_is_scored_with_its_own_candidates_alone(
    make_run: MakeRun, score: str
) -> None:
    model = make_run("task=selection", f"task.score={score}", *FEW["selection"]).model.eval()
    rows = [[grid, GRIDS[0], np.full((2, 2), color)] for color, grid in enumerate(GRIDS)]
    message, pool = model.send(GRIDS), Grids.from_arrays([grid for row in rows for grid in row])
    with torch.no_grad():
        shared = model.receiver(model.bottleneck.read(message), pool).view(3, 3, 3)
    logits = model.receive(message, candidates=rows)
    torch.testing.assert_close(logits, shared[range(3), range(3)])

    def operations(times: int) -> int:
        with FlopCounterMode(display=False) as counter:
            model.receive(message.repeat(times, 1), candidates=rows * times)
        return counter.get_total_flops()

    assert operations(8) - operations(4) == 4 * (operations(2) - operations(1))


def test_reconstruction_returns_grids_of_the_given_sizes(
    model_for: MakeModel, bottleneck: str
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


def test_classification_scores_every_class(model_for: MakeModel, bottleneck: str) -> None:
    model = model_for("puzzle_classification", bottleneck)
    logits = model.receive(model.send(GRIDS))
    assert logits.shape == (3, 24)  # twice the 12 puzzles of the folder
    assert not logits.requires_grad


@pytest.mark.parametrize("size", ["given", "predicted"])
def test_transformation_builds_outputs_of_given_or_predicted_sizes(
    make_run: MakeRun, bottleneck: str, size: str
) -> None:
    model = make_run("task=transformation", f"task.size={size}", f"bottleneck={bottleneck}").model
    model, pairs, sizes = model.eval(), list(zip(GRIDS, GRIDS[::-1], strict=True)), [(2, 5)] * 3
    message = model.send(pairs)
    assert message.equal(model.send(GridPairs.from_arrays(pairs)))
    logits = model.receive(message, inputs=GRIDS, sizes=sizes)
    assert [tuple(each.shape) for each in logits] == [(10, 2, 5)] * 3
    for index, grid in enumerate(GRIDS):
        (alone,) = model.receive(message[index, None], inputs=[grid], sizes=sizes[:1])
        torch.testing.assert_close(alone, logits[index])
    if size == "given":
        with pytest.raises(ValueError, match="sizes: required"):
            model.receive(message, inputs=GRIDS)
    else:
        built = model.receive(message, inputs=Grids.from_arrays(GRIDS))
        predicted = [tuple(each.shape[1:]) for each in built]
        again = model.receive(message, inputs=GRIDS, sizes=predicted)
        assert all(one.equal(other) for one, other in zip(built, again, strict=True))
    for context in ({"inputs": GRIDS[:2]}, {"inputs": GRIDS, "sizes": [(0, 1)] * 3}):
        with pytest.raises(ValueError, match=r"^(inputs|sizes): "):
            model.receive(message, **context)


def test_a_sender_of_pairs_refuses_grids_and_the_reverse(model_for: MakeModel) -> None:
    grids, pairs = Grids.from_arrays(GRIDS), GridPairs.from_arrays([GRIDS[:2]])
    for task, given in (("transformation", grids), ("reconstruction", pairs)):
        with pytest.raises(DataError, match="the sender takes"):
            model_for(task).send(given)
    for listed, named in ((GRIDS, "pair 1: "), ([GRIDS], "pair 0: "), ([GRIDS[0]], "list of rows")):
        with pytest.raises(DataError, match=named):
            model_for("transformation").send(listed)


@pytest.mark.parametrize(
    "candidates",
    [
        None,
        [[GRIDS[0]] * 2],
        [[GRIDS[0]] * 2] * 4,
        [[GRIDS[0]], [GRIDS[0]] * 2, [GRIDS[0]]],
        [[], [], []],
        [[[[77]]]] * 3,
    ],
    ids=["none", "too few rows", "too many rows", "ragged", "empty", "no grids"],
)
def test_invalid_candidates_are_refused(model_for: MakeModel, candidates: Any) -> None:
    model = model_for("selection")
    context = {} if candidates is None else {"candidates": candidates}
    with pytest.raises((TypeError, ValueError), match=r"candidates|grid"):
        model.receive(model.send(GRIDS), **context)


@pytest.mark.parametrize(
    "sizes",
    [None, [(2, 2)], [2, 2, 2], [(2, 2, 2)] * 3, [(0, 2)] * 3, [(2, 31)] * 3, [(-1, 2)] * 3],
)
def test_invalid_sizes_are_refused(model_for: MakeModel, sizes: Any) -> None:
    model = model_for("reconstruction")
    with pytest.raises((TypeError, ValueError), match="sizes"):
        model.receive(model.send(GRIDS), **({} if sizes is None else {"sizes": sizes}))


def test_a_message_of_another_bottleneck_is_refused(model_for: MakeModel, bottleneck: str) -> None:
    model = model_for("puzzle_classification", bottleneck)
    with pytest.raises(ValueError, match="expected"):
        model.receive(torch.zeros(2, 99))
