"""Runs that are stopped after every step, in new processes, against an uninterrupted run.

Each process writes a hash of the whole state after each event: parameters, optimizer, generators,
counters, sums and the bits of the loss. Stopped runs save and load at every step.
"""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers_cli import finish, place, start, tiny

STEPS = 8
NOISE = [
    *("bottleneck.noise=gumbel", "bottleneck.temperature_final=0.3", "bottleneck.stop_token=true")
]
TASKS = {
    "reconstruction": ["task=reconstruction"],
    "selection": ["task=selection", "task.num_distractors=3"],
    "hard selection": [
        *("task=selection", "task.num_distractors=2", "task.distractors=same_size"),
        "task.use_input_output_pairs=true",
    ],
    "puzzle_classification": ["task=puzzle_classification"],
    "transformation": ["task=transformation", "task.size=predicted"],
}
RANDOM_EVERYWHERE = [
    *("training.precision=bf16", "model.dropout=0.1", "data.augment=true", "seed=3"),
    *("training.warmup_steps=2", "training.learning_rate=4e-3", "training.batch_size=24"),
    *("run_name=mine", "model.latent_dim=16", "schedule=cosine"),
]

# Hashes the state after each event, and sends itself a signal after a given step.
HASHED = """
import hashlib, json, os, struct, sys
import torch
import arc.runs.run, arc.train
from arc.training import StepEvent, Trainer

file, stop, number = open(sys.argv.pop(1), "a"), int(sys.argv.pop(1)), int(sys.argv.pop(1))
run = Trainer.run
EMPTY = {"test": {}, "validation": {}, "controls": {}, "language": {}}
arc.runs.run.evaluate_run = lambda *arguments, **options: dict(EMPTY)

def add(hashed, node):
    hashed.update(type(node).__name__.encode())
    if isinstance(node, torch.Tensor):
        hashed.update(f"{node.dtype} {tuple(node.shape)}".encode())
        hashed.update(node.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(node, dict):
        for key, item in node.items():
            if key not in ("seconds", "started_from"):
                hashed.update(str(key).encode())
                add(hashed, item)
    elif isinstance(node, (list, tuple)):
        for item in node:
            add(hashed, item)
    else:
        hashed.update(repr(node).encode())

def hashed_run(self, control):
    for event in run(self, control):
        loss = event.loss if isinstance(event, StepEvent) else event.evaluation.task_metrics.loss
        parts = {}
        for key, part in self.state_dict().items():
            hashed = hashlib.sha256()
            add(hashed, {key: part})
            parts[key] = hashed.hexdigest()
        bits = struct.pack("<d", loss).hex()
        seen = {"event": type(event).__name__, "step": self.step, "bits": bits}
        print(json.dumps({**parts, **seen}), file=file, flush=True)
        if isinstance(event, StepEvent) and event.step == stop:
            os.kill(os.getpid(), number)
        yield event

Trainer.run = hashed_run
arc.train.main()
"""


def train(
    folder: Path, *overrides: str, signal_at: int = 0, number: signal.Signals = signal.SIGINT
) -> int:
    """Run ``arc.train`` in a new process; returns its exit status."""
    arguments = [str(folder / "hashes"), str(signal_at), str(int(number))]
    outcome = finish(start(folder, *arguments, *place(folder), *overrides, script=HASHED))
    assert "Traceback" not in outcome.err, outcome.err
    return outcome.status


def hashes(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "hashes").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_is_stopped_after_every_step_takes_the_same_steps(
    task: str, bottleneck: str, tmp_path: Path, arc_folder: Path
) -> None:
    noise = [] if bottleneck == "autoencoder" else NOISE
    settings = dict(
        each.split("=", 1) for each in (*tiny(arc_folder, STEPS), *RANDOM_EVERYWHERE, *TASKS[task])
    )
    overrides = [f"{key}={value}" for key, value in settings.items()]
    overrides += [f"bottleneck={bottleneck}", *noise]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    assert train(whole, *overrides) == 0
    expected = hashes(whole)
    steps = [event["step"] for event in expected if event["event"] == "StepEvent"]
    ends = [event["step"] for event in expected if event["event"] == "ValidationEvent"]
    assert steps == list(range(1, STEPS + 1))
    assert 2 < len(ends) <= STEPS // 2  # epochs of several steps end in between
    resume = [f"resume={stopped / 'checkpoints' / 'mine_last.pth'}", "device=cpu"]
    for step in range(1, STEPS + 1):
        begin = resume if step > 1 else overrides
        if step % 3 == 1:
            assert train(stopped, *begin, f"training.stop_at_step={step}") == 0
        elif step < STEPS:
            number = (signal.SIGINT, signal.SIGTERM)[step % 2]
            assert train(stopped, *begin, signal_at=step, number=number) == 128 + number
        else:
            assert train(stopped, *begin) == 0
        assert hashes(stopped) == expected[: len(hashes(stopped))], step
    assert hashes(stopped) == expected
