"""A run that is interrupted and resumed anywhere is bit for bit the uninterrupted run."""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers_cli import Make

from arc.training import RunControl, StepEvent, Trainer

MakeTrainer = Callable[..., Trainer]
RANDOM_EVERYWHERE = [
    "training.max_steps=5",
    "training.batch_size=32",
    "model.dropout=0.1",
    "data.augment=true",
    "training.precision=bf16",
]
NOISY = [
    "bottleneck=categorical",
    "bottleneck.noise=gumbel",
    "bottleneck.temperature_final=0.3",
    "bottleneck.stop_token=true",
]
RUNS = {
    "reconstruction": ["task=reconstruction", "data.synthetic=0.3", "data.crop=0.5", *NOISY],
    "classification": ["task=puzzle_classification", *NOISY],
    "transformation": ["task=transformation", "task.size=predicted", *NOISY],
    "selection": ["task=selection", "task.num_distractors=3", "data.synthetic=0.3", *NOISY],
    "cells": [
        *("task=selection", "task.num_distractors=3", "task.score=cosine", *NOISY),
        *("task.negatives=game", "task.near_copies=false", "model.architecture=cells"),
    ],
    "hard selection": [
        "task=selection",
        "task.distractors=same_size",
        "task.num_distractors=2",
        "task.use_input_output_pairs=true",
        "bottleneck=communication",
        "bottleneck.noise=gumbel",
    ],
}
SLOW = ("classification", "transformation", "selection", "hard selection")
EVERY_RUN = {
    f"{task} {bottleneck}": [f"task={task}", f"bottleneck={bottleneck}", *more, *noise]
    for task, more in {
        "reconstruction": [],
        "puzzle_classification": [],
        "transformation": ["task.size=predicted"],
        "selection": ["task.num_distractors=3"],
    }.items()
    for bottleneck, noise in {
        "communication": NOISY[1:],
        "categorical": NOISY[1:],
        "autoencoder": [],
    }.items()
}


@pytest.fixture(
    params=[
        pytest.param(run, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, run in RUNS.items()
    ]
)
def make_trainer(request: pytest.FixtureRequest, make_run: Make) -> MakeTrainer:
    def make(*overrides: str) -> Trainer:
        trainer = make_run(*RANDOM_EVERYWHERE, *request.param, *overrides).trainer()
        assert isinstance(trainer, Trainer)
        return trainer

    return make


def stored(trainer: Trainer) -> bytes:
    """Return the state as the bytes of a file."""
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    return buffer.getvalue()


def resume(make_trainer: MakeTrainer, state: bytes) -> Trainer:
    """Resume in a trainer of another seed, after draws from every generator."""
    trainer = make_trainer("seed=99")
    random.random(), np.random.random(7), torch.rand(5)
    trainer.load_state_dict(torch.load(io.BytesIO(state)))
    return trainer


def seen(event: object) -> dict[str, Any]:
    """Return the content of an event without its time."""
    values = {
        key: value for key, value in vars(event).items() if key not in ("seconds", "examples")
    }
    if not isinstance(event, StepEvent):
        metrics = values.pop("evaluation").task_metrics
        values |= {"loss": metrics.loss, "accuracy": metrics.accuracy}
    return values


def rest(trainer: Trainer) -> list[dict[str, Any]]:
    return [seen(event) for event in trainer.run(RunControl())]


def assert_same(one: Any, other: Any, place: str = "state") -> None:
    """Compare nested plain containers; tensors bit for bit."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert one.equal(other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, place=f"{place}[{index}]")
    else:
        assert one == other, place


def test_resuming_at_any_event_is_exact(make_trainer: MakeTrainer) -> None:
    resume_at_every_event(make_trainer)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", EVERY_RUN.values(), ids=EVERY_RUN.keys())
def test_resuming_any_task_and_bottleneck_is_exact(overrides: list[str], make_run: Make) -> None:
    resume_at_every_event(lambda *more: make_run(*RANDOM_EVERYWHERE, *overrides, *more).trainer())


def resume_at_every_event(make_trainer: MakeTrainer) -> None:
    """Also: taking the state at every event does not change the run, nor the run the state."""
    undisturbed = make_trainer()
    expected = rest(undisturbed)
    whole = make_trainer()
    events, states = [], [stored(whole)]
    for event in whole.run(RunControl()):
        events.append(seen(event))
        states.append(stored(whole))
    assert events == expected
    assert_same(whole.state_dict(), undisturbed.state_dict())
    assert sum("is_best" in event for event in events) >= 2  # epochs end in between
    assert events[-1]["step"] == 5
    for boundary, state in enumerate(states):
        resumed = resume(make_trainer, state)
        assert_same(resumed.state_dict(), torch.load(io.BytesIO(state)))
        assert rest(resumed) == events[boundary:]
        assert_same(resumed.state_dict(), whole.state_dict())
        assert rest(resumed) == []


def test_with_another_batch_size_the_epoch_starts_again(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("training.batch_size=8")
    next(trainer.run(RunControl()))
    assert trainer.sampler.batches_per_epoch > 1
    other = make_trainer("training.batch_size=12", "training.max_steps=30")
    other.load_state_dict(torch.load(io.BytesIO(stored(trainer))), same_order=False)
    assert other.step == 1
    targets = 0
    for event in other.run(RunControl()):
        if not isinstance(event, StepEvent):
            continue  # whether an epoch ends with a validation depends on the speed
        if event.epoch == 2:
            break
        targets += event.targets
    assert targets == len(other.sampler.examples)


def test_an_epoch_that_starts_again_has_a_new_order(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("training.batch_size=8")
    next(trainer.run(RunControl()))
    fresh, other = (make_trainer("training.batch_size=12") for _ in range(2))
    other.load_state_dict(torch.load(io.BytesIO(stored(trainer))), same_order=False)
    for one in (fresh.sampler, trainer.sampler):
        for key in ("order", "generator"):
            assert not other.sampler.state_dict()[key].equal(one.state_dict()[key])
    trainer.sampler.begin_epoch(1)  # as the run would have gone on
    assert other.sampler.state_dict()["order"].equal(trainer.sampler.state_dict()["order"])


def test_a_new_optimizer_or_metric_starts_without_the_state_of_the_old_one(make_run: Make) -> None:
    trainer = make_run("task=reconstruction", "training.max_steps=5").trainer()
    rest(trainer)
    state = torch.load(io.BytesIO(stored(trainer)))
    changed = ["optimizer=sgd", "training.best_metric=loss", "training.max_steps=6"]
    other = make_run("task=reconstruction", *changed).trainer()
    other.load_state_dict(state, same_optimizer=False, same_validation=False)
    assert not other.optimizer.state
    assert other.model.state_dict()["encoder.norm.weight"].equal(
        state["model"]["encoder.norm.weight"]
    )
    *_, validation = rest(other)
    assert validation["step"] == 6
    assert validation["is_best"]


def test_a_state_of_other_data_is_refused(make_run: Make) -> None:
    few, many = (
        make_run("task=reconstruction", f"data.max_grids={count}").trainer() for count in (40, 80)
    )
    with pytest.raises(ValueError, match="saved order"):
        many.load_state_dict(few.state_dict())


# -- the generators of GPUs ---------------------------------------------------------------


class Gpus:
    """The generators of three GPUs that this machine does not have; torch.cuda reads these.

    A state is the bytes of a seed and of an offset, the count of numbers drawn.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.states = [torch.tensor([seed, 0]).view(torch.uint8) for _ in range(3)]
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: self.of(device).clone())
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.put)

    def of(self, device: torch.device) -> torch.Tensor:
        assert device.type == "cuda"
        return self.states[device.index]

    def put(self, state: torch.Tensor, device: torch.device) -> None:
        self.of(device).copy_(state)

    def draw(self, device: int, count: int) -> None:
        self.states[device].view(torch.int64)[1] += count

    @property
    def drawn(self) -> list[list[int]]:
        return [state.view(torch.int64).tolist() for state in self.states]


@pytest.fixture
def trainer_on(make_run: Make) -> MakeTrainer:
    """Return a function that builds a trainer whose model says that it is on a device."""

    def build(device: str) -> Trainer:
        trainer: Trainer = make_run("task=reconstruction").trainer()
        says = {"device": property(lambda model: torch.device(device))}
        trainer.model.__class__ = type("Elsewhere", (type(trainer.model),), says)
        return trainer

    return build


@pytest.mark.parametrize("then", [0, 1])
@pytest.mark.parametrize("now", [0, 2])
def test_the_state_of_the_runs_gpu_is_restored_on_any_gpu(
    trainer_on: MakeTrainer, monkeypatch: pytest.MonkeyPatch, then: int, now: int
) -> None:
    gpus = Gpus(monkeypatch, seed=7)
    trainer = trainer_on(f"cuda:{then}")
    gpus.draw(then, 40)
    state = stored(trainer)
    gpus = Gpus(monkeypatch, seed=99)
    trainer_on(f"cuda:{now}").load_state_dict(torch.load(io.BytesIO(state)))
    assert gpus.drawn == [[7, 40] if gpu == now else [99, 0] for gpu in range(3)]


@pytest.mark.parametrize("used", [0, 1])
def test_the_states_of_all_gpus_in_an_older_file_give_that_of_the_run(
    trainer_on: MakeTrainer, monkeypatch: pytest.MonkeyPatch, used: int
) -> None:
    gpus = Gpus(monkeypatch, seed=7)
    gpus.draw(used, 300)
    trainer = trainer_on("cuda:2")
    state = trainer.state_dict()
    state["random"]["cuda"] = [each.clone() for each in gpus.states[:2]]
    gpus = Gpus(monkeypatch, seed=99)
    trainer.load_state_dict(state)
    assert gpus.drawn == [[99, 0], [99, 0], [7, 300]]


def test_a_state_moves_between_a_gpu_and_the_cpu(
    trainer_on: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = Gpus(monkeypatch, seed=7)
    on_cpu, on_gpu = trainer_on("cpu").state_dict(), trainer_on("cuda:0").state_dict()
    assert on_cpu["random"]["cuda"] == []
    gpus.draw(0, 5)
    trainer_on("cpu").load_state_dict(on_gpu)
    trainer_on("cuda:0").load_state_dict(on_cpu)
    assert gpus.drawn == [[7, 5], [7, 0], [7, 0]]
