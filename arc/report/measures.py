"""Language measures beside their floors."""

from __future__ import annotations

from collections.abc import Sequence

from arc.report import figures
from arc.report.base import ReportedRun, Section, beside, of_run, table, words
from arc.report.drawing import Line

BITS = (  # measures in bits; the other ones in the figure are shares and correlations
    "message_entropy",
    "message_entropy_corrected",
    "position_entropy",
    "grid_information",
    "position_information",
)
NOT_DRAWN = ("length", "zipf", "harris")  # measures of another unit, by how they begin
FLOORS = ("shuffled", "random", "untrained_sender")


def measures(runs: Sequence[ReportedRun]) -> Section:
    """Return the language measures beside their floors."""
    section = Section(
        "measures",
        "Language measures",
        "If a measure relates messages to grids, a value close to its floors is not evidence of a "
        "learned language. Floors: the messages shuffled among the grids; random messages with the "
        "same distributions; the messages of an untrained sender."
        + (" The figures show those of the first run." if len(runs) > 1 else ""),
    )
    measured = [run for run in runs if run.results.get("measures")]
    names = list(dict.fromkeys(name for run in measured for name in run.results["measures"]))
    items = []
    parts = {
        "shares": ([name for name in names if _is_share(name, measured)], "share, or correlation"),
        "bits": ([name for name in names if name in BITS], "bits"),
    }
    for part, (chosen, label) in parts.items():
        if chosen:
            lines = _measure_lines(measured, chosen, several=len(runs) > 1)
            svg = figures.dots([words(name) for name in chosen], lines, label)
            title = {"shares": "Shares and correlations", "bits": "Entropy and information"}[part]
            items.append(section.draw(f"measures_{part}", svg, title))
    section.add_figures(items)
    rows = [
        of_run(runs, run, {"measure": name, **values})
        for run in measured
        for name, values in run.results["measures"].items()
    ]
    if rows:
        section.add_rows("measures", rows)
        drawn = [
            {words(key): value for key, value in row.items()} | {"measure": words(row["measure"])}
            for row in rows
        ]
        if len(runs) > 1:
            values = {(row["run"], row["measure"]): row["value"] for row in drawn}
            drawn = beside(measured, drawn, ("measure",), values)
        section.blocks.append(table(drawn, digits=3))
    return section


def _is_share(name: str, runs: Sequence[ReportedRun]) -> bool:
    if name in BITS or name.startswith(NOT_DRAWN):
        return False
    found = [run.results["measures"].get(name, {}) for run in runs]
    values = [value for row in found for value in row.values() if value is not None]
    return all(-1 <= value <= 1 for value in values)


def _measure_lines(
    runs: Sequence[ReportedRun], names: Sequence[str], *, several: bool
) -> list[Line]:
    def line(run: ReportedRun, key: str, label: str) -> Line:
        found = run.results["measures"]
        values = [found.get(name, {}).get(key) for name in names]
        return Line(label, range(len(names)), values, is_reference=key != "value")

    lines = [line(run, "value", run.label if several else "value") for run in runs]
    floors = [line(runs[0], floor, words(floor)) for floor in FLOORS]
    return lines + floors
