"""Measures and interventions of an evaluated run."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, call

import arc.evaluate
from arc.api import TrainedRun
from arc.metrics.language import MEASURES
from arc.models.bottlenecks.discrete import STOP
from arc.runs.measures import Measures, intervene, measure_messages
from arc.runs.tables import format_results
from arc.training import evaluate_split

FLOORS = ["value", "shuffled", "random", "untrained_sender"]


@pytest.mark.parametrize("measures", ["fast", "all"])
def test_every_measure_of_a_run_has_its_floors(
    make_run: Make, task_and_bottleneck: list[str], measures: Measures
) -> None:
    run = make_run(*task_and_bottleneck)
    split = run.corpus.validation
    calls: list[None] = []
    evaluation = evaluate_split(run.model, run.task, split)
    run.task.on_chunk = lambda: calls.append(None)
    arguments = (run.model, run.task, split, evaluation)
    measured = measure_messages(*arguments, run.model, measures)
    changed = intervene(*arguments) if measures == "all" else {}
    if evaluation.messages is None:
        assert (measured, changed) == ({}, {})
        return
    assert all(list(row) == FLOORS for row in measured.values())
    assert all(row["untrained_sender"] == row["value"] for row in measured.values())
    assert ("topsim_edit" in measured) == (measures == "all")
    assert len(measured) >= sum(
        m.speed == "fast" or measures == "all" for m in map(MEASURES.__getitem__, MEASURES)
    )
    length = evaluation.messages.shape[1]
    assert len(changed) == (2 * length + 1 if measures == "all" else 0)
    assert all(0 <= accuracy <= 100 for accuracy in changed.values())
    assert calls, "cannot be stopped"


def test_replacing_a_symbol_that_is_always_the_same_changes_nothing(make_run: Make) -> None:
    run = make_run("task=reconstruction", "bottleneck.max_message_length=3")
    split = run.corpus.validation
    with torch.no_grad():
        run.model.bottleneck.project.weight[2:4] = 0.0  # the second symbol has two coordinates
        evaluation = evaluate_split(run.model, run.task, split)
        assert evaluation.messages is not None
        changed = intervene(run.model, run.task, split, evaluation)
    assert len(evaluation.messages[:, 1].unique()) == 1
    assert changed["replaced_2"] == evaluation.task_metrics.accuracy


@pytest.mark.parametrize("stop_token", [False, True])
def test_all_symbols_but_the_stop_symbol_are_put_in_random_order(
    make_run: Make, stop_token: bool
) -> None:
    settings = ("bottleneck.max_message_length=4", f"bottleneck.stop_token={stop_token}")
    run = make_run("task=reconstruction", *settings)
    split = run.corpus.validation
    count, place = len(split), torch.arange(4)
    before = (torch.arange(count)[:, None] + 5 * place) % 24 + 1  # no symbol occurs twice
    lengths = torch.full((count,), 4)
    if stop_token:
        lengths = torch.arange(count) % 4 + 1  # each ends with a stop symbol
        before[place >= lengths[:, None] - 1] = STOP
    evaluation = evaluate_split(run.model, run.task, split)
    sent: list[torch.Tensor] = []
    read = run.model.bottleneck.read

    def record(content: torch.Tensor) -> torch.Tensor:
        sent.append(content)
        return read(content)

    with patch.object(run.model.bottleneck, "read", record):
        intervene(run.model, run.task, split, replace(evaluation, messages=before, lengths=lengths))
    after = sent[0]
    assert torch.equal(before.sort(1).values, after.sort(1).values)
    moved = (before != after).any(0)
    assert moved.tolist() == [True, True, True, not stop_token]
    if stop_token:
        assert (after[place >= lengths[:, None] - 1] == STOP).all()


def test_the_command_prints_and_writes_the_measures(
    tmp_path: Path, train_small: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run: TrainedRun = train_small(
        tmp_path, "task=selection", "task.num_distractors=3", "training.max_steps=1"
    )
    path, output = run.checkpoints.last, tmp_path / "results.json"
    outcome = call(arc.evaluate.main, f"path={path}", "measures=all", f"output={output}")
    assert outcome.status == 0, outcome.err
    results = json.loads(output.read_text(encoding="utf-8"))
    assert list(results["measures"]["topsim_edit"]) == FLOORS
    assert f"{results['measures']['posdis']['value']:.3f}" in outcome.out
    assert "all symbols in random order:" in outcome.out
    none = call(arc.evaluate.main, f"path={path}", "measures=none")
    assert "topsim" not in none.out
    wrong = call(arc.evaluate.main, f"path={path}", "measures=some")
    assert wrong.status != 0
    assert "measures" in wrong.err
    assert "topsim_edit" in format_results(results)
