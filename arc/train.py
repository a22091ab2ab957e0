"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the options.

What imports torch is imported where it is used, so that ``--help`` is fast.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from arc.config.hydra_main import (
    FailedJobError,
    JobResult,
    gather_overrides,
    hydra_entry,
    job_title,
    one_line,
    typed_overrides,
)
from arc.config.run_status import STATUS_FILE, is_held_by_another, read_status, write_status
from arc.config.sweeps import AUTO, of_run, sweep_settings
from arc.terminal import run_and_exit, show

NO_FILES = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def train(tree: DictConfig, inserted: Sequence[str] = ()) -> JobResult:
    """Train the run of ``tree``, or serve until runs are requested.

    ``inserted`` are the overrides that ``stored_group_choices`` added to the typed ones. The status
    file in the output folder tells other processes the state of the run.
    """
    output = Path(HydraConfig.get().runtime.output_dir)
    own = of_run([each for each in typed_overrides() if each not in inserted])
    if _is_sweep() and tree.resume == AUTO and _is_finished(output, own):
        show(f"{job_title()}: finished earlier; skipped", sys.stderr)
        (output / STATUS_FILE).touch()  # a job of this sweep
        return JobResult(0, read_status(output)["objective"])
    try:
        return _train(tree, inserted, output)
    except FailedJobError:
        raise
    except Exception as error:
        known = read_status(output)
        is_other = known.get("state") == "finished" or is_held_by_another(known)
        if is_leader() and not is_other:  # the file may be that of a run of the same name
            kept = {key: known.get(key) for key in ("run_name", "step")}
            with suppress(OSError):
                write_status(output, "failed", error=one_line(error), overrides=own, **kept)
        raise


def _train(tree: DictConfig, inserted: Sequence[str], output: Path) -> JobResult:
    with gc_disabled():
        from arc.loggers.console import TerminalConsole, log_to_terminal
        from arc.server.process import TrainingProcess
        from arc.training import ProcessGroup
        from arc.training.allocator import configure_allocator

    console, ranks = TerminalConsole(), ProcessGroup.from_environment()
    hydra_config = HydraConfig.get()
    writes_log = hydra_config.runtime.choices["hydra/job_logging"] == "stdout"
    level = logging.INFO if ranks.is_leader else logging.ERROR
    log_to_terminal(console, level, output / "train.log" if writes_log else None)
    configure_allocator()
    typed = [override for override in typed_overrides() if override not in inserted]
    sweep = Path(hydra_config.sweep.dir) if _is_sweep() else None
    process = TrainingProcess(tree, typed, output, console, ranks, sweep=sweep)
    status = process.run_once() if process.server.autostart else process.serve()
    if status == 1 and process.error is not None:
        raise FailedJobError(process.error)
    return JobResult(status, read_status(output).get("objective"))


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable the garbage collector during the first imports of torch, where it only costs time.

    Objects that exist afterwards are never collected. Does nothing in later jobs of a sweep.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _is_finished(output: Path, overrides: Sequence[str]) -> bool:
    """Return whether the run of these overrides in ``output`` has finished and has its results."""
    status = read_status(output)
    if status.get("state") != "finished" or sorted(status["overrides"]) != sorted(overrides):
        return False
    return (output / status["folder"] / f"{status['run_name']}_results.json").is_file()


def is_leader() -> bool:
    """Return whether this process is the first one of its group; there may be no other."""
    return os.environ.get("RANK", "0") == "0"


def main() -> None:
    """Entry point. One of several processes ends without finalizing the interpreter.

    Threads of torch's process group outlive it if DistributedDataParallel was used, and sometimes
    abort a process whose interpreter is finalized (https://github.com/pytorch/pytorch/pull/179291).
    """
    try:
        run_and_exit(_main)
    except SystemExit as ended:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        atexit._run_exitfuncs()
        os._exit(ended.code if isinstance(ended.code, int) else bool(ended.code))


def _main() -> int:
    typed, inserted = gather_overrides(), []
    is_sweep = get_args_parser().parse_known_args()[0].multirun
    starts = [each for each in typed if each.startswith(("resume=", "finetune="))]
    if starts and not (is_sweep and starts == [f"resume={AUTO}"]):  # from the jobs' own folders
        from arc.runs import stored_group_choices

        inserted += stored_group_choices(typed)
    if is_sweep:
        sys.argv += sweep_settings(typed, inserted)
    if not is_leader():
        inserted += NO_FILES
    sys.argv += inserted
    return hydra_entry(partial(train, inserted=inserted), "config")


if __name__ == "__main__":
    main()
