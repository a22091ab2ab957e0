"""Event files for TensorBoard."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arc.loggers.base import LOGGERS
from arc.loggers.line_file import LineFile
from arc.loggers.tracking import ImageConfig, Record, TrackingLogger


class TensorBoardConfig(ImageConfig):
    """Keys of conf/logger/tensorboard.yaml."""


@LOGGERS.register("tensorboard", config=TensorBoardConfig)
class TensorBoardLogger(TrackingLogger):
    """Writes event files to the folder ``<run_name>_tensorboard`` beside the checkpoints.

    The first record of a resumed run marks the later ones of earlier files as replaced. Records are
    written here and not by SummaryWriter, whose thread prints a traceback on a full disk.
    """

    package = "tensorboard"

    def __init__(self, config: TensorBoardConfig, output: Path, run: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        super().__init__(config, output, run)
        self._events, self._protos, self._make = event_pb2, summary_pb2, summary
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._file: LineFile | None = None

    def write(self, record: Record) -> None:
        """Write one event with everything that belongs to a step."""
        if self._file is None:
            self._open(record.step)
        values = [
            self._protos.Summary.Value(tag=name, simple_value=value)
            for name, value in record.scalars.items()
        ]
        for name, image in record.images.items():
            values += self._make.image(name, image, dataformats="HWC").value
        for name, counts in record.histograms.items():
            values += _histogram(self._make, name, counts).value
        self._event(record.step, summary=self._protos.Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self, first_step: int) -> None:
        folder = self.prefix.with_name(f"{self.prefix.name}_tensorboard")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = LineFile(folder / f"events.out.tfevents.{time.time_ns():020d}.arc")
        self._event(0, file_version="brain.Event:2")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        replaced = int(min(first_step, self.first_step))
        self._event(replaced, session_log=start)  # purges later steps
        config = json.dumps(self.run, indent=2).replace("\n", "\n    ")  # a block of code
        self._event(first_step, summary=self._make.text("configuration", f"    {config}"))

    def _event(self, step: int, **content: Any) -> None:
        assert self._file is not None
        event = self._events.Event(wall_time=time.time(), step=step, **content)
        self._records.write(event.SerializeToString())
        self._file.append(self._buffer.getvalue())
        self._buffer.seek(0)
        self._buffer.truncate()


def _histogram(summary: Any, name: str, counts: np.ndarray) -> Any:
    """Return a histogram with a bucket for each symbol."""
    symbols = np.arange(len(counts))
    used = symbols[counts > 0]
    return summary.histogram_raw(
        name,
        min=int(used.min(initial=len(counts) - 1)),
        max=int(used.max(initial=0)),
        num=int(counts.sum()),
        sum=int(counts @ symbols),
        sum_squares=int(counts @ symbols**2),
        bucket_limits=(symbols + 0.5).tolist(),
        bucket_counts=counts.tolist(),
    )
