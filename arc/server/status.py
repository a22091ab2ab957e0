"""What a process publishes of itself, in plain types; nothing of torch is needed to read it.

The process notes what happens, one note after the other. Whoever holds a copy of the board
and takes the same notes shows the same, so the page can be served from another process.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from arc.loggers.history import History, Rates

KEPT_VALIDATIONS = 2000
KEPT_LINES = 1000
STEP_KEYS = ("epoch", "batch", "loss", "accuracy", "learning_rate", "grad_norm", "seconds")
METRIC_KEYS = ("loss", "accuracy", "learning_rate", "grad_norm")
FACTS = ("run_name", "device", "precision", "folder")
VALIDATED_KEYS = ("val_loss", "val_acc")  # a fact of what was resumed, until it is validated again
NOTHING: Mapping[str, Any] = {}
Listener = Callable[[str, Any], None]


class Board:
    """The figures of the run under way or of the last one, its history, and the log's tail."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        self.count = 0
        self.run_id = 0
        self.state, self.mode = "idle", None
        self._settings: dict[str, Any] = {}
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._forget()

    def _forget(self) -> None:
        self._config: dict[str, Any] | None = None
        self._facts: Mapping[str, Any] = NOTHING
        self._step: Mapping[str, Any] = NOTHING
        self._validation: Mapping[str, Any] = NOTHING
        self._outcome: Mapping[str, Any] = NOTHING
        self._results: Mapping[str, Any] = {"results": None, "table": None}
        self._pending: list[str] = []
        self._saves: list[dict[str, Any]] = []
        self._history = History()
        self._validations: list[dict[str, Any]] = []
        self._rates = Rates()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of this process alone."""
        return {**self.__dict__, "_changed": None, "_listener": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._changed = threading.Condition()

    # -- who publishes -----------------------------------------------------------------------

    def note(self, what: str, content: Any) -> None:
        """Take in one note. ``what`` says what its ``content`` is.

        state: ``[state, mode]``. settings: the next run's, by flat names. begin: those of a new
        run, the last one forgotten. facts: its FACTS and VALIDATED_KEYS. step, validation: a row.
        end: ``kind`` and ``error``. results: of the test, and their ``table``.
        saves: names ``pending``, rows ``recent``. line: of the log.
        """
        take: dict[str, Callable[[Any], None]] = {
            "state": self._take_state,
            "settings": self._take_settings,
            "begin": self._take_begin,
            "facts": self._take_facts,
            "step": self._take_step,
            "validation": self._take_validation,
            "end": self._take_end,
            "results": self._take_results,
            "saves": self._take_saves,
            "line": self._take_line,
        }
        with self._changed:
            take[what](content)
            self.count += 1
            if self._listener is not None:
                self._listener(what, content)
            self._changed.notify_all()

    def tell(self, listener: Listener | None) -> bytes:
        """Hand every note from now on to ``listener``; returns the board so far, pickled.

        The listener is called with the board locked, so it must not wait.
        """
        with self._changed:
            self._listener = listener
            return pickle.dumps(self)

    def reached(self, count: int, seconds: float) -> bool:
        """Wait until ``count`` notes were taken; returns whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, seconds)

    def _take_state(self, content: list[Any]) -> None:
        self.state, self.mode = content

    def _take_settings(self, content: dict[str, Any]) -> None:
        self._settings = content

    def _take_begin(self, content: dict[str, Any]) -> None:
        self._forget()
        self.run_id += 1
        self._config = content

    def _take_facts(self, content: dict[str, Any]) -> None:
        self._facts = content

    def _take_step(self, content: dict[str, Any]) -> None:
        self._step = content
        row = {key: content[key] for key in STEP_KEYS}
        self._history.add({"batch_num": content["step"], **row})
        self._rates.add(content["targets"])

    def _take_validation(self, content: dict[str, Any]) -> None:
        self._validation = content
        self._validations.append(content)
        if len(self._validations) > KEPT_VALIDATIONS:
            self._validations = self._validations[::2]

    def _take_end(self, content: dict[str, Any]) -> None:
        self._outcome = content

    def _take_results(self, content: dict[str, Any]) -> None:
        self._results = content

    def _take_saves(self, content: dict[str, Any]) -> None:
        self._pending, self._saves = content["pending"], content["recent"]

    def _take_line(self, content: dict[str, Any]) -> None:
        self._lines.append(content)

    # -- anybody ---------------------------------------------------------------------------

    @property
    def has_model(self) -> bool:
        """Whether there is a model to ask about."""
        return bool(self._facts)

    @property
    def moment(self) -> tuple[int, int | None, bool]:
        """What changes when there is something new to look at: run, validation, a model."""
        with self._changed:
            return self.run_id, self._validation.get("batch_num"), self.has_model

    @property
    def step(self) -> int | None:
        """The last step of the run."""
        with self._changed:
            return self._step.get("step")

    def status(self) -> dict[str, Any]:
        """Return what the process does and where its run is; accuracies in percent."""
        with self._changed:
            step, validation, outcome = self._step, self._validation, self._outcome
            rates = None if outcome else self._rates.per_second()
            return {
                "running": self.mode is not None,
                "state": self.state,
                "mode": self.mode,
                "run_id": self.run_id,
                **{key: self._facts.get(key) for key in FACTS},
                "epoch": step.get("epoch"),
                "batch": step.get("batch"),
                "batches_per_epoch": step.get("batches"),
                "step": step.get("step"),
                "seconds": step.get("seconds"),
                "progress": step.get("progress"),
                "eta_seconds": step.get("seconds_left"),
                "metrics": {
                    **{key: step.get(key) for key in METRIC_KEYS},
                    **{key: validation.get(key, self._facts.get(key)) for key in VALIDATED_KEYS},
                },
                "throughput": {
                    "steps_per_second": rates[0] if rates else None,
                    "examples_per_second": rates[1] if rates else None,
                },
                "outcome": outcome.get("kind"),
                "error": outcome.get("error"),
                "pending_saves": self._pending,
                "last_save": self._saves[-1] if self._saves else None,
                "recent_saves": self._saves,
                **(self._config or self._settings),
            }

    def history(self, since: int) -> dict[str, Any]:
        """Return what happened after step ``since``: training steps, and validations."""
        with self._changed:
            return {
                "run_id": self.run_id,
                "history": self._history.since(since),
                "validations": [row for row in self._validations if row["batch_num"] > since],
                "running": self.mode is not None,
                "mode": self.mode,
            }

    def results(self) -> dict[str, Any]:
        """Return the test's results, and the ``table`` of them; None before."""
        with self._changed:
            return {"run_id": self.run_id, **self._results}

    def lines(self, since: int) -> list[dict[str, Any]]:
        """Return the lines of the log after number ``since``."""
        with self._changed:
            return [line for line in self._lines if line["n"] > since]
