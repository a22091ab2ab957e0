"""A run does not depend on the number of its processes."""

import json
import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, finish, place, run_here, start, tiny
from helpers_data import TASK_OVERRIDES

STEPS = 50
RANK = """
import os, sys
rank, size, port = sys.argv[1:4]
del sys.argv[1:4]
os.environ.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=rank, MASTER_PORT=port)
os.environ["MASTER_ADDR"] = "127.0.0.1"
import arc.train
arc.train.main()
"""
NOISY = ["bottleneck=categorical", "bottleneck.noise=gumbel", "data.augment=true"]
TASKS = {
    **{name: [*settings, "data.augment=true"] for name, settings in TASK_OVERRIDES.items()},
    "game": [
        *("task=selection", "task.num_distractors=3"),
        *("task.negatives=game", "task.near_copies=false"),
    ],
    "cells": ["task=reconstruction", "model.architecture=cells"],
    "shared": ["task=selection", "task.num_distractors=3", "model.shared_encoder=true"],
    "frozen": ["task=reconstruction", "encoder.freeze=true", "bottleneck=autoencoder"],
    "noisy": ["task=selection", "task.num_distractors=3", *NOISY, "data.synthetic=0.2"],
    "costs": [
        *("task=reconstruction", "bottleneck.stop_token=true", "bottleneck.length_cost=0.1"),
        "bottleneck.entropy_bonus=0.1",
    ],
    "binary": ["mode=pretrain", "pretrain=binary"],
    "views": ["mode=pretrain", "pretrain=selection", "pretrain.num_distractors=3"],
}
TASKS["transformation"] += ["model.architecture=patch", "bottleneck=autoencoder"]


def train(folder: Path, corpus: Path, processes: int, *overrides: str) -> dict[str, Any]:
    """Train a run, without its final evaluation, and return its last checkpoint."""
    settings = [*tiny(corpus, steps=100), "training.precision=fp32", "run_name=mine", "metric=[]"]
    together(folder, processes, *settings, f"training.stop_at_step={STEPS}", *overrides)
    return dict(torch.load(next((folder / "checkpoints").glob("*.pth"))))


def free_port() -> int:
    """Return a free port below those that the system gives out by itself."""
    for port in random.SystemRandom().sample(range(10_000, 30_000), 50):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def together(folder: Path, processes: int, *overrides: str) -> list[Outcome]:
    """Run the command line in one or several processes; returns their outputs."""
    folder.mkdir(exist_ok=True)
    if processes == 1:
        outcomes = [run_here(folder, *overrides)]
    else:
        port = free_port()
        ranks = [
            start(
                folder, str(n), str(processes), str(port), *overrides, *place(folder), script=RANK
            )
            for n in range(processes)
        ]
        outcomes = list(map(finish, ranks))
    for outcome in outcomes:
        assert outcome.status == 0, outcome.err
    return outcomes


def steps(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "step"]


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the relative difference of all weights."""
    key = "model_state_dict" if "model_state_dict" in one else "encoder_state_dict"
    mine, its = (torch.cat([each.flatten() for each in run[key].values()]) for run in (one, other))
    return float((mine - its).norm() / mine.norm())


def compare(folder: Path, corpus: Path, processes: int, *overrides: str) -> None:
    alone = train(folder / "one", corpus, 1, *overrides)
    together = train(folder / "many", corpus, processes, *overrides)
    for mine, its in zip(steps(folder / "one"), steps(folder / "many"), strict=True):
        for key in ("loss", "accuracy", "grad_norm", "targets"):
            assert its[key] == pytest.approx(mine[key], rel=1e-3, abs=1e-5), (mine, its)
    assert difference(alone, together) < 1e-5
    if "trainer_state" in alone:
        one, many = alone["trainer_state"], together["trainer_state"]
        assert one["source"]["generator"].equal(many["source"]["generator"])
        assert one["random"]["torch"].equal(many["random"]["torch"])


def test_two_processes_train_the_run_of_one_and_the_leader_alone_writes_and_prints(
    tmp_path: Path, arc_folder: Path
) -> None:
    game = [*tiny(arc_folder, 3), *TASKS["selection"], "training.precision=fp32", "run_name=mine"]
    alone, many = tmp_path / "one", tmp_path / "many"
    together(alone, 1, *game)
    leader, follower = together(many, 2, *game)
    assert leader.err.count("2 processes") == 1
    assert leader.out.count("language:") == 1
    assert follower.out == ""
    assert [event["step"] for event in steps(many)] == [1, 2, 3]
    assert {path.name for path in many.iterdir()} == {"checkpoints", "out"}
    last = "checkpoints/mine_last.pth"
    assert difference(torch.load(alone / last), torch.load(many / last)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("task", TASKS)
def test_the_number_of_processes_does_not_change_the_run(
    task: str, processes: int, tmp_path: Path, arc_folder: Path
) -> None:
    compare(tmp_path, arc_folder, processes, *TASKS[task])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_run_of_two_processes_continues_with_another_number(
    processes: int, tmp_path: Path, arc_folder: Path
) -> None:
    whole = train(tmp_path / "whole", arc_folder, 1, *TASKS["selection"])
    part = tmp_path / "part"
    train(part, arc_folder, 2, *TASKS["selection"], "training.stop_at_step=20")
    content = train(part, arc_folder, processes, *TASKS["selection"], "resume=auto")
    assert content["step"] == STEPS
    assert difference(whole, content) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("gather", ["true", "false"])
def test_runs_of_several_processes_are_equal_bit_for_bit(
    gather: str, tmp_path: Path, arc_folder: Path
) -> None:
    settings = [*TASKS["noisy"], "model.dropout=0.2", f"torchrun.gather={gather}"]
    one, other = (train(tmp_path / each, arc_folder, 2, *settings) for each in "ab")
    assert difference(one, other) == 0
    losses = [[each["loss"] for each in steps(tmp_path / name)] for name in "ab"]
    assert losses[0] == losses[1]
