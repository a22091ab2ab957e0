"""What is published, and a copy of it that takes the same notes."""

import pickle
import subprocess
import sys
import threading

import pytest
from helpers_cli import CHECKOUT

from arc.server.status import KEPT_LINES, KEPT_VALIDATIONS, Board


def step(number):
    return {
        **{"step": number, "epoch": 1, "batch": number, "batches": 9, "loss": 1 / number},
        **{"accuracy": 50.0, "learning_rate": 1e-3, "grad_norm": 1.0, "targets": 8},
        **{"seconds": 0.1 * number, "progress": number / 9, "seconds_left": 0.5},
    }


def validation(number):
    return {"batch_num": number, "val_loss": 1.0, "val_acc": 60.0}


COURSE = [
    ("settings", {"vocab_size": 9}),
    ("begin", {"vocab_size": 25}),
    ("state", ["training", "train"]),
    ("facts", {"run_name": "mine", "device": "cpu", "precision": "fp32", "folder": "here"}),
    *(("step", step(number)) for number in range(1, 6)),
    ("validation", validation(5)),
    ("saves", {"pending": ["x"], "recent": [{"name": "w", "state": "saved"}]}),
    ("line", {"n": 1, "text": "said"}),
    ("end", {"kind": "failed", "error": "a fault"}),
    ("results", {"results": {"steps": 5}, "table": "figures"}),
    ("state", ["idle", None]),
]


def noted(course):
    board = Board()
    for what, content in course:
        board.note(what, content)
    return board


def shown(board):
    status = {key: value for key, value in board.status().items() if key != "throughput"}
    told = board.history(-1), board.lines(0), board.results(), board.moment, board.count
    return status, *told


def test_before_the_first_run_the_settings_are_the_next_one_s():
    status = noted(COURSE[:1]).status()
    assert (status["vocab_size"], status["running"], status["step"]) == (9, False, None)


def test_the_last_run_is_told_after_its_end():
    status = noted(COURSE).status()
    assert (status["vocab_size"], status["run_name"], status["step"]) == (25, "mine", 5)
    assert (status["outcome"], status["error"]) == ("failed", "a fault")
    assert status["metrics"]["val_acc"] == 60.0
    assert (status["pending_saves"], status["last_save"]["name"]) == (["x"], "w")
    assert status["throughput"]["steps_per_second"] is None


def test_a_resumed_run_shows_its_last_validation_until_the_next():
    board = Board()
    board.note("begin", {})
    board.note("facts", {"run_name": "mine", "val_loss": 2.0, "val_acc": 50.0})
    assert board.status()["metrics"]["val_acc"] == 50.0
    board.note("validation", validation(1))
    assert board.status()["metrics"]["val_acc"] == 60.0


def test_a_new_run_begins_with_nothing():
    board = noted([*COURSE, ("begin", {"vocab_size": 3})])
    status = board.status()
    assert (status["run_id"], status["step"], status["outcome"]) == (2, None, None)
    assert (board.has_model, board.history(-1)["history"]) == (False, [])
    assert board.lines(0) == [{"n": 1, "text": "said"}]


@pytest.mark.parametrize("taken", range(len(COURSE) + 1))
def test_a_copy_that_takes_the_same_notes_shows_the_same(taken):
    board, notes = noted(COURSE[:taken]), []
    copy = pickle.loads(board.tell(lambda *note: notes.append(note)))
    for what, content in COURSE[taken:]:
        board.note(what, content)
    assert notes == COURSE[taken:]
    for note in notes:
        copy.note(*note)
    assert shown(copy) == shown(board)


def test_who_no_longer_listens_is_told_nothing():
    board, notes = Board(), []
    board.tell(lambda *note: notes.append(note))
    board.tell(None)
    board.note(*COURSE[0])
    assert notes == []


def test_who_waits_for_a_note_is_woken_by_it():
    board = Board()
    assert not board.reached(1, 0.01)
    threading.Timer(0.05, board.note, COURSE[0]).start()
    assert board.reached(1, 30)


def test_what_is_kept_is_bounded():
    board = Board()
    for number in range(1, 2 * KEPT_VALIDATIONS):
        board.note("validation", validation(number))
        board.note("line", {"n": number})
    assert len(board.history(-1)["validations"]) <= KEPT_VALIDATIONS
    assert board.history(-1)["validations"][-1]["batch_num"] == 2 * KEPT_VALIDATIONS - 1
    assert len(board.lines(0)) == KEPT_LINES


@pytest.mark.parametrize("module", ["arc.server.status", "arc.server.front"])
def test_who_only_shows_needs_no_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=CHECKOUT).returncode == 0
