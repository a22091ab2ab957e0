"""Training steps whose shapes do not depend on the data, for CUDA graphs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers_cli import Make
from torch.utils._python_dispatch import TorchDispatchMode

from arc.data import draws, grids
from arc.training import RunControl, StepEvent

STATIC = {
    "selection": ["task=selection", "task.num_distractors=3"],
    "selection by cosine": ["task=selection", "task.num_distractors=3", "task.score=cosine"],
    "selection on pairs": [
        *("task=selection", "task.num_distractors=3", "task.use_input_output_pairs=true"),
        *("task.near_copies=false", "bottleneck=categorical"),
    ],
    "selection with a stop token": [
        *("task=selection", "task.num_distractors=3", "bottleneck.stop_token=true"),
        "bottleneck.entropy_bonus=0.1",
    ],
    "reconstruction": [
        *("task=reconstruction", "task.palette=rank", "bottleneck=autoencoder"),
        *("data.crop=0.5", "data.augment=true", "model.head=patch"),
    ],
    "reconstruction by symbols": [
        *("task=reconstruction", "task.palette=rank", "bottleneck.max_message_length=8"),
        *("task.grid_weight=linear", "model.mixer=conv"),
    ],
    "reconstruction by symbols of patches": [
        *("task=reconstruction", "task.palette=rank", "bottleneck.max_message_length=29"),
        "model.head=direct",
    ],
    "reconstruction of outputs": ["task=reconstruction", "task.use_input_output_pairs=true"],
    "transformation": ["task=transformation", "bottleneck=autoencoder"],
    "transformation of unknown size": ["task=transformation", "task.size=predicted"],
    "puzzle classification": ["task=puzzle_classification", "data.augment=true"],
}
Overrides = pytest.mark.parametrize("overrides", STATIC.values(), ids=STATIC)
WAITS = (
    *("nonzero", "_local_scalar_dense", "item", "masked_select", "_unique2", "unique_dim"),
    *("unique_consecutive", "is_nonzero", "equal", "bincount", "lift_fresh"),
)


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the lists of cells on a CPU dense, as they are on CUDA."""
    return lambda: monkeypatch.setattr(grids, "DENSE_DEVICES", ("cpu", "cuda"))


def losses(run: Any) -> list[float]:
    events = list(run.trainer().run(RunControl()))
    return [event.loss for event in events if isinstance(event, StepEvent)]


@Overrides
def test_dense_lists_of_cells_give_the_same_training(
    make_run: Make, dense: Callable[[], None], overrides: list[str]
) -> None:
    typed = (*overrides, "training.max_steps=3")
    expected = losses(make_run(*typed))
    dense()
    assert losses(make_run(*typed)) == pytest.approx(expected, rel=1e-4)


class NoWaiting(TorchDispatchMode):
    """Raises an error at an operation whose result the host waits for, on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        waits = name in WAITS
        if name == "index":
            waits = any(index is not None and index.dtype == torch.bool for index in args[1])
        if name == "repeat_interleave":
            waits = not (kwargs or {}).get("output_size")
        assert not waits, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@Overrides
def test_a_static_step_waits_for_nothing_and_draws_what_it_records(
    make_run: Make, dense: Callable[[], None], overrides: list[str]
) -> None:
    dense()
    run = make_run(*overrides)
    assert run.task.step_is_static
    assert run.model.is_static
    trainer, generator = run.trainer(), torch.Generator().manual_seed(3)
    examples, device = torch.arange(4), torch.device("cpu")
    recorder = draws.Recorder(device)
    with recorder.recording():
        trainer._update(examples, generator)
    drawn = generator.get_state()
    recorder.redraw()
    with recorder.playing(), NoWaiting():
        trainer._forward(examples, generator).loss.backward()
    generator.set_state(drawn)
    again = recorder._buffers
    fresh = draws.Recorder(device)
    with fresh.recording():
        trainer._update(examples, generator)
    assert len(again) == len(fresh._buffers)
    assert all(map(torch.equal, again, fresh._buffers))


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=selection", "task.num_distractors=3", "model.architecture=cells"],
        ["task=selection", "task.num_distractors=3", "data.synthetic=0.25"],
        ["task=selection", "task.num_distractors=3", "bottleneck.temperature_final=0.5"],
        [
            *("task=selection", "task.num_distractors=3"),
            *("task.negatives=game", "task.near_copies=false"),
        ],
    ],
    ids=lambda overrides: overrides[-1],
)
def test_a_step_that_depends_on_the_data_is_not_static(
    make_run: Make, overrides: list[str]
) -> None:
    run = make_run(*overrides)
    assert not (run.task.step_is_static and run.model.is_static)
