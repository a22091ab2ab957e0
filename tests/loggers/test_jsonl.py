"""The jsonl logger: whole lines, also on a full disk; and loggers that fail."""

import json
import logging
import resource
from pathlib import Path
from typing import Any

import pytest
from helpers_cli import Make

from arc.loggers.jsonl import JsonlConfig, JsonlLogger
from arc.training import StepEvent

STEP = StepEvent(1, 1, 1, 4, 0.5, float("nan"), 1e-3, 1.0, 16, 0.1, None)


def test_lines_that_do_not_fit_on_the_disk_are_dropped_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    logger = JsonlLogger(JsonlConfig(filename="metrics.jsonl"), tmp_path, {})
    logger.on_event(STEP)
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, before[1]))
    try:
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                logger.on_event(STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size
    logger.on_event(STEP)
    logger.close()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: cannot be written")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [{"kind": "step", **vars(STEP), "accuracy": None}] * 2


@pytest.mark.parametrize("method", ["__init__", "on_event"])
def test_a_logger_that_fails_is_disabled_and_the_run_continues(
    train_small: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(method)
        raise RuntimeError("broken logger")

    monkeypatch.setattr(JsonlLogger, method, fail)
    run = train_small(tmp_path, "task=reconstruction", "training.max_steps=3")
    assert run.outcome.kind == "finished"
    assert run.results is not None
    assert calls == [method]
    assert len([line for line in caplog.messages if "broken logger" in line]) == 1


def test_a_run_may_have_no_logger(train_small: Make, tmp_path: Path) -> None:
    run = train_small(tmp_path, "task=reconstruction", "training.max_steps=1", "logger=[]")
    assert run.outcome.kind == "finished"
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
