"""The published status of a run."""

import time
from collections.abc import Sequence
from typing import Any

from arc.server.status import KEPT_LINES, KEPT_VALIDATIONS, RunStatus


def step(number: int) -> dict[str, Any]:
    return {
        **{"step": number, "epoch": 1, "batch": number, "batches": 9, "loss": 1 / number},
        **{"accuracy": 50.0, "learning_rate": 1e-3, "grad_norm": 1.0, "targets": 8},
        **{"seconds": 0.1 * number, "progress": number / 9, "seconds_left": 0.5},
    }


def validation(number: int) -> dict[str, Any]:
    return {"batch_num": number, "val_loss": 1.0, "val_acc": 60.0}


COURSE = [
    ("settings", {"vocab_size": 9}),
    ("begin", {"vocab_size": 25}),
    ("state", ["training", "train"]),
    ("facts", {"run_name": "mine", "device": "cpu", "precision": "fp32", "folder": "here"}),
    *(("step", step(number)) for number in range(1, 6)),
    ("validation", validation(5)),
    ("saves", {"pending": ["x"], "recent": [{"name": "w", "state": "saved"}]}),
    ("line", {"n": 1, "text": "a line"}),
    ("end", {"kind": "failed", "error": "a fault"}),
    ("results", {"results": {"steps": 5}, "table": "figures", "rows": []}),
    ("state", ["idle", None]),
]


def published(course: Sequence[tuple[str, Any]]) -> RunStatus:
    status = RunStatus()
    for kind, content in course:
        status.publish(kind, content)
    return status


def test_before_a_run_the_settings_are_those_of_the_next() -> None:
    status = published(COURSE[:1]).status()
    assert (status["vocab_size"], status["running"], status["step"]) == (9, False, None)


def test_the_last_run_is_shown_after_its_end() -> None:
    status = published(COURSE).status()
    assert (status["vocab_size"], status["run_name"], status["step"]) == (25, "mine", 5)
    assert (status["outcome"], status["error"]) == ("failed", "a fault")
    assert status["metrics"]["val_acc"] == 60.0
    assert (status["pending_saves"], status["last_save"]["name"]) == (["x"], "w")
    assert status["throughput"] == {"steps_per_second": None, "examples_per_second": None}


def test_the_mode_of_a_run_is_known_after_its_end() -> None:
    status = published([("begin", {}), ("state", ["pretraining", "pretrain"])])
    status.publish("state", ["idle", None])
    assert (status.status()["mode"], status.status()["run_mode"]) == (None, "pretrain")


def test_a_resumed_run_shows_its_last_validation_until_the_next() -> None:
    status = RunStatus()
    status.publish("begin", {})
    status.publish("facts", {"run_name": "mine", "val_loss": 2.0, "val_acc": 50.0})
    assert status.status()["metrics"]["val_acc"] == 50.0
    status.publish("validation", validation(1))
    assert status.status()["metrics"]["val_acc"] == 60.0


def test_a_new_run_starts_empty_and_keeps_the_log() -> None:
    published_status = published(COURSE)
    before = published_status.run_id
    published_status.publish("begin", {"vocab_size": 3})
    status = published_status.status()
    assert (status["run_id"], status["step"], status["outcome"]) == (before + 1, None, None)
    assert (published_status.has_model, published_status.history(-1)["history"]) == (False, [])
    assert published_status.lines(0) == [{"n": 1, "text": "a line"}]


def test_the_progress_of_the_test_phase_is_shown_until_its_end() -> None:
    progress = {"stage": "test", "progress": 0.5, "eta_seconds": 2.0}
    status = published([*COURSE[:-2], ("testing", progress)])
    assert status.status()["testing"] == progress
    assert status.in_test_phase
    status.publish("state", ["idle", None])
    assert status.status()["testing"] is None
    assert not status.in_test_phase


def test_the_version_changes_with_runs_validations_and_models() -> None:
    status = RunStatus()
    before, versions = status.run_id, []
    for kind, content in COURSE[:-1]:
        status.publish(kind, content)
        versions.append(status.version)
    assert sorted(set(versions), key=versions.index) == [
        (before, None, False),
        (before + 1, None, False),
        (before + 1, None, True),
        (before + 1, 5, True),
    ]


def test_a_restarted_process_has_new_run_ids_which_are_exact_in_javascript() -> None:
    before = published(COURSE).run_id
    time.sleep(0.01)
    after = published(COURSE).run_id
    assert before < after < 2**53


def test_history_and_log_are_bounded() -> None:
    status = RunStatus()
    for number in range(1, 2 * KEPT_VALIDATIONS):
        status.publish("validation", validation(number))
        status.publish("line", {"n": number})
    assert len(status.history(-1)["validations"]) <= KEPT_VALIDATIONS
    assert status.history(-1)["validations"][-1]["batch_num"] == 2 * KEPT_VALIDATIONS - 1
    assert len(status.lines(0)) == KEPT_LINES
