"""``python -m arc.evaluate``: the results of a saved run, from its file alone."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, Outcome, call

import arc.evaluate
from arc.api import TrainedRun, read_messages
from arc.runs.messages import message_rows
from arc.runs.saved import different_files
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
    assert list(again) == [*trained.results, "measures"]
    for key in ("test", "validation", "controls", "language", "steps"):
        assert again[key] == trained.results[key], key
    rows = [line for line in outcome.out.splitlines() if line.startswith("test ")]
    values = set(again["test"]["reconstruction"]) - {"targets", "intervals", "baselines"}
    assert {row.split()[1] for row in rows} == values
    assert list(folder.iterdir()) == []  # no file but the requested one
    assert best.read_bytes() == before


def seeds_of(best: Path) -> list[Path]:
    """Copies of the file as if they were of other seeds, in folders of their own."""
    paths = []
    for seed in (0, 1):
        path = best.parent / str(seed) / "x_best.pth"
        path.parent.mkdir()
        shutil.copy(best, path)
        rewrite(path, lambda content, seed=seed: content["config"].update(seed=seed))  # type: ignore[misc]
        paths.append(path)
    return paths


@pytest.mark.parametrize("typed", ["twice", "list"])
def test_several_files_are_evaluated_and_seeds_are_one_table(
    trained: TrainedRun, best: Path, tmp_path: Path, typed: str
) -> None:
    paths = [*map(str, seeds_of(best)), str(best)]  # the last one has seed 0 as well
    arguments = [f"path={path}" for path in (*paths, paths[0])]
    if typed == "list":
        arguments = [f"path=[{','.join(paths)}]"]
    output = tmp_path / "out.json"
    outcome = evaluate(*arguments, "device=cpu", f"output={output}", "messages=true")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[:2] == paths[:2]
    heads = [line.split() for line in lines if line.startswith("set ")]
    assert heads[0][3:8] == ["seed", "0", "seed", "1", "mean"]
    assert paths[2] in lines
    content = json.loads(output.read_text(encoding="utf-8"))
    assert list(content["runs"]) == paths
    assert trained.results is not None
    for results in content["runs"].values():
        assert results["test"] == trained.results["test"]
    (group,) = content["seeds"]
    assert group["runs"] == paths[:2]
    mean = trained.results["test"]["reconstruction"]["grids"]
    assert group["means"][0]["values"] == [mean, mean]
    assert group["means"][0]["interval"] == pytest.approx([mean, mean])
    for path in map(Path, paths):
        columns = read_messages(path.with_name("mine_messages.jsonl"))
        splits = list(columns["split"])
        results = trained.results
        for split in ("test", "validation"):
            assert splits.count(split) == results[split]["reconstruction"]["targets"]


def test_a_file_of_two_names_has_the_first(best: Path, tmp_path: Path) -> None:
    link, other = tmp_path / "link.pth", str(tmp_path / "other.pth")
    link.symlink_to(best)
    assert different_files([str(best), other, str(link)]) == [str(best), other]


def test_a_file_of_several_that_cannot_be_read_is_named_first(best: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.pth"
    outcome = evaluate(f"path={best}", f"path={absent}", "device=cpu")
    assert outcome.complaint == f"{absent}: no such file"
    assert outcome.out == ""


def test_the_results_before_a_fault_are_shown(best: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(best, tmp_path / "other.pth"))
    rewrite(other, lambda content: content["config"]["data"].update(path=str(tmp_path / "gone")))
    outcome = evaluate(f"path={best}", f"path={other}", "device=cpu")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "gone" in outcome.err.splitlines()[-1]
    assert "test " in outcome.out


def test_two_files_do_not_write_the_same_messages(best: Path, tmp_path: Path) -> None:
    other = shutil.copy(best, tmp_path / "other.pth")
    complaint = evaluate(f"path={best}", f"path={other}", "messages=true").complaint
    assert complaint.startswith(f"messages=true: {best} and {other} both write mine_messages.jsonl")
    assert list(tmp_path.glob("*messages*")) == []


def test_messages_that_cannot_be_written_are_an_error_before_the_evaluation(best: Path) -> None:
    rewrite(best, lambda content: content["config"].update(run_name="a" * 100))
    with patch("arc.runs.files.Path.touch", side_effect=OSError(30, "Read-only file system")):
        complaint = evaluate(f"path={best}", "device=cpu", "messages=true").complaint
    assert complaint.endswith("_messages.jsonl: cannot be written: Read-only file system")


def test_a_stopped_evaluation_writes_no_messages(
    best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return message_rows(*arguments, **options)

    monkeypatch.setattr("arc.runs.results.message_rows", interrupted)
    outcome = evaluate(f"path={best}", "device=cpu", "messages=true")
    assert outcome.status == 143
    assert "the evaluation was stopped" in outcome.out
    assert [path.name for path in best.parent.iterdir()] == [best.name]


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
    assert "the evaluation was stopped" in outcome.out
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
    "no path in a list": (["path=[]"], ["path=[]:", "at least 1"]),
    "not a list of paths": (["path=[a,3]"], ["path.1=3:", "string"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_argument_is_refused_in_one_line(case: str) -> None:
    typed, parts = REFUSED[case]
    complaint = evaluate(*typed).complaint
    for part in parts:
        assert part in complaint


def test_a_file_that_is_typed_without_its_key_is_named_with_it(best: Path) -> None:
    assert evaluate(str(best)).complaint == f"{best}: did you mean path={best}?"


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
