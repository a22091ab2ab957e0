"""Trackio: a database on this machine, shown by ``trackio show``."""

from __future__ import annotations

import contextlib
import io
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from arc.loggers.background import BackgroundLogger
from arc.loggers.base import LOGGERS
from arc.loggers.tracking import ImageConfig, Record, group_of


class TrackioConfig(ImageConfig):
    """Keys of conf/logger/trackio.yaml."""

    project: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    group: str | None


@LOGGERS.register("trackio", config=TrackioConfig)
class TrackioLogger(BackgroundLogger):
    """Records to Trackio's database, in ``TRACKIO_DIR`` or its default folder.

    The run is made without ``trackio.init``, which reads the address of a server from the
    environment and looks up the user's account.
    """

    package = "trackio"
    config: TrackioConfig

    def start(self) -> None:
        """Open the run, resumed by its id."""
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        methods = {
            "_get_username": lambda run: None,
            "_warn_once": lambda run, key, message: self.report(message),
        }
        local_run = type("LocalRun", (trackio.Run,), methods)
        SQLiteStorage.init_db(self.config.project)
        self._trackio = trackio
        self._run = local_run(
            url=None,
            project=self.config.project,
            client=None,
            name=str(self.run["run_name"]),
            run_id=self.identity,
            group=self.config.group or group_of(self.run),
            config=dict(self.run),
        )

    def send(self, record: Record) -> None:
        """Log a record at its step."""
        values: dict[str, Any] = dict(record.scalars)
        values |= {name: self._trackio.Image(image) for name, image in record.images.items()}
        for name, counts in record.histograms.items():
            edges = np.arange(len(counts) + 1) - 0.5
            values[name] = self._trackio.Histogram(np_histogram=(counts, edges))
        self._run.log(values, step=record.step)

    def finish(self) -> None:
        """Write what is queued."""
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it uploads
            self._run.finish()
