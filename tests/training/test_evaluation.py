"""Judging a set: repeatable, without side effects, beside its controls."""

import math

import pytest
import torch

from arc.config.builders import build_model
from arc.training import RunControl, evaluate_split


def figures(task_metrics):
    return {name: (figure.values, figure.targets) for name, figure in task_metrics.metrics.items()}


def test_judging_changes_nothing_and_can_be_repeated(make_run, game):
    run = make_run(*game, "model.dropout=0.3")
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = (
        evaluate_split(run.model, run.task, run.corpus.validation).task_metrics for _ in range(2)
    )
    assert figures(first) == figures(again)
    assert first.loss == again.loss
    assert torch.get_rng_state().equal(state)
    assert all(weight.equal(before[name]) for name, weight in run.model.state_dict().items())


def test_noise_is_not_judged(make_run, discrete):
    overrides = ["task=reconstruction", f"bottleneck={discrete}"]
    quiet, noisy = (
        make_run(*overrides, f"bottleneck.noise={noise}") for noise in ("none", "gumbel")
    )
    first, second = (
        evaluate_split(run.model.train(), run.task, run.corpus.validation).task_metrics
        for run in (quiet, noisy)
    )
    assert first == second


def test_every_figure_of_every_set_stands_beside_baselines(make_run, game):
    run = make_run(*game)
    for split in (run.corpus.training, run.corpus.validation, run.corpus.test):
        task_metrics = evaluate_split(run.model, run.task, split, full=True).task_metrics
        assert math.isfinite(task_metrics.loss)
        assert task_metrics.headline.targets > 0
        for figure in task_metrics.metrics.values():
            assert figure.baselines
            if figure.targets > 0:
                shown = [*figure.values.values(), *figure.baselines.values()]
                assert all(0 <= value <= 100 for value in shown)


def test_a_run_goes_without_validation_and_test_sets(make_run, game, arc_folder):
    overrides = [
        f"data.path={arc_folder / 'training'}",  # of its own, this folder has no test set
        "data.validation_fraction=0",
        "training.max_steps=5",
    ]
    run = make_run(*game, *overrides)
    assert len(run.corpus.validation) == 0
    list(run.trainer().run(RunControl()))
    task_metrics = evaluate_split(
        run.model, run.task, run.corpus.validation, full=True
    ).task_metrics
    assert task_metrics.headline.targets == 0
    assert math.isnan(task_metrics.accuracy)


def test_language_is_described_where_there_is_one(make_run, bottleneck):
    run = make_run("task=reconstruction", f"bottleneck={bottleneck}")
    language = evaluate_split(run.model, run.task, run.corpus.validation).language
    if bottleneck == "autoencoder":
        assert language == {}
    else:
        assert 1 <= language["unique_messages"] <= len(run.corpus.validation)
        assert language["mean_length"] == 5


def test_controls_show_what_the_message_is_worth(make_run):
    run = make_run(
        "task=selection",
        "task.num_distractors=3",
        "bottleneck=autoencoder",
        "training.max_steps=60",
        "training.learning_rate=1e-2",
    )
    untrained = build_model(run.config)
    list(run.trainer().run(RunControl()))
    split = run.corpus.training
    evaluation = evaluate_split(run.model, run.task, split, untrained=untrained)
    controls = {name: task_metrics.accuracy for name, task_metrics in evaluation.controls.items()}
    assert set(controls) == {"shuffled_messages", "constant_message", "untrained_sender"}
    assert evaluation.task_metrics.accuracy > 60
    for accuracy in controls.values():
        assert accuracy < evaluation.task_metrics.accuracy - 20
    assert controls["shuffled_messages"] == pytest.approx(25, abs=12)


def test_controls_are_run_only_when_asked_for(make_run):
    run = make_run("task=reconstruction")
    assert evaluate_split(run.model, run.task, run.corpus.validation).controls == {}
