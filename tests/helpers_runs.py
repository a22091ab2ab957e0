"""Folders of runs as ``arc.train`` leaves them, with numbers that a test chooses."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

CONFIG: dict[str, Any] = {
    "seed": 0,
    "run_name": "x",
    "task": {"name": "selection", "num_distractors": 9},
    "bottleneck": {"name": "communication", "vocab_size": 16},
    "model": {"hidden_dim": 16},
    "training": {"learning_rate": 0.006, "max_steps": 100},
    "encoder": {"pretrained": None, "freeze": False},
    "pretrain": {"name": "selection", "init_from": None},
    "logger": {"jsonl": {"filename": "metrics.jsonl"}},
    "device": "cpu",
    "server": {"port": 5002, "autostart": True},
}


def config_with(changes: dict[str, Any]) -> dict[str, Any]:
    """Return CONFIG with ``changes``: dotted key to value."""
    tree: dict[str, Any] = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place[section]
        place[last] = value
    return tree


def results_of(config: dict[str, Any], accuracy: float, *, language: float = 0.5) -> dict[str, Any]:
    metric = {"accuracy": accuracy, "targets": 10, "intervals": {}, "baselines": {"chance": 10.0}}
    validation = {"random_9": {**metric, "accuracy": accuracy / 2}}
    return {
        "test": {"random_9": metric},
        "validation": validation,
        "controls": {},
        "language": {"posdis": language},
        "minutes": 1.0,
        "steps": 100,
        "config": {key: value for key, value in config.items() if key not in ("device", "server")},
    }


def write_run(
    folder: Path,
    accuracy: float | None = None,
    *,
    state: str | None = "finished",
    curve: Sequence[float] = (),
    steps: int = 0,
    status: dict[str, Any] | None = None,
    started_from: Sequence[str] | None = None,
    **changes: Any,
) -> Path:
    """Write a sweep's job to ``folder``: with results if there is an ``accuracy``.

    ``curve``: its validation accuracies, one every 10 steps; ``steps``: the number of lines of
    steps. ``started_from``: in the results, if it is given. ``changes``: dotted keys of the
    configuration, with ``__`` for the dot.
    """
    config = config_with({key.replace("__", "."): value for key, value in changes.items()})
    name = config["run_name"]
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "checkpoints").mkdir()
    if accuracy is not None:  # a file that is not read beside results
        (folder / "checkpoints" / f"{name}_best.pth").write_bytes(b"")
    if accuracy is not None:
        start = {} if started_from is None else {"started_from": list(started_from)}
        text = json.dumps(results_of(config, accuracy) | start)
        (folder / "checkpoints" / f"{name}_results.json").write_text(text)
    if state is not None:
        row = {
            "state": state,
            "error": None,
            "step": 100,
            "run_name": name,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "updated": time.time(),
        }
        (folder / "status.json").write_text(json.dumps(row | (status or {})))
    lines = [step_line(number) for number in range(1, steps + 1)]
    lines += [validation_line(10 * (n + 1), value, curve) for n, value in enumerate(curve)]
    if lines:
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def step_line(step: int) -> dict[str, Any]:
    """A line of a step whose loss is 1 / step."""
    values = {"loss": 1 / step, "accuracy": 50.0, "learning_rate": 0.006, "grad_norm": 1.0}
    place = {"epoch": 1, "batch": step, "batches": 10, "targets": 16, "seconds": float(step)}
    return {"kind": "step", "step": step, **place, **values, "progress": None}


def validation_line(step: int, accuracy: float, curve: Sequence[float] = ()) -> dict[str, Any]:
    """A line of a validation, as ``ValidationEvent.row`` gives it."""
    return {
        "kind": "validation",
        "step": step,
        "epoch": 1,
        "seconds": 1.0,
        "train_loss": 1.0,
        "train_accuracy": accuracy,
        "val_loss": 1 / step,
        "val_acc": accuracy,
        "metrics": {"accuracy": accuracy},
        "targets": 10,
        "baselines": {"chance": 10.0},
        "language": {"posdis": accuracy / 100},
        "is_best": accuracy == max(curve, default=accuracy),
    }
