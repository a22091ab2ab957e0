"""When a run saves checkpoints, and under which names."""

from __future__ import annotations

import copy
import itertools
import logging
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from arc.checkpointing import (
    CheckpointError,
    CheckpointWriter,
    make_checkpoint,
    make_encoder_checkpoint,
    read_metadata,
)
from arc.checkpointing.writer import Save
from arc.config.schema import NAME_PATTERN, RunConfig
from arc.training import StepEvent, Trainer, ValidationEvent

log = logging.getLogger(__name__)
NAME = re.compile(NAME_PATTERN)


class CheckpointPolicy:
    """The automatic saves of one run: best, last, and every ``checkpoint.every_epochs``."""

    def __init__(self, config: RunConfig, trainer: Trainer) -> None:
        self.config, self.trainer = config, trainer
        self.folder = Path(config.checkpoint.dir)
        self.writer = CheckpointWriter()
        self._warm = False
        self._last_saved = trainer.seconds

    @property
    def best(self) -> Path:
        """The file of the best state."""
        return self.path("best")

    @property
    def last(self) -> Path | None:
        """The file of the last state; None if it is not saved."""
        return self.path("last")

    @property
    def required_path(self) -> Path | None:
        """The file that must be written for the run to succeed; None if there is none."""
        return self.last

    def path(self, which: str) -> Path:
        """Return the path of an automatic save."""
        return self.folder / f"{self.config.run_name}_{which}.pth"

    def request(self, name: str | None, *, overwrite: bool = False) -> str:
        """Request a named save after the current step; returns its name.

        The default is ``manual_checkpoint_epoch_X``, with _2, _3 if that exists.
        Raises FileExistsError if ``name`` exists, ValueError if it is not valid.
        """
        if name is None:
            name = self._free_name(f"manual_checkpoint_epoch_{self.trainer.source.epoch}")
        elif not NAME.fullmatch(name):
            raise ValueError(
                f"name={name[:120]!r}: 1 to 100 letters, digits, '.', '_' or '-', the first a "
                "letter or digit"
            )
        elif self._is_automatic(name):
            raise ValueError(f"name={name}: automatic saves have it; choose another")
        elif self._is_taken(name) and not overwrite:
            raise FileExistsError(f"{name} exists; another name, or overwrite=true")
        self.writer.request(self.folder / f"{name}.pth")
        return name

    def _free_name(self, base: str) -> str:
        names = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
        return next(name for name in names if not self._is_taken(name))

    def _is_taken(self, name: str) -> bool:
        path = self.folder / f"{name}.pth"
        return path.exists() or path in self.writer.pending

    def _is_automatic(self, name: str) -> bool:
        own = name.startswith((f"{self.config.run_name}_epoch_", "pretrained_encoder_"))
        return own or name in (self.best.stem, self.last.stem if self.last else None)

    def on_event(self, event: StepEvent | ValidationEvent) -> None:
        """Save what is due after ``event``; the state does not change between events."""
        if not self._warm:  # the optimizer's state exists from the first step on
            self.writer.warm_up(self.content())
            self._warm = True
        if isinstance(event, ValidationEvent):
            if event.is_best:
                self._save_best()
            self._save_epoch(event)
        self._refresh_last(event)
        self.writer.offer(self.content)

    def finish(self) -> list[Save]:
        """Save the last state and wait for all saves; returns those that failed."""
        if self.last is not None and self.trainer.step > 0:
            self.writer.request(self.last)
        failed = self.writer.close(self.content)
        self._prune()
        return failed

    def preserve_later_checkpoints(self) -> None:
        """Keep, under dated names, the best and last files of steps after the current one.

        A run resumed from an earlier step would overwrite them. Raises CheckpointError if one
        cannot be kept.
        """
        for path in (self.best, self.last):
            if path is None or not path.exists():
                continue
            try:
                step = read_metadata(path).get("step")
            except CheckpointError:  # nothing to lose
                continue
            if not isinstance(step, int) or step <= self.trainer.step:
                continue
            try:
                kept = _keep_beside(path)
            except OSError as error:
                fault = f"{path}: of the later step {step}; cannot be kept beside: {error}"
                raise CheckpointError(fault) from None
            log.info(f"{path}: of the later step {step}, kept as {kept.name}")

    def content(self) -> dict[str, Any]:
        """Return the content of a checkpoint of the current state."""
        return make_checkpoint(self.config, self.trainer)

    def _save_best(self) -> None:
        self.writer.save(self.best, self.content)

    def _save_epoch(self, event: ValidationEvent) -> None:
        every = self.config.checkpoint.every_epochs
        if every is not None and event.epoch % every == 0:
            self._prune()
            self.writer.save(self.path(f"epoch_{event.epoch:04d}"), self.content)

    def _refresh_last(self, event: StepEvent | ValidationEvent) -> None:
        every = self.config.checkpoint.every_minutes
        if self.last is None or every is None or event.seconds - self._last_saved < 60 * every:
            return
        self._last_saved = event.seconds
        self.writer.request(self.last)

    def _prune(self) -> None:
        """Delete this run's oldest epoch files; never another file or the newest."""
        try:
            for path in self._epochs()[: -self.config.checkpoint.keep_last]:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.error(
                f"{self.folder}: old checkpoints cannot be deleted: {error}; training continues"
            )

    def _epochs(self) -> list[Path]:
        """Return this run's epoch files, the oldest first."""
        pattern = re.compile(re.escape(f"{self.config.run_name}_epoch_") + r"(\d+)\.pth")
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := pattern.fullmatch(path.name):
                found.append((int(match.group(1)), path))
        return [path for _, path in sorted(found)]


class EncoderCheckpointPolicy(CheckpointPolicy):
    """The saves of pretraining: the encoder at each new best, and nothing else.

    An earlier pretraining's file is kept under a dated name. Without a validation set, the last
    state is saved. ``best_state`` is the state dict of the whole model of the saved file.
    """

    def __init__(self, config: RunConfig, trainer: Trainer) -> None:
        super().__init__(config, trainer)
        self.best_state: dict[str, Any] = {}
        self._earlier_is_kept = False
        self._refused: Save | None = None

    @property
    def best(self) -> Path:
        """The file of the best encoder."""
        return self.folder / f"pretrained_encoder_{self.config.pretrain.file_label}.pth"

    @property
    def last(self) -> None:
        """None: only the best encoder is saved."""
        return None

    @property
    def required_path(self) -> Path:
        """The encoder's file."""
        return self.best

    def content(self) -> dict[str, Any]:
        """Return the content of a checkpoint of the current state."""
        return make_encoder_checkpoint(self.config, self.trainer)

    def _save_best(self) -> None:
        self.best_state = copy.deepcopy(self.trainer.model.state_dict())
        try:
            self._keep_earlier()
        except OSError as error:
            fault = f"{self.best}: not written: the earlier one cannot be kept beside it: {error}"
            log.error(f"save failed: {fault}; training continues")
            self._refused = Save(self.best, fault)
        else:
            self._refused = None
            super()._save_best()

    def finish(self) -> list[Save]:
        """Wait for all saves; returns those that failed."""
        if self.trainer.step > 0 and len(self.trainer.task.corpus.validation) == 0:
            self._save_best()
        failed = super().finish()
        return failed if self._refused is None else [*failed, self._refused]

    def _save_epoch(self, event: ValidationEvent) -> None:
        """Do nothing: only the best encoder is saved."""

    def _keep_earlier(self) -> None:
        if self._earlier_is_kept:
            return
        if self.best.exists():
            kept = _keep_beside(self.best)
            log.info(f"{self.best}: an earlier encoder, kept as {kept.name}")
        self._earlier_is_kept = True


def _keep_beside(path: Path) -> Path:
    """Copy or link the file to an unused dated name; returns it. Raises OSError."""
    kept = _dated(path)
    try:  # one file under two names, until a new one takes the first
        kept.hardlink_to(path)
    except OSError:
        try:
            shutil.copy2(path, kept)
        except OSError:
            kept.unlink(missing_ok=True)  # half a copy
            raise
    return kept


def _dated(path: Path) -> Path:
    """Return an unused name with the date of the file."""
    date = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
    kept = path.with_stem(f"{path.stem}_{date}")
    number = 2
    while kept.exists():
        kept = path.with_stem(f"{path.stem}_{date}_{number}")
        number += 1
    return kept
