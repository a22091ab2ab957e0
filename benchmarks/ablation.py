"""Tables of training runs: each row a set of overrides, each cell one run of ``arc.train``.

``recipe`` varies the default recipe; ``tasks`` trains every task with every bottleneck;
``encoders`` pretrains encoders, and ``pretraining`` trains tasks from them. Results are kept in
``--folder``, so an interrupted table can be continued. Run one table at a time on an idle
machine: every cell gets the same wall-clock time and, with ``--jobs``, an equal share of the
cores.
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

RECIPE = {
    "the default recipe": [],
    "free symbols": ["bottleneck=categorical"],
    "free symbols, Gumbel noise": ["bottleneck=categorical", "bottleneck.noise=gumbel"],
    "batch of 32": ["training.batch_size=32"],
    "1 distractor in training": [
        *("task.num_distractors=1", "task.negatives=game", "task.near_copies=false"),
    ],
    "constant learning rate": ["schedule=constant"],
    "augmentation": ["data.augment=true"],
    "a continuous vector": ["bottleneck=autoencoder"],
}
PAIRS = "task.use_input_output_pairs=true"
SETTINGS = {  # where the default recipe, tuned for selection, overfits
    "reconstruction": [
        *("data.augment=true", "training.batch_size=32", "model.latent_dim=256"),
        "training.max_minutes=10",  # overrides --minutes
    ],
    "reconstruction, communication": ["bottleneck.max_message_length=20"],
    "selection, pairs": ["data.augment=true", "model.dropout=0.2"],
}
TASKS = {
    f"{task}{', pairs' if pairs else ''}, {bottleneck}": [
        f"task={task}",
        f"bottleneck={bottleneck}",
        *([PAIRS] if pairs else []),
        *SETTINGS.get(task, []),
        *SETTINGS.get(f"{task}, {bottleneck}", []),
        *(SETTINGS.get(f"{task}, pairs", []) if pairs else []),
    ]
    for task, pair_modes in (
        ("selection", (False, True)),
        ("reconstruction", (False, True)),
        ("puzzle_classification", (False,)),
    )
    for pairs in pair_modes
    for bottleneck in ("communication", "autoencoder")
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
        *("task=reconstruction", "bottleneck=autoencoder"),
        *("data.augment=true", "training.batch_size=32"),
    ],
}
PRETRAINED = {
    f"{task}, from {start}": [*overrides, WIDE, *encoder]
    for task, overrides in TRAINED.items()
    for start, encoder in STARTS.items()
}
TABLES = {
    "recipe": RECIPE,
    "tasks": TASKS,
    "encoders": ENCODERS,
    "pretraining": PRETRAINED,
}


def run_cell(
    folder: Path, name: str, overrides: list[str], seed: int, minutes: float, threads: int
) -> Any:
    """Return the results of one cell, trained on ``threads`` threads unless they exist."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    cell = folder / f"{slug}_{seed}"
    path = cell / f"{cell.name}_results.json"
    if not path.exists():
        print(f"{name}, seed {seed} …", file=sys.stderr, flush=True)
        shutil.rmtree(cell, ignore_errors=True)
        command = [
            *(sys.executable, "-m", "arc.train", f"run_name={cell.name}", f"seed={seed}"),
            *("training.max_steps=null", "training.schedule_by=time"),
            *(f"training.max_minutes={minutes}", "server.enabled=false"),
            *(f"checkpoint.dir={cell}", f"hydra.run.dir={cell}/log"),
            *(override.format(folder=folder, seed=seed) for override in overrides),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return json.loads(path.read_text())


def median_and_range(values: list[float]) -> str:
    """Return 'median (lowest to highest)'."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def columns(results: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of one run by column of the table."""
    shown = {}
    for of, name in (
        ("validation", "random_99"),
        ("test", "binary"),
        ("test", "random_99"),
        ("test", "same_size_49"),
        ("test", "reconstruction"),
        ("test", "puzzle_classification"),
    ):
        for key, value in results[of].get(name, {}).items():
            if key not in ("targets", "baselines") and value is not None:
                shown[f"{of} {name.replace('_', ' ')} {key}"] = value
    return shown


def main() -> None:
    """Run the missing cells and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, per cell")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None, help="only the first ROWS rows")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time, sharing the cores")
    parser.add_argument("--folder", type=Path, default=None, help="default: outputs/TABLE")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path("outputs") / arguments.table).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
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
            row = {key: median_and_range([cell[key] for cell in shown]) for key in shown[0]}
            rows.append({"run": name, **row})
        print(tabulate(rows, headers="keys", tablefmt="github", missingval="–"))


if __name__ == "__main__":
    main()
