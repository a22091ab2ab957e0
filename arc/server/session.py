"""Run lifecycle of one process, and thread-safe requests from the server.

The training thread calls ``on_event``, ``running`` and ``next_plan``; everything else may be
called from any thread.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor

from arc.checkpointing import portable_tree
from arc.checkpointing.writer import CheckpointWriter, Save
from arc.config.flat_keys import flat_view
from arc.config.run_status import read_json
from arc.config.schema import RunConfig
from arc.runs.next_run import NextRun
from arc.runs.plan import RunPlan
from arc.runs.run import Run, RunStarted
from arc.runs.tables import format_results, result_rows
from arc.server.concepts import NO_CONCEPTS
from arc.server.queries import ANSWER_SECONDS, AnswerCache, InvalidStateError, QueryQueue
from arc.server.samples import NO_LANGUAGE, SampleViewer
from arc.server.status import RunStatus
from arc.training import RunControl, StepEvent, ValidationEvent
from arc.training.callbacks import Callback
from arc.training.events import EvaluationEvent, Outcome, RunEnded, TrainingEnded

State = Literal["idle", "training", "pretraining", "testing", "stopping"]
STATES: dict[str, State] = {"train": "training", "pretrain": "pretraining"}
STOP_SECONDS = 120.0
T = TypeVar("T")
Sent = tuple[Tensor | None, Tensor | None]  # the messages of the last validation, and their lengths


class Session(Callback):
    """The state of a process; with ``exit_after_run`` the process ends after its run.

    ``clock`` returns seconds; it measures the time spent on model queries. ``outputs``: where the
    output folders of its runs, and of those beside them, are.
    """

    def __init__(
        self,
        settings: NextRun,
        *,
        exit_after_run: bool,
        clock: Callable[[], float] = time.monotonic,
        outputs: Sequence[Path] = (),
    ) -> None:
        self._outputs = tuple(outputs)
        self.settings, self.exit_after_run = settings, exit_after_run
        self.status = RunStatus(ends_with_run=exit_after_run)
        self._changed = threading.Condition(threading.RLock())
        self._queries = QueryQueue(self._changed, clock)
        self._state: State = "idle"
        self._mode: str | None = None
        self._next: RunPlan | None = None
        self._current: RunPlan | None = None
        self._config: RunConfig | None = None
        self._control = RunControl()
        self._run: Run | None = None
        self._viewer: SampleViewer | None = None
        self._sent: Sent = (None, None)
        self._saves: list[tuple[Save, dict[str, Any]]] = []  # with their rows
        self._save_numbers = itertools.count(1)
        self._start_waits = self._closed = False
        self.samples = AnswerCache(self.status, self._samples)
        self.language = AnswerCache(self.status, self._language)
        self.concepts = AnswerCache(self.status, self._concepts)
        if not exit_after_run:
            self._publish_settings()

    # -- requests, from any thread -----------------------------------------------------------

    @property
    def state(self) -> State:
        """The current activity of the process."""
        return self._state

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress, which requests must not slow down."""
        return self._run is not None and self._mode is not None

    @property
    def folder(self) -> Path:
        """The checkpoint folder of the current run, or of the next one while idle."""
        run = self._run
        if run is not None and self._mode is not None:
            return run.folder
        return Path(self.next_config().checkpoint.dir)

    def next_config(self, options: Mapping[str, Any] | None = None) -> RunConfig:
        """Return the configuration of the next run, with other ``options`` by their flat names.

        Without options, a process that ends with its run has the configuration of that run.
        """
        if self.exit_after_run and self._config is not None and not options:
            return self._config
        return self.settings.preview(options or {})

    def run_folders(self) -> list[Path]:
        """Return the existing folders whose runs the page shows."""
        found = [each for each in (*self._outputs, self.folder) if each.is_dir()]
        real = [each.resolve() for each in found]
        return [
            each
            for number, (each, own) in enumerate(zip(found, real, strict=True))
            if own not in real[:number] and not any(other in own.parents for other in real)
        ]

    def tree(self) -> dict[str, Any]:
        """Return the configuration of the run, or of the next one before the first."""
        return portable_tree(self._config or self.settings.config())

    @property
    def overrides(self) -> list[str]:
        """The overrides of the run, or of the next one before the first."""
        return self.settings.overrides if self._current is None else self._current.overrides

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings of the next run by their flat names, all or none; returns all settings.

        Raises InvalidStateError during a run, ConfigError for an invalid value.
        """
        with self._changed:
            if self._mode is not None:
                raise InvalidStateError(f"a run is in progress ({self._state}): stop it first")
            self.settings.change(values)
            self._publish_settings()
            return flat_view(self.settings.config())

    def start(
        self,
        mode: str,
        overrides: Sequence[str] = (),
        *,
        resume: str | None = None,
        finetune: str | None = None,
    ) -> None:
        """Request a run. If the current run is stopping, wait for its end.

        Raises InvalidStateError during a run, ConfigError or CheckpointError if it cannot start.
        """
        with self._changed:
            self._wait_for_stop()
            if self._closed or (self.exit_after_run and self._state in ("idle", "stopping")):
                raise InvalidStateError(
                    "this process ends with its run; start it with server.autostart=false to "
                    "run several"
                )
            if self._state != "idle":
                raise InvalidStateError(f"a run is in progress ({self._state})")
            self._next = self.settings.plan(mode, overrides, resume=resume, finetune=finetune)
            self.begin(self._next)  # requests from now on concern the new run
            self._enter(STATES[mode], mode)

    def _wait_for_stop(self) -> None:
        if self._state != "stopping" or self.exit_after_run:
            return
        if self._start_waits:
            raise InvalidStateError("another start is already waiting for the run to stop")
        self._start_waits = True
        try:
            self._changed.wait_for(lambda: self._state != "stopping" or self._closed, STOP_SECONDS)
        finally:
            self._start_waits = False

    def stop(self) -> None:
        """Stop training after the current step, or end the final evaluation.

        Raises InvalidStateError without a run.
        """
        with self._changed:
            if self._state == "idle":
                raise InvalidStateError("nothing is running")
            self._control.request_stop("requested over HTTP")
            self._enter("stopping", self._mode)

    def save(self, name: str | None, *, overwrite: bool = False) -> str:
        """Request a checkpoint of the state after the current step; returns its name.

        While the run is still being built, waits for it. Raises InvalidStateError if no training
        is running, FileExistsError if the name is taken, ValueError if it is invalid.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._state != "training" or self._run is not None, ANSWER_SECONDS
            )
            if self._mode == "pretrain":
                raise InvalidStateError("pretraining saves its best encoder automatically")
            if self._state != "training" or self._run is None:
                raise InvalidStateError("no training is in progress")
            return self._run.policy.request(name, overwrite=overwrite)

    def ask(self, work: Callable[[SampleViewer], T], seconds: float = ANSWER_SECONDS) -> T:
        """Return the result of ``work``, which the training thread calls between two steps.

        Raises InvalidStateError without a model, TimeoutError, or what ``work`` raises.
        """
        with self._changed:
            if self._viewer is None or self._closed:
                raise InvalidStateError("no model is loaded: start a run first")
        return self._queries.ask(work, seconds)

    def examples(self) -> list[str]:
        """Return the names of the examples of the run; none before the first run."""
        viewer = self._viewer
        return [] if viewer is None else viewer.examples()

    def _samples(self) -> dict[str, Any]:
        run_id, step, has_model = self.status.version
        samples = (
            self.ask(SampleViewer.samples)
            if has_model
            else {"task_type": None, "split": None, "samples": []}
        )
        return {"run_id": run_id, "step": step, **samples}

    def _language(self) -> dict[str, Any]:
        run_id, step, _ = self.status.version
        viewer = self._viewer
        tables = NO_LANGUAGE if viewer is None else viewer.language(self._sent[0])
        return {"run_id": run_id, "step": step, **tables}

    def _concepts(self) -> dict[str, Any]:
        run_id, step, _ = self.status.version
        viewer = self._viewer
        tables = NO_CONCEPTS if viewer is None else viewer.concepts(*self._sent)
        return {"run_id": run_id, "step": step, **tables}

    # -- the training thread -----------------------------------------------------------------

    def next_plan(self) -> RunPlan | None:
        """Wait for the next requested run, and answer model queries meanwhile.

        Returns None after ``shutdown``.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or self._queries or self._closed)
                if self._closed:
                    return None
                if self._next is not None:
                    plan, self._next = self._next, None
                    return plan
            self._queries.answer_next(self._viewer)

    def begin(self, plan: RunPlan) -> None:
        """Make requests concern the run of ``plan``.

        Releases the last run, whose model takes memory, before the next one is built.
        """
        self._run = self._viewer = None
        self._sent = None, None
        self._current, self._config = plan, plan.config
        self.status.publish("begin", flat_view(plan.config))

    @contextmanager
    def running(self, plan: RunPlan) -> Iterator[RunControl]:
        """Enter the state of a run for the duration of the context; publishes its failure."""
        with self._changed:
            if self._state != "stopping":
                self._control = RunControl()
                if self._closed:
                    self._control.request_stop("the process is ending")
                self._enter(STATES[plan.config.mode], plan.config.mode)
            if plan is not self._current:
                self.begin(plan)
        try:
            yield self._control
        except BaseException as error:
            self._publish_end(Outcome("failed", str(error) or type(error).__name__))
            raise
        else:
            if self._run is None:
                self._publish_complete(plan.config)
        finally:
            with self._changed:
                self._enter("idle", None)
                self._control = RunControl()

    def on_event(self, event: object) -> None:
        """Publish an event of the run; answer a model query after a step."""
        if isinstance(event, RunStarted):
            self._on_run_started(event.run)
        elif isinstance(event, StepEvent):
            self.status.publish("step", {**vars(event), "seconds_left": event.seconds_left})
            self._queries.answer_within_budget(self._viewer)
        elif isinstance(event, ValidationEvent):
            self._sent = event.evaluation.messages, event.evaluation.lengths
            self.status.publish("validation", _validation_row(event))
        elif isinstance(event, TrainingEnded):
            self._on_training_ended(event.outcome)
        elif isinstance(event, EvaluationEvent):
            self.status.publish("testing", _progress(event))  # queries wait: the task is in use
        elif isinstance(event, RunEnded):
            self._on_run_ended(event)

    def shutdown(self) -> None:
        """Refuse requests from now on, and stop the current run."""
        with self._changed:
            self._closed = True
            self._control.request_stop("the process is ending")
            self._changed.notify_all()
        self._queries.refuse_all("the process is ending")

    def _on_run_started(self, run: Run) -> None:
        run.policy.writer.on_change = self._publish_saves
        with self._changed:
            self._run, self._config = run, run.config
            self._viewer = SampleViewer(run.trainer.model, run.task)
            self.status.publish("facts", _facts(run))
            self._changed.notify_all()

    def _on_training_ended(self, outcome: Outcome) -> None:
        self._publish_end(outcome)
        with self._changed:
            if outcome.kind == "finished" and self._state != "stopping":
                self._enter("testing", self._mode)

    def _on_run_ended(self, event: RunEnded) -> None:
        self._publish_end(event.outcome)
        if event.results is not None:
            self._publish_results(event.results)

    def _enter(self, state: State, mode: str | None) -> None:
        with self._changed:
            self._state, self._mode = state, mode
            self.status.publish("state", [state, mode])
            self._changed.notify_all()

    def _publish_settings(self) -> None:
        self.status.publish("settings", flat_view(self.settings.config()))

    def _publish_end(self, outcome: Outcome) -> None:
        self.status.publish("end", asdict(outcome))

    def _publish_complete(self, config: RunConfig) -> None:
        """Publish a run that was complete before, with the results that it has stored."""
        folder = Path(config.checkpoint.dir)
        self.status.publish("facts", {"run_name": config.run_name, "folder": str(folder)})
        self._publish_end(Outcome("finished"))
        if stored := read_json(folder / f"{config.run_name}_results.json"):
            self._publish_results(stored)

    def _publish_results(self, content: Mapping[str, Any]) -> None:
        results = {key: value for key, value in content.items() if key != "config"}
        shown = {"table": format_results(content), "rows": result_rows(content)}
        self.status.publish("results", {"results": results, **shown})

    def _publish_saves(self, writer: CheckpointWriter) -> None:
        """Publish the saves of the current run; the writer of an earlier one may still be busy."""
        with self._changed:
            if self._run is not None and self._run.policy.writer is writer:
                known = {id(save): row for save, row in self._saves}
                self._saves = [
                    (save, known.get(id(save)) or _save_row(save, next(self._save_numbers)))
                    for save in writer.recent
                ]
                pending = [path.stem for path in writer.pending]
                rows = [row for _, row in self._saves]
                self.status.publish("saves", {"pending": pending, "recent": rows})


def _facts(run: Run) -> dict[str, Any]:
    """Return the constant facts of ``run``."""
    return {
        "run_name": run.config.run_name,
        "device": str(run.trainer.model.device),
        "precision": "fp32" if run.trainer.autocast is None else "bf16",
        "folder": str(run.folder),
        "val_loss": run.trainer.val_loss,
        "val_acc": run.trainer.val_acc,
    }


def _save_row(save: Save, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "name": save.path.stem,
        "state": "failed" if save.error else "saved",
        "error": save.error,
        "time": datetime.fromtimestamp(save.time).isoformat(" ", "milliseconds"),
    }


def _validation_row(event: ValidationEvent) -> dict[str, Any]:
    row = {key: value for key, value in event.row().items() if key != "is_best"}
    return {"batch_num": row.pop("step"), "values": row.pop("metrics"), **row}


def _progress(event: EvaluationEvent) -> dict[str, Any]:
    return {
        "stage": event.stage,
        "progress": event.progress,
        "eta_seconds": event.seconds_left,
    }
