"""What one process does: nothing, a run, or the end of one; and what others may ask of it.

The thread that trains calls ``running``, ``watch`` and ``next_plan``; everybody else may call
the rest, from any thread. Requests only leave a word; what needs the model is answered by the
training thread between two steps.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from arc.checkpointing import portable_tree
from arc.checkpointing.writer import CheckpointWriter, Save
from arc.config.flat_keys import flat_view
from arc.config.schema import RunConfig
from arc.runs.next_run import NextRun
from arc.runs.plan import RunPlan
from arc.runs.run import Outcome, Run
from arc.server.samples import SampleViewer
from arc.server.status import Board
from arc.training import RunControl, StepEvent, ValidationEvent

log = logging.getLogger(__name__)
State = Literal["idle", "training", "pretraining", "testing", "stopping"]
STATES: dict[str, State] = {"train": "training", "pretrain": "pretraining"}
ANSWER_SECONDS = 30.0
WAIT_FOR_STOP_SECONDS = 120.0
T = TypeVar("T")


class InvalidStateError(ValueError):
    """What was asked for does not go with what the process is doing."""


@dataclass
class ModelQuery:
    """Something that the training thread is asked to find out."""

    work: Callable[[SampleViewer], Any]
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: Exception | None = None


class Session:
    """The state of this process; ``once`` says that it ends with its run."""

    def __init__(self, settings: NextRun, *, once: bool) -> None:
        self.settings, self.once = settings, once
        self.board = Board()
        self._changed = threading.Condition(threading.RLock())
        self._state: State = "idle"
        self._mode: str | None = None
        self._plan: RunPlan | None = None
        self._begun: RunPlan | None = None
        self._config: RunConfig | None = None
        self._control = RunControl()
        self._run: Run | None = None
        self._looker: SampleViewer | None = None
        self._questions: deque[ModelQuery] = deque()
        self._over = self.is_abandoned = False
        self.validated: ValidationEvent | None = None
        if not once:
            self.show_settings()

    # -- anybody ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the process is doing."""
        return self._state

    @property
    def mode(self) -> str | None:
        """``train`` or ``pretrain`` while a run is under way."""
        return self._mode

    @property
    def folder(self) -> Path:
        """Where the run under way keeps its files, or else where the next would."""
        run = self._run
        if run is not None and self._mode is not None:
            return run.folder
        return Path(self.settings.config().checkpoint.dir)

    def tree(self) -> dict[str, Any]:
        """Return the configuration of the run, or of the next before the first."""
        return portable_tree(self._config or self.settings.config())

    @property
    def overrides(self) -> list[str]:
        """What was typed for the run, or for the next before the first."""
        return self.settings.overrides if self._begun is None else self._begun.overrides

    def show_settings(self) -> None:
        """Publish the settings of the next run."""
        self.board.note("settings", flat_view(self.settings.config()))

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings by their flat names, all or none; returns all of them.

        Raises InvalidStateError if a run is under way, ConfigError for what cannot be set.
        """
        with self._changed:
            if self._mode is not None:
                raise InvalidStateError(f"a run is under way ({self._state}): stop it first")
            self.settings.change(values)
            self.show_settings()
            return flat_view(self.settings.config())

    def start(
        self,
        mode: str,
        overrides: Sequence[str] = (),
        *,
        resume: str | None = None,
        finetune: str | None = None,
    ) -> None:
        """Ask for a run, after a stop that is under way.

        Raises InvalidStateError if a run exists, ConfigError or CheckpointError if it cannot start.
        """
        with self._changed:
            if self._state == "stopping" and not self.once:
                self._changed.wait_for(lambda: self._state != "stopping", WAIT_FOR_STOP_SECONDS)
            if self._over or (self.once and self._state in ("idle", "stopping")):
                raise InvalidStateError(
                    "this process ends with its run; server.autostart=false keeps it"
                )
            if self._state != "idle":
                raise InvalidStateError(f"a run is under way ({self._state})")
            self._plan = self.settings.plan(mode, overrides, resume=resume, finetune=finetune)
            self._begin(self._plan)  # what is asked from now on is about this one
            self._enter(STATES[mode], mode)

    def stop(self, reason: str = "stop") -> None:
        """Ask the run to stop after the current step; raises InvalidStateError without a run."""
        with self._changed:
            if self._state == "idle":
                raise InvalidStateError("nothing is running")
            if self._state == "testing":
                raise InvalidStateError(
                    "training has ended and the best state is being tested: wait for it"
                )
            self._control.request_stop(reason)
            if self._state in ("training", "pretraining"):
                self._enter("stopping", self._mode)

    def save(self, name: str | None, *, overwrite: bool = False) -> str:
        """Ask for a save of the next moment between two steps; returns its name.

        A run that is still being made is waited for. Raises InvalidStateError if no training runs,
        FileExistsError if the name is taken, ValueError if it cannot be used.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._state != "training" or self._run is not None, ANSWER_SECONDS
            )
            if self._mode == "pretrain":
                raise InvalidStateError("a pretraining saves its best encoder by itself")
            if self._state != "training" or self._run is None:
                raise InvalidStateError("no training is under way")
            return self._run.saving.request(name, overwrite=overwrite)  # the writer shows it

    def ask(self, work: Callable[[SampleViewer], T], seconds: float = ANSWER_SECONDS) -> T:
        """Have ``work`` done by the training thread, with the model as it is between two steps.

        Raises InvalidStateError if there is no model, TimeoutError, or what ``work`` raises.
        """
        question = ModelQuery(work)
        with self._changed:
            if self._looker is None or self._over:
                raise InvalidStateError("no model is loaded: start a run first")
            self._questions.append(question)
            self._changed.notify_all()
        if not question.done.wait(seconds):
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if question.error is not None:
            raise question.error
        answer: T = question.answer
        return answer

    # -- the thread that trains --------------------------------------------------------------

    def next_plan(self) -> RunPlan | None:
        """Wait for a run to be asked for, answering questions about the last one meanwhile.

        Returns None when the session was closed, or abandoned with nothing left to do.
        """
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._plan or self._questions or self._over or self.is_abandoned, 1.0
                )
                if self._over:
                    return None
                if self._plan is not None:
                    plan, self._plan = self._plan, None
                    return plan
                if self.is_abandoned:
                    return None
            self.answer_questions()

    @contextmanager
    def running(self, plan: RunPlan) -> Iterator[RunControl]:
        """Be in the state that ``plan`` asks for; what goes wrong inside is shown and raised."""
        with self._changed:
            if self._state != "stopping":
                self._control = RunControl()
                if self._over:
                    self._control.request_stop("the process is ending")
                self._enter(STATES[plan.config.mode], plan.config.mode)
            if plan is not self._begun:
                self._begin(plan)
        try:
            yield self._control
        except BaseException as error:
            self._show_end(Outcome("failed", str(error) or type(error).__name__))
            raise
        finally:
            with self._changed:
                self._enter("idle", None)
                self._control = RunControl()

    def attach(self, run: Run) -> None:
        """Show ``run``, which is about to begin."""
        run.saving.writer.on_change = self._show_saves
        with self._changed:
            self._run, self._config = run, run.config
            self._looker = SampleViewer(run.trainer.model, run.task)
            self.board.note("facts", _facts(run))
            self._changed.notify_all()

    def watch(self, event: StepEvent | ValidationEvent) -> None:
        """Publish an event of the run, and answer what was asked since the last one."""
        if isinstance(event, ValidationEvent):
            self.validated = event
            self.board.note("validation", _validation_row(event))
        else:
            self.board.note("step", {**vars(event), "seconds_left": event.seconds_left})
        self.answer_questions()

    def end(self, outcome: Outcome) -> None:
        """Publish how the training ended; a finished one is being tested from now on."""
        self._show_end(outcome)
        with self._changed:
            if outcome.kind == "finished":
                self._enter("testing", self._mode)

    def show_results(self, results: dict[str, Any], table: str) -> None:
        """Publish what the run came to on the test set."""
        told = {key: value for key, value in results.items() if key != "config"}
        self.board.note("results", {"results": told, "table": table})

    def answer_questions(self) -> None:
        """Do what was asked for."""
        while self._questions:
            question = self._questions.popleft()
            try:
                if self._looker is None:
                    raise InvalidStateError("the run that was asked about has ended")
                question.answer = question.work(self._looker)
            except Exception as error:  # the asker's to handle, in its own thread
                question.error = error
            question.done.set()

    def abandon(self) -> None:
        """Let what is under way be the last: nobody can ask for anything any more."""
        with self._changed:
            self.is_abandoned = True
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse what is asked from now on, and stop what is under way."""
        with self._changed:
            self._over = True
            self._control.request_stop("the process is ending")
            self._changed.notify_all()
        for question in self._questions:
            question.error = InvalidStateError("the process is ending")
            question.done.set()

    def _begin(self, plan: RunPlan) -> None:
        """Let go of the last run before there is another, figures and all."""
        self._run = self._looker = self.validated = None
        self._begun, self._config = plan, plan.config
        self.board.note("begin", flat_view(plan.config))

    def _enter(self, state: State, mode: str | None) -> None:
        with self._changed:
            self._state, self._mode = state, mode
            self.board.note("state", [state, mode])
            self._changed.notify_all()

    def _show_end(self, outcome: Outcome) -> None:
        self.board.note("end", asdict(outcome))

    def _show_saves(self, writer: CheckpointWriter) -> None:
        """Publish what is being saved and was; a run that is over may still be writing."""
        with self._changed:
            if self._run is not None and self._run.saving.writer is writer:
                rows = [_save_row(save) for save in writer.recent]
                pending = [path.stem for path in writer.pending]
                self.board.note("saves", {"pending": pending, "recent": rows})


def _facts(run: Run) -> dict[str, Any]:
    """Return what does not change while ``run`` lasts."""
    return {
        "run_name": run.config.run_name,
        "device": str(run.device),
        "precision": "fp32" if run.trainer.autocast is None else "bf16",
        "folder": str(run.folder),
        "val_loss": run.trainer.val_loss,
        "val_acc": run.trainer.val_acc,
    }


def _save_row(save: Save) -> dict[str, Any]:
    return {
        "name": save.path.stem,
        "state": "failed" if save.error else "saved",
        "error": save.error,
        "time": datetime.fromtimestamp(save.time).isoformat(" ", "milliseconds"),
    }


def _validation_row(event: ValidationEvent) -> dict[str, Any]:
    figure = event.evaluation.task_metrics.headline
    return {
        "batch_num": event.step,
        "epoch": event.epoch,
        "seconds": event.seconds,
        "train_loss": event.train_loss,
        "train_accuracy": event.train_accuracy,
        "val_loss": event.evaluation.task_metrics.loss,
        "val_acc": event.evaluation.task_metrics.accuracy,
        "values": figure.values,
        "targets": figure.targets,
        "baselines": figure.baselines,
        "language": event.evaluation.language,
    }
