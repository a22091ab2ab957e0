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

from arc.config.hydra_main import (
    FailedJobError,
    gather_overrides,
    hydra_entry,
    typed_overrides,
)
from arc.terminal import run_and_exit

NO_FILES = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def train(tree: DictConfig, inserted: Sequence[str] = ()) -> int:
    """Train the run of ``tree``, or serve until runs are requested; returns the exit status.

    ``inserted`` are the overrides that ``stored_group_choices`` added to the typed ones.
    """
    from arc.loggers.console import TerminalConsole, log_to_terminal
    from arc.server.process import TrainingProcess
    from arc.training import ProcessGroup
    from arc.training.allocator import configure_allocator

    console, ranks = TerminalConsole(), ProcessGroup.from_environment()
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    writes_log = hydra_config.runtime.choices["hydra/job_logging"] == "stdout"
    level = logging.INFO if ranks.is_leader else logging.ERROR
    log_to_terminal(console, level, output / "train.log" if writes_log else None)
    configure_allocator()
    typed = [override for override in typed_overrides() if override not in inserted]
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    process = TrainingProcess(tree, typed, output, console, ranks, is_sweep=is_sweep)
    status = process.run_once() if process.server.autostart else process.serve()
    if status == 1 and process.error is not None:
        raise FailedJobError(process.error)
    return status


def main() -> None:
    """Entry point."""
    run_and_exit(_main)


def _main() -> int:
    typed, inserted = gather_overrides(), []
    if any(override.startswith(("resume=", "finetune=")) for override in typed):
        from arc.runs import stored_group_choices

        inserted += stored_group_choices(typed)
    if os.environ.get("RANK", "0") != "0":
        inserted += NO_FILES
    sys.argv += inserted
    return hydra_entry(partial(train, inserted=inserted), "config")


if __name__ == "__main__":
    main()
