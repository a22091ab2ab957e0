"""Training speed: examples per second, utilization of the machine, start-up and memory.

Each row varies one part of the default run and trains in a process of its own. Utilization is the
FLOPs of all matrix products and convolutions of a step (torch's FlopCounterMode; sums of
embedded cells are not counted), divided by the step's duration and the FLOP rate of a bare matrix
product of the same precision, which is measured in the same run. ``plain`` is the same model in a
plain training loop: a DataLoader, and every candidate of every target is encoded. ``--default-run``
trains the default run to its end and measures the time to two accuracies.
Run by ``make bench``; ``make bench-compare ARGS="A.json B.json"`` compares two runs of it.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from arc.api import compose
from arc.config.builders import build_model, build_task, build_trainer, with_data
from arc.data.distractors import DistractorGroups
from arc.data.grids import Grids
from arc.models import ARCAutoencoder
from arc.tasks.selection import SelectionTask
from arc.training import RunControl, StepEvent, Trainer, ValidationEvent
from arc.training.allocator import MemoryTrimmer, configure_allocator
from arc.training.device import autocast_dtype, pick_device

GAME = ["task.negatives=game", "task.near_copies=false"]
CELLS = ["model.architecture=cells"]
DEFAULT = "default (batch of 128)"
ROWS: dict[str, list[str]] = {
    DEFAULT: [],
    "batch of 32": ["training.batch_size=32"],
    "batch of 512": ["training.batch_size=512"],
    "model=base": ["model=base"],
    "bottleneck=autoencoder": ["bottleneck=autoencoder"],
    "bottleneck=categorical": ["bottleneck=categorical"],
    "20 symbols": ["bottleneck.max_message_length=20"],
    "vocabulary of 1,000": ["bottleneck=categorical", "bottleneck.vocab_size=1000"],
    "1 distractor": [*GAME, "task.num_distractors=1"],
    "9 distractors": [*GAME, "task.num_distractors=9"],
    "99 distractors": [*GAME, "task.num_distractors=99"],
    "999 distractors": [*GAME, "task.num_distractors=999", "data.validation_fraction=0"],
    "task=reconstruction": ["task=reconstruction"],
    "task=transformation": ["task=transformation"],
    "task=puzzle_classification": ["task=puzzle_classification"],
    "8 blocks": ["model.num_conv_layers=8"],
    "width of 128": ["model.hidden_dim=128"],
    "600 grids, 9 distractors": [*GAME, "task.num_distractors=9", "data.max_grids=600"],
    "cells": CELLS,
    "cells, width of 128, batch of 32": [
        *(*CELLS, "model.hidden_dim=128", "training.batch_size=32"),
    ],
}
PLAIN = {"1 distractor": 1, "9 distractors": 9, "99 distractors": 99}
WARM_UP = 3  # steps
Result = dict[str, Any]


def seconds_per_call(call: Callable[[], object], budget: float) -> float:
    """Return the median duration of ``call`` over about ``budget`` seconds, after a warm-up."""
    for _ in range(3):
        call()
    durations: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < budget or len(durations) < 3:
        before = time.perf_counter()
        call()
        durations.append(time.perf_counter() - before)
    return statistics.median(durations)


def product_rate(dtype: torch.dtype, budget: float, side: int = 1024) -> float:
    """Return FLOP/s of a bare matrix product."""
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds_per_call(lambda: a @ b, budget)


def convolution_rate(dtype: torch.dtype, budget: float, channels: int = 128) -> float:
    """Return FLOP/s of a bare 3 x 3 convolution, forward and backward."""
    batch, side = 64, 15
    x = torch.randn(batch, channels, side, side, dtype=dtype)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(channels, channels, 3, 3, dtype=dtype, requires_grad=True)

    def once() -> None:
        y = F.conv2d(x, weight, padding=1)
        y.backward(torch.ones_like(y))

    return 3 * 2 * batch * side**2 * 9 * channels**2 / seconds_per_call(once, budget)


def steps(trainer: Trainer) -> Iterator[StepEvent]:
    """Train without validation, as a run does."""
    trimmer = MemoryTrimmer()
    for event in trainer.run(RunControl()):
        if isinstance(event, StepEvent):
            yield event
        trimmer.on_event(event)


def build(overrides: list[str]) -> tuple[SelectionTask | Any, ARCAutoencoder, Trainer]:
    """Build a run on the CPU."""
    config = compose("device=cpu", *overrides)
    task = build_task(config, pick_device("cpu"))
    config = with_data(config, task.num_classes)
    model = build_model(config)
    return task, model, build_trainer(config, task, model)


def measure(overrides: list[str], budget: float) -> Result:
    """Return the speed of a run's training steps over about ``budget`` seconds."""
    configure_allocator()
    _, _, trainer = build(["training.max_steps=1000000", *overrides])
    trainer.validate_every = sys.maxsize
    events = steps(trainer)
    with FlopCounterMode(display=False) as counter:
        targets = next(events).targets
    flop = counter.get_total_flops()
    seconds = seconds_per_call(lambda: next(events), budget)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss: macOS counts in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2
    return {"ms": 1000 * seconds, "examples_per_s": targets / seconds, "flop": flop, "mib": peak}


class Games(Dataset[tuple[Any, Any]]):
    """Targets and their candidates, the target first, padded to 30 x 30."""

    def __init__(self, task: SelectionTask, count: int) -> None:
        self.split, self.count = task.corpus.training, count
        self.cells, self.sizes = self.split.grids.padded, self.split.grids.sizes
        self.groups = DistractorGroups.of("random", self.split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, example: int) -> tuple[Any, Any]:
        target = self.split.target[example]
        others = self.groups.grids[self.groups.grids != target]
        drawn = others[torch.randperm(len(others))[: self.count]]
        candidates = torch.cat([target[None], drawn])
        return self.cells[candidates], self.sizes[candidates]


def measure_plain(count: int, budget: float) -> Result:
    """Return the speed of the same model in a plain training loop."""
    task, model, trainer = build([*GAME, f"task.num_distractors={count}"])
    batch = trainer.config.batch_size
    loader = DataLoader(Games(task, count), batch_size=batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    dtype = autocast_dtype("auto", pick_device("cpu"))
    answer = torch.zeros(batch, dtype=torch.int64)

    def train() -> Iterator[None]:
        while True:
            for cells, sizes in loader:
                with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                    signal = model(Grids(cells[:, 0], sizes[:, 0])).signal
                    pool = task.embed(model, Grids(cells.flatten(0, 1), sizes.flatten(0, 1)))
                    scores = task.score(model, signal, pool)
                    own = torch.arange(batch)[:, None] * (count + 1) + torch.arange(count + 1)
                    loss = F.cross_entropy(scores.gather(1, own), answer)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                yield

    run = train()
    seconds = seconds_per_call(lambda: next(run), budget)
    return {"ms": 1000 * seconds, "examples_per_s": batch / seconds}


def time_to_accuracy() -> Result:
    """Return seconds of the default run, and until its validation accuracy reached two goals.

    The goals are 99 % and the accuracy of the baseline ``histogram``, among 99 distractors; NaN if
    one was not reached.
    """
    configure_allocator()
    _, _, trainer = build([])
    trimmer, seconds = MemoryTrimmer(), {"99 %": math.nan, "histogram": math.nan}
    for event in trainer.run(RunControl()):
        trimmer.on_event(event)
        if isinstance(event, ValidationEvent):
            metric = event.evaluation.task_metrics.headline
            goals = {"99 %": 99.0, "histogram": metric.baselines["histogram"]}
            for name, goal in goals.items():
                if math.isnan(seconds[name]) and metric.values["accuracy"] >= goal:
                    seconds[name] = event.seconds
    return {"run": trainer.seconds, **seconds}


def start_up() -> Result:
    """Return seconds to import torch, to print the help, and to the first step of a run."""

    def timed(*command: str) -> float:
        before = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - before

    with tempfile.TemporaryDirectory() as folder:
        place = [f"checkpoint.dir={folder}/checkpoints", f"hydra.run.dir={folder}/out"]
        command = [sys.executable, "-m", "arc.train", "server.enabled=false", *place]
        timed("-c", "import torch")  # reads the files into memory
        seconds = {"import_torch": timed("-c", "import torch")}
        seconds["help"] = timed("-m", "arc.train", "--help")
        before, metrics = time.perf_counter(), Path(folder, "out", "metrics.jsonl")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and not (metrics.exists() and metrics.stat().st_size):
                time.sleep(0.005)
            seconds["first_step"] = time.perf_counter() - before
            run.kill()
    return seconds


def in_new_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call ``function`` in a process of its own, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def slope(results: dict[str, Result], *points: tuple[float, str]) -> float:
    """Return the exponent by which a step's duration grows between two rows."""
    (a, first), (b, second) = points
    return math.log(results[second]["ms"] / results[first]["ms"]) / math.log(b / a)


def run(seconds: float, *, default_run: bool) -> Result:
    """Measure everything; returns plain values for JSON."""
    dtype = autocast_dtype("auto", pick_device("cpu")) or torch.float32
    found: Result = {
        "machine": f"{platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads, {str(dtype).removeprefix('torch.')}",
        "torch": torch.__version__,
        "product": product_rate(dtype, seconds),
        "convolution": convolution_rate(dtype, seconds),
        "start_up": start_up(),
        "rows": {},
        "plain": {},
    }
    for name, overrides in ROWS.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        row = in_new_process(measure, overrides, seconds)
        row["share"] = 100 * row["flop"] / (row["ms"] / 1000) / found["product"]
        found["rows"][name] = row
    for name, count in PLAIN.items():
        print(f"plain loop, {name} …", file=sys.stderr, flush=True)
        found["plain"][name] = in_new_process(measure_plain, count, seconds)
    rows = found["rows"]
    found["slopes"] = {
        "batch, 32 to 512": slope(rows, (32, "batch of 32"), (512, "batch of 512")),
        "distractors, 99 to 999": slope(rows, (99, "99 distractors"), (999, "999 distractors")),
        "width, 64 to 128": slope(rows, (64, DEFAULT), (128, "width of 128")),
        "blocks, 3 to 8": slope(rows, (3, DEFAULT), (8, "8 blocks")),
        "vocabulary, 25 to 1,000": slope(
            rows, (25, "bottleneck=categorical"), (1000, "vocabulary of 1,000")
        ),
        "grids, 600 to 3,038": slope(
            rows, (600, "600 grids, 9 distractors"), (3038, "9 distractors")
        ),
    }
    if default_run:
        print("default run …", file=sys.stderr, flush=True)
        found["default_run"] = in_new_process(time_to_accuracy)
    return found


def show(found: Result) -> None:
    """Print the tables in Markdown."""
    product, convolution = (found[rate] / 1e9 for rate in ("product", "convolution"))
    print(
        f"{found['machine']}, torch {found['torch']}: product {product:.0f} GFLOP/s, "
        f"convolution {convolution:.0f} GFLOP/s\n"
    )
    rows = [
        [name, row["ms"], row["examples_per_s"], row["share"], row["mib"]]
        for name, row in found["rows"].items()
    ]
    headers = ["run", "ms per step", "examples/s", "utilization, %", "peak memory, MiB"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=",.0f"), end="\n\n")
    plain = [
        [name, row["examples_per_s"], found["rows"][name]["examples_per_s"] / row["examples_per_s"]]
        for name, row in found["plain"].items()
    ]
    print(tabulate(plain, ["plain loop", "examples/s", "times faster here"], tablefmt="github"))
    print()
    print(tabulate(found["slopes"].items(), ["growth of a step with", "slope"], tablefmt="github"))
    print()
    print(tabulate(found["start_up"].items(), ["start-up", "seconds"], tablefmt="github"))
    if "default_run" in found:
        print()
        times = found["default_run"].items()
        print(tabulate(times, ["default run, until", "seconds"], tablefmt="github"))


def compare(before: Result, after: Result) -> None:
    """Print the rows of two runs side by side; rates are relative to each machine's product."""
    print(f"before: {before['machine']}, torch {before['torch']}")
    print(f"after:  {after['machine']}, torch {after['torch']}\n")
    rows = [
        [name, old["ms"], new["ms"], old["ms"] / new["ms"], old["share"], new["share"]]
        for name, old in before["rows"].items()
        if (new := after["rows"].get(name)) is not None
    ]
    headers = ["run", "ms before", "ms after", "times faster", "utilization before, %", "after"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=",.2f"))


def main() -> None:
    """Measure and print, or compare two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per row")
    parser.add_argument("--default-run", action="store_true", help="train it to its end as well")
    parser.add_argument("--json", type=Path, default=Path("outputs/bench.json"))
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    arguments = parser.parse_args()
    if arguments.compare:
        compare(*(json.loads(path.read_text()) for path in arguments.compare))
        return
    found = run(arguments.seconds, default_run=arguments.default_run)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2))
    show(found)


if __name__ == "__main__":
    main()
