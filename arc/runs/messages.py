"""The messages of a run on disk: a line of JSON for each example."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arc.data import Split
from arc.io.trees import json_plain
from arc.models import ARCAutoencoder
from arc.runs.files import write_file
from arc.tasks import Task
from arc.training import Evaluation

log = logging.getLogger(__name__)


def messages_path(checkpoint: str | Path, run_name: str | None) -> Path:
    """Return the file of the messages of a run, beside its checkpoint."""
    path = Path(checkpoint)
    return path.with_name(f"{run_name or path.stem}_messages.jsonl")


def message_rows(
    model: ARCAutoencoder, task: Task, split: Split, evaluation: Evaluation
) -> Iterator[dict[str, Any]]:
    """Yield a row for each example of ``split``, in order.

    ``puzzle``, ``example`` and ``split``; the ``message`` (a list of symbols) with its ``length``,
    or the ``vector`` that was sent; ``accuracy``: the example's share of the headline metric, in
    percent, None if the metric does not cover it or has no shares; and the keys that
    ``task.outcomes`` yields.
    """
    if len(split) == 0:
        return
    accuracy: list[float | None] = [None] * len(split)
    for right, counted in list(evaluation.task_metrics.headline.shares.values())[:1]:
        percent = (100 * right / counted).round(decimals=4).tolist()
        covered = (counted > 0).tolist()
        accuracy = [value if each else None for value, each in zip(percent, covered, strict=True)]
    sent = _sent(evaluation)
    outcomes = task.outcomes(model, split, evaluation.signal)
    for number, (example, outcome) in enumerate(zip(split.example_ids, outcomes, strict=True)):
        yield {
            "puzzle": split.puzzle_ids[int(split.puzzle[number])],
            "example": example,
            "split": split.name,
            **{key: values[number] for key, values in sent.items()},
            "accuracy": accuracy[number],
            **outcome,
        }


def _sent(evaluation: Evaluation) -> dict[str, list[Any]]:
    """Return the messages with their lengths, or the vectors."""
    symbols, lengths = evaluation.messages, evaluation.lengths
    if symbols is None:
        return {"vector": evaluation.signal.tolist()}
    full = [symbols.shape[1]] * len(symbols)
    return {"message": symbols.tolist(), "length": full if lengths is None else lengths.tolist()}


def write_messages(path: Path, rows: Sequence[dict[str, Any]]) -> list[Path]:
    """Write ``rows`` to ``path``, a line of JSON each, and as Parquet if PyArrow is installed.

    Each file is written atomically and logged. Returns the paths of the files. Raises ValueError if
    one cannot be written.
    """
    lines = [json.dumps(json_plain(row)) + "\n" for row in rows]
    contents = {path: "".join(lines).encode()}
    if importlib.util.find_spec("pyarrow") is not None:
        from pyarrow import Table, parquet

        buffer = io.BytesIO()
        parquet.write_table(Table.from_pylist(json_plain(list(rows))), buffer)
        contents[path.with_suffix(".parquet")] = buffer.getvalue()
    for file, content in contents.items():
        write_file(file, content)
        log.info(f"messages written to {file}")
    return list(contents)


def read_messages(path: str | Path) -> dict[str, Any]:
    """Read a ``_messages.jsonl`` or ``_messages.parquet`` file as columns of equal length.

    A column of numbers or booleans without a missing value is a NumPy array; other columns are
    lists, in which None is a missing value. ``pandas.DataFrame`` takes the result as it is. Raises
    ValueError, naming the file and the line, if it is not a file of messages.
    """
    path = Path(path).expanduser()
    rows = _parquet_rows(path) if path.suffix == ".parquet" else list(_json_rows(path))
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: _column([row.get(key) for row in rows]) for key in keys}


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a file of messages: not UTF-8") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict) or "example" not in row:
            raise ValueError(f"{path}, line {number}: not the message of an example")
        yield row


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{path}: needs PyArrow; read {path.with_suffix('.jsonl').name} instead")
    from pyarrow import ArrowException, parquet

    try:
        return parquet.read_table(path).to_pylist()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ArrowException as error:
        raise ValueError(f"{path}: not a Parquet file: {error}") from None


def _column(values: list[Any]) -> Any:
    is_number = all(isinstance(value, bool | int | float) for value in values)
    return np.array(values) if is_number else values
