"""Held-out figures of a saved run: ``python -m arc.evaluate path=checkpoints/NAME.pth``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from arc.checkpointing import load
from arc.config.builders import build_task
from arc.config.hydra_main import hydra_entry
from arc.config.schema import parse
from arc.loggers.console import log_to_terminal
from arc.runs.results import evaluate, table, write_results
from arc.training import Heap
from arc.training.device import pick_device

log = logging.getLogger("arc.evaluate")


class EvaluateConfig(BaseModel):
    """Keys of conf/evaluate.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str
    device: str
    output: str | None


def evaluate_file(tree: DictConfig) -> int:
    """Rebuild a run's model and data from its file and print its report; returns 0."""
    log_to_terminal(Console())
    Heap()
    config = parse(EvaluateConfig, tree)
    output = None if config.output is None else Path(config.output)
    if output is not None and not output.parent.is_dir():
        raise ValueError(f"output={output}: cannot be written: there is no {output.parent}")
    device = pick_device(config.device)
    loaded = load(config.path, device)
    task = build_task(loaded.config, device)
    if task.corpus.fingerprint != loaded.metadata.get("data_fingerprint"):
        log.warning("the data differ from those that this run was trained on")
    log.info(f"evaluating {config.path} on {len(task.corpus.test)} test examples")
    seconds = loaded.metadata.get("seconds")
    content = evaluate(
        loaded.config,
        loaded.model,
        task,
        minutes=None if seconds is None else seconds / 60,
        steps=loaded.metadata.get("step"),
    )
    print(table(content), flush=True)
    if output is not None:
        write_results(output, content)
        log.info(f"results {output}")
    return 0


def main() -> None:
    """Entry point."""
    sys.exit(hydra_entry(evaluate_file, "evaluate", EvaluateConfig))


if __name__ == "__main__":
    main()
