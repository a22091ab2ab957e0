"""metrics.jsonl: whole lines, and none that a full disk cut."""

import json
import logging
import resource
from pathlib import Path

import pytest

from arc.loggers.jsonl import Record
from arc.training import StepEvent

STEP = StepEvent(1, 1, 1, 4, 0.5, float("nan"), 1e-3, 1.0, 16, 0.1, None)


def test_a_full_disk_costs_lines_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Record(path) as record:
        record.add(STEP)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, before[1]))
        try:
            with caplog.at_level(logging.ERROR):
                for _ in range(3):
                    record.add(STEP)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.stat().st_size == size
        record.add(STEP)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: cannot be written")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [{"kind": "step", **vars(STEP), "accuracy": None}] * 2
