"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the rest."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from arc.cli import hydra_entry
from arc.plan import plan_run, stored_choices
from arc.report import table
from arc.run import make_run
from arc.terminal import Terminal, log_to_terminal
from arc.training import Heap, RunControl

log = logging.getLogger("arc.train")


def train(tree: DictConfig, chosen: Sequence[str] = ()) -> int:
    """Plan, train, save, report; returns the exit status. ``chosen``: see ``plan_run``."""
    console = Console()
    log_to_terminal(console)
    heap = Heap()
    output = Path(HydraConfig.get().runtime.output_dir)
    run = make_run(plan_run(tree, chosen), output, heap)
    if run.is_finished:
        return 0
    control = RunControl()
    with _signals(control) as received, Terminal(console) as terminal:
        outcome = run.execute(control, terminal.show)
    if outcome.kind == "finished":
        print(f"\n{table(run.report())}\n", flush=True)
    if outcome.kind == "failed":
        return 1
    return 128 + received[0] if received else 0


@contextmanager
def _signals(control: RunControl) -> Iterator[list[signal.Signals]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends the process."""
    received: list[signal.Signals] = []

    def handle(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        received.append(signal.Signals(number))
        control.request_stop(received[-1].name)
        log.info(f"{received[-1].name}: stopping after this step; once more ends at once")

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def main() -> None:
    """Entry point."""
    chosen = stored_choices([argument for argument in sys.argv[1:] if "=" in argument])
    sys.argv[1:1] = chosen
    sys.exit(hydra_entry(partial(train, chosen=chosen), "config"))


if __name__ == "__main__":
    main()
