"""Length, end, events and numerics of training."""

import math
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from helpers_cli import Make

from arc.config.builders import build_trainer
from arc.tasks import Metric, TaskMetrics
from arc.training import DivergedError, RunControl, StepEvent, Trainer, ValidationEvent

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(make_run: Make) -> MakeTrainer:
    """Build a trainer whose epochs have five batches."""

    def make(*overrides: str) -> Trainer:
        trainer = make_run("task=reconstruction", "bottleneck=autoencoder", *overrides).trainer()
        assert isinstance(trainer, Trainer)
        return trainer

    return make


def steps(events: Iterable[object]) -> list[StepEvent]:
    return [event for event in events if isinstance(event, StepEvent)]


def validations(events: Iterable[object]) -> list[ValidationEvent]:
    return [event for event in events if isinstance(event, ValidationEvent)]


def run(trainer: Trainer) -> list[StepEvent | ValidationEvent]:
    return list(trainer.run(RunControl()))


def rates(trainer: Trainer) -> list[float]:
    return [event.learning_rate for event in steps(run(trainer))]


def test_a_run_can_be_validated_every_few_steps(make_run: Make) -> None:
    run_parts = make_run("task=reconstruction", "training.max_steps=7")
    trainer = build_trainer(run_parts.config, run_parts.task, run_parts.model, validate_every=3)
    assert [event.step for event in validations(run(trainer))] == [3, 6, 7]


# -- length ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "length"),
    [
        (["training.max_steps=7"], 7),
        (["training.max_steps=null", "training.epochs=2"], 10),
        (["training.max_steps=4", "training.epochs=1"], 4),
        (["training.max_steps=90", "training.epochs=1"], 5),
    ],
)
def test_a_run_ends_at_the_first_limit_and_is_validated(
    make_trainer: MakeTrainer, limits: list[str], length: int
) -> None:
    events = run(make_trainer(*limits))
    assert len(steps(events)) == length
    assert steps(events)[-1].progress == 1.0
    assert isinstance(events[-1], ValidationEvent)


@pytest.mark.parametrize(("schedule_by", "final_rate"), [("steps", 0.01), ("time", 0.0001)])
def test_max_minutes_ends_a_run_early_and_shortens_only_a_schedule_by_time(
    make_trainer: MakeTrainer, schedule_by: str, final_rate: float
) -> None:
    limits = ["training.max_steps=1000000", "training.max_minutes=0.002"]
    trainer = make_trainer(
        *limits, f"training.schedule_by={schedule_by}", "training.learning_rate=0.01"
    )
    events = run(trainer)
    assert trainer.reached_limit
    assert trainer.seconds >= 0.12
    assert all(event.progress is not None and event.progress < 1 for event in steps(events)[:-1])
    assert isinstance(events[-1], ValidationEvent)
    trainer.step += 1  # past the warm-up, however few steps there were
    assert trainer._set_learning_rate() == pytest.approx(final_rate, rel=1e-4)


def test_events_count_the_time_of_their_own_step(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("training.max_steps=null", "training.max_minutes=1000")
    control = RunControl()
    for event in trainer.run(control):
        assert event.seconds == trainer.seconds > 0
        if isinstance(event, StepEvent):
            assert event.progress == trainer.progress
        if event.step == 6:
            control.request_stop("enough")


def test_a_run_without_a_limit_ends_at_a_stop_request(make_trainer: MakeTrainer) -> None:
    control, seen = RunControl(), []
    for event in make_trainer("training.max_steps=null").run(control):
        seen.append(event)
        if event.step == 12:
            control.request_stop("enough")
    assert len(steps(seen)) == 12
    assert {event.progress for event in steps(seen)} == {None}


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_stop_request_ends_the_run_after_the_step(make_trainer: MakeTrainer, at: int) -> None:
    trainer, control, seen = make_trainer(), RunControl(), []
    for event in trainer.run(control):
        seen.append(event.step)
        if event.step == at:
            control.request_stop("signal")
    assert seen == list(range(1, at + 1))
    assert trainer.step == at
    assert not trainer.reached_limit
    assert [event.step for event in steps(run(trainer))] == list(range(at + 1, 7))


def test_the_first_stop_request_counts_and_prevents_any_step(make_trainer: MakeTrainer) -> None:
    control = RunControl()
    assert not control.stop_requested
    control.request_stop("first")
    control.request_stop("second")
    assert control.stop_requested
    assert control.reason == "first"
    assert list(make_trainer().run(control)) == []


def test_a_signal_may_arrive_during_a_request() -> None:
    control = RunControl()

    def in_between(frame: object, event: str, argument: object) -> Any:
        control.request_stop("a signal")  # which a handler would call here
        return in_between

    def request() -> None:
        sys.settrace(in_between)
        control.request_stop("first")
        sys.settrace(None)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert control.stop_requested


def test_stop_at_step_does_not_shorten_the_schedule(make_trainer: MakeTrainer) -> None:
    whole, part = make_trainer(), make_trainer("training.stop_at_step=4")
    expected, stopped = steps(run(whole)), steps(run(part))
    assert len(stopped) == 4
    assert part.reached_stop
    assert not part.reached_limit
    for one, other in zip(stopped, expected, strict=False):
        assert (one.loss, one.learning_rate) == (other.loss, other.learning_rate)


# -- schedules ---------------------------------------------------------------------------


def test_the_schedule_follows_the_steps_of_the_run(make_trainer: MakeTrainer) -> None:
    options = ["schedule=linear", "training.warmup_steps=0", "schedule.final_share=0"]
    trainer = make_trainer(*options, "training.learning_rate=0.01", "training.max_steps=5")
    assert rates(trainer) == pytest.approx([0.01, 0.008, 0.006, 0.004, 0.002])


def test_the_reported_learning_rate_is_used(make_trainer: MakeTrainer) -> None:
    """The first steps of Adam are as long as the learning rate."""
    trainer = make_trainer("training.warmup_steps=4", "optimizer.weight_decay=0")
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    event = next(trainer.run(RunControl()))
    assert isinstance(event, StepEvent)
    after = [weight.detach() for weight in trainer.model.parameters()]
    moved = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    assert moved == pytest.approx(event.learning_rate, rel=0.01)


def test_the_temperature_follows_the_run(make_run: Make) -> None:
    temperatures = ["bottleneck.temperature=4.0", "bottleneck.temperature_final=1.0"]
    categorical = ["task=reconstruction", "bottleneck=categorical", *temperatures]
    trainer = make_run(*categorical, "training.max_steps=4").trainer()
    seen = [trainer.model.bottleneck.temperature for event in trainer.run(RunControl())]
    assert seen == pytest.approx([4.0 ** (1 - step / 4) for step in (0, 1, 2, 3, 3)])


# -- events ------------------------------------------------------------------------------


def test_events_count_epochs_batches_and_targets(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("training.max_steps=null", "training.epochs=2")
    events = run(trainer)
    counted = [(event.epoch, event.batch, event.batches) for event in steps(events)]
    assert counted == [(epoch, batch, 5) for epoch in (1, 2) for batch in range(1, 6)]
    targets = sum(event.targets for event in steps(events))
    assert targets == 2 * len(trainer.task.corpus.training)
    assert [(event.epoch, event.step) for event in validations(events)] == [(1, 5), (2, 10)]
    assert all(0 <= event.accuracy <= 100 for event in steps(events))
    for number, event in enumerate(validations(events)):  # with the means of their epoch
        epoch = steps(events)[5 * number : 5 * number + 5]
        assert event.train_loss == pytest.approx(sum(step.loss for step in epoch) / 5)
        assert event.train_accuracy == pytest.approx(sum(step.accuracy for step in epoch) / 5)


@pytest.mark.parametrize(
    ("best_metric", "values", "best"),
    [
        ("null", [10.0, 20.0, 30.0], [True, True, True]),
        ("null", [30.0, 20.0, 10.0], [True, False, False]),
        ("null", [20.0, math.nan, 40.0], [True, False, True]),
        ("null", [math.nan, math.nan, 5.0], [False, False, True]),
        ("cells", [30.0, 20.0, 10.0], [True, False, False]),
        ("exact", [30.0, 20.0, 10.0], [True, True, True]),
        ("loss", [30.0, 20.0, 10.0], [True, True, True]),
    ],
)
def test_the_best_state_is_chosen_by_best_metric(
    make_trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    best_metric: str,
    values: list[float],
    best: list[bool],
) -> None:
    length = ["training.max_steps=null", "training.epochs=3", "training.batch_size=96"]
    trainer, given = make_trainer(*length, f"training.best_metric={best_metric}"), iter(values)

    def evaluate(*args: Any, **options: Any) -> TaskMetrics:
        """Return metrics whose loss equals ``cells``, so that it falls as ``exact`` rises."""
        value = next(given)
        return TaskMetrics(value, {"grids": Metric({"cells": value, "exact": -value}, 1, {})})

    monkeypatch.setattr(trainer.task, "evaluate", evaluate)
    assert [event.is_best for event in validations(run(trainer))] == best


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("reconstruction", "loss, grids, cells, exact"),
        ("selection", "loss, accuracy"),
        ("puzzle_classification", "loss, top1, top5"),
        ("transformation", "loss, exact, grids, cells"),
    ],
)
def test_best_metric_must_be_a_metric_of_the_task(make_run: Make, task: str, names: str) -> None:
    overrides = [f"task={task}", *(["task.num_distractors=3"] if task == "selection" else [])]
    run_parts = make_run(*overrides)

    def build(name: str) -> Trainer:
        training = run_parts.config.training.model_copy(update={"best_metric": name})
        config = run_parts.config.model_copy(update={"training": training})
        return build_trainer(config, run_parts.task, run_parts.model)

    for name in names.split(", "):
        assert build(name)
    with pytest.raises(ValueError, match=rf"^training\.best_metric=los: choose one of {names}\."):
        build("los")


# -- numerics ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bottleneck", "poison"), [("autoencoder", math.nan), ("categorical", math.inf)]
)
def test_a_step_that_is_not_finite_is_not_taken(
    make_run: Make, bottleneck: str, poison: float
) -> None:
    trainer = make_run("task=reconstruction", f"bottleneck={bottleneck}").trainer()
    events = trainer.run(RunControl())
    next(events), next(events)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    moments = [
        {key: value.clone() for key, value in state.items()}
        for state in trainer.optimizer.state.values()
    ]
    trainer.model.encoder.register_forward_hook(lambda module, given, code: code * poison)
    with pytest.raises(DivergedError, match=r"step 3: loss .*training\.learning_rate"):
        next(events)
    assert trainer.step == 2
    for name, weight in trainer.model.state_dict().items():
        assert weight.equal(before[name]), name
    for old, new in zip(moments, trainer.optimizer.state.values(), strict=True):
        assert all(old[key].equal(new[key]) for key in old)


def test_training_in_bf16_begins_like_fp32(make_run: Make, task_overrides: list[str]) -> None:
    typed = ["training.max_steps=3"]
    half, full = (
        steps(run(make_run(*task_overrides, *typed, f"training.precision={name}").trainer()))
        for name in ("bf16", "fp32")
    )
    assert len(half) == len(full) == 3
    assert all(math.isfinite(step.loss) for step in half)
    assert half[0].loss == pytest.approx(full[0].loss, rel=0.1)
    assert [step.loss for step in half] != [step.loss for step in full]


def test_training_changes_every_weight(make_run: Make, task_and_bottleneck: list[str]) -> None:
    trainer = make_run(
        *task_and_bottleneck, "optimizer.weight_decay=0", "training.max_steps=10"
    ).trainer()
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    run(trainer)
    assert [n for n, weight in trainer.model.named_parameters() if weight.equal(before[n])] == []


def test_torchs_own_optimizers_load_the_saved_state(make_trainer: MakeTrainer) -> None:
    """One group, in the order of the model's parameters, as other programs expect."""
    trainer = make_trainer()
    run(trainer)
    saved = trainer.optimizer.state_dict()
    (group,) = saved["param_groups"]
    weights = list(trainer.model.parameters())
    assert group["params"] == list(range(len(weights)))
    for index, weight in enumerate(weights):
        assert saved["state"][index]["exp_avg"].shape == weight.shape
    optimizer = torch.optim.Adam(trainer.model.parameters(), lr=1e-3)
    optimizer.load_state_dict(saved)
    assert optimizer.state[weights[0]]["step"] == 6
