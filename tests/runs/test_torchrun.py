"""One run trained by two processes of torchrun, which starts them afresh."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, Process, finish, place, run_here, start_python, tiny, wait_for

pytestmark = pytest.mark.slow
TASK = ["task=puzzle_classification", "run_name=mine", "training.warmup_steps=2"]
RANDOM = [
    *("bottleneck=categorical", "bottleneck.noise=gumbel", "model.dropout=0.2"),
    *("data.augment=true", "training.precision=fp32"),
]


def begin_together(folder: Path, *overrides: str) -> Process:
    """Start ``torchrun`` in a process group of its own, like the foreground of a terminal."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "arc.train", *overrides, *place(folder)]
    return start_python(folder, *command, new_session=True)


def together(folder: Path, *overrides: str) -> Outcome:
    outcome = finish(begin_together(folder, *overrides))
    assert outcome.status == 0, outcome.err
    return outcome


def last(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / "mine_last.pth"))


def steps(folder: Path) -> list[int]:
    lines = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["step"] for event in map(json.loads, lines) if event["kind"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchrun")


@pytest.fixture(scope="module")
def outcome(folder: Path, arc_folder: Path) -> Outcome:
    """The output of two processes that trained one run."""
    return together(folder, *tiny(arc_folder, 3), *TASK, "training.precision=fp32")


def test_the_leader_alone_saves_and_prints_results(folder: Path, outcome: Outcome) -> None:
    assert outcome.err.count("2 processes") == 1
    assert outcome.out.count("top1") > 0
    assert outcome.out.count("language:") == 1
    assert steps(folder) == [1, 2, 3]
    left = {path.name for path in folder.iterdir()}
    assert left == {"checkpoints", "out"}


def test_two_processes_take_the_steps_of_one(
    folder: Path, outcome: Outcome, tmp_path: Path, arc_folder: Path
) -> None:
    alone = run_here(tmp_path, *tiny(arc_folder, 3), *TASK, "training.precision=fp32")
    assert alone.status == 0, alone.err
    mine, other = last(tmp_path)["model_state_dict"], last(folder)["model_state_dict"]
    for name, weight in mine.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-3, atol=1e-5)


def test_a_run_of_two_processes_is_resumed_exactly(tmp_path: Path, arc_folder: Path) -> None:
    settings = [*tiny(arc_folder, 6), *TASK, *RANDOM]
    whole, part = tmp_path / "whole", tmp_path / "part"
    for each in (whole, part):
        each.mkdir()
    together(whole, *settings)
    together(part, *settings, "training.stop_at_step=3")
    together(part, "resume=checkpoints/mine_last.pth", "device=cpu", "server.enabled=false")
    one, other = last(whole), last(part)
    assert other["step"] == 6
    for name, weight in one["model_state_dict"].items():
        assert weight.equal(other["model_state_dict"][name]), name


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C", "kill"])
def test_a_signal_saves_the_last_state(to_all: bool, tmp_path: Path, arc_folder: Path) -> None:
    process = begin_together(
        tmp_path, *tiny(arc_folder, steps=None), *TASK, "training.batch_size=64"
    )
    wait_for(process, "epoch 1 ")
    if to_all:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    outcome = finish(process)
    assert outcome.status != 0
    assert "The last state is in" in outcome.err
    assert last(tmp_path)["step"] >= 1


def test_a_sweep_is_refused_in_several_processes(tmp_path: Path, arc_folder: Path) -> None:
    outcome = finish(begin_together(tmp_path, "-m", "seed=0,1", *TASK, *tiny(arc_folder, 1)))
    assert outcome.status != 0
    assert "error: -m: sweeps are not supported with torchrun" in outcome.err
