"""How long a run is, how it ends, and what it reports."""

import math

import pytest
import torch

from arc.tasks import Metric, TaskMetrics
from arc.training import DivergedError, RunControl, StepEvent, ValidationEvent


@pytest.fixture
def make_trainer(make_run):
    """A trainer whose epochs have five batches."""

    def make(*overrides):
        return make_run("task=reconstruction", "bottleneck=autoencoder", *overrides).trainer()

    return make


def steps(events):
    return [event for event in events if isinstance(event, StepEvent)]


def run(trainer):
    return list(trainer.run(RunControl()))


@pytest.mark.parametrize(
    ("limits", "length"),
    [
        (["training.max_steps=7"], 7),
        (["training.max_steps=null", "training.epochs=2"], 10),
        (["training.max_steps=4", "training.epochs=1"], 4),
        (["training.max_steps=90", "training.epochs=1"], 5),
    ],
)
def test_a_run_has_the_length_that_comes_first(make_trainer, limits, length):
    events = run(make_trainer(*limits))
    assert len(steps(events)) == length
    assert steps(events)[-1].progress == 1.0
    assert isinstance(events[-1], ValidationEvent)


def test_a_run_may_be_limited_by_time(make_trainer):
    trainer = make_trainer("training.max_steps=null", "training.max_minutes=0.002")
    events = run(trainer)
    assert trainer.reached_limit
    assert trainer.seconds >= 0.12
    assert all(event.progress < 1 for event in steps(events)[:-1])
    assert isinstance(events[-1], ValidationEvent)


def test_a_run_without_a_limit_ends_when_asked(make_trainer):
    control, seen = RunControl(), []
    for event in make_trainer("training.max_steps=null").run(control):
        seen.append(event)
        if event.step == 12:
            control.request_stop("enough")
    assert len(steps(seen)) == 12
    assert {event.progress for event in steps(seen)} == {None}


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_request_to_stop_ends_the_run_after_the_step(make_trainer, at):
    trainer, control, seen = make_trainer(), RunControl(), []
    for event in trainer.run(control):
        seen.append(event)
        if event.step == at:
            control.request_stop("signal")
    assert [event.step for event in seen] == list(range(1, at + 1))
    assert trainer.step == at
    assert not trainer.reached_limit
    assert [event.step for event in steps(run(trainer))] == list(range(at + 1, 7))


def test_a_request_made_beforehand_trains_nothing(make_trainer):
    control = RunControl()
    control.request_stop("early")
    assert list(make_trainer().run(control)) == []


def test_the_first_reason_to_stop_is_kept():
    control = RunControl()
    assert not control.stop_requested
    control.request_stop("first")
    control.request_stop("second")
    assert control.stop_requested
    assert control.reason == "first"


def test_stop_at_step_leaves_the_schedule_alone(make_trainer):
    whole, part = make_trainer(), make_trainer("training.stop_at_step=4")
    expected, stopped = run(whole), run(part)
    assert len(steps(stopped)) == 4
    assert part.reached_stop
    assert not part.reached_limit
    for one, other in zip(stopped, expected, strict=False):
        assert (one.loss, one.learning_rate) == (other.loss, other.learning_rate)


def rates(trainer):
    return [event.learning_rate for event in steps(run(trainer))]


def test_the_rate_warms_up_in_a_line_and_stays(make_trainer):
    trainer = make_trainer(
        "schedule=constant", "schedule.warmup_steps=4", "training.learning_rate=0.008"
    )
    assert rates(trainer) == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.008, 0.008])


def test_the_rate_falls_along_a_cosine_to_a_hundredth(make_trainer):
    count = 20
    trainer = make_trainer(
        "schedule.warmup_steps=0", "training.learning_rate=0.01", f"training.max_steps={count}"
    )
    cosine = [0.5 * (1 + math.cos(math.pi * step / count)) for step in range(count)]
    assert rates(trainer) == pytest.approx([0.01 * (0.01 + 0.99 * share) for share in cosine])


def test_the_rate_that_is_reported_is_the_rate_that_is_used(make_trainer):
    """Adam's first steps are as long as the rate."""
    trainer = make_trainer("schedule.warmup_steps=4", "optimizer.weight_decay=0")
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    event = next(trainer.run(RunControl()))
    after = [weight.detach() for weight in trainer.model.parameters()]
    moved = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    assert moved == pytest.approx(event.learning_rate, rel=0.01)


def test_temperature_follows_the_run(make_run):
    trainer = make_run(
        "task=reconstruction",
        "bottleneck=categorical",
        "bottleneck.temperature=4.0",
        "bottleneck.temperature_final=1.0",
        "training.max_steps=4",
    ).trainer()
    seen = [trainer.model.bottleneck.temperature for event in trainer.run(RunControl())]
    assert seen == pytest.approx([4.0 ** (1 - step / 4) for step in (0, 1, 2, 3, 3)])


def test_events_count_epochs_batches_and_targets(make_trainer):
    trainer = make_trainer("training.max_steps=null", "training.epochs=2")
    events = run(trainer)
    counted = [(event.epoch, event.batch) for event in steps(events)]
    assert counted == [(epoch, batch) for epoch in (1, 2) for batch in range(1, 6)]
    assert {event.batches for event in steps(events)} == {5}
    targets = sum(event.targets for event in steps(events))
    assert targets == 2 * len(trainer.task.corpus.training)
    assert [(e.epoch, e.step) for e in events if isinstance(e, ValidationEvent)] == [
        (1, 5),
        (2, 10),
    ]
    assert all(0 <= event.accuracy <= 100 for event in steps(events))


def test_validation_sums_up_the_epoch(make_trainer):
    events = run(make_trainer("training.max_steps=null", "training.epochs=3"))
    for number, event in enumerate(e for e in events if isinstance(e, ValidationEvent)):
        epoch = steps(events)[5 * number : 5 * number + 5]
        assert event.train_loss == pytest.approx(sum(step.loss for step in epoch) / 5)
        assert event.train_accuracy == pytest.approx(sum(step.accuracy for step in epoch) / 5)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ([10.0, 20.0, 30.0], [True, True, True]),
        ([30.0, 20.0, 10.0], [True, False, False]),
        ([20.0, math.nan, 40.0], [True, False, True]),
        ([math.nan, math.nan, 5.0], [False, False, True]),
    ],
)
def test_the_best_is_chosen_by_validation_accuracy(make_trainer, monkeypatch, accuracies, best):
    trainer, given = make_trainer("training.max_steps=null", "training.epochs=3"), iter(accuracies)

    def evaluate(*args, **options):
        return TaskMetrics(0.0, {"game": Metric({"accuracy": next(given)}, 1, {})})

    monkeypatch.setattr(trainer.task, "evaluate", evaluate)
    assert [event.is_best for event in run(trainer) if isinstance(event, ValidationEvent)] == best


@pytest.mark.parametrize("bottleneck", ["autoencoder", "categorical"])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_step_that_is_no_number_is_not_taken(make_run, bottleneck, poison):
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


def test_half_precision_trains_and_starts_where_full_precision_does(make_run, game):
    half, full = (
        steps(run(make_run(*game, f"training.precision={name}").trainer()))
        for name in ("bf16", "fp32")
    )
    assert len(half) == len(full) == 6
    assert all(math.isfinite(step.loss) for step in half)
    assert half[0].loss == pytest.approx(full[0].loss, rel=0.1)
    assert [step.loss for step in half] != [step.loss for step in full]


def test_training_moves_every_weight(make_run, game):
    trainer = make_run(*game, "optimizer.weight_decay=0", "training.max_steps=10").trainer()
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    run(trainer)
    assert [n for n, weight in trainer.model.named_parameters() if weight.equal(before[n])] == []


def test_other_optimizers_take_the_saved_state_up(make_trainer):
    """One group, in the order of the model's parameters, as people's scripts expect."""
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
