"""Correctness and speed on a machine with a GPU, in under five minutes (``make gpu-check``).

Compares the GPU with the CPU, captured training steps (CUDA graphs) with steps that are launched
kernel by kernel, and resumed runs with uninterrupted ones. Then measures the stall of a save, the
time of a step for each model and batch size, its utilization (FLOP rate relative to a bare matrix
product), and the default run. Exits with status 1 if a comparison fails.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from arc.api import compose, train
from arc.checkpointing import CheckpointWriter, make_checkpoint
from arc.config.builders import build_model, build_task, build_trainer, with_data
from arc.tasks import Task
from arc.training import Trainer
from arc.training.random_state import seed_everything

RUNS = {
    "selection": [],
    "selection, vector": ["bottleneck=autoencoder", "model.dropout=0.1"],
    "Gumbel-softmax": ["bottleneck=categorical", "bottleneck.noise=gumbel"],
    "selection on pairs": [
        *("task.use_input_output_pairs=true", "task.near_copies=false", "data.augment=true"),
    ],
    "reconstruction, vector": ["experiment=reconstruction_vector", "data.also=[]"],
    "reconstruction, symbols": ["experiment=reconstruction_20", "data.also=[]"],
    "transformation": ["experiment=transformation", "data.also=[]"],
    "puzzle classification": ["task=puzzle_classification", "data.augment=true"],
    "cells": ["model.architecture=cells"],
    "game": ["task.negatives=game", "task.near_copies=false"],
}
STEPS = 40
ROUNDING = 1e-3  # largest relative difference of the first losses between CPU and GPU


_tasks: dict[tuple[str, ...], Task] = {}  # reading the data takes seconds


def make_trainer(*overrides: str, graphs: bool = True) -> tuple[Any, Trainer]:
    """Return the configuration and the trainer of a run."""
    config = compose("server.enabled=false", *overrides)
    device = torch.device(config.device)
    key = (str(device), str(config.task), str(config.data))
    if key not in _tasks:
        _tasks[key] = build_task(config, device)
    task = _tasks[key]
    config = with_data(config, task.num_classes)
    seed_everything(config.seed)
    trainer = build_trainer(config, task, build_model(config).to(device))
    if not graphs:
        trainer._graphs = None
    return config, trainer


def take(trainer: Trainer, steps: int) -> list[float]:
    """Take ``steps`` steps without validation; returns the losses."""
    return [trainer._train_step_or_restore().loss for _ in range(steps)]


def weights(trainer: Trainer) -> torch.Tensor:
    """Return all weights as one vector on the CPU."""
    return torch.cat([p.detach().flatten().cpu() for p in trainer.model.parameters()])


def difference(one: Trainer, other: Trainer) -> float:
    """Return the largest difference of two trainers' weights."""
    return float((weights(one) - weights(other)).abs().max())


def compare(overrides: list[str]) -> dict[str, Any]:
    """Compare devices, captured and uncaptured steps, and a resumed with an uninterrupted run."""
    fp32 = [*overrides, "training.precision=fp32"]
    on_cpu = take(make_trainer(*fp32, "device=cpu")[1], 2)
    on_gpu = take(make_trainer(*fp32, "device=cuda")[1], 2)
    _, whole = make_trainer(*overrides, "device=cuda")
    _, again = make_trainer(*overrides, "device=cuda")
    _, eager = make_trainer(*overrides, "device=cuda", graphs=False)
    half = STEPS // 2
    seed_everything(1)  # of dropout and noise
    take(whole, half)
    state = {key: _copied(value) for key, value in whole.state_dict().items()}
    take(whole, STEPS - half)
    for other in (again, eager):
        seed_everything(1)
        take(other, STEPS)
    _, resumed = make_trainer(*overrides, "device=cuda")
    resumed.load_state_dict(state)
    take(resumed, STEPS - half)
    graphs = whole._graphs
    is_random = any("dropout=0." in each or "gumbel" in each for each in overrides)
    return {
        "CPU and GPU": 0.0
        if is_random
        else max(abs(a - b) / abs(a) for a, b in zip(on_cpu, on_gpu, strict=True)),
        "captured": "no" if graphs is None else "failed" if graphs.failed else "yes",
        "again": difference(whole, again),
        "not captured": difference(whole, eager),
        "resumed": difference(whole, resumed),
    }


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the median duration of ``call``, the work of the device included."""
    durations = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def product_rate(dtype: torch.dtype, side: int = 8192) -> float:
    """Return FLOP/s of a bare matrix product."""
    a, b = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * side**3 / seconds(lambda: a @ b, 10)


def speed(model: str, batch: int, peak: float, *, captured: bool = True) -> dict[str, Any]:
    """Measure a step of selection with near copies, on ARC-1 and ARC-2."""
    _, trainer = make_trainer(
        f"model={model}", f"training.batch_size={batch}", "device=cuda", "data.also=[arc2]",
        graphs=captured,
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    with FlopCounterMode(display=False) as counter:
        take(trainer, 1)
    examples = trainer.sampler.next()
    trainer.sampler.next = lambda: examples  # type: ignore[method-assign]  # equal steps
    take(trainer, 5)
    took = seconds(lambda: take(trainer, 5), 5) / 5
    return {
        "model": model,
        "batch": len(examples),
        "captured": captured and trainer._graphs is not None and not trainer._graphs.failed,
        "ms per step": 1000 * took,
        "examples/s": len(examples) / took,
        "utilization": f"{100 * counter.get_total_flops() / took / peak:.1f} %",
        "memory, MiB": torch.cuda.max_memory_allocated() / 2**20,
    }


def save_stall() -> list[tuple[str, str]]:
    """Measure how long a save of the large model stops the training."""
    config, trainer = make_trainer("model=large", "device=cuda", "training.batch_size=64")
    take(trainer, 4)

    def content() -> dict[str, Any]:
        return make_checkpoint(config, trainer)

    tensors = [t for t in _tensors(content()) if t.is_cuda]
    size = sum(t.nbytes for t in tensors)
    on_device = torch.empty(size, dtype=torch.uint8, device="cuda")
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    copy = seconds(lambda: pinned.copy_(on_device, non_blocking=True), 5)
    with tempfile.TemporaryDirectory() as folder:
        writer, stalls = CheckpointWriter(), []
        writer.warm_up(content())
        for number in range(5):
            take(trainer, 2)
            torch.cuda.synchronize()
            writer.request(Path(folder) / f"{number}.pth")
            start = time.perf_counter()
            writer.offer(content)
            stalls.append(time.perf_counter() - start)
            writer.wait()
        writer.close(content)
    stall = statistics.median(stalls)
    return [
        ("state on the device", f"{size / 1e6:.0f} MB"),
        ("copy to pinned memory", f"{1000 * copy:.1f} ms"),
        ("stall of a save", f"{1000 * stall:.1f} ms, {stall / copy:.2f} x the copy"),
    ]


def _tensors(node: Any) -> list[torch.Tensor]:
    if isinstance(node, torch.Tensor):
        return [node]
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def profile() -> str:
    """Return the kernels of a captured default step that take the most time."""
    _, trainer = make_trainer("device=cuda")
    take(trainer, 6)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as found:
        take(trainer, 10)
    table = found.key_averages().table(
        sort_by="self_cuda_time_total", row_limit=15, max_name_column_width=60
    )
    return str(table)


def main() -> int:
    """Run the checks; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="time limit, approximately")
    parser.add_argument("--profile", action="store_true", help="also profile a default step")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS), metavar="RUN")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("this machine has no CUDA device", file=sys.stderr)
        return 2
    start = time.perf_counter()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    rows, failed = [], []
    for name in arguments.runs:
        found = compare(RUNS[name])
        exact = found["again"] == 0  # without captured steps, some kernels add in any order
        wrong = found["CPU and GPU"] > ROUNDING or found["captured"] == "failed"
        if wrong or (exact and (found["not captured"] > 0 or found["resumed"] > 0)):
            failed.append(name)
        rows.append({"run": name, **found})
        print(f"{name}: {found}, {time.perf_counter() - start:.0f} s", flush=True)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2g"), flush=True)
    peak = product_rate(torch.bfloat16)
    print(f"\nbare bf16 product: {peak / 1e12:.0f} TFLOP/s", flush=True)
    table = []
    sizes = itertools.product(("small", "large", "tiny", "base"), (128, 2048, 32, 512, 8192))
    table.append(speed("small", 128, peak, captured=False))
    for model, batch in sizes:
        if time.perf_counter() - start > arguments.seconds - 60:
            print("out of time: the remaining sizes are skipped", flush=True)
            break
        table.append(speed(model, batch, peak))
    table.sort(key=lambda row: (row["model"], row["batch"], row["captured"]))
    print(tabulate(table, headers="keys", tablefmt="github", floatfmt=".2f"), flush=True)
    print(tabulate(save_stall(), tablefmt="github"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = train(compose(f"checkpoint.dir={folder}", "device=cuda", "server.enabled=false"))
        took = time.perf_counter() - began
        results = {k: v["accuracy"] for k, v in (run.results or {})["test"].items()}
        print(f"default run: {took:.1f} s, {results}", flush=True)
    if arguments.profile:
        print(profile(), flush=True)
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
