"""Weights & Biases; in offline mode, the default, nothing leaves the machine."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from arc.loggers.background import CLOSE_SECONDS, BackgroundLogger, UnavailableError
from arc.loggers.base import LOGGERS
from arc.loggers.tracking import ImageConfig, Record, group_of

START_SECONDS = 15.0  # an unreachable server is given up after this time; the run does not wait
QUIET: dict[str, Any] = {  # what W&B would otherwise collect, print or look up by itself
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "init_timeout": START_SECONDS,
    "finish_timeout": CLOSE_SECONDS / 2,
}


class WandbConfig(ImageConfig):
    """Keys of conf/logger/wandb.yaml."""

    project: Annotated[str, Field(min_length=1)]
    entity: str | None
    group: str | None
    mode: Literal["offline", "online"]


@LOGGERS.register("wandb", config=WandbConfig)
class WandbLogger(BackgroundLogger):
    """Records to the folder ``<run_name>_wandb`` beside the checkpoints, and online if asked to."""

    package = "wandb"
    config: WandbConfig

    def start(self) -> None:
        """Open the run, resumed by its id."""
        os.environ.update(WANDB_ERROR_REPORTING="false", WANDB_SILENT="true")
        import wandb

        config, is_online = self.config, self.config.mode == "online"
        if is_online and not wandb.login(prompt=False, verify=False):
            raise UnavailableError("no account: run wandb login, or set WANDB_API_KEY")
        folder = self.prefix.with_name(f"{self.prefix.name}_wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=config.project,
                entity=config.entity,
                group=config.group or group_of(self.run),
                name=str(self.run["run_name"]),
                id=self.identity,
                resume="allow" if is_online and self.is_resumed else None,
                config=dict(self.run),
                dir=str(folder),
                mode=config.mode,
                settings=wandb.Settings(**QUIET),
            )
        except wandb.errors.CommError as error:
            raise UnavailableError(f"the server does not accept the run: {error!r}") from None

    def send(self, record: Record) -> None:
        """Log a record at its step."""
        values: dict[str, Any] = dict(record.scalars)
        values |= {name: self._wandb.Image(image) for name, image in record.images.items()}
        for name, counts in record.histograms.items():
            edges = np.arange(len(counts) + 1) - 0.5
            values[name] = self._wandb.Histogram(np_histogram=(counts, edges))
        if record.kind == "results":
            self._run.summary.update(values)
        else:
            self._run.log(values, step=record.step)

    def finish(self) -> None:
        """Close the run."""
        self._run.finish()
