"""Two CSV files: a row for each step, and a row for each validation."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arc.io.files import replace_file
from arc.loggers.base import LOGGERS
from arc.loggers.line_file import LineFile
from arc.loggers.tracking import Record, TrackingConfig, TrackingLogger


class CsvConfig(TrackingConfig):
    """Keys of conf/logger/csv.yaml."""


@LOGGERS.register("csv", config=CsvConfig)
class CsvLogger(TrackingLogger):
    """Appends to ``<run_name>_steps.csv`` and ``<run_name>_validations.csv``.

    They are beside the checkpoints; a resumed run replaces the rows from its first step on.
    """

    def __init__(self, config: CsvConfig, output: Path, run: Mapping[str, Any]) -> None:
        super().__init__(config, output, run)
        self._tables: dict[str, Table] = {}

    def write(self, record: Record) -> None:
        """Append a row; the results are in the results file."""
        if record.kind == "results":
            return
        row = {_column(name): value for name, value in record.scalars.items()}
        row = {"step": record.step, **row}
        table = self._tables.get(record.kind)
        if table is None or not row.keys() <= set(table.columns):
            path = self.prefix.with_name(f"{self.prefix.name}_{record.kind}s.csv")
            first = min(record.step, self.first_step) if table is None else math.inf
            self._tables[record.kind] = Table(path, row, first)
            if table is not None:
                table.close()
        self._tables[record.kind].append(row)

    def close(self) -> None:
        """Close the files."""
        for table in self._tables.values():
            table.close()


class Table:
    """A CSV file with ``columns``; its earlier rows of steps before ``first_step`` are kept."""

    def __init__(self, path: Path, columns: Iterable[str], first_step: float) -> None:
        rows = [row for row in _rows(path) if float(row["step"]) < first_step]
        self.columns = list(dict.fromkeys([*(rows[0] if rows else ()), *columns]))
        header = dict(zip(self.columns, self.columns, strict=True))
        replace_file(path, b"".join(map(self._line, [header, *rows])))
        self._file = LineFile(path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row; a column without a value is empty."""
        self._file.append(self._line(row))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, row: Mapping[str, Any]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(row)
        return text.getvalue().encode()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _column(name: str) -> str:
    return name.removeprefix("train/").removeprefix("validation/")
