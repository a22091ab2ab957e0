"""``python -m arc.evaluate``: the results of a saved run, from its file alone."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Make, Outcome, call

import arc.evaluate
from arc.api import TrainedRun
from arc.training import evaluate_split


def evaluate(*overrides: str) -> Outcome:
    return call(arc.evaluate.main, *overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> TrainedRun:
    """A finished run."""
    folder = tmp_path_factory.mktemp("trained")
    return train_small(folder, "task=reconstruction", "training.max_steps=1")


@pytest.fixture
def best(trained: TrainedRun, tmp_path: Path) -> Path:
    """A copy of its best checkpoint."""
    assert trained.checkpoints.best is not None
    return Path(shutil.copy(trained.checkpoints.best, tmp_path / "mine_best.pth"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path)
    change(content)
    torch.save(content, path)


def test_the_command_writes_and_prints_the_results_of_the_run(
    trained: TrainedRun, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = best.read_bytes()
    path, output = os.path.relpath(best), tmp_path / "again.json"
    outcome = evaluate(f"path={path}", "device=cpu", f"output={output}")
    assert outcome.status == 0, outcome.err
    again = json.loads(output.read_text(encoding="utf-8"))
    assert trained.results is not None
    assert again.keys() == trained.results.keys()
    for key in ("test", "validation", "controls", "language", "steps"):
        assert again[key] == trained.results[key], key
    rows = [line for line in outcome.out.splitlines() if line.startswith("test ")]
    values = set(again["test"]["reconstruction"]) - {"targets", "baselines"}
    assert {row.split()[1] for row in rows} == values
    assert list(folder.iterdir()) == []  # no file but the requested one
    assert best.read_bytes() == before


def test_a_signal_ends_the_evaluation_and_prints_the_results_so_far(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:  # test is complete, validation begins
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_split(*arguments, **options)

    monkeypatch.setattr("arc.runs.results.evaluate_split", interrupted)
    outcome = evaluate(f"path={best}", "device=cpu", f"output={tmp_path / 'out.json'}")
    assert outcome.status == 143, outcome.err
    assert "test " in outcome.out
    assert "the test was stopped" in outcome.out
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content["stopped"] is True
    assert content["test"]
    assert content["validation"] == content["controls"] == {}


def test_other_data_than_the_run_s_are_reported(best: Path) -> None:
    rewrite(best, lambda content: content.update(data_fingerprint="0" * 16))
    outcome = evaluate(f"path={best}", "device=cpu")
    assert outcome.status == 0
    assert "data differ" in outcome.err


def test_missing_data_are_named(best: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    rewrite(best, lambda content: content["config"]["data"].update(path=gone))
    assert gone in evaluate(f"path={best}", "device=cpu").complaint


def test_entries_that_an_evaluation_does_not_need_may_be_missing(best: Path) -> None:
    for key in ("seconds", "step", "data_fingerprint", "val_acc", "label_map"):
        rewrite(best, lambda content, key=key: content.pop(key))  # type: ignore[misc]
    outcome = evaluate(f"path={best}", "device=cpu")
    assert outcome.status == 0, outcome.err
    assert "exact" in outcome.out


REFUSED = {
    "no path": ([], ["path"]),
    "absent file": (["path=absent.pth"], ["absent.pth: no such file"]),
    "mistyped key": (["pth=x"], ["pth:", "'path'"]),
    "added key": (["path=x", "+foo=1"], ["foo:", "output"]),
    "a key of training": (["path=x", "task=selection"], ["task"]),
    "not a path": (["path=3"], ["path=3:", "string"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_argument_is_refused_in_one_line(case: str) -> None:
    typed, parts = REFUSED[case]
    complaint = evaluate(*typed).complaint
    for part in parts:
        assert part in complaint


def test_an_invalid_device_file_or_output_is_refused(best: Path, tmp_path: Path) -> None:
    assert "auto, cpu, cuda or cuda:N" in evaluate(f"path={best}", "device=foo").complaint
    output = tmp_path / "gone" / "x.json"
    assert str(output) in evaluate(f"path={best}", "device=cpu", f"output={output}").complaint
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint", encoding="utf-8")
    assert evaluate(f"path={text}").complaint.startswith(f"{text}: ")
    rewrite(best, lambda content: content["config"]["model"].update(hidden_dim=17))
    assert evaluate(f"path={best}").complaint.startswith(f"{best}: weights do not fit")


def test_help() -> None:
    outcome = evaluate("--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert "python -m arc.evaluate path=checkpoints/NAME.pth" in outcome.out
