"""The status file of a run tells other processes its state."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import run_here, tiny

from arc.config.run_status import is_held_by_another, read_status
from arc.tasks import TASKS


def test_the_status_file_follows_a_run(tmp_path: Path, arc_folder: Path) -> None:
    settings = ["task=reconstruction", "run_name=mine", *tiny(arc_folder, steps=3)]
    assert run_here(tmp_path, *settings, "training.stop_at_step=2").status == 0
    stopped = read_status(tmp_path / "out")
    assert (stopped["state"], stopped["step"], stopped["objective"]) == ("interrupted", 2, None)
    assert run_here(tmp_path, *settings, "resume=auto").status == 0
    ended = read_status(tmp_path / "out")
    results = json.loads((tmp_path / "checkpoints" / "mine_results.json").read_bytes())
    assert (ended["state"], ended["step"], ended["error"]) == ("finished", 3, None)
    assert ended["objective"] == next(iter(results["validation"].values()))["grids"]
    assert tmp_path / "out" / ended["folder"] == tmp_path / "out" / "../checkpoints"
    assert ended["overrides"][0] == "task=reconstruction"


def test_the_objective_is_the_loss_if_the_loss_chooses_the_best(
    tmp_path: Path, arc_folder: Path
) -> None:
    settings = ["task=reconstruction", "training.best_metric=loss", "run_name=mine"]
    assert run_here(tmp_path, *settings, *tiny(arc_folder, steps=2)).status == 0
    best = torch.load(tmp_path / "checkpoints" / "mine_best.pth")
    assert read_status(tmp_path / "out")["objective"] == pytest.approx(best["val_loss"])


def test_the_status_file_tells_why_a_run_failed(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*arguments: Any) -> Any:
        raise MemoryError("step")

    settings = ["task=reconstruction", *tiny(arc_folder)]
    assert run_here(tmp_path, *settings, "seed=-1").status == 1
    refused = read_status(tmp_path / "out")
    assert (refused["state"], refused["step"]) == ("failed", None)
    assert refused["error"].startswith("seed=-1: ")
    monkeypatch.setattr(TASKS["reconstruction"], "step", step)
    assert run_here(tmp_path, *settings).status == 1
    failed = read_status(tmp_path / "out")
    assert (failed["state"], failed["step"]) == ("failed", 0)
    assert failed["error"].startswith("MemoryError: step")


@pytest.mark.parametrize(
    ("updated", "expected"), [(1.0, False), (None, True), ("today", True), (time.time, True)]
)
def test_a_number_of_a_later_process_does_not_hold_a_run(updated: Any, expected: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        status = {"state": "running", "host": socket.gethostname(), "pid": process.pid}
        status["updated"] = updated() if callable(updated) else updated
        assert is_held_by_another(status) == expected
    finally:
        process.communicate(b"\n")


def test_a_run_without_complete_results_is_evaluated_when_it_is_resumed(
    tmp_path: Path, arc_folder: Path
) -> None:
    settings = ["task=reconstruction", "run_name=mine", "resume=auto", *tiny(arc_folder, steps=2)]
    assert run_here(tmp_path, *settings).status == 0
    path = tmp_path / "checkpoints" / "mine_results.json"
    content = path.read_bytes()
    for broken in (None, b"{", json.dumps({**json.loads(content), "stopped": True}).encode()):
        path.unlink() if broken is None else path.write_bytes(broken)
        assert run_here(tmp_path, *settings).status == 0
        results = json.loads(path.read_bytes())
        again = {**results, "minutes": 0, "started_from": []}
        assert again == {**json.loads(content), "minutes": 0}
