"""Tables of checkpoints; reads metadata only and does not import torch."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.metadata import read_metadata
from arc.io.trees import leaves
from arc.terminal import escaped

SECTIONS = {
    "Training state": ["epoch", "batch", "step", "seconds", "val_loss", "val_acc"],
    "Task": [
        "task_type",
        "bottleneck_type",
        "num_distractors",
        "distractors",
        "negatives",
        "near_copies",
        "score",
        "palette",
        "use_input_output_pairs",
        "num_classes",
    ],
    "Architecture": [
        "architecture",
        "mixer",
        "head",
        "shared_encoder",
        "shared_init",
        "hidden_dim",
        "latent_dim",
        "num_conv_layers",
        "embedding_dim",
        "vocab_size",
        "max_message_length",
        "num_parameters",
    ],
    "Training": ["batch_size", "learning_rate", "num_epochs", "temperature", "freeze_encoder"],
    "Data": ["max_grids", "filter_grid_size", "data_fingerprint"],
    "Provenance": [
        "run_name",
        "seed",
        "format_version",
        "arc_version",
        "torch_version",
        "created",
        "started_from",
    ],
}
ENCODER_SECTIONS = {  # of a pretrained encoder, which has no task
    "Training state": SECTIONS["Training state"],
    "Pretraining": ["pretrain_task_type", "pretrain_learning_rate", "pretrain_epochs"],
    "Architecture": [
        "architecture",
        "mixer",
        "head",
        "hidden_dim",
        "latent_dim",
        "num_conv_layers",
        "embedding_dim",
        "num_parameters",
    ],
    "Data": SECTIONS["Data"],
    "Provenance": SECTIONS["Provenance"],
}
COLUMNS = [
    "epoch",
    "batch",
    "step",
    "task_type",
    "bottleneck_type",
    "val_loss",
    "val_acc",
    "hidden_dim",
    "latent_dim",
    "vocab_size",
    "max_message_length",
]
ROW = ("filename", "size_mb", "modified", *COLUMNS)
NARROW = {
    "filename": "file",
    "size_mb": "MB",
    "modified": "modified",
    "epoch": "epoch",
    "step": "step",
    "task_type": "task",
    "bottleneck_type": "bottleneck",
    "val_acc": "val_acc",
}
NUMBERS = {"size_mb", *COLUMNS} - {"task_type", "bottleneck_type"}
WIDTH = 120


def is_encoder(metadata: dict[str, Any]) -> bool:
    """Return whether a file is a pretrained encoder's, not a run's."""
    return "encoder_architecture" in metadata


def sections(metadata: dict[str, Any]) -> str:
    """Return one checkpoint's metadata as text, a table for each section; val_acc in percent."""
    parts = []
    metadata = described(metadata)
    layout = ENCODER_SECTIONS if is_encoder(metadata) else SECTIONS
    for title, keys in layout.items():
        rows = [(key, shown(metadata.get(key))) for key in keys]
        parts.append(f"{title}\n{tabulate(rows, tablefmt='simple', disable_numparse=True)}")
    return "\n\n".join(parts)


def described(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return ``metadata`` with the rows that are only in its stored configuration."""
    config = metadata["config"]
    stored = {"run_name": config.get("run_name"), "seed": config.get("seed")}
    for name in ("task", "model"):
        if isinstance(section := config.get(name), dict):
            stored |= section
    return {**stored, **metadata}


def list_folder(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each ``.pth`` of a folder, newest first.

    A file that cannot be read becomes a row with ``error``; one that disappears is left out.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".pth") and not entry.name.startswith("."):
                try:
                    found.append((entry.stat().st_mtime, Path(entry.path)))
                except FileNotFoundError:
                    continue
                except OSError:  # its row shows the error
                    found.append((entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)))
    return [row(path) for _, path in sorted(found, key=lambda item: item[0], reverse=True)]


def list_encoders(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each pretrained encoder of a folder, newest first."""
    rows = []
    for path in folder.glob("pretrained_encoder_*.pth"):
        try:
            metadata, time = read_metadata(path), path.stat().st_mtime
        except (CheckpointError, OSError):
            continue
        if is_encoder(metadata):
            shown = {
                "filename": path.name,
                "path": str(path),
                "task_type": metadata.get("pretrain_task_type"),
                "val_acc": metadata.get("val_acc"),
                "epoch": metadata.get("epoch"),
            }
            rows.append((time, shown))
    return [shown for _, shown in sorted(rows, key=lambda item: item[0], reverse=True)]


def row(path: Path) -> dict[str, Any]:
    """Return one file as a row: name, size, time, and the main metadata."""
    base: dict[str, Any] = {"filename": path.name, "path": str(path)}
    try:
        status = path.stat()
        base["size_mb"] = round(status.st_size / 1e6, 1)
        base["modified"] = modified(status.st_mtime, "%Y-%m-%d %H:%M:%S")
        metadata = read_metadata(path)
    except Exception as error:  # one file must not hide the others
        known = isinstance(error, CheckpointError | OSError)
        return {**base, "error": str(error) if known else f"{path}: {error!r}"}
    columns = {key: metadata.get(key) for key in COLUMNS}
    if is_encoder(metadata):
        columns |= dict.fromkeys(("bottleneck_type", "vocab_size", "max_message_length"))
        columns["task_type"] = f"pretrain {metadata.get('pretrain_task_type')}"
    return {**base, **columns}


def modified(time: float, form: str) -> str | None:
    """Return a file's time as text; None if it is not a date of this calendar."""
    try:
        return datetime.fromtimestamp(time).strftime(form)
    except (OSError, OverflowError, ValueError):
        return None


def table(rows: list[dict[str, Any]], *, wide: bool = False) -> str:
    """Return rows as text, one file per line, followed by the errors.

    Shows the main columns within WIDTH characters, or all columns if ``wide`` is set.
    """
    columns = {key: key for key in ROW} if wide else NARROW
    cells = [[shown(row.get(key)) for key in columns] for row in rows]
    text = _format_rows(columns, cells)
    excess = len(text.splitlines()[1]) - WIDTH
    if excess > 0 and not wide:
        room = max(max(len(name) for name, *_ in cells) - excess, 24)
        text = _format_rows(columns, [[shortened(name, room), *rest] for name, *rest in cells])
    errors = [escaped(f"error: {row['error']}") for row in rows if "error" in row]
    return "\n".join([text, "", *errors]) if errors else text


def _format_rows(columns: dict[str, str], cells: list[list[str]]) -> str:
    align = ["right" if key in NUMBERS else "left" for key in columns]
    headers = list(columns.values())
    return tabulate(cells, headers, colalign=align, disable_numparse=True)


def shortened(name: str, room: int) -> str:
    """Return ``name``, with its middle replaced by "…" if it is longer than ``room``."""
    if len(name) <= room:
        return name
    head = room // 3
    return f"{name[:head]}…{name[head + 1 - room :]}"


def changes(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the differences of two configurations: dotted key -> (first, second)."""
    left, right = leaves(first), leaves(second)
    return {
        key: (left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    }


def difference(first: dict[str, Any], second: dict[str, Any], names: tuple[str, str]) -> str:
    """Return the training states of two checkpoints and what differs in their configurations."""
    states = [
        {key: each.get(key) for key in SECTIONS["Training state"]} for each in (first, second)
    ]
    rows = [(key, shown(states[0][key]), shown(states[1][key])) for key in states[0]]
    state = tabulate(rows, headers=("key", *map(exact, names)), disable_numparse=True)
    return f"{state}\n\n{_config_difference(first, second, names)}"


def _config_difference(
    first: dict[str, Any], second: dict[str, Any], names: tuple[str, str]
) -> str:
    changed = changes(first["config"], second["config"])
    rows = [tuple(map(exact, (key, *pair))) for key, pair in changed.items()]
    if not rows:
        return "the configurations are identical"
    return tabulate(rows, headers=("key", *map(exact, names)), disable_numparse=True)


def shown(value: Any) -> str:
    """Return a value for a table: fractions with four digits, lists as their items."""
    if type(value) is float and math.isfinite(value):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple) and value:
        return ", ".join(map(shown, value))
    return f"{value:,}" if type(value) is int and value >= 10_000 else exact(value)


def exact(value: Any) -> str:
    """Return a value as text, without rounding."""
    if value is None or value == [] or value != value:  # NaN differs from itself
        return "–"
    if type(value) is bool:
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(exact, value))
    return escaped(str(value))
