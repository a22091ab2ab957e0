"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the options."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from arc.config.hydra_main import hydra_entry, insert_overrides, redact_token, typed_overrides
from arc.loggers.console import log_to_terminal
from arc.runs import stored_group_choices
from arc.server.process import TrainingProcess
from arc.training import ProcessGroup
from arc.training.allocator import configure_allocator

NO_FILES = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def train(tree: DictConfig, inserted: Sequence[str] = ()) -> int:
    """Train the run of ``tree``, or serve until runs are requested; returns the exit status.

    ``inserted`` are the overrides that ``stored_group_choices`` added to the typed ones.
    """
    console, ranks = Console(), ProcessGroup.from_environment()
    log_to_terminal(console, logging.INFO if ranks.is_leader else logging.ERROR)
    configure_allocator()
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    typed = [override for override in typed_overrides() if override not in inserted]
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    process = TrainingProcess(tree, typed, output, console, ranks, is_sweep=is_sweep)
    redact_token(process.server.token, output)
    return process.run_once() if process.server.autostart else process.serve()


def main() -> None:
    """Entry point."""
    inserted = stored_group_choices([argument for argument in sys.argv[1:] if "=" in argument])
    if not ProcessGroup.from_environment().is_leader:
        inserted += NO_FILES
    insert_overrides(inserted)
    sys.exit(hydra_entry(partial(train, inserted=inserted), "config"))


if __name__ == "__main__":
    main()
