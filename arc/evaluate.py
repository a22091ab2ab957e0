"""Evaluate a saved run: ``python -m arc.evaluate path=checkpoints/NAME.pth``."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from arc.config.hydra_main import gather_overrides, hydra_entry, typed_overrides
from arc.terminal import run_and_exit, show

log = logging.getLogger("arc.evaluate")


def evaluate_file(tree: DictConfig) -> int:
    """Evaluate the checkpoint and print its results; returns the exit status."""
    from arc.config.overrides import key_of
    from arc.config.schema import EvaluateConfig, parse
    from arc.loggers.console import ConsoleProgress, TerminalConsole, log_to_terminal
    from arc.runs.results import evaluate_checkpoint, format_results, write_results
    from arc.runs.signals import on_signal, stops
    from arc.training import RunControl, pick_device
    from arc.training.allocator import configure_allocator

    console = TerminalConsole()
    log_to_terminal(console)
    configure_allocator()
    config = parse(EvaluateConfig, tree)
    output = None if config.output is None else Path(config.output)
    if output is not None and not output.parent.is_dir():
        raise ValueError(f"output={output}: cannot be written: there is no {output.parent}")
    control, progress = RunControl(), ConsoleProgress(console)
    try:
        with on_signal(stops(control)) as received:
            results = evaluate_checkpoint(
                config.path,
                pick_device(config.device),
                overrides=[each for each in typed_overrides() if key_of(each).startswith("data.")],
                report=progress.on_event,
                should_stop=lambda: control.stop_requested,
            )
    finally:
        progress.close()
    show(format_results(results))
    if output is not None:
        write_results(output, results)
        log.info(f"results {output}")
    return 128 + received[0] if received else 0


def main() -> None:
    """Entry point."""
    run_and_exit(_main)


def _main() -> int:
    gather_overrides()
    return hydra_entry(evaluate_file, "evaluate")


if __name__ == "__main__":
    main()
