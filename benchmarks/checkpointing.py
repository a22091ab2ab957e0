"""The cost of a save: stall, total slowdown, and time until the file is durable.

Each is reported next to a reference measured in the same process: a memcpy into touched memory, a
blocking ``torch.save`` with fsync, and a raw write with fsync of the same size. Run by
``make bench-checkpointing``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from tabulate import tabulate

from arc.checkpointing import CheckpointWriter, make_checkpoint
from arc.config.builders import build_model, build_task, build_trainer, with_data
from arc.config.files import config_folder
from arc.config.schema import parse_config
from arc.training import RunControl, StepEvent
from arc.training.allocator import MemoryTrimmer, configure_allocator


def tensor_bytes(tree: Any) -> int:
    """Return the bytes of every distinct tensor in ``tree``."""
    found: dict[int, int] = {}

    def walk(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            found[node.data_ptr()] = node.nbytes
        elif isinstance(node, dict | list | tuple):
            for item in node.values() if isinstance(node, dict) else node:
                walk(item)

    walk(tree)
    return sum(found.values())


def timed(call: Callable[[], object], times: int = 5) -> float:
    """Return the median duration of ``call`` in seconds."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def blocking_save(path: Path, content: Any) -> None:
    """Save in the calling thread, without a writer."""
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def raw_write(path: Path, size: int) -> None:
    """Write ``size`` bytes and sync."""
    data = memoryview(bytes(size))
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def wait(writer: CheckpointWriter, start: float, durations: list[float]) -> None:
    """Append the time from ``start`` until nothing is being written."""
    writer.wait()
    durations.append(time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="large")
    parser.add_argument("--threads", type=int, default=None, help="of training; default: all")
    parser.add_argument("--saves", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="between two saves")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    configure_allocator()
    trimmer = MemoryTrimmer()
    overrides = [f"model={arguments.model}", "task.num_distractors=1", "training.batch_size=4"]
    overrides += ["training.max_minutes=null", "training.max_steps=100000"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = parse_config(compose("config", [*overrides, "data.max_grids=400"]))
    task = build_task(config)
    config = with_data(config, task.num_classes)
    trainer = build_trainer(config, task, build_model(config))
    events = (event for event in trainer.run(RunControl()) if isinstance(event, StepEvent))

    def content() -> dict[str, Any]:
        return make_checkpoint(config, trainer)

    examples = trainer.sampler.next()
    trainer.sampler.next = lambda: examples  # type: ignore[method-assign]  # equal steps
    for _ in range(3):
        next(events)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pth"
        writer = CheckpointWriter()
        writer.warm_up(content())
        size = tensor_bytes(content())
        source, copy = torch.ones(size, dtype=torch.uint8), torch.ones(size, dtype=torch.uint8)
        memcpy = timed(lambda: copy.copy_(source))
        names = (Path(folder) / f"{number}" for number in itertools.count())  # new files
        raw = timed(lambda: raw_write(next(names), size), 3)
        blocking = timed(lambda: blocking_save(next(names), content()), 3)

        def steps() -> float:
            start = time.perf_counter()
            for _ in range(arguments.steps):
                trimmer.on_event(next(events))
            return time.perf_counter() - start

        stalls, plain, saving = [], [], []
        durable: list[float] = []
        for _ in range(arguments.saves):  # alternating, so that other load affects both
            plain.append(steps())
            start = time.perf_counter()
            writer.request(path)
            writer.offer(content)
            stalls.append(time.perf_counter() - start)
            waiter = threading.Thread(target=wait, args=(writer, start, durable))
            waiter.start()
            saving.append(stalls[-1] + steps())
            waiter.join()
        writer.close(content)
    step = statistics.median(plain) / arguments.steps
    costs = [with_save - without for with_save, without in zip(saving, plain, strict=True)]
    kept = 100 * statistics.median(plain) / statistics.median(saving)
    rows = [
        ("state", f"{size / 1e6:.0f} MB", ""),
        ("step without saving", f"{1e3 * step:.0f} ms", ""),
        ("stall", f"{1e3 * statistics.median(stalls):.1f} ms",
         f"{statistics.median(stalls) / memcpy:.2f} x memcpy ({1e3 * memcpy:.1f} ms)"),
        ("training time lost in total", f"{1e3 * statistics.median(costs):.0f} ms",
         f"{statistics.median(costs) / blocking:.2f} x a blocking save ({1e3 * blocking:.0f} ms)"),
        ("speed while saving", f"{kept:.0f} %", f"over {arguments.steps} steps with one save"),
        ("durable after", f"{1e3 * statistics.median(durable):.0f} ms",
         f"{statistics.median(durable) / raw:.2f} x a raw write and fsync ({1e3 * raw:.0f} ms)"),
    ]  # fmt: skip
    print(f"model={arguments.model}, {torch.get_num_threads()} threads")
    print(tabulate(rows, headers=("what", "measured", "reference")))


if __name__ == "__main__":
    main()
