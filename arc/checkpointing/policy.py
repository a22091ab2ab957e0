"""When a run saves, and under which names."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
import re
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from arc.checkpointing.archive import CheckpointError
from arc.checkpointing.format import (
    identity,
    make_checkpoint,
    make_encoder_checkpoint,
    write_checkpoint,
)
from arc.checkpointing.loader import read_checkpoint
from arc.checkpointing.metadata import read_metadata
from arc.checkpointing.tables import modified
from arc.checkpointing.writer import CheckpointWriter, Save
from arc.config.schema import NAME_PATTERN, RunConfig
from arc.training import Callback, StepEvent, Trainer, ValidationEvent

log = logging.getLogger(__name__)
NAME = re.compile(NAME_PATTERN)


class CheckpointPolicy(Callback):
    """The automatic saves of one run: the best state, the last, and one every few epochs.

    ``started_from`` names the files that the run was resumed or fine-tuned from. Once ``is_locked``
    returns false, automatic saves get new names, since another process may write the same run.
    """

    required = True

    def __init__(
        self, config: RunConfig, trainer: Trainer, started_from: list[str] | None = None
    ) -> None:
        self.config, self.trainer = config, trainer
        self.started_from = started_from or []
        self.folder = Path(config.checkpoint.dir)
        self.writer = CheckpointWriter()
        self.earlier_best: Path | None = None  # of the run that this one resumes
        self.writer.target = self._target
        self.is_locked: Callable[[], bool] = lambda: True
        self._warm = False
        self._written: list[Path] = []  # epoch files
        self._last_saved = trainer.seconds

    @property
    def best(self) -> Path:
        """The file of the best state so far."""
        return self.path("best")

    @property
    def saved_best(self) -> Path | None:
        """The file of the best state of this run; None if there is none yet."""
        return self.best if self.best.exists() else None

    @property
    def last(self) -> Path | None:
        """The file of the last state; None if it is not kept."""
        return self.path("last")

    @property
    def required_path(self) -> Path | None:
        """The file without which the run has failed; None if there is none."""
        return self.last

    def path(self, which: str) -> Path:
        """Return the path of an automatic save."""
        return self.folder / f"{self.config.run_name}_{which}.pth"

    def request(self, name: str | None, *, overwrite: bool = False) -> str:
        """Request a save of the state after the current step; returns its name.

        The default name is ``manual_checkpoint_epoch_X``, with _2, _3 if that is taken. Raises
        FileExistsError if ``name`` is taken, ValueError if it is not allowed.
        """
        if name is None:
            name = self._reserve_free(f"manual_checkpoint_epoch_{self.trainer.sampler.epoch}")
        elif not NAME.fullmatch(name):
            raise ValueError(
                f"name={name[:120]!r}: use 1 to 100 letters, digits, '.', '_' or '-', starting "
                "with a letter or digit"
            )
        elif self._is_automatic(name):
            raise ValueError(f"name={name}: reserved for automatic saves; choose another")
        elif not self._reserve(name, overwrite=overwrite):
            fault = "is being saved by another run; choose another name"
            if not overwrite:
                fault = "exists; choose another name, or send overwrite=true"
            raise FileExistsError(f"{name} {fault}")
        self.writer.request(self.folder / f"{name}.pth")
        return name

    def _reserve_free(self, base: str) -> str:
        names = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
        return next(name for name in names if self._reserve(name))

    def _reserve(self, name: str, *, overwrite: bool = False) -> bool:
        return self.writer.reservations.take(self.folder / f"{name}.pth", overwrite=overwrite)

    def is_untouched(self) -> bool:
        """Return whether no other process has written the automatic files of this run."""
        paths = [path for path in (self.best, self.last) if path is not None]
        return all(identity(path) in (None, self.writer.written.get(path)) for path in paths)

    def _target(self, path: Path) -> Path:
        """Return the path at which a save is written."""
        is_ours = self.is_locked() or not self._is_automatic(path.stem)
        return path if is_ours else _dated(path, time.time())

    def _is_automatic(self, name: str) -> bool:
        own = name.startswith((f"{self.config.run_name}_epoch_", "pretrained_encoder_"))
        return own or name in (self.best.stem, self.last.stem if self.last else None)

    def on_event(self, event: object) -> None:
        """Save what is due after a step or a validation."""
        if not isinstance(event, StepEvent | ValidationEvent):
            return
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
        """Save the last state and wait for every save; returns the saves that failed."""
        if self.last is not None and self.trainer.step > 0:
            self.writer.request(self.last)
        failed = self.writer.close(self.content)
        self._prune()
        return failed

    def preserve_checkpoints(self) -> None:
        """Give this run's files of later steps dated names, since the resumed run replaces them.

        The best file too if the next validation is the best so far. Best and last file also keep
        their names until they are replaced. Raises CheckpointError if a file cannot be preserved.
        """
        moved = [*self._epochs(), self.folder / f"{self.config.run_name}_results.json"]
        for path in (self.best, self.last, *moved):
            step = None if path is None else _step_of(path)
            if path is None or step is None:
                continue
            is_replaced = path == self.best and math.isinf(self.trainer.best_value)
            if step <= self.trainer.step and not is_replaced:
                continue
            try:
                kept = _keep_copy(path)
                if path in moved:
                    path.unlink()
            except OSError as error:
                fault = f"{path}: the file of step {step} cannot be preserved: {error}"
                raise CheckpointError(fault) from None
            log.info(f"{path}: the file of step {step} is preserved as {kept.name}")

    def fetch_best(self) -> None:
        """Copy the best file of the resumed run from its folder, if it is another one.

        If that file is missing, or of a later step, the next validation is the best so far.
        """
        source, step = self.earlier_best, _step_of(self.best)
        if source is None or math.isinf(self.trainer.best_value):
            return
        if step is not None and step <= self.trainer.step:
            return
        try:
            content = read_checkpoint(source)
            if content.get("step", 0) > self.trainer.step:
                raise CheckpointError(f"{source}: of a later step than the resumed checkpoint")
            write_checkpoint(self.best, content)
        except CheckpointError as error:
            self.trainer.best_value = -math.inf
            log.warning(
                f"resume: the best checkpoint so far cannot be used: {error}; the best of the "
                "following validations is saved instead"
            )
        else:
            log.info(f"resume: {source} is copied to {self.best.parent}")

    def content(self) -> dict[str, Any]:
        """Return the content of a file of the current state."""
        return make_checkpoint(self.config, self.trainer, self.started_from)

    def _save_best(self) -> None:
        self.writer.save(self.best, self.content)

    def _save_epoch(self, event: ValidationEvent) -> None:
        every = self.config.checkpoint.every_epochs
        is_complete = self.trainer.sampler.epoch_is_complete
        if every is not None and event.epoch % every == 0 and is_complete:
            self._prune()
            path = self.path(f"epoch_{event.epoch:04d}")
            self._written.append(path)
            self.writer.save(path, self.content)

    def _refresh_last(self, event: StepEvent | ValidationEvent) -> None:
        every = self.config.checkpoint.every_minutes
        if self.last is None or every is None or event.seconds - self._last_saved < 60 * every:
            return
        self._last_saved = event.seconds
        self.writer.request(self.last)

    def _prune(self) -> None:
        """Delete the oldest epoch files of this run; never the newest, never another file."""
        if not self.is_locked():
            return
        try:
            for path in self._epochs()[: -self.config.checkpoint.keep_last]:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.error(
                f"{self.folder}: old epoch files cannot be deleted: {error}; training continues"
            )

    def _epochs(self) -> list[Path]:
        """Return the epoch files of this run: earlier ones by number, then those just written."""
        found, written = epoch_files(self.folder, self.config.run_name), self._written
        return sorted(found, key=lambda path: written.index(path) if path in written else -1)


class EncoderCheckpointPolicy(CheckpointPolicy):
    """The saves of a pretraining: the encoder at each new best, and nothing else.

    The file of an earlier pretraining is kept with a dated name. Without a validation set the last
    encoder is saved. ``best_state`` is the state of the whole model at the best validation.
    """

    def __init__(
        self, config: RunConfig, trainer: Trainer, started_from: list[str] | None = None
    ) -> None:
        super().__init__(config, trainer, started_from)
        self.best_state: dict[str, Any] = {}
        self._earlier_is_kept = False
        self._refused: Save | None = None

    @property
    def best(self) -> Path:
        """The file of the best encoder so far."""
        return self.folder / f"pretrained_encoder_{self.config.pretrain.file_label}.pth"

    @property
    def saved_best(self) -> Path | None:
        """The file of the best encoder; None if the file is that of an earlier pretraining."""
        written = self.writer.written.get(self.best)
        return None if written is None or written != identity(self.best) else self.best

    @property
    def last(self) -> None:
        """None: only the best encoder is kept."""
        return None

    @property
    def required_path(self) -> Path:
        """The file of the best encoder."""
        return self.best

    def content(self) -> dict[str, Any]:
        """Return the content of a file of the current state."""
        return make_encoder_checkpoint(self.config, self.trainer, self.started_from)

    def _save_best(self) -> None:
        self.best_state = copy.deepcopy(self.trainer.model.state_dict())
        try:
            self._keep_earlier()
        except OSError as error:
            fault = f"{self.best}: not written: the earlier file cannot be preserved: {error}"
            log.error(f"save failed: {fault}; training continues")
            self._refused = Save(self.best, fault)
        else:
            self._refused = None
            super()._save_best()

    def finish(self) -> list[Save]:
        """Wait for every save; returns the saves that failed."""
        if self.trainer.step > 0 and len(self.trainer.task.corpus.validation) == 0:
            self._save_best()
        failed = super().finish()
        return failed if self._refused is None else [*failed, self._refused]

    def _save_epoch(self, event: ValidationEvent) -> None:
        """Save nothing: only the best encoder is kept."""

    def _keep_earlier(self) -> None:
        if self._earlier_is_kept:
            return
        if self.best.exists():
            kept = _keep_copy(self.best)
            log.info(f"{self.best}: the earlier encoder is preserved as {kept.name}")
        self._earlier_is_kept = True


def epoch_files(folder: Path, run_name: str | None) -> list[Path]:
    """Return the ``_epoch_NNNN`` files of a run in ``folder``, by number."""
    pattern = re.compile(re.escape(f"{run_name}_epoch_") + r"(\d+)\.pth")
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def _step_of(path: Path) -> int | None:
    """Return the step of a checkpoint or a results file; None if it cannot be read."""
    try:
        if path.suffix == ".pth":
            step = read_metadata(path).get("step")
        else:
            step = json.loads(path.read_bytes())["steps"]
    except (CheckpointError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def is_preserved(stem: str, run_name: str | None) -> bool:
    """Return whether a file's name is that of a preserved file of the run."""
    names = r"_(best|last|epoch_\d+|results)_\d{8}-\d{6}(_\d+)?"
    return re.fullmatch(re.escape(str(run_name)) + names, stem) is not None


def _keep_copy(path: Path) -> Path:
    """Give the file a second, free name with its date; returns it. Raises OSError."""
    kept = _dated(path, path.stat().st_mtime)
    try:  # one file under two names, until a new one replaces the first
        kept.hardlink_to(path)
    except OSError:
        try:
            shutil.copy2(path, kept)
        except OSError:
            kept.unlink(missing_ok=True)  # an incomplete copy
            raise
    return kept


def _dated(path: Path, seconds: float) -> Path:
    """Return a free name with the date of ``seconds``, a Unix time such as a file's."""
    form = "%Y%m%d-%H%M%S"
    date = modified(seconds, form) or datetime.now().strftime(form)
    kept = path.with_stem(f"{path.stem}_{date}")
    number = 2
    while kept.exists():
        kept = path.with_stem(f"{path.stem}_{date}_{number}")
        number += 1
    return kept
