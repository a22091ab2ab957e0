"""Evaluate saved runs: ``python -m arc.evaluate path=checkpoints/NAME.pth``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from arc.config.hydra_main import (
    JobResult,
    gather_overrides,
    gathered,
    hydra_entry,
    typed_overrides,
)
from arc.terminal import run_and_exit, show, show_error

if TYPE_CHECKING:  # they import torch
    from arc.config.schema import EvaluateConfig
    from arc.loggers.console import TerminalConsole

log = logging.getLogger("arc.evaluate")


def evaluate_files(tree: DictConfig) -> JobResult:
    """Evaluate the checkpoints and print their results."""
    from arc.config.schema import EvaluateConfig, parse
    from arc.loggers.console import TerminalConsole, log_to_terminal
    from arc.report import check_report, report_path
    from arc.runs.files import check_writable
    from arc.runs.results import write_results
    from arc.training.allocator import configure_allocator

    console = TerminalConsole()
    log_to_terminal(console)
    configure_allocator()
    config = parse(EvaluateConfig, tree)
    output = None if config.output is None else Path(config.output)
    if output is not None:
        check_writable(output)
    report = report_path(config.path[0], config.report)
    if report is not None:
        check_report(report)
    runs: dict[str, dict[str, Any]] = {}
    pairs: dict[str, Any] = {}
    try:
        status = _evaluate(config, report, console, runs, pairs)
    finally:
        if runs:
            _show(runs, pairs)
    if output is not None:
        write_results(output, _content(runs, pairs))
        log.info(f"results written to {output}")
    return JobResult(status)


def _evaluate(
    config: EvaluateConfig,
    report: Path | None,
    console: TerminalConsole,
    runs: dict[str, dict[str, Any]],
    pairs: dict[str, Any],
) -> int:
    """Evaluate the files into ``runs`` and ``pairs``, and write the ``report``.

    Returns the exit status. ``runs`` has the results so far if an error ends the evaluation.
    """
    from arc.config.overrides import key_of
    from arc.loggers.console import ConsoleProgress
    from arc.report import write_report
    from arc.runs.crossplay import cross_play, load_players
    from arc.runs.results import EvaluationOptions, Observed
    from arc.runs.saved import evaluate_checkpoints
    from arc.runs.signals import on_signal, stops
    from arc.training import EvaluationEvent, RunControl, pick_device

    control, progress = RunControl(), ConsoleProgress(console)
    device = pick_device(config.device)
    typed = [each for each in typed_overrides() if key_of(each).startswith("data.")]
    players = load_players(config.path, device, typed) if config.crossplay else {}
    observed: list[Observed] = []
    options = EvaluationOptions(
        measures=config.measures,
        learning=config.learning,
        learning_steps=config.learning_steps,
        report=progress.on_event,
        should_stop=lambda: control.stop_requested,
        observe=None if report is None else observed.append,
    )
    shared: dict[str, Any] = {"overrides": typed, "tasks": {}}
    try:
        with on_signal(stops(control)) as received:
            for path, results in evaluate_checkpoints(
                config.path, device, options, messages=config.messages, **shared
            ):
                runs[path] = results
            if players and not control.stop_requested:
                pairs.update(cross_play(players, device, options=options, **shared))
            if report is not None and len(observed) == len(runs):  # none was stopped
                progress.on_event(EvaluationEvent("report", 1.0, None))
                write_report(report, runs, observed)
                log.info(f"report written to {report}")
    finally:
        progress.close()
    return 128 + received[0] if received else 0


def _show(runs: Mapping[str, dict[str, Any]], pairs: Mapping[str, Any]) -> None:
    """Print a table for each run, or for all that differ only in their seed, and for ``pairs``."""
    from arc.runs.seeds import seed_groups
    from arc.runs.tables import format_cross_play, format_results, format_seeds

    parts = []
    for paths in seed_groups(runs):
        results = [runs[path] for path in paths]
        table = format_results(results[0]) if len(paths) == 1 else format_seeds(results)
        parts.append(table if len(runs) == 1 else "\n".join([*paths, "", table]))
    if pairs:
        parts.append(format_cross_play(pairs))
    show("\n\n\n".join(parts))


def _content(runs: Mapping[str, dict[str, Any]], pairs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of the only run, or those of several, with the means over seeds.

    ``pairs``, unless empty, are those of cross-play.
    """
    from arc.runs.seeds import seed_groups
    from arc.runs.tables import over_seeds

    if len(runs) == 1:
        return next(iter(runs.values()))
    groups = [paths for paths in seed_groups(runs) if len(paths) > 1]
    means = [{"runs": paths, "means": over_seeds([runs[p] for p in paths])} for paths in groups]
    content = {"runs": dict(runs), "seeds": means}
    return content | ({"crossplay": dict(pairs)} if pairs else {})


def main() -> None:
    """Entry point."""
    run_and_exit(_main)


def _main() -> int:
    for argument in sys.argv[1:]:
        if os.path.isfile(argument):
            return show_error(f"{argument}: did you mean path={argument}?")
    typed = gather_overrides()
    sys.argv[len(sys.argv) - len(typed) :] = gathered("path", typed)
    return hydra_entry(evaluate_files, "evaluate")


if __name__ == "__main__":
    main()
