"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the options.

What imports torch is imported where it is used, so that ``--help`` is fast.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from arc.config.hydra_main import (
    gather_overrides,
    hydra_entry,
    typed_overrides,
)
from arc.config.streams import open_standard_streams

NO_FILES = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def train(tree: DictConfig, inserted: Sequence[str] = ()) -> int:
    """Train the run of ``tree``, or serve until runs are requested; returns the exit status.

    ``inserted`` are the overrides that ``stored_group_choices`` added to the typed ones.
    """
    from arc.loggers.console import log_to_terminal
    from arc.server.process import TrainingProcess
    from arc.training import ProcessGroup
    from arc.training.allocator import configure_allocator

    console, ranks = Console(), ProcessGroup.from_environment()
    log_to_terminal(console, logging.INFO if ranks.is_leader else logging.ERROR)
    configure_allocator()
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    typed = [override for override in typed_overrides() if override not in inserted]
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    process = TrainingProcess(tree, typed, output, console, ranks, is_sweep=is_sweep)
    return process.run_once() if process.server.autostart else process.serve()


def main() -> None:
    """Entry point."""
    open_standard_streams()
    typed, inserted = gather_overrides(), []
    if any(override.startswith(("resume=", "finetune=")) for override in typed):
        from arc.runs import stored_group_choices

        inserted += stored_group_choices(typed)
    if os.environ.get("RANK", "0") != "0":
        inserted += NO_FILES
    sys.argv += inserted
    sys.exit(hydra_entry(partial(train, inserted=inserted), "config"))


if __name__ == "__main__":
    main()
