"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the rest."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from arc.checkpointing import load, prepare_folder, sweep_temporaries
from arc.cli import hydra_entry
from arc.config import build_model, build_task, with_data
from arc.metadata import json_plain
from arc.plan import Plan, plan_run, stored_choices
from arc.report import evaluate, table, write_results
from arc.saving import Saving, begin_from
from arc.terminal import Terminal, log_to_terminal
from arc.training import (
    DivergedError,
    Heap,
    RunControl,
    Step,
    Trainer,
    Validated,
    autocast_dtype,
    pick_device,
    seed_everything,
)

log = logging.getLogger("arc.train")


def train(tree: DictConfig, chosen: Sequence[str] = ()) -> int:
    """Plan, train, save, report; returns the exit status. ``chosen``: see ``plan_run``."""
    console = Console()
    log_to_terminal(console)
    heap = Heap()
    output = Path(HydraConfig.get().runtime.output_dir)
    return Run(plan_run(tree, chosen), output, console, heap).execute()


class Run:
    """One run from its plan to its results."""

    def __init__(self, plan: Plan, output: Path, console: Console, heap: Heap) -> None:
        config = plan.config
        self.folder = Path(config.checkpoint.dir)
        prepare_folder(self.folder)
        for swept in sweep_temporaries(self.folder):
            log.info(f"swept {swept}, left by a process that died")
        device = pick_device(config.device)
        self.task = build_task(config, device)
        self.config = with_data(config, self.task.num_classes)
        seed_everything(config.seed)
        self.trainer = Trainer(
            config.training,
            build_model(self.config).to(device),
            self.task,
            seed=config.seed,
            augment=config.data.augment,
            autocast=autocast_dtype(config.training.precision, device),
        )
        self.output, self.console, self.heap = output, console, heap
        self._describe(device)
        if plan.origin is not None:
            begin_from(plan.origin, self.config, self.trainer)
        self.saving = Saving(self.config, self.trainer)

    def execute(self) -> int:
        """Train to the end or until stopped, then test; returns the exit status."""
        if self.trainer.reached_limit:
            log.info(
                f"{self.config.run_name} has its full length, {self.trainer.step} steps: nothing "
                "to do. Lengths are totals; raise training.max_steps, epochs or max_minutes"
            )
            return 0
        control, status = RunControl(), 0
        with _signals(control) as received, Terminal(self.console) as terminal:
            try:
                self._train(control, terminal)
            except DivergedError as error:
                log.error(f"{error}. The last good state is in {self.saving.path('last')}")
                status = 1
            failed = self.saving.finish()
        last = self.saving.path("last")
        lost = any(save.path == last for save in failed[-1:])
        if status == 0 and not received and self.trainer.reached_limit:
            self._report()
        elif status == 0 and not lost:
            why = received[0].name if received else "training.stop_at_step"
            log.info(f"stopped at step {self.trainer.step} ({why}); saved {last}")
        if failed:
            log.error(f"{len(failed)} saves failed, the last one: {failed[-1].error}")
        if lost:
            return 1
        return 128 + received[0] if received and status == 0 else status

    def _train(self, control: RunControl, terminal: Terminal) -> None:
        path = self.output / "metrics.jsonl"
        with path.open("a", encoding="utf-8", buffering=1) as metrics:
            for event in self.trainer.run(control):
                terminal.show(event)
                _record(event, metrics)
                self.saving.after(event)
                self.heap.tidy()

    def _report(self) -> None:
        """Touch the test set once, with the best checkpoint."""
        self.heap.trim()
        best = self.saving.path("best")
        model = load(best, self.trainer.model.device).model if best.exists() else self.trainer.model
        log.info(f"testing {best if best.exists() else 'the last state'}")
        content = evaluate(
            self.config,
            model,
            self.task,
            minutes=self.trainer.seconds / 60,
            steps=self.trainer.step,
        )
        path = self.folder / f"{self.config.run_name}_results.json"
        write_results(path, content)
        print(f"\n{table(content)}\n", flush=True)
        log.info(f"results and checkpoints: {self.folder}/{self.config.run_name}_*")

    def _describe(self, device: torch.device) -> None:
        config, corpus = self.config, self.task.corpus
        weights = sum(parameter.numel() for parameter in self.trainer.model.parameters())
        precision = "fp32" if self.trainer.autocast is None else "bf16"
        log.info(
            f"run {config.run_name}: {config.task.name} through {config.bottleneck.name}, "
            f"{weights:,} weights, {device}, {precision}"
        )
        log.info(
            f"data: {config.data.name}, {len(corpus.training)} training, "
            f"{len(corpus.validation)} validation, {len(corpus.test)} test examples"
        )
        for note in corpus.notes + self.task.notes:
            log.info(f"data: {note}")
        if self.trainer.progress is None:
            log.info("no length is set: trains until Ctrl-C, at a constant learning rate")


def _record(event: Step | Validated, file: IO[str]) -> None:
    """Write one event as a line of JSON."""
    if isinstance(event, Step):
        line = {"kind": "step", **vars(event)}
    else:
        figure = event.judgement.verdict.headline
        line = {
            "kind": "validation",
            "step": event.step,
            "epoch": event.epoch,
            "seconds": event.seconds,
            "train_loss": event.train_loss,
            "train_accuracy": event.train_accuracy,
            "val_loss": event.judgement.verdict.loss,
            **{f"val_{name}": value for name, value in figure.values.items()},
            "targets": figure.targets,
            "baselines": figure.baselines,
            "language": event.judgement.language,
        }
    file.write(json.dumps(json_plain(line)) + "\n")


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
