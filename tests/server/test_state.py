"""Answers of the training thread that need not be found out twice."""

import threading

import pytest

from arc.server.state import State


class Answering:
    """A session whose training thread answers, unless it is testing."""

    def __init__(self):
        self.state, self.asked = "training", 0

    def ask(self, work):
        if self.state == "testing":
            raise TimeoutError("no answer")
        self.asked += 1
        return work(None)


@pytest.fixture
def state():
    return State(Answering())


def told(state, moment):
    return state.once("samples", moment, lambda looker: {"as of": moment})["as of"]


def test_a_moment_is_looked_at_once(state):
    assert [told(state, (1, 5)), told(state, (1, 5)), told(state, (1, 9))] == [
        (1, 5),
        (1, 5),
        (1, 9),
    ]
    assert state.session.asked == 2


def test_while_a_run_is_tested_what_was_seen_last_is_told(state):
    told(state, (1, 5))
    state.session.state = "testing"
    assert told(state, (1, 9)) == (1, 5)


def test_another_run_s_answer_is_never_told(state):
    told(state, (1, 5))
    state.session.state = "testing"
    with pytest.raises(TimeoutError):
        told(state, (2, 5))


def test_who_waits_behind_others_is_told_in_time(state, monkeypatch):
    monkeypatch.setattr("arc.server.state.ANSWER_SECONDS", 0.05)
    asked, may = threading.Event(), threading.Event()
    first = threading.Thread(
        target=lambda: state.once("samples", (1, 5), lambda looker: asked.set() or may.wait())
    )
    first.start()
    asked.wait()
    with pytest.raises(TimeoutError, match="no answer"):
        told(state, (1, 5))
    may.set()
    first.join()
