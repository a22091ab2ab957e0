"""The notebook of the documentation runs as it stands."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT


@pytest.mark.slow
def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state = runpy.run_path(str(CHECKOUT / "docs" / "how-to" / "notebook.py"))
    printed = capsys.readouterr().out.splitlines()
    assert state["accuracy"].curve[-1][0] == 60
    assert state["test"]["accuracy"] > 2 * state["test"]["baselines"]["chance"]
    assert printed[-1] == "60 True"
    assert (tmp_path / "checkpoints" / "notebook_best.pth").is_file()
