"""The checkpoint file: what stands in it, and how it is written.

A checkpoint is a ``torch.save`` archive of built-in types and tensors, which a plain
``torch.load(path)`` opens. ``config`` is the resolved configuration as plain containers and
the one source of truth; the flat keys beside it are derived from it when the file is made.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import arc
from arc.config import RunConfig, to_tree
from arc.data import MAX_GRID_SIZE, NUM_COLORS
from arc.training import Trainer

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used; the message names the file and why."""


def flat_keys(config: RunConfig) -> dict[str, Any]:
    """Return the flat keys, derived from ``config``; what a task or channel lacks is None."""
    task, channel = config.task, config.bottleneck
    return {
        "task_type": task.name,
        "bottleneck_type": channel.name,
        "num_distractors": getattr(task, "num_distractors", None),
        "use_input_output_pairs": task.use_input_output_pairs,
        "num_classes": getattr(task, "num_classes", None),
        "num_colors": NUM_COLORS,
        "max_grid_size": MAX_GRID_SIZE,
        "embedding_dim": config.model.embedding_dim,
        "hidden_dim": config.model.hidden_dim,
        "latent_dim": config.model.latent_dim,
        "num_conv_layers": config.model.num_conv_layers,
        "vocab_size": getattr(channel, "vocab_size", None),
        "max_message_length": getattr(channel, "max_message_length", None),
        "temperature": getattr(channel, "temperature", None),
        "batch_size": config.training.batch_size,
        "learning_rate": config.training.learning_rate,
        "num_epochs": config.training.epochs,
        "max_grids": config.data.max_grids,
        "filter_grid_size": config.data.filter_grid_size,
    }


def portable_tree(config: RunConfig) -> dict[str, Any]:
    """Return the configuration without what belongs to the machine and not to the run."""
    tree = to_tree(config)
    del tree["device"], tree["checkpoint"]
    return tree


def make_checkpoint(config: RunConfig, trainer: Trainer) -> dict[str, Any]:
    """Gather everything that a file holds; ``val_acc`` is in percent, ``epoch`` 1-based."""
    state = trainer.state_dict()
    judged = trainer.last_judgement
    model_state = state.pop("model")
    prefix = "encoder."
    return {
        "format_version": FORMAT_VERSION,
        "config": portable_tree(config),
        **flat_keys(config),
        "epoch": trainer.source.epoch,
        "batch": trainer.source.batch,
        "step": trainer.step,
        "seconds": trainer.seconds,
        "val_loss": judged.verdict.loss if judged else None,
        "val_acc": judged.verdict.accuracy if judged else None,
        "model_state_dict": model_state,
        "encoder_state_dict": {
            key.removeprefix(prefix): value
            for key, value in model_state.items()
            if key.startswith(prefix)
        },
        "optimizer_state_dict": state.pop("optimizer"),
        "trainer_state": state,
        "arc_version": arc.__version__,
        "torch_version": str(torch.__version__),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data_fingerprint": trainer.task.corpus.fingerprint,
        "label_map": list(trainer.task.corpus.training.puzzle_ids),
    }


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` so that ``path`` is at every moment the old file or the new one.

    Raises CheckpointError if it cannot be written; then nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.stem}.", suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise CheckpointError(f"{path}: cannot be written: {error}") from error


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # a folder cannot be opened on Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_folder(folder: Path) -> None:
    """Make sure that files can be written to ``folder``; raises CheckpointError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe."):
            pass
    except OSError as error:
        raise CheckpointError(
            f"checkpoint.dir={folder}: cannot be written to: {error.strerror}"
        ) from None
