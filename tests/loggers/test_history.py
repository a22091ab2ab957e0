"""The history of a run in bounded memory, with every outlier."""

import math
from typing import Any

import pytest

from arc.loggers.history import CAPACITY, History, Rates

STEPS = 3 * CAPACITY + 17


def row(step: int, loss: float = 1.0, accuracy: float = 50.0) -> dict[str, Any]:
    return {
        "batch_num": step,
        "epoch": 1 + step // 100,
        "batch": step % 100,
        "loss": loss,
        "accuracy": accuracy,
        "learning_rate": step / 1000,
        "grad_norm": 1.0,
        "seconds": step / 10,
    }


@pytest.fixture(scope="module")
def long() -> History:
    """A run much longer than the capacity, with one outlier."""
    history = History()
    for step in range(1, STEPS + 1):
        history.add(row(step, loss=99.0 if step == 5000 else step / STEPS))
    return history


def test_a_short_run_is_kept_step_by_step() -> None:
    history = History()
    for step in range(1, 11):
        history.add(row(step))
    assert [each["batch_num"] for each in history.since(-1)] == list(range(1, 11))
    assert all(each["steps"] == 1 for each in history.since(-1))


def test_a_long_run_is_merged_into_a_bounded_number_of_rows(long: History) -> None:
    rows = long.since(-1)
    assert CAPACITY / 2 <= len(rows) <= CAPACITY + 1
    assert sum(each["steps"] for each in rows) == STEPS
    assert rows[-1]["batch_num"] == STEPS
    first = rows[0]
    assert first["loss"] == pytest.approx(
        sum(range(1, first["steps"] + 1)) / first["steps"] / STEPS
    )
    (spike,) = [each for each in rows if each["loss_max"] == 99.0]
    assert spike["batch_num"] - spike["steps"] < 5000 <= spike["batch_num"]
    assert spike["loss_min"] < 1.0


def test_since_returns_later_rows_only(long: History) -> None:
    rows = long.since(STEPS - 100)
    assert 0 < len(rows) < 100
    assert all(each["batch_num"] > STEPS - 100 for each in rows)
    assert long.since(STEPS) == []


def test_since_includes_a_row_that_is_not_full_yet() -> None:
    history = History(capacity=4)
    for step in range(1, 10):
        history.add(row(step))
    assert history.since(8)[-1]["batch_num"] == 9


def test_a_nan_loss_stays_nan_in_its_row_alone() -> None:
    history = History(capacity=4)
    for step in range(1, 9):
        history.add(row(step, loss=math.nan if step == 2 else 1.0))
    losses = [each["loss"] for each in history.since(-1)]
    assert math.isnan(losses[0])
    assert losses[1:] == [1.0] * len(losses[1:])


def test_rates_are_those_of_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("arc.loggers.history.time.monotonic", lambda: float(next(clock)))
    rates = Rates(steps=5)
    assert rates.per_second() is None
    for _ in range(20):
        rates.add(targets=8)
    assert rates.per_second() == (0.5, 4.0)
