"""Cross-play of saved runs."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, call

import arc.evaluate
from arc.api import TrainedRun, cross_play, load
from arc.checkpointing.loader import Loaded
from arc.config.builders import build_task
from arc.config.files import ConfigError
from arc.runs.crossplay import cross_play as play
from arc.runs.crossplay import load_players
from arc.runs.results import EvaluationOptions
from arc.runs.tables import format_cross_play
from arc.tasks.selection import SelectionTask

CPU = torch.device("cpu")
GAME = ("task=selection", "task.num_distractors=3", "training.max_steps=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> list[TrainedRun]:
    """Two runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("seeds")
    return [train_small(folder / str(seed), *GAME, f"seed={seed}") for seed in (0, 1)]


def files(runs: list[TrainedRun]) -> list[str]:
    return [str(run.checkpoints.best) for run in runs]


def test_each_receiver_reads_the_messages_of_each_sender(
    runs: list[TrainedRun], tmp_path: Path
) -> None:
    paths, output = files(runs), tmp_path / "out.json"
    typed = [f"path={path}" for path in paths]
    options = ("crossplay=true", "measures=none", "device=cpu", f"output={output}")
    outcome = call(arc.evaluate.main, *typed, *options)
    assert outcome.status == 0, outcome.err
    pairs = json.loads(output.read_text(encoding="utf-8"))["crossplay"]
    task, models = build_task(runs[0].config), [load(path).model for path in paths]
    split = task.corpus.test
    with torch.no_grad():
        signals = [task.send_all(model, split)[1] for model in models]
        wanted = [[task.evaluate(m, split, signal).accuracy for m in models] for signal in signals]
    for found, row in zip(pairs["matrix"], wanted, strict=True):
        assert found == pytest.approx(row, abs=1e-4)
    assert wanted[0][1] != wanted[1][0]
    for number, run in enumerate(runs):
        assert run.results is not None
        assert pairs["matrix"][number][number] == run.results["test"]["random_3"]["accuracy"]
    assert pairs["diagonal"] == pytest.approx((wanted[0][0] + wanted[1][1]) / 2, abs=1e-3)
    assert pairs["off_diagonal"] == pytest.approx((wanted[0][1] + wanted[1][0]) / 2, abs=1e-3)
    assert (pairs["runs"], pairs["set"], pairs["metric"]) == (paths, "test", "random_3")
    assert pairs["targets"] == len(split)
    assert pairs["baselines"]["chance"] == 25.0
    assert format_cross_play(pairs) in outcome.out
    assert cross_play(runs, device="cpu") == pairs


def test_cross_play_uses_another_test_set(runs: list[TrainedRun], arc_folder: Path) -> None:
    other = f"data.test={arc_folder / 'evaluation' / 'e01.json'}"
    assert cross_play(runs, other, device="cpu")["targets"] == 8


def test_a_stop_keeps_the_pairs_that_were_evaluated(runs: list[TrainedRun]) -> None:
    players = load_players(files(runs), CPU)
    calls: list[None] = []
    evaluate = SelectionTask.evaluate

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return evaluate(*arguments, **options)

    with patch.object(SelectionTask, "evaluate", counted):
        results = play(players, CPU, options=EvaluationOptions(should_stop=lambda: len(calls) == 3))
    assert results["stopped"] is True
    values = [value for row in results["matrix"] for value in row]
    assert [value is None for value in values] == [False, False, True, True]
    assert "the evaluation was stopped" in format_cross_play(results)


@pytest.mark.parametrize(
    ("base", "change", "key"),
    [
        ((), ("bottleneck.vocab_size=9",), "bottleneck.vocab_size (25 and 9)"),
        ((), ("task.num_distractors=2",), "task.num_distractors (3 and 2)"),
        ((), ("data.max_grids=60",), "data.max_grids (None and 60)"),
        (
            ("bottleneck=autoencoder",),
            ("bottleneck=autoencoder", "model.latent_dim=8"),
            "model.latent_dim (16 and 8)",
        ),
    ],
)
def test_runs_that_cannot_play_with_each_other_are_refused(
    make_run: Make, base: tuple[str, ...], change: tuple[str, ...], key: str
) -> None:
    made = [make_run(*GAME, *settings) for settings in (base, change)]
    players = [Loaded(run.model, run.config, {}) for run in made]
    with patch("arc.runs.crossplay.load", side_effect=players):
        complaint = call(arc.evaluate.main, "path=a.pth", "path=b.pth", "crossplay=true").complaint
    assert complaint.startswith(f"crossplay=true: a.pth and b.pth differ in {key}; ")


def test_cross_play_needs_several_files(runs: list[TrainedRun]) -> None:
    path = files(runs)[0]
    complaint = call(arc.evaluate.main, f"path=[{path},{path}]", "crossplay=true").complaint
    assert complaint == "crossplay=true: needs several files, path=A path=B"
    with pytest.raises(ConfigError, match="several files"):
        cross_play(runs[:1])
