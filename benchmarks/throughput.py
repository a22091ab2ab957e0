"""Training examples per second, next to the limit of a bare convolution on this machine.

The limit is the rate of a 3x3 convolution of ``hidden`` channels, forward and backward, in the
run's precision, divided by the arithmetic of encoding a mean ARC-1 grid. Both are measured in
one process, since machines differ and are noisy. Run by ``make bench-training``.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from tabulate import tabulate

from arc.config.builders import build_model, build_task, build_trainer, with_data
from arc.config.files import config_folder
from arc.config.schema import parse_config
from arc.training import RunControl, StepEvent
from arc.training.allocator import MemoryTrimmer, configure_allocator
from arc.training.device import autocast_dtype, pick_device

MEAN_CELLS = 129
GAMES = (
    ("selection", 1),
    ("selection", 9),
    ("selection", 99),
    ("reconstruction", None),
    ("puzzle_classification", None),
)


def seconds_per_call(call: Callable[[], object], budget: float) -> float:
    """Return the mean duration of ``call`` over about ``budget`` seconds, after a warm-up."""
    for _ in range(3):
        call()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < budget:
        call()
        count += 1
    return (time.perf_counter() - start) / count


def convolution_rate(hidden: int, precision: torch.dtype, budget: float) -> float:
    """Return FLOP/s of a bare convolution, forward and backward."""
    batch, side = 64, 15
    x = torch.randn(batch, hidden, side, side, dtype=precision)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(hidden, hidden, 3, 3, dtype=precision, requires_grad=True)

    def once() -> None:
        y = F.conv2d(x, weight, padding=1)
        y.backward(torch.ones_like(y))

    flop = 3 * 2 * batch * side**2 * 9 * hidden**2
    return flop / seconds_per_call(once, budget)


def examples_per_second(overrides: list[str], budget: float) -> float:
    """Train for about ``budget`` seconds and return the rate without the first steps."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = parse_config(compose("config", overrides))
    device = pick_device(config.device)
    task = build_task(config, device)
    config = with_data(config, task.num_classes)
    trainer = build_trainer(config, task, build_model(config).to(device))
    trimmer = MemoryTrimmer()
    control, targets, start = RunControl(), 0, 0.0
    clock = 0.0
    for event in trainer.run(control):
        if not isinstance(event, StepEvent):
            start += time.perf_counter() - clock  # validation is not a step
        elif event.step == 10:
            start = time.perf_counter()
        elif event.step > 10:
            targets += event.targets
            if time.perf_counter() - start > budget:
                break
        trimmer.on_event(event)
        clock = time.perf_counter()
    return targets / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--seconds", type=float, default=20.0, help="per row")
    arguments = parser.parse_args()
    configure_allocator()
    dtype = autocast_dtype(arguments.precision, pick_device("cpu")) or torch.float32
    rate = convolution_rate(arguments.hidden, dtype, 5.0)
    flop = 3 * 2 * MEAN_CELLS * 9 * arguments.hidden**2 * (arguments.layers - 1)
    rows = []
    for task, distractors in GAMES:
        overrides = [
            f"task={task}",
            f"model.hidden_dim={arguments.hidden}",
            f"model.latent_dim={arguments.hidden}",
            f"model.num_conv_layers={arguments.layers}",
            f"training.batch_size={arguments.batch}",
            f"training.precision={arguments.precision}",
            "device=cpu",
        ]
        encodings = 1.0
        if distractors is not None:
            overrides.append(f"task.num_distractors={distractors}")
            encodings = 1 + max(arguments.batch, distractors + 1) / arguments.batch
        limit = rate / (flop * encodings)
        measured = examples_per_second(overrides, arguments.seconds)
        rows.append([task, distractors, measured, limit, 100 * measured / limit])
    print(f"{torch.get_num_threads()} threads, {dtype}, convolution {rate / 1e9:.0f} GFLOP/s")
    headers = ["task", "distractors", "examples/s", "bare convolution", "% of it"]
    print(tabulate(rows, headers=headers, floatfmt=".0f", missingval="–"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory over all rows {peak:.2f} GiB")


if __name__ == "__main__":
    main()
