"""Ease of learning: new receivers for the messages of a frozen sender."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, Recorder, call

import arc.evaluate
from arc.api import TrainedRun, evaluate
from arc.config.files import ConfigError
from arc.data import DataError
from arc.runs.learning import _curve, _summary, _trainer, learn_messages
from arc.runs.results import EvaluationOptions, evaluate_run
from arc.runs.tables import format_results, over_seeds
from arc.training import DivergedError

SMALL_GAME = ("task=selection", "task.num_distractors=3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> TrainedRun:
    """A finished run."""
    return train_small(tmp_path_factory.mktemp("trained"), *SMALL_GAME, "training.max_steps=1")


@pytest.mark.parametrize(
    "settings",
    [
        ("bottleneck.noise=gumbel", "model.dropout=0.5"),
        ("bottleneck=autoencoder", "bottleneck.noise=0.5", "model.shared_encoder=true"),
    ],
)
def test_the_sender_does_not_change_and_the_receiver_is_new(
    make_run: Make, settings: tuple[str, ...]
) -> None:
    run = make_run(*SMALL_GAME, *settings)
    grids = run.corpus.training.grids[torch.arange(8)]
    trainer = _trainer(run.config, run.model.eval(), run.task, 1, steps=3)
    sent, fresh = run.model(grids).content, trainer.model
    before = {name: value.clone() for name, value in fresh.receiver.state_dict().items()}
    own = run.model.receiver.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in own.items())
    assert len(list(_curve(trainer, lambda cost: None))) == 3
    assert torch.allclose(fresh.train()(grids).content, sent, atol=1e-4)
    assert all(
        torch.equal(fresh.encoder.state_dict()[n], v)
        for n, v in run.model.encoder.state_dict().items()
    )
    after = fresh.receiver.state_dict()
    assert any(not torch.equal(after[name], value) for name, value in before.items())


def test_each_receiver_has_its_curve_and_the_untrained_sender_is_last(make_run: Make) -> None:
    run = make_run(*SMALL_GAME, "seed=3")
    state = torch.get_rng_state()
    results = evaluate_run(
        run.config,
        run.model,
        run.task,
        EvaluationOptions(learning=2, learning_steps=6),
        minutes=0.0,
        steps=0,
    )
    assert torch.equal(torch.get_rng_state(), state)
    learning = results["learning"]
    rows = learning["receivers"]
    assert [row["sender"] for row in rows] == ["trained", "trained", "untrained"]
    assert [row["seed"] for row in rows] == [4, 5, 4]
    assert learning["steps"] == 6
    assert learning["original"] == results["validation"]["random_3"]["accuracy"]
    assert learning["goal"] == pytest.approx(0.9 * learning["original"], abs=1e-4)
    for row, seed in zip(rows[:2], (4, 5), strict=True):
        trainer = _trainer(run.config, run.model, run.task, seed, steps=6)
        curve = list(_curve(trainer, lambda cost: None))
        assert row["curve"] == [[step, pytest.approx(value, abs=1e-4)] for step, value in curve]
        assert [step for step, _ in curve] == [1, 2, 3, 4, 5, 6]
        assert len({value for _, value in curve}) > 1
    assert rows[0]["curve"] == rows[2]["curve"]  # the model is untrained as well


def test_the_training_is_the_run_s_in_the_steps_that_it_has(make_run: Make) -> None:
    run = make_run(
        *SMALL_GAME,
        "training.batch_size=8",
        "training.max_minutes=1",
        "training.epochs=1",
        "training.stop_at_step=2",
        "training.schedule_by=time",
        "training.warmup_steps=100",
        "optimizer=sgd",
    )
    trainer = _trainer(run.config, run.model, run.task, 1, steps=30)
    settings = trainer.config
    assert (settings.batch_size, settings.max_steps, settings.warmup_steps) == (8, 30, 6)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    curve = list(_curve(trainer, lambda cost: None))
    assert [step for step, _ in curve] == [*range(2, 31, 2)]


@pytest.mark.parametrize(("goal", "reached"), [(50.0, 4), (51.0, 5), (95.0, None)])
def test_a_curve_is_summarised(goal: float, reached: int | None) -> None:
    curve = [(2, 10.0), (4, 50.0), (5, 90.0)]
    assert _summary(curve, goal) == {"steps_to_goal": reached, "area": 42.0, "final": 90.0}


def test_a_stop_keeps_the_receivers_that_are_trained(make_run: Make) -> None:
    run, recorder = make_run(*SMALL_GAME), Recorder()

    def interrupted(*arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        for row in learn_messages(*arguments, **options):
            yield row
            recorder.control.request_stop("a signal")

    with patch("arc.runs.results.learn_messages", interrupted):
        results = evaluate_run(
            run.config,
            run.model,
            run.task,
            EvaluationOptions(
                learning=3,
                learning_steps=2,
                should_stop=lambda: recorder.control.stop_requested,
            ),
            minutes=0.0,
            steps=0,
        )
    assert results["stopped"] is True
    assert [row["seed"] for row in results["learning"]["receivers"]] == [1]
    assert "the evaluation was stopped" in format_results(results)


def test_a_training_that_diverges_is_left_out(
    make_run: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(*SMALL_GAME)
    curves = [DivergedError("step 1: loss nan"), iter([(1, 20.0)])]
    with patch("arc.runs.learning._curve", side_effect=curves):
        found = learn_messages(
            run.config,
            run.task,
            run.model,
            run.model,
            receivers=1,
            steps=1,
            goal=20.0,
            begin=lambda name: None,
            count=lambda cost: None,
        )
        rows = list(found)
    assert [row["final"] for row in rows] == [20.0]
    assert "new receiver 1 of 2, seed 1, is left out: step 1: loss nan" in caplog.text


def test_the_command_trains_new_receivers(trained: TrainedRun, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    outcome = call(
        arc.evaluate.main,
        f"path={trained.checkpoints.best}",
        "device=cpu",
        "measures=none",
        "learning=1",
        "learning_steps=2",
        f"output={output}",
    )
    assert outcome.status == 0, outcome.err
    results = json.loads(output.read_text(encoding="utf-8"))
    rows = results["learning"]["receivers"]
    lines = [line.split() for line in outcome.out.splitlines()]
    for row in rows:
        steps = row["steps_to_goal"]
        start = [row["sender"], "seed", str(row["seed"]), "–" if steps is None else str(steps)]
        assert [*start, f"{row['area']:.1f}", f"{row['final']:.1f}"] in lines
    means = {row["metric"]: row["mean"] for row in over_seeds([results, results])}
    assert means["learning_area"] == rows[0]["area"]


def test_impossible_numbers_are_refused(trained: TrainedRun) -> None:
    path = f"path={trained.checkpoints.best}"
    assert call(arc.evaluate.main, path, "learning=-1").complaint.startswith("learning=-1: ")
    assert call(arc.evaluate.main, path, "learning_steps=0").complaint.startswith(
        "learning_steps=0: "
    )
    with pytest.raises(ConfigError, match="learning_steps=0"):
        evaluate(trained, learning=1, learning_steps=0)


def test_learning_needs_a_validation_set(tmp_path: Path, train_small: Make) -> None:
    settings = ("task=reconstruction", "data.validation_fraction=0", "training.max_steps=1")
    run = train_small(tmp_path, *settings)
    with pytest.raises(DataError, match=r"learning=1 needs a validation set"):
        evaluate(run.checkpoints.last, device="cpu", learning=1)
