"""The command line of scripts/compare.py; imports torch only to serve."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arc.config.files import ConfigError
from arc.runs.comparison import (
    compare_runs,
    curve_names,
    curve_of,
    format_comparison,
    group_band,
    table_rows,
)
from arc.runs.files import check_writable, write_file
from arc.runs.metrics_file import Band
from arc.runs.records import RunFinder, RunRecord
from arc.terminal import escaped, show, show_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the runs of folders, or serve their comparison; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options) if options.serve else _compare(options)
    except ValueError as error:
        return show_error(escaped(str(error)))
    except OSError as error:
        return show_error(escaped(f"{error.filename}: {error.strerror}"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare runs: what varied, and the mean of each setting over its seeds."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders of runs")
    parser.add_argument(
        "--by", metavar="KEY[,KEY]", help="group the runs by these keys of the configuration"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="metric to compare, such as test.random_99; default: the task's first metric",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write groups and runs as JSON")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="write the learning curves as .png, .svg or .pdf"
    )
    parser.add_argument("--serve", action="store_true", help="serve a page of the runs")
    parser.add_argument(
        "--port", type=int, help="port for --serve (default: 5002); 0: any free port"
    )
    return parser


def _compare(options: argparse.Namespace) -> int:
    if options.port is not None:
        raise ConfigError("--port needs --serve")
    for path in filter(None, (options.csv, options.json)):
        check_writable(path)
    if options.plot is not None:
        from arc.report.comparison import check_plot

        check_plot(options.plot)
    runs, warnings = RunFinder().find(options.folders)
    for warning in warnings:
        show(escaped(f"warning: {warning}"), sys.stderr)
    if not runs:
        raise ConfigError(f"no runs below {', '.join(map(str, options.folders))}")
    by = [key.strip() for key in options.by.split(",")] if options.by else []
    content = compare_runs(runs, warnings, by, options.metric)
    show(format_comparison(content))
    if options.csv is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table_rows(content))
        write_file(options.csv, text.getvalue().encode())
    if options.json is not None:
        write_file(options.json, (json.dumps(content, indent=2) + "\n").encode())
    if options.plot is not None:
        _plot(options.plot, runs, content)
    for path in filter(None, (options.csv, options.json, options.plot)):
        show(escaped(f"written to {path}"), sys.stderr)
    return 0


def _plot(path: Path, runs: Sequence[RunRecord], content: Mapping[str, Any]) -> None:
    from arc.report.comparison import plot_curves

    curve = curve_of(content["metric"])
    if curve not in curve_names(runs):
        raise ConfigError(f"plot={path}: the runs have no metrics.jsonl with {curve}")
    by_id = {row["id"]: run for row, run in zip(content["runs"], runs, strict=True)}
    bands: dict[str, Band] = {}
    for group in content["groups"]:
        found = group_band([by_id[name] for name in group["runs"]], curve)
        if found is not None:
            name = group["label"]
            bands[name if name not in bands else f"{name} ({len(bands) + 1})"] = found
    plot_curves(path, bands, curve)


def _serve(options: argparse.Namespace) -> int:
    from arc.config.hydra_main import TOKEN_VARIABLE
    from arc.server.runs_page import serve_runs

    for name in ("by", "metric", "csv", "json", "plot"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--serve and --{name} are mutually exclusive; set only one")
    port = 5002 if options.port is None else options.port
    return serve_runs(options.folders, port, os.environ.get(TOKEN_VARIABLE) or None)
