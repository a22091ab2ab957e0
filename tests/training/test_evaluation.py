"""Evaluation of a split: repeatable, without side effects, with baselines and controls."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Make

from arc.config.builders import build_model
from arc.data import Split
from arc.models import ARCAutoencoder
from arc.tasks import TaskMetrics
from arc.training import RunControl, evaluate_controls, evaluate_split


def values(metrics: TaskMetrics) -> Any:
    found = {name: (metric.values, metric.targets) for name, metric in metrics.metrics.items()}
    return found, metrics.loss


def test_evaluation_is_repeatable_and_changes_nothing(
    make_run: Make, task_overrides: list[str]
) -> None:
    run = make_run(*task_overrides, "bottleneck=categorical", "model.dropout=0.3")
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = (
        evaluate_split(run.model, run.task, run.corpus.validation).task_metrics for _ in range(2)
    )
    assert values(first) == values(again)
    assert torch.get_rng_state().equal(state)
    assert all(weight.equal(before[name]) for name, weight in run.model.state_dict().items())


def test_messages_that_are_not_read_as_in_training_are_an_error(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("task=reconstruction")
    read = run.model.bottleneck.read
    monkeypatch.setattr(run.model.bottleneck, "read", lambda content: read(content) + 1)
    with pytest.raises(ValueError, match=r"differs from message\.signal"):
        evaluate_split(run.model, run.task, run.corpus.validation)


def test_evaluation_is_without_noise(make_run: Make, discrete: str) -> None:
    runs = [
        make_run("task=reconstruction", f"bottleneck={discrete}", f"bottleneck.noise={noise}")
        for noise in ("none", "gumbel")
    ]
    first, second = (
        evaluate_split(run.model.train(), run.task, run.corpus.validation).task_metrics
        for run in runs
    )
    assert first == second


def test_every_metric_of_every_split_has_baselines(
    make_run: Make, task_overrides: list[str]
) -> None:
    run = make_run(*task_overrides)
    for split in (run.corpus.training, run.corpus.validation, run.corpus.test):
        metrics = evaluate_split(run.model, run.task, split, full=True).task_metrics
        assert math.isfinite(metrics.loss)
        assert metrics.headline.targets > 0
        for metric in metrics.metrics.values():
            assert metric.baselines
            if metric.targets > 0:
                shown = [*metric.values.values(), *metric.baselines.values()]
                assert all(0 <= value <= 100 for value in shown)


def test_an_empty_split_is_evaluated_to_nan(
    make_run: Make, task_overrides: list[str], arc_folder: Path
) -> None:
    folder = f"data.path={arc_folder / 'training'}"  # has no test set of its own
    run = make_run(*task_overrides, folder, "data.validation_fraction=0", "training.max_steps=2")
    list(run.trainer().run(RunControl()))
    assert len(run.corpus.validation) == 0
    evaluation = evaluate_split(run.model, run.task, run.corpus.validation, full=True)
    assert evaluation.task_metrics.headline.targets == 0
    assert math.isnan(evaluation.task_metrics.accuracy)


def test_language_metrics_are_computed_for_discrete_messages(
    make_run: Make, bottleneck: str
) -> None:
    run = make_run("task=reconstruction", f"bottleneck={bottleneck}")
    selected = run.config.metric.selected
    language = evaluate_split(run.model, run.task, run.corpus.validation, metrics=selected).language
    if bottleneck == "autoencoder":
        assert language == {}
    else:
        assert 1 <= language["unique_messages"] <= len(run.corpus.validation)
        assert language["mean_length"] == 5
        assert language["topsim_hamming"] != language["topsim_hamming_shuffled"]
    assert evaluate_split(run.model, run.task, run.corpus.validation).language == {}


def test_controls_are_worse_than_the_messages_of_the_sender(make_run: Make) -> None:
    length = ["training.max_steps=60", "training.learning_rate=1e-2"]
    run = make_run("task=selection", "task.num_distractors=3", "bottleneck=autoencoder", *length)
    untrained = build_model(run.config)
    list(run.trainer().run(RunControl()))
    split = run.corpus.training
    evaluation = evaluate_split(run.model, run.task, split)
    controls = evaluate_controls(run.model, run.task, split, evaluation, untrained)
    assert set(controls) == {"shuffled_messages", "constant_message", "untrained_sender"}
    assert evaluation.task_metrics.accuracy > 60
    for metrics in controls.values():
        assert metrics.accuracy < evaluation.task_metrics.accuracy - 20
    assert controls["shuffled_messages"].accuracy == pytest.approx(25, abs=12)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_shuffled_message_is_that_of_another_example(make_run: Make, count: int) -> None:
    """With seed 0, torch's permutations of 2 and of 5 numbers leave some in their place."""
    run = make_run("task=selection", "task.num_distractors=3")
    split = run.corpus.training
    evaluation = evaluate_split(run.model, run.task, split)
    few = replace(split, example_ids=split.example_ids[:count])
    seen: list[torch.Tensor] = []

    def record(model: ARCAutoencoder, split: Split, signal: torch.Tensor) -> TaskMetrics:
        seen.append(signal)
        return evaluation.task_metrics

    run.task.evaluate = record
    numbered = replace(evaluation, signal=torch.arange(count)[:, None], messages=None)
    controls = evaluate_controls(run.model, run.task, few, numbered, run.model)
    assert ("shuffled_messages" in controls) == (count > 1)
    if count > 1:
        assert sorted(seen[0][:, 0].tolist()) == list(range(count))
        assert (seen[0] != numbered.signal).all()


def test_an_untrained_pair_is_a_control_of_agents_that_share_weights(make_run: Make) -> None:
    run = make_run("task=selection", "task.num_distractors=3", "model.shared_encoder=true")
    split = run.corpus.training
    evaluation = evaluate_split(run.model, run.task, split)
    controls = evaluate_controls(run.model, run.task, split, evaluation, run.model, pair=True)
    assert controls["untrained_pair"] == evaluation.task_metrics  # of a run that was not trained
    assert controls["untrained_pair"] == controls["untrained_sender"]
