"""Tables of training runs: each row a set of overrides, each cell one run of ``arc.train``.

``recipe`` varies the default recipe, ``tasks`` trains every task with every bottleneck,
``language`` has the runs of benchmarks/language.py, ``encoders`` pretrains encoders, and
``pretraining`` trains tasks from them. Results are kept in ``--folder``, so an interrupted table
can be continued. Every cell takes its own number of steps or, with ``--minutes``, the same time:
then run one table at a time on an idle machine. With ``--jobs`` the cells share the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tabulate import tabulate

from arc.runs.tables import OTHER_KEYS

PAIRS = ["experiment=selection_pairs"]
LATTICE_RATE = "training.learning_rate=6e-3"  # the lattice's, too high for free symbols
SYMBOLS, VECTOR = "bottleneck=communication", "bottleneck=autoencoder"
RECIPE = {
    "the default recipe": [],
    "cosine in place of distance": ["task.score=cosine"],
    "trained on the game": ["task.negatives=game", "task.near_copies=false"],
    "no near copies": ["task.near_copies=false"],
    "no label smoothing": ["task.label_smoothing=0"],
    "a learning rate of 2e-3": ["training.learning_rate=2e-3"],
    "constant learning rate": ["schedule=constant"],
    "convolutions over patches": ["model.mixer=conv"],
    "convolutions over cells": ["model.architecture=cells"],
    "free symbols, 2e-3": ["bottleneck=categorical"],
    "free symbols, 6e-3": ["bottleneck=categorical", LATTICE_RATE],
    "batch of 32": ["training.batch_size=32"],
    "augmentation": ["data.augment=true"],
    "a quarter synthetic": ["data.synthetic=0.25"],
    "puzzles of ARC-2 as well": ["data.also=[arc2]"],
    "a continuous vector": [VECTOR],
}
TASKS = {
    "selection, 5 symbols": [],
    "selection, vector": [VECTOR],
    "selection on pairs, 5 symbols": PAIRS,
    "selection on pairs, vector": [*PAIRS, VECTOR],
    "reconstruction, 256 numbers": ["experiment=reconstruction_vector"],
    "reconstruction, 20 symbols": ["experiment=reconstruction_20"],
    "reconstruction, 125 symbols": ["experiment=reconstruction_125"],
    "transformation, 256 numbers": ["experiment=transformation"],
    "transformation, 20 symbols": [
        *("experiment=transformation", SYMBOLS, "bottleneck.max_message_length=20"),
        "model.head=direct",
    ],
    "puzzle classification, 5 symbols": ["experiment=puzzle_classification"],
    "puzzle classification, vector": ["experiment=puzzle_classification_vector"],
}
PRETRAININGS = {"binary": "binary", "selection": "selection", "puzzle_classification": "puzzle"}
WIDE = "model.latent_dim=256"  # an encoder for both tasks
ENCODERS = {
    f"encoder by {name}": ["mode=pretrain", f"pretrain={name}", WIDE] for name in PRETRAININGS
}
STARTS: dict[str, list[str]] = {"scratch": []} | {
    f"{name}{', frozen' if frozen else ''}": [
        f"encoder.pretrained={{folder}}/encoder-by-{name.replace('_', '-')}_{{seed}}/"
        f"pretrained_encoder_{label}.pth",
        f"encoder.freeze={str(frozen).lower()}",
    ]
    for frozen in (False, True)
    for name, label in PRETRAININGS.items()
}
TRAINED = {
    "selection": [],
    "reconstruction by vector": [
        *("task=reconstruction", VECTOR, "data.augment=true", "data.crop=0.5"),
    ],
}
PRETRAINED = {
    f"{task}, from {start}": [*overrides, WIDE, *encoder]
    for task, overrides in TRAINED.items()
    for start, encoder in STARTS.items()
}
GAME = ["task.negatives=game", "task.near_copies=false"]
LANGUAGE = {
    "lattice, 5 symbols": [],
    "categorical, 5 symbols": ["bottleneck=categorical"],
    "Gumbel-softmax, 5 symbols": ["bottleneck=categorical", "bottleneck.noise=gumbel"],
    "lattice, 20 symbols": ["bottleneck.max_message_length=20"],
    "lattice, trained on 99 random": GAME,
    "lattice, trained on 9 of the same size": ["experiment=hard", *GAME],
}
TIMED = ("training.max_steps=null", "training.schedule_by=time")
TABLES = {
    "recipe": RECIPE,
    "tasks": TASKS,
    "encoders": ENCODERS,
    "pretraining": PRETRAINED,
    "language": LANGUAGE,
}


def cell_of(folder: Path, name: str, seed: int) -> Path:
    """Return the folder of one cell, which is named like its run."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    return folder / f"{slug}_{seed}"


def run_cell(
    folder: Path, name: str, overrides: list[str], seed: int, minutes: float | None, threads: int
) -> Any:
    """Return the results of one cell, trained on ``threads`` threads unless they exist."""
    cell = cell_of(folder, name, seed)
    path = cell / f"{cell.name}_results.json"
    if not path.exists():
        print(f"{name}, seed {seed} …", file=sys.stderr, flush=True)
        shutil.rmtree(cell, ignore_errors=True)
        command = [
            *(sys.executable, "-m", "arc.train", f"run_name={cell.name}", f"seed={seed}"),
            *("server.enabled=false", f"checkpoint.dir={cell}", f"hydra.run.dir={cell}/log"),
            *([] if minutes is None else [*TIMED, f"training.max_minutes={minutes}"]),
            *(override.format(folder=folder, seed=seed) for override in overrides),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return json.loads(path.read_text())


def median_and_range(values: list[float]) -> str:
    """Return 'median (lowest to highest)'."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def columns(results: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of one run by column of the table."""
    shown = {}
    for of, name in (
        ("validation", "random_99"),
        ("test", "binary"),
        ("test", "random_99"),
        *(("test", name) for name in ("random_999", "same_size_49", "same_colors_9")),
        *(("test", name) for name in ("same_puzzle_9", "reconstruction", "transformation")),
        ("test", "puzzle_classification"),
    ):
        for key, value in results[of].get(name, {}).items():
            if key not in OTHER_KEYS and value is not None:
                shown[f"{of} {name.replace('_', ' ')} {key}"] = value
    return shown


def main() -> None:
    """Run the missing cells and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--minutes", type=float, help="of training, per cell")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None, help="only the first ROWS rows")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time, sharing the cores")
    parser.add_argument("--folder", type=Path, default=None, help="default: outputs/TABLE")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path("outputs") / arguments.table).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, cores() // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        table = dict(list(TABLES[arguments.table].items())[: arguments.rows])
        cells = {
            (name, seed): pool.submit(
                run_cell, folder, name, overrides, seed, arguments.minutes, threads
            )
            for seed in range(arguments.seeds)  # outermost: seeds stay complete
            for name, overrides in table.items()
        }
        rows = []
        for name in table:
            shown = [columns(cells[name, seed].result()) for seed in range(arguments.seeds)]
            keys = dict.fromkeys(key for cell in shown for key in cell)  # a seed may lack some
            row = {
                key: median_and_range([cell[key] for cell in shown if key in cell]) for key in keys
            }
            rows.append({"run": name, **row})
        print(tabulate(rows, headers="keys", tablefmt="github", missingval="–"))


if __name__ == "__main__":
    main()
