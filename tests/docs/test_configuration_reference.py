"""The generated configuration reference has every key of every schema."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from helpers_cli import CHECKOUT
from pydantic import BaseModel

from arc.config.schema import EvaluateConfig, ProcessConfig, RunConfig


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    sys.path.insert(0, str(CHECKOUT / "docs" / "_ext"))
    try:
        return importlib.import_module("configuration_reference")
    finally:
        del sys.path[0]


@pytest.fixture(scope="module")
def rows(reference: ModuleType) -> list[list[str]]:
    """The cells of each row of the generated tables."""
    lines = [line for line in reference.generate().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def schemas_in(annotation: object) -> list[type[BaseModel]]:
    """The schemas that an annotation names, at any depth of unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [schema for part in get_args(annotation) for schema in schemas_in(part)]


def keys_of(schema: type[BaseModel], prefix: str = "") -> set[str]:
    """The dotted keys of a schema and of the sections below it."""
    keys: set[str] = set()
    for name, field in schema.model_fields.items():
        below = schemas_in(field.annotation)
        keys |= {key for each in below for key in keys_of(each, f"{prefix}{name}.")}
        keys |= set() if below or name == "name" else {prefix + name}
    return keys


def test_every_field_of_the_schemas_is_a_row(rows: list[list[str]]) -> None:
    keys = keys_of(RunConfig) | keys_of(ProcessConfig) | keys_of(EvaluateConfig)
    assert {"seed", "task.num_distractors", "server.port", "path"} <= keys
    assert {cells[0].strip("`") for cells in rows} == keys


def test_a_row_has_type_range_default_and_description(rows: list[list[str]]) -> None:
    assert {len(cells) for cells in rows} == {5}
    by_key = {cells[0].strip("`"): cells[1:] for cells in rows}
    meaning = by_key["server.port"][3]
    assert by_key["server.port"] == ["integer", "0 to 65535", "`5002`", meaning]
    assert "free" in meaning
    assert by_key["training.precision"][1] == "`auto`, `fp32`, `bf16`"
    assert by_key["bottleneck.temperature_final"][:2] == ["number or `null`", "> 0, ≤ 100"]
    assert by_key["bottleneck.entropy_bonus"][2] == "`0.02` categorical, `0` communication"


def test_every_key_has_a_description(rows: list[list[str]]) -> None:
    assert [cells[0] for cells in rows if not cells[4]] == []


def test_a_file_inherits_the_comments_of_its_base_file(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comments = sys.modules[reference.comments_of.__module__]
    (tmp_path / "base.yaml").write_text("low: 1 # from the base\nhigh: 2 # hidden\n")
    (tmp_path / "own.yaml").write_text(
        "defaults: [base, _self_]\nhigh: 3 # own\nbare: 4\npart:\n  key: 5 # below\n"
    )
    monkeypatch.setattr(comments, "config_folder", lambda: tmp_path)
    expected = {"low": "from the base", "high": "own", "part.key": "below"}
    assert comments.comments_of("own.yaml") == expected
