"""``python -m arc.evaluate``: a saved run's report, from its file alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, call, run_here, tiny

import arc.evaluate


def evaluate(*overrides: str) -> Outcome:
    return call(arc.evaluate.main, *overrides)


@pytest.fixture
def trained(tmp_path: Path, arc_folder: Path) -> Callable[..., Path]:
    """Train a run named ``mine`` and return its best checkpoint."""

    def train(*overrides: str) -> Path:
        outcome = run_here(tmp_path, *tiny(arc_folder, steps=1), *overrides, "run_name=mine")
        assert outcome.status == 0, outcome.err
        return tmp_path / "checkpoints" / "mine_best.pth"

    return train


@pytest.fixture
def stopped(tmp_path: Path, arc_folder: Path) -> Path:
    """A checkpoint of a run that was stopped before its end."""
    stop = ["task=reconstruction", "training.stop_at_step=1", "run_name=mine"]
    assert run_here(tmp_path, *tiny(arc_folder), *stop).status == 0
    return tmp_path / "checkpoints" / "mine_last.pth"


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path)
    change(content)
    torch.save(content, path)


def test_the_report_of_a_file_is_the_report_of_its_run(
    game: list[str], trained: Callable[..., Path], tmp_path: Path
) -> None:
    path = trained(*game)
    outcome = evaluate(f"path={path}", "device=cpu", f"output={tmp_path / 'again.json'}")
    assert outcome.status == 0, outcome.err
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    first = json.loads((path.parent / "mine_results.json").read_text(encoding="utf-8"))
    assert again.keys() == first.keys()
    for key in ("test", "validation", "controls", "language", "steps"):
        assert again[key] == first[key], key
    rows = [line for line in outcome.out.splitlines() if line.startswith("test ")]
    assert len(rows) == sum(figure["targets"] > 0 for figure in first["test"].values())


def test_evaluation_leaves_no_file_that_was_not_asked_for(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = stopped.read_bytes()
    outcome = evaluate(f"path={os.path.relpath(stopped)}", "device=cpu")
    assert outcome.status == 0, outcome.err
    assert list(folder.iterdir()) == []
    assert stopped.read_bytes() == before


def test_other_data_than_the_runs_are_said(stopped: Path, arc_folder: Path, tmp_path: Path) -> None:
    rewrite(stopped, lambda content: content.update(data_fingerprint="0" * 16))
    outcome = evaluate(f"path={stopped}", "device=cpu")
    assert outcome.status == 0
    assert "data differ" in outcome.err


def test_data_that_are_gone_are_named(stopped: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    rewrite(stopped, lambda content: content["config"]["data"].update(path=gone))
    assert gone in evaluate(f"path={stopped}", "device=cpu").complaint


@pytest.mark.parametrize("key", ["seconds", "step", "data_fingerprint", "val_acc", "label_map"])
def test_a_file_without_what_is_not_needed(key: str, stopped: Path) -> None:
    rewrite(stopped, lambda content: content.pop(key))
    outcome = evaluate(f"path={stopped}", "device=cpu")
    assert outcome.status == 0, outcome.err
    assert "reconstruction" in outcome.out


REFUSED = {
    "no path": ([], ["path"]),
    "absent file": (["path=absent.pth"], ["absent.pth: no such file"]),
    "mistyped key": (["pth=x"], ["pth:", "'path'"]),
    "added key": (["path=x", "+foo=1"], ["foo:", "output"]),
    "a key of training": (["path=x", "task=selection"], ["task"]),
    "not a path": (["path=3"], ["path=3:", "string"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_argument_ends_in_one_readable_line(case: str) -> None:
    typed, named = REFUSED[case]
    complaint = evaluate(*typed).complaint
    for part in named:
        assert part in complaint


def test_a_bad_device(stopped: Path) -> None:
    assert "auto, cpu, cuda or cuda:N" in evaluate(f"path={stopped}", "device=foo").complaint


def test_files_that_are_no_checkpoints(tmp_path: Path, stopped: Path) -> None:
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint", encoding="utf-8")
    assert evaluate(f"path={text}").complaint.startswith(f"{text}: ")
    rewrite(stopped, lambda content: content["config"]["model"].update(hidden_dim=17))
    assert evaluate(f"path={stopped}").complaint.startswith(f"{stopped}: weights do not fit")


def test_an_output_that_cannot_be_written(stopped: Path, tmp_path: Path) -> None:
    output = tmp_path / "gone" / "x.json"
    complaint = evaluate(f"path={stopped}", "device=cpu", f"output={output}").complaint
    assert str(output) in complaint


def test_help() -> None:
    outcome = evaluate("--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert "python -m arc.evaluate path=checkpoints/NAME.pth" in outcome.out
