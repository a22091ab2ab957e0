"""The page of a report and the files beside it."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import arc
from arc.checkpointing import read_metadata
from arc.config.files import ConfigError
from arc.io.trees import json_plain, leaves
from arc.report import accuracy, examples, measures, symbols, training, vectors
from arc.report.base import ReportedRun, Row, Section, shown
from arc.report.curves import find_curves
from arc.runs.files import check_writable, write_file
from arc.runs.results import Observed
from arc.terminal import escaped

SECTIONS = (
    accuracy.results,
    accuracy.accuracy,
    measures.measures,
    accuracy.interventions,
    symbols.symbols,
    symbols.concepts,
    symbols.dictionary,
    vectors.vectors,
    examples.neighbors,
    examples.examples,
    training.training,
    training.configuration,
)
SUFFIX = ".html"
LIST = "files.json"  # the names of the other files in the folder of a report


def report_path(checkpoint: str | Path, report: bool | str | Path) -> Path | None:
    """Return the file of a report; None for False.

    True: ``<run_name>_report.html`` beside ``checkpoint``. Raises ConfigError for a path that does
    not end in .html, CheckpointError if ``checkpoint`` cannot be read.
    """
    if report is False:
        return None
    if report is not True:
        if Path(report).suffix != SUFFIX:
            raise ConfigError(f"report={report}: must be true, false or a path that ends in .html")
        return Path(report).expanduser()
    path = Path(checkpoint)
    name = read_metadata(path)["config"].get("run_name") or path.stem
    return path.with_name(f"{name}_report{SUFFIX}")


def check_report(path: Path) -> None:
    """Raise ValueError if a report cannot be written to ``path``, or if Matplotlib is missing.

    A folder of the same name, for the tables, must be empty or that of an earlier report.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("report: needs Matplotlib: pip install -e '.[report]'")
    check_writable(path)
    folder = path.with_suffix("")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / LIST).is_file()):
        raise ConfigError(f"{folder}: not the folder of a report; choose another report=PATH.html")
    check_writable(folder / LIST)


def write_report(
    path: Path, results: dict[str, dict[str, Any]], observed: Sequence[Observed]
) -> None:
    """Write the report on evaluated runs to ``path``, an HTML file.

    ``results`` are those of each run by the path of its checkpoint, and ``observed`` what
    ``evaluate_run`` has passed to ``observe``, in the same order. Tables (CSV and JSON) and figures
    (SVG) are written to a folder with the name of the file; its earlier ones are replaced. Equal
    input gives equal files. Raises ValueError if a file cannot be written.
    """
    names = [each["config"].get("run_name") or Path(key).stem for key, each in results.items()]
    labels = names if len(set(names)) == len(names) else list(results)
    curves = [find_curves(Path(key), read_metadata(key)) for key in results]
    columns = (map(escaped, labels), map(Path, results), results.values(), observed, curves)
    runs = [ReportedRun(*values) for values in zip(*columns, strict=True)]
    sections = [section for make in SECTIONS if (section := make(runs)).blocks]
    page = _page(runs, sections)
    _write_folder(path.with_suffix(""), sections)
    write_file(path, page.encode())


def _page(runs: Sequence[ReportedRun], sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("arc.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs"
    return environment.get_template("report.html").render(
        title=title,
        runs=runs,
        facts=_without_empty([_facts(run) for run in runs]),
        sections=sections,
        style=Markup(style),
        configurations=[_lines(run) for run in runs],
        version=arc.__version__,
    )


def _facts(run: ReportedRun) -> dict[str, str]:
    """Return the facts that identify a run."""
    config, results, split = run.results["config"], run.results, run.observed.split
    bottleneck = config["bottleneck"]
    size = run.observed.vocab_size
    channel = f"vectors of {run.observed.evaluation.signal.shape[1]} numbers"
    if size is not None:
        channel = f"{bottleneck['max_message_length']} symbols of {size}"
    task, game, leaked = config["task"], "", results.get("leaked")
    if "num_distractors" in task:
        game = f", {task['num_distractors']} {task['distractors']} distractors"
    if task.get("use_input_output_pairs"):
        game += ", input–output pairs"
    facts = {
        "File": escaped(str(run.path)),
        "Task": f"{task['name']}{game}",
        "Bottleneck": f"{bottleneck['name']}, {channel}",
        "Data": config["data"]["name"],
        "Evaluated": f"{len(split):,} {split.name} examples of {len(split.puzzle_ids):,} puzzles",
        "Left out": f"{leaked:,} examples that the run was trained on" if leaked else None,
        "Seed": config["seed"],
        "Steps": results.get("steps"),
        "Minutes": results.get("minutes"),
    }
    return {key: shown(value) for key, value in facts.items()}


def _without_empty(facts: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Leave out the facts that no run has."""
    kept = [key for key in facts[0] if any(each[key] != shown(None) for each in facts)]
    return [{key: each[key] for key in kept} for each in facts]


def _lines(run: ReportedRun) -> str:
    """Return the whole configuration, a line for each key."""
    keys = leaves(run.results["config"])
    return "\n".join(f"{key}={shown(value, 6)}" for key, value in keys.items())


def _write_folder(folder: Path, sections: Sequence[Section]) -> None:
    """Write the tables and drawings to ``folder``, and remove those of an earlier report."""
    contents: dict[str, bytes] = {LIST: b""}
    for section in sections:
        for name, rows in section.tables.items():
            contents[f"{name}.csv"] = _csv(rows)
            contents[f"{name}.json"] = (json.dumps(json_plain(rows), indent=1) + "\n").encode()
        for name, drawing in section.drawings.items():
            contents[f"{name}.svg"] = drawing.encode()
    contents[LIST] = (json.dumps(list(contents), indent=1) + "\n").encode()
    try:
        folder.mkdir(exist_ok=True)
        for name in _earlier_files(folder):
            if name not in contents:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written: {error.strerror}") from None
    for name, content in contents.items():
        write_file(folder / name, content)


def _earlier_files(folder: Path) -> list[str]:
    """Return the names that the list of an earlier report has; empty if it cannot be read."""
    try:
        names = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str) and name == Path(name).name]


def _csv(rows: Sequence[Row]) -> bytes:
    file = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(file, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode(errors="backslashreplace")
