"""The process of ``python -m arc.train``: its runs, its endpoint and its signals."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from arc.config.files import ConfigError
from arc.config.overrides import key_of
from arc.config.schema import ProcessConfig, ServerConfig, parse
from arc.loggers.console import ConsoleProgress
from arc.runs import Run, RunPlan, build_run, plan_run, run_to_end
from arc.runs.next_run import NextRun
from arc.runs.signals import on_signal, stops
from arc.runs.sweep_watch import SweepWatch
from arc.runs.tables import format_results
from arc.server.endpoint import endpoint, published_log
from arc.server.session import Session
from arc.terminal import show
from arc.training import Callback, ProcessGroup, RunControl

log = logging.getLogger(__name__)


class TrainingProcess:
    """Trains the run that was typed, or serves and trains the runs that are requested.

    ``sweep`` is the folder of the sweep that the process runs a job of.
    """

    def __init__(
        self,
        tree: DictConfig,
        typed: Sequence[str],
        output: Path,
        console: Console,
        ranks: ProcessGroup,
        *,
        sweep: Path | None = None,
    ) -> None:
        is_sweep = sweep is not None
        if is_sweep and ranks.size > 1:
            raise ConfigError("-m: sweeps are not supported with torchrun")
        self.tree, self.typed, self.output = tree, list(typed), output
        config = parse(ProcessConfig, tree)
        self.console, self.ranks = console, replace(ranks, **config.torchrun.model_dump())
        self.sweep = sweep
        self.error: str | None = None  # of the last run
        self.own_folder = output / "checkpoints" if is_sweep else None
        self.server = self._server_config(config, is_sweep)
        # the page shows the other jobs of a sweep, or the other runs of the current folder
        beside = [output.parent] if is_sweep else [Path("outputs"), output]
        self.session = Session(
            NextRun(self.typed), exit_after_run=self.server.autostart, outputs=beside
        )

    def _server_config(self, config: ProcessConfig, is_sweep: bool) -> ServerConfig:
        """Return the endpoint's configuration; in a sweep it is off unless it was typed."""
        if not config.server.autostart and (config.resume or config.finetune):
            raise ConfigError(
                "server.autostart=false cannot be combined with resume or finetune; press Resume "
                'or Fine-tune in the dashboard, or POST /start_train with {"resume": "NAME"}'
            )
        if not config.server.autostart and self.ranks.size > 1:
            raise ConfigError("server.autostart=false: not supported with torchrun")
        if is_sweep and not any(key_of(each).startswith("server.") for each in self.typed):
            return config.server.model_copy(update={"enabled": False})
        return config.server

    def run_once(self) -> int:
        """Train the run that was typed; returns the exit status."""
        with published_log(self.session.status):
            return self._run_once()

    def _run_once(self) -> int:
        plan = plan_run(self.tree, self.typed, self.own_folder)
        run = build_run(plan, self.output, self.ranks)  # before the endpoint: it may raise
        if run.is_finished or not self.ranks.is_leader:
            return self._train(run, RunControl())
        self.session.begin(plan)
        with (
            on_signal(lambda _: self.session.shutdown()) as received,
            endpoint(self.server, self.session),
            self.session.running(plan) as control,
        ):
            status = self._train(run, control)
        return 128 + received[0] if received else status

    def serve(self) -> int:
        """Train the runs that are requested until Ctrl-C; returns the exit status."""
        with (
            on_signal(lambda _: self.session.shutdown()) as received,  # before any lock is held
            published_log(self.session.status),
            endpoint(self.server, self.session),
        ):
            log.info(
                "waiting for a start from the dashboard or by POST /start_train or /start_pretrain;"
                " Ctrl-C ends the process"
            )
            while (plan := self.session.next_plan()) is not None:
                if (status := self._train_requested(plan)) > 128:
                    return status
        return 128 + received[0] if received else 0

    def _train_requested(self, plan: RunPlan) -> int:
        """Build and train a requested run; a failure leaves the process ready for the next."""
        output = self.output / str(plan.config.run_name)
        try:
            with self.session.running(plan) as control:
                return self._train(build_run(plan, output), control)
        except ValueError as error:
            log.error(str(error))
        except (Exception, SystemExit):  # a failed run must not end the process
            log.exception("the run failed")
        return 1

    def _train(self, run: Run, control: RunControl) -> int:
        """Train, evaluate and print the results; returns the exit status."""
        callbacks: list[Callback] = []
        if self.ranks.is_leader:
            callbacks += [self.session, ConsoleProgress(self.console)]
        if self.sweep is not None:
            callbacks.append(SweepWatch(self.sweep, control))
        with on_signal(stops(control)) as received:
            result = run_to_end(run, control=control, callbacks=callbacks)
        if result.results is not None:
            show(f"\n{format_results(result.results)}\n")
        self.error = result.outcome.error
        if result.outcome.kind == "failed":
            return 1
        return 128 + received[0] if received else 0
