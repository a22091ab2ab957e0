"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the rest."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from arc.config.hydra_main import hydra_entry
from arc.config.schema import ConfigError, ProcessConfig, ServerConfig, parse
from arc.loggers.console import Terminal, log_to_terminal
from arc.runs.next_run import NextRun
from arc.runs.plan import RunPlan, key_of, plan_run, stored_group_choices
from arc.runs.results import table
from arc.runs.run import Run, RunEnded, RunStarted, TrainingEnded, make_run
from arc.server.endpoint import endpoint
from arc.server.session import Session
from arc.training import Heap, ProcessGroup, RunControl

log = logging.getLogger("arc.train")
LEAVING_NOTHING = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def train(tree: DictConfig, chosen: Sequence[str] = ()) -> int:
    """Run what was typed, or serve until runs are asked for; returns the exit status.

    ``chosen`` are the overrides that ``stored_group_choices`` put before those that were typed.
    """
    process = Process(tree, chosen)
    return process.run_once() if process.server.autostart else process.serve()


class Process:
    """What the runs of one process share."""

    def __init__(self, tree: DictConfig, chosen: Sequence[str]) -> None:
        self.console = Console()
        self.ranks = ProcessGroup.from_environment()
        log_to_terminal(self.console, logging.INFO if self.ranks.is_leader else logging.ERROR)
        self.heap = Heap()
        self.output = Path(HydraConfig.get().runtime.output_dir)
        self.tree = tree
        self.typed = [override for override in _typed() if override not in chosen]
        is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if is_sweep and self.ranks.size > 1:
            raise ConfigError("-m: several processes train one run, not a sweep")
        self.own_folder = self.output / "checkpoints" if is_sweep else None
        self.server = self._server(parse(ProcessConfig, tree), is_sweep)
        self.session = Session(NextRun(self.typed), exit_after_run=self.server.autostart)
        _hide(self.server.token, self.output)

    def _server(self, config: ProcessConfig, is_sweep: bool) -> ServerConfig:
        """Return the endpoint's settings; in a sweep there is none unless it was asked for."""
        if not config.server.autostart and (config.resume or config.finetune):
            raise ConfigError("server.autostart=false: POST /start_train says what to start from")
        if not config.server.autostart and self.ranks.size > 1:
            raise ConfigError("server.autostart=false: several processes train one run only")
        asked = any(key_of(override).startswith("server.") for override in self.typed)
        if is_sweep and not asked:
            return config.server.model_copy(update={"enabled": False})
        return config.server

    def run_once(self) -> int:
        """Run what was typed; returns the exit status."""
        plan = plan_run(self.tree, self.typed, self.own_folder)
        run = make_run(plan, self.output, self.heap, self.ranks)  # what fails is not served either
        if run.is_finished:
            return 0
        if not self.ranks.is_leader:
            return self._follow(run)
        with (
            _signals(lambda _: self.session.shutdown()) as received,
            endpoint(self.server, self.session),
            self.session.running(plan) as control,
        ):
            status = self._see_through(run, control)
        return 128 + received[0] if received else status

    def _follow(self, run: Run) -> int:
        """Train beside the process that leads; returns the exit status."""
        control = RunControl()
        with _signals(_stopping(control)) as received:
            run.follow(control)
        return 128 + received[0] if received else 0

    def serve(self) -> int:
        """Run what is asked for, one after the other, until Ctrl-C; returns the exit status."""
        with (
            _signals(lambda _: self.session.shutdown()) as received,  # before anybody has a lock
            endpoint(self.server, self.session),
        ):
            log.info("waiting for POST /start_train or /start_pretrain; Ctrl-C ends")
            while (plan := self.session.next_plan()) is not None:
                try:
                    status = self._perform(plan)
                except ValueError as error:
                    log.error(str(error))
                except Exception:  # the edge of a run: the next one must still be possible
                    log.exception("the run failed")
                else:
                    if status > 128:
                        return status
        return 128 + received[0] if received else 0

    def _perform(self, plan: RunPlan) -> int:
        """Make a run that was asked for and see it through; returns its exit status."""
        output = self.output / str(plan.config.run_name)
        with self.session.running(plan) as control:
            output.mkdir(parents=True, exist_ok=True)
            run = make_run(plan, output, self.heap)
            return 0 if run.is_finished else self._see_through(run, control)

    def _see_through(self, run: Run, control: RunControl) -> int:
        """Train, save, test; returns the exit status."""
        with run.claimed():
            return self._claimed(run, control)

    def _claimed(self, run: Run, control: RunControl) -> int:
        self.session.on_event(RunStarted(run))
        with _signals(_stopping(control)) as received, Terminal(self.console) as terminal:
            outcome = run.execute(control, terminal.show, self.session.on_event)
        self.session.on_event(TrainingEnded(outcome))
        results = None
        if outcome.kind == "finished":
            results = run.report()
            print(f"\n{table(results)}\n", flush=True)
        self.session.on_event(RunEnded(outcome, results))
        if outcome.kind == "failed":
            return 1
        return 128 + received[0] if received else 0


def _typed() -> list[str]:
    """Return this command line's overrides as they were typed, interpolations too."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def _hide(secret: str | None, output: Path) -> None:
    """Take a typed secret out of what Hydra wrote down."""
    if secret is None:
        return
    for path in (output / ".hydra").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if secret in text:
            path.write_text(text.replace(secret, "***"), encoding="utf-8")


def _stopping(control: RunControl) -> Callable[[str], None]:
    """Return what a signal does to a run: it stops after its step."""

    def stop(name: str) -> None:
        control.request_stop(name)
        said = f"{name}: stopping after this step; once more ends at once"
        # not from here: this may be in the middle of writing a line
        threading.Thread(target=log.info, args=(said,)).start()

    return stop


@contextmanager
def _signals(act: Callable[[str], None]) -> Iterator[list[signal.Signals]]:
    """Have the first SIGINT or SIGTERM ``act``; a second one ends the process.

    Yields those received. No exception is raised: it could get lost on its way.
    """
    received: list[signal.Signals] = []

    def handle(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        received.append(signal.Signals(number))
        act(received[-1].name)

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _insert(overrides: list[str]) -> None:
    """Put overrides beside those that were typed: argparse takes them in one place only."""
    typed = (n for n, each in enumerate(sys.argv) if n > 0 and "=" in each and each[0] != "-")
    place = next(typed, len(sys.argv))
    sys.argv[place:place] = overrides


def main() -> None:
    """Entry point."""
    chosen = stored_group_choices([argument for argument in sys.argv[1:] if "=" in argument])
    if not ProcessGroup.from_environment().is_leader:
        chosen += LEAVING_NOTHING
    _insert(chosen)
    sys.exit(hydra_entry(partial(train, chosen=chosen), "config"))


if __name__ == "__main__":
    main()
