"""The keys of metrics.jsonl are those of its reference, for every task."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT, Make
from helpers_data import TASK_OVERRIDES

PAGE = CHECKOUT / "docs" / "reference" / "metrics-file.md"
QUICK = ("selection", "transformation")
TYPES = {"string": str, "integer": int, "number": (int, float), "object": dict, "boolean": bool}


def documented(kind: str) -> dict[str, tuple[str, bool]]:
    """The keys of one kind of line: type, and whether they may be null."""
    found: dict[str, tuple[str, bool]] = {}
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        if section.startswith(("Every line", f"`{kind}`")):
            for key, type_, meaning in re.findall(
                r"^\| `(\w+)` \| (\w+) \|[^|]*\|(.*)\|$", section, re.MULTILINE
            ):
                found[key] = (type_, "`null`" in meaning)
    return found


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, marks=[] if task in QUICK else pytest.mark.slow)
        for task in TASK_OVERRIDES
    ],
)
def test_a_run_writes_the_documented_keys(train_small: Make, tmp_path: Path, task: str) -> None:
    check_keys(train_small, tmp_path, *TASK_OVERRIDES[task], "mode=train")


def test_pretraining_writes_the_documented_keys(train_small: Make, tmp_path: Path) -> None:
    check_keys(train_small, tmp_path, "task=reconstruction", "mode=pretrain")


def check_keys(train_small: Make, tmp_path: Path, *overrides: str) -> None:
    """Every key is documented, and every documented key is written."""
    length = ["training.max_steps=2", "metric=[entropy,usage]", "data.test=null"]
    length.append("pretrain.num_distractors=3")
    train_small(tmp_path, *overrides, *length)
    lines = (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["kind"] for row in rows} == {"step", "validation"}
    for row in rows:
        keys = documented(row["kind"])
        assert row.keys() == keys.keys()
        for key, value in row.items():
            type_, may_be_null = keys[key]
            allowed = may_be_null and value is None
            assert allowed or isinstance(value, TYPES[type_]), (key, value)  # type: ignore[arg-type]
