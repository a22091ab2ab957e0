"""A run that was interrupted anywhere goes on, bit for bit, as if it never had been."""

import io
import random

import numpy as np
import pytest
import torch

from arc.training import RunControl, StepEvent

RANDOM_EVERYWHERE = [
    "training.max_steps=9",
    "training.batch_size=16",
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
    "reconstruction": ["task=reconstruction", *NOISY],
    "classification": ["task=puzzle_classification", *NOISY],
    "selection": ["task=selection", "task.num_distractors=3", *NOISY],
    "hard selection": [
        "task=selection",
        "task.distractors=same_size",
        "task.num_distractors=2",
        "task.use_input_output_pairs=true",
        "bottleneck=communication",
        "bottleneck.noise=gumbel",
    ],
}
EVERY_GAME = {
    f"{task} {channel}": [f"task={task}", f"bottleneck={channel}", *more, *noise]
    for task, more in {
        "reconstruction": [],
        "puzzle_classification": [],
        "selection": ["task.num_distractors=3"],
    }.items()
    for channel, noise in {
        "communication": NOISY[1:],
        "categorical": NOISY[1:],
        "autoencoder": [],
    }.items()
}


@pytest.fixture(params=RUNS.values(), ids=RUNS.keys())
def make_trainer(request, make_run):
    def make(*overrides):
        return make_run(*RANDOM_EVERYWHERE, *request.param, *overrides).trainer()

    return make


def stored(trainer):
    """Return the state as bytes, as a file would hold it."""
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    return buffer.getvalue()


def resume(make_trainer, state):
    """Continue in a trainer that began elsewhere, after others drew from every generator."""
    trainer = make_trainer("seed=99")
    random.random(), np.random.random(7), torch.rand(5)
    trainer.load_state_dict(torch.load(io.BytesIO(state)))
    return trainer


def seen(event):
    """Return all of an event but the time that it took."""
    values = {key: value for key, value in vars(event).items() if key != "seconds"}
    if not isinstance(event, StepEvent):
        task_metrics = values.pop("evaluation").task_metrics
        values |= {"loss": task_metrics.loss, "accuracy": task_metrics.accuracy}
    return values


def rest(trainer):
    return [seen(event) for event in trainer.run(RunControl())]


def assert_same(one, other, place="state"):
    """Compare nested plain containers; tensors bit for bit."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert one.equal(other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert key == "seconds" or assert_same(one[key], other[key], f"{place}.{key}") is None
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{index}]")
    else:
        assert one == other, place


def test_resuming_at_any_boundary_changes_nothing(make_trainer):
    resume_at_every_boundary(make_trainer)


@pytest.mark.slow
@pytest.mark.parametrize("game", EVERY_GAME.values(), ids=EVERY_GAME.keys())
def test_resuming_any_game_at_any_boundary_changes_nothing(game, make_run):
    resume_at_every_boundary(
        lambda *overrides: make_run(*RANDOM_EVERYWHERE, *game, *overrides).trainer()
    )


def resume_at_every_boundary(make_trainer):
    whole = make_trainer()
    events, states = [], [stored(whole)]
    for event in whole.run(RunControl()):
        events.append(seen(event))
        states.append(stored(whole))
    assert sum("is_best" in event for event in events) >= 2  # epochs end in between
    assert events[-1]["step"] == 9
    for boundary, state in enumerate(states):
        resumed = resume(make_trainer, state)
        assert_same(resumed.state_dict(), torch.load(io.BytesIO(state)))
        assert rest(resumed) == events[boundary:]
        assert_same(resumed.state_dict(), whole.state_dict())


def test_resuming_after_every_event_changes_nothing(make_trainer):
    whole = make_trainer()
    expected = rest(whole)
    trainer, events = make_trainer(), []
    while step := next(trainer.run(RunControl()), None):
        events.append(seen(step))
        trainer = resume(make_trainer, stored(trainer))
    assert events == expected
    assert_same(trainer.state_dict(), whole.state_dict())


def test_looking_at_the_state_does_not_change_the_run(make_trainer):
    whole = make_trainer()
    expected = rest(whole)
    watched, events = make_trainer(), []
    for event in watched.run(RunControl()):
        events.append(seen(event))
        stored(watched)
    assert events == expected
    assert_same(watched.state_dict(), whole.state_dict())


def test_a_saved_state_does_not_move_with_the_run(make_trainer):
    trainer = make_trainer()
    before = stored(trainer)
    rest(trainer)
    trainer.load_state_dict(torch.load(io.BytesIO(before)))
    assert stored(resume(make_trainer, before)) == before
    assert_same(trainer.state_dict(), torch.load(io.BytesIO(before)))


def test_a_finished_run_has_nothing_left_to_do(make_trainer):
    trainer = make_trainer()
    rest(trainer)
    assert rest(resume(make_trainer, stored(trainer))) == []


def test_with_another_batch_size_the_epoch_starts_anew(make_trainer):
    trainer = make_trainer()
    next(trainer.run(RunControl()))
    other = make_trainer("training.batch_size=12", "training.max_steps=30")
    other.load_state_dict(torch.load(io.BytesIO(stored(trainer))), same_order=False)
    assert other.step == 1
    targets = 0
    for event in other.run(RunControl()):
        if not isinstance(event, StepEvent):
            break
        assert event.epoch == 1
        targets += event.targets
    assert targets == len(other.sampler.examples)


def test_a_state_of_other_data_is_refused(make_run):
    few, many = (
        make_run("task=reconstruction", f"data.max_grids={count}").trainer() for count in (40, 80)
    )
    with pytest.raises(ValueError, match="saved order"):
        many.load_state_dict(few.state_dict())
