"""Train two agents: ``python -m arc.train task=selection``; ``--help`` lists the rest."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from arc.checkpointing import load, make_checkpoint, prepare_folder, write_checkpoint
from arc.cli import hydra_entry
from arc.config import RunConfig, build_model, build_task, parse_config, with_data
from arc.report import evaluate, table, write_results
from arc.terminal import Terminal, log_to_terminal
from arc.training import (
    DivergedError,
    RunControl,
    Step,
    Trainer,
    Validated,
    autocast_dtype,
    keep_freed_memory,
    pick_device,
    seed_everything,
)

log = logging.getLogger("arc.train")


def train(tree: DictConfig) -> int:
    """Compose, train, save, report; returns the exit status."""
    console = Console()
    log_to_terminal(console)
    keep_freed_memory()
    config, output = _named(parse_config(tree)), Path(HydraConfig.get().runtime.output_dir)
    return Run(config, output, console).execute()


class Run:
    """One run from its configuration to its results."""

    def __init__(self, config: RunConfig, output: Path, console: Console) -> None:
        self.folder = Path(config.checkpoint.dir)
        prepare_folder(self.folder)
        device = pick_device(config.device)
        self.task = build_task(config, device)
        self.config = with_data(config, self.task.num_classes)
        seed_everything(config.seed)
        model = build_model(self.config).to(device)
        self.trainer = Trainer(
            config.training,
            model,
            self.task,
            seed=config.seed,
            augment=config.data.augment,
            autocast=autocast_dtype(config.training.precision, device),
        )
        self.output, self.console = output, console
        self._describe(device)

    def execute(self) -> int:
        """Train to the end or until stopped, then test; returns the exit status."""
        control = RunControl()
        with _signals(control) as received, Terminal(self.console) as terminal:
            try:
                self._train(control, terminal)
            except DivergedError as error:
                self._save("last")
                log.error(f"{error}. The last good state is in {self._path('last')}")
                return 1
        self._save("last")
        if received:
            log.info(f"stopped at step {self.trainer.step}; saved {self._path('last')}")
            return 128 + received[0]
        if not self.trainer.reached_limit:
            log.info(f"reached training.stop_at_step; saved {self._path('last')}")
            return 0
        self._report()
        return 0

    def _train(self, control: RunControl, terminal: Terminal) -> None:
        with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
            for event in self.trainer.run(control):
                terminal.show(event)
                _record(event, metrics)
                if isinstance(event, Validated) and event.is_best:
                    self._save("best")

    def _report(self) -> None:
        """Touch the test set once, with the best checkpoint."""
        best = self._path("best")
        if not best.exists():  # no validation set, or no figure that could be best
            best = self._path("last")
        log.info(f"testing {best}")
        model = load(best, self.trainer.model.device).model
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
        log.info(f"results {path}; checkpoints {best} and {self._path('last')}")

    def _save(self, which: str) -> None:
        write_checkpoint(self._path(which), make_checkpoint(self.config, self.trainer))

    def _path(self, which: str) -> Path:
        return self.folder / f"{self.config.run_name}_{which}.pth"

    def _describe(self, device: torch.device) -> None:
        config, corpus = self.config, self.task.corpus
        weights = sum(parameter.numel() for parameter in self.trainer.model.parameters())
        precision = "fp32" if self.trainer.autocast is None else "bf16"
        log.info(
            f"run {config.run_name}: {config.task.name} through {config.bottleneck.name}, "
            f"{weights:,} weights, {device}, {precision}"
        )
        log.info(
            f"data {config.data.name}: {len(corpus.training)} training, "
            f"{len(corpus.validation)} validation, {len(corpus.test)} test examples"
        )
        for note in corpus.notes + self.task.notes:
            log.info(f"data {note}")


def _named(config: RunConfig) -> RunConfig:
    """Give the run a name, and in a sweep a folder of its own."""
    typed = HydraConfig.get().overrides.task
    if HydraConfig.get().mode == RunMode.MULTIRUN and not any(
        override.startswith("checkpoint.dir=") for override in typed
    ):
        folder = str(Path(HydraConfig.get().runtime.output_dir) / "checkpoints")
        checkpoint = config.checkpoint.model_copy(update={"dir": folder})
        config = config.model_copy(update={"checkpoint": checkpoint})
    folder_path = Path(config.checkpoint.dir)
    if config.run_name is not None:
        if (folder_path / f"{config.run_name}_last.pth").exists():
            raise ValueError(
                f"run_name={config.run_name}: {folder_path} holds a run of that name; "
                "choose another, or leave it out"
            )
        return config
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = base = f"{config.task.name}_{config.bottleneck.name}_{stamp}"
    number = 2
    while (folder_path / f"{name}_last.pth").exists():
        name, number = f"{base}_{number}", number + 1
    return config.model_copy(update={"run_name": name})


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
    file.write(json.dumps(line) + "\n")


@contextmanager
def _signals(control: RunControl) -> Iterator[list[int]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends the process."""
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        received.append(number)
        name = signal.Signals(number).name
        control.request_stop(name)
        log.info(f"{name}: stopping after this step; once more ends at once")

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def main() -> None:
    """Entry point."""
    sys.exit(hydra_entry(train, "config"))


if __name__ == "__main__":
    main()
