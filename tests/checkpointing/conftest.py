"""Small trained runs and their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from arc.checkpointing import make_checkpoint, write_checkpoint
from arc.config.schema import RunConfig
from arc.training import RunControl, Trainer, ValidationEvent


@dataclass
class Saved:
    """A file, next to the trainer whose state it contains."""

    path: Path
    config: RunConfig
    trainer: Trainer
    validated: ValidationEvent

    @property
    def content(self) -> dict[str, Any]:
        return torch.load(self.path)


@pytest.fixture(scope="session")
def save_run(
    make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Saved]:
    """Train for an epoch and a batch, and save; each set of overrides is run once."""
    known: dict[tuple[str, ...], Saved] = {}

    def save(*overrides: str) -> Saved:
        if overrides not in known:
            run = make_run(*overrides, "training.max_steps=100", "training.epochs=null")
            trainer, validated = run.trainer(), None
            for event in trainer.run(RunControl()):
                if isinstance(event, ValidationEvent):
                    validated = event
                elif validated is not None:
                    break
            assert validated is not None
            path = tmp_path_factory.mktemp("saved") / "x.pth"
            write_checkpoint(path, make_checkpoint(run.config, trainer))
            known[overrides] = Saved(path, run.config, trainer, validated)
        return known[overrides]

    return save


@pytest.fixture
def saved(task_and_bottleneck: list[str], save_run: Callable[..., Saved]) -> Saved:
    """A file of every task x bottleneck, pairs included."""
    return save_run(*task_and_bottleneck)


@pytest.fixture
def one(save_run: Callable[..., Saved]) -> Saved:
    """A file of one task, for tests that do not depend on the task."""
    return save_run("task=selection", "task.num_distractors=3")


@pytest.fixture
def changed(one: Saved, tmp_path: Path) -> Callable[..., Path]:
    """Write the file again with plain ``torch.save`` after ``change`` was made to its content."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        content = one.content
        change(content)
        path = tmp_path / "changed.pth"
        torch.save(content, path)
        return path

    return write
