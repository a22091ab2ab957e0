"""The final report: figures, table, file; and what a run shows while it trains."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from arc.loggers.console import Terminal
from arc.runs.results import describe_language, evaluate, table, write_results
from arc.tasks import Metric, TaskMetrics
from arc.training import Evaluation, StepEvent, ValidationEvent

LANGUAGE = {
    "unique_messages": 40,
    "message_entropy_bits": 5.25,
    "entropy_limit_bits": 6.0,
    "capacity_bits": 23.2193,
    "symbol_entropy_bits": 1.5,
    "symbols_used": 24.0,
    "mean_length": 4.5,
}


def figure(value: float | None, targets: int, **baselines: float) -> dict[str, Any]:
    return {"accuracy": value, "targets": targets, "baselines": baselines}


def content(language: dict[str, float]) -> dict[str, Any]:
    return {
        "test": {
            "random_99": figure(87.654, 400, chance=1.0, random_codes=99.9),
            "same_size_49": figure(None, 0, chance=2.0),
        },
        "validation": {"random_99": figure(90.0, 40, chance=1.0)},
        "controls": {"shuffled_messages": {"random_99": figure(1.25, 400, chance=1.0)}},
        "language": language,
    }


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Return a printed table's cells by the first two columns."""
    lines = [line.split("  ") for line in text.splitlines() if line.strip()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {(line[0], line[1]): line[2:] for line in cells if len(line) > 2}


# -- the table ---------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_figure() -> None:
    found = rows(table(content({})))
    assert found["set", "game"] == ["targets", "accuracy", "chance", "random codes"]
    assert found["test", "random 99"] == ["400", "87.7", "1.0", "99.9"]
    assert found["validation", "random 99"][:3] == ["40", "90.0", "1.0"]
    assert found["shuffled messages", "random 99"][:3] == ["400", "1.2", "1.0"]


def test_a_figure_that_covers_nothing_has_no_row() -> None:
    assert ("test", "same size 49") not in rows(table(content({})))


def test_what_a_row_lacks_is_no_number() -> None:
    assert rows(table(content({})))["validation", "random 99"] == ["40", "90.0", "1.0", "–"]


def test_the_language_stands_below_the_table() -> None:
    assert "language" not in table(content({}))
    text = table(content(LANGUAGE))
    assert text.splitlines()[-1] == describe_language(LANGUAGE)
    for part in ("40 different messages", "5.2 bits", "at most 6.0", "23.2", "24 %", "4.50"):
        assert part in text.splitlines()[-1]


# -- the figures -------------------------------------------------------------------------


def test_the_report_is_the_same_each_time_and_draws_from_no_ambient_generator(
    make_run: Callable[..., Any], game: list[str]
) -> None:
    run = make_run(*game)
    before = torch.get_rng_state()
    first = evaluate(run.config, run.model, run.task, minutes=1.23456, steps=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert evaluate(run.config, run.model, run.task, minutes=1.23456, steps=7) == first
    assert (first["minutes"], first["steps"]) == (1.235, 7)
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_the_untrained_sender_is_the_one_that_the_seed_draws(
    make_run: Callable[..., Any], game: list[str]
) -> None:
    run = make_run(*game)  # its weights are as the seed drew them
    report = evaluate(run.config, run.model, run.task, minutes=0.0, steps=0)
    headline = next(iter(report["test"]))
    assert report["controls"]["untrained_sender"][headline] == report["test"][headline]


# -- the file ----------------------------------------------------------------------------


def test_results_are_written_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "x_results.json"
    for number in (1, 2):
        write_results(path, {"number": number, "missing": None})
        assert json.loads(path.read_text(encoding="utf-8")) == {"number": number, "missing": None}
        assert list(tmp_path.iterdir()) == [path]


def test_results_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "x_results.json"
    write_results(path, {"number": 1})
    with pytest.raises(TypeError):
        write_results(path, {"number": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"number": 1}
    assert list(tmp_path.iterdir()) == [path]


# -- while it trains ---------------------------------------------------------------------


def step(number: int, progress: float | None) -> StepEvent:
    return StepEvent(
        step=number,
        epoch=2,
        batch=number,
        batches=9,
        loss=1.2345,
        accuracy=50.0,
        learning_rate=1e-3,
        grad_norm=1.0,
        targets=16,
        seconds=10.0 * number,
        progress=progress,
    )


def validated(accuracy: float) -> ValidationEvent:
    task_metrics = TaskMetrics(
        0.5, {"random_3": Metric({"accuracy": accuracy}, 24, {"chance": 25.0})}
    )
    return ValidationEvent(
        step=9,
        epoch=2,
        seconds=90.0,
        train_loss=1.0,
        train_accuracy=50.0,
        evaluation=Evaluation(task_metrics, LANGUAGE),
        is_best=True,
    )


def test_without_a_terminal_a_line_tells_where_the_run_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = io.StringIO()
    with caplog.at_level("INFO"), Terminal(Console(file=out)) as terminal:
        terminal.show(step(1, progress=0.25))
        terminal.show(step(2, progress=0.5))  # too soon for another line
    (line,) = caplog.messages
    for part in ("epoch 2", "batch 1/9", "step 1", "loss 1.234", "50.0 %", "0:30 left"):
        assert part in line
    assert out.getvalue() == ""


def test_a_new_best_stands_beside_its_baselines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), Terminal(Console(file=io.StringIO())) as terminal:
        terminal.show(validated(61.25))
    (line,) = caplog.messages
    for part in ("held out accuracy 61.2 % of 24", "chance 25.0", "40 different messages"):
        assert part in line


def test_a_terminal_shows_a_bar_and_cleans_up(caplog: pytest.LogCaptureFixture) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    with caplog.at_level("INFO"), Terminal(console) as terminal:
        terminal.show(validated(math.nan))
        terminal.show(step(1, progress=None))
        terminal.show(step(2, progress=0.5))
    assert "step 2" in out.getvalue()
    assert "50 %" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")  # the line is wiped
