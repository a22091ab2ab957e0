"""Measures and interventions of an evaluated run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, call

import arc.evaluate
from arc.api import TrainedRun
from arc.metrics.language import MEASURES
from arc.models import ARCAutoencoder
from arc.models.bottlenecks.discrete import STOP
from arc.runs.measures import Measures, _first, intervene, measure_messages
from arc.runs.tables import format_results
from arc.tasks import Metric, TaskMetrics
from arc.tasks.base import percent
from arc.training import Evaluation, evaluate_split

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
    found = intervene(*arguments) if measures == "all" else {}
    if evaluation.messages is None:
        assert (measured, found) == ({}, {})
        return
    assert all(list(row) == FLOORS for row in measured.values())
    assert all(row["untrained_sender"] == row["value"] for row in measured.values())
    assert ("topsim_edit" in measured) == (measures == "all")
    assert len(measured) >= sum(
        m.speed == "fast" or measures == "all" for m in map(MEASURES.__getitem__, MEASURES)
    )
    length = evaluation.messages.shape[1]
    if measures == "all":
        changed, needed = found["interventions"], found["symbols_needed"]
        assert len(changed) == 3 * length + 2
        assert all(0 <= accuracy <= 100 for accuracy in changed.values())
        assert changed[f"first_{length}"] == evaluation.task_metrics.accuracy
        assert needed["any"] == len(needed["positions"])
    assert calls, "cannot be stopped"


def test_the_untrained_sender_is_compared_with_its_own_vectors(make_run: Make) -> None:
    game = ("task=selection", "task.num_distractors=3")
    one, other = make_run(*game), make_run(*game, "seed=1")
    task, split = one.task, one.corpus.validation

    def measured(model: ARCAutoencoder, untrained: ARCAutoencoder) -> dict[str, dict[str, float]]:
        evaluation = evaluate_split(model, task, split)
        return measure_messages(model, task, split, evaluation, untrained, "all")

    floors, own = measured(one.model, other.model), measured(other.model, other.model)
    assert "topsim_edit_embeddings" in own
    for name, row in own.items():
        assert floors[name]["untrained_sender"] == row["value"], name


def test_replacing_a_symbol_that_is_always_the_same_changes_nothing(make_run: Make) -> None:
    run = make_run("task=reconstruction", "bottleneck.max_message_length=3")
    split = run.corpus.validation
    with torch.no_grad():
        run.model.bottleneck.project.weight[2:4] = 0.0  # the second symbol has two coordinates
        evaluation = evaluate_split(run.model, run.task, split)
        assert evaluation.messages is not None
        found = intervene(run.model, run.task, split, evaluation)
    assert len(evaluation.messages[:, 1].unique()) == 1
    assert found["interventions"]["replaced_2"] == evaluation.task_metrics.accuracy


@pytest.mark.parametrize(
    ("read", "first", "positions"),
    [([], 0, []), ([0], 1, [1]), ([1], 2, [2]), ([0, 2], 3, [1, 3]), ([0, 1, 2], 3, [1, 2, 3])],
)
def test_the_symbols_that_the_receiver_reads_are_needed(
    make_run: Make, read: list[int], first: int, positions: list[int]
) -> None:
    run = make_run("task=reconstruction", "bottleneck.max_message_length=3")
    split = run.corpus.validation
    sent = torch.arange(len(split))[:, None] % 25 + torch.zeros(3, dtype=torch.int64)
    whole = run.model.bottleneck.read(sent).view(len(split), 3, -1)

    def score(model: Any, split: Any, signal: torch.Tensor) -> TaskMetrics:
        right = (signal.view_as(whole) == whole).all(2)[:, read].all(1)
        return TaskMetrics(0.0, {"m": Metric({"accuracy": float(percent(right))}, len(split), {})})

    evaluation = Evaluation(score(None, split, whole), {}, whole, sent, None)
    with patch.object(run.task, "evaluate", score):
        found = intervene(run.model, run.task, split, evaluation)["symbols_needed"]
    assert found == {"first": first, "any": len(positions), "positions": positions}


@pytest.mark.parametrize(
    ("settings", "kept", "rest"),
    [
        ((), 2, None),
        (("bottleneck.stop_token=true",), 2, STOP),
        (("bottleneck.stop_token=true", "task.palette=rank"), 5, STOP),
    ],
)
def test_messages_are_cut_where_the_bottleneck_can_read_them(
    make_run: Make, settings: tuple[str, ...], kept: int, rest: int | None
) -> None:
    run = make_run("task=reconstruction", "bottleneck.max_message_length=8", *settings)
    count = 24
    sent = (torch.arange(count)[:, None] + 3 * torch.arange(8)) % count + 1
    cut = _first(run.model.bottleneck, sent, 2, torch.Generator().manual_seed(0))
    assert torch.equal(cut[:, :2], sent[:, :2])
    assert (cut[:, 2:kept] != sent[:, 2:kept]).all()
    if rest is None:
        assert (cut[:, 2:] != sent[:, 2:]).all()
        assert torch.equal(cut.sort(0).values, sent.sort(0).values)
    else:
        assert (cut[:, kept:] == rest).all()
    run.model.bottleneck.read(cut)


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
    assert f"the first {results['symbols_needed']['first']} symbols; positions" in outcome.out
    none = call(arc.evaluate.main, f"path={path}", "measures=none")
    assert "topsim" not in none.out
    wrong = call(arc.evaluate.main, f"path={path}", "measures=some")
    assert wrong.status != 0
    assert "measures" in wrong.err
    assert "topsim_edit" in format_results(results)
