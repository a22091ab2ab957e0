"""The published state of a process: its run, the run's history and results, and recent log lines.

Everything is of plain types. Requests read it without touching the training thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from arc.loggers.history import History, Rates

KEPT_VALIDATIONS = 1000
KEPT_LINES = 1000
STEP_KEYS = ("epoch", "batch", "loss", "accuracy", "learning_rate", "grad_norm", "seconds")
METRIC_KEYS = ("loss", "accuracy", "learning_rate", "grad_norm")
FACTS = ("run_name", "device", "precision", "folder")
VALIDATION_KEYS = ("val_loss", "val_acc")  # a resumed run's facts, until its next validation
EMPTY: Mapping[str, Any] = {}


class RunStatus:
    """State of the current or last run; safe to use from any thread.

    ``ends_with_run``: whether the process ends with its run.
    """

    def __init__(self, *, ends_with_run: bool = False) -> None:
        self._lock, self._ends_with_run = threading.RLock(), ends_with_run
        # Pages that outlive a process must not take the next one's runs for its own.
        self.run_id = time.time_ns() // 1_000_000
        self.state, self.mode = "idle", None
        self._run_mode: str | None = None
        self._settings: dict[str, Any] = {}
        self._settings_version = 0
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._reset()

    def _reset(self) -> None:
        self._config: dict[str, Any] | None = None
        self._facts = self._step = self._validation = self._outcome = EMPTY
        self._results: Mapping[str, Any] = {"results": None, "table": None, "rows": None}
        self._testing: dict[str, Any] | None = None
        self._pending: list[str] = []
        self._saves: list[dict[str, Any]] = []
        self._history = History()
        self._validations: list[dict[str, Any]] = []
        self._rates = Rates()

    def publish(self, kind: str, content: Any) -> None:
        """Update one part of the status.

        ``kind`` names the part and determines ``content``: state (``[state, mode]``), settings
        (of the next run, by flat names), begin (settings of a new run; resets everything but
        the log), facts (FACTS and VALIDATION_KEYS; ``run_name``
        and ``folder`` of a run without a model), step and validation (a row), testing
        (progress of the evaluation), end (``kind`` and ``error``), results (``results``, their
        ``table`` and its ``rows``), saves (names ``pending``, rows ``recent``), line (of the log).
        """
        with self._lock:
            getattr(self, f"_on_{kind}")(content)

    def _on_state(self, content: list[Any]) -> None:
        self.state, self.mode = content
        self._run_mode = self.mode or self._run_mode
        if self.mode is None:
            self._testing = None

    def _on_settings(self, content: dict[str, Any]) -> None:
        self._settings = content
        self._settings_version += 1

    def _on_begin(self, content: dict[str, Any]) -> None:
        self._reset()
        self.run_id += 1
        self._config = content

    def _on_facts(self, content: dict[str, Any]) -> None:
        self._facts = content

    def _on_step(self, content: dict[str, Any]) -> None:
        self._step = content
        row = {key: content[key] for key in STEP_KEYS}
        self._history.add({"batch_num": content["step"], **row})
        self._rates.add(content["targets"])

    def _on_validation(self, content: dict[str, Any]) -> None:
        self._validation = content
        self._validations.append(content)
        if len(self._validations) > KEPT_VALIDATIONS:
            self._validations = self._validations[::2]

    def _on_testing(self, content: dict[str, Any]) -> None:
        self._testing = content

    def _on_end(self, content: dict[str, Any]) -> None:
        self._outcome = content

    def _on_results(self, content: dict[str, Any]) -> None:
        self._results = content

    def _on_saves(self, content: dict[str, Any]) -> None:
        self._pending, self._saves = content["pending"], content["recent"]

    def _on_line(self, content: dict[str, Any]) -> None:
        self._lines.append(content)

    @property
    def version(self) -> tuple[int, int | None, bool]:
        """Run, step of its last validation, and whether it has a model: keys cached answers."""
        with self._lock:
            return self.run_id, self._validation.get("batch_num"), self.has_model

    @property
    def has_model(self) -> bool:
        """Whether there is a model to query."""
        return "device" in self._facts

    @property
    def in_test_phase(self) -> bool:
        """Whether training has ended and the run has not."""
        with self._lock:
            return bool(self._outcome) and self.mode is not None

    @property
    def step(self) -> int | None:
        """The last step of the run."""
        return self._step.get("step")

    def status(self) -> dict[str, Any]:
        """Return the state of the process and the progress of its run; accuracies in percent."""
        with self._lock:
            step, validation, outcome = self._step, self._validation, self._outcome
            rates = None if outcome else self._rates.per_second()
            return {
                "running": self.mode is not None,
                "state": self.state,
                "mode": self.mode,
                "run_id": self.run_id,
                "run_mode": self._run_mode,
                "settings_version": self._settings_version,
                "ends_with_run": self._ends_with_run,
                **{key: self._facts.get(key) for key in FACTS},
                "epoch": step.get("epoch"),
                "batch": step.get("batch"),
                "batches_per_epoch": step.get("batches"),
                "step": step.get("step"),
                "seconds": step.get("seconds"),
                "progress": step.get("progress"),
                "eta_seconds": step.get("seconds_left"),
                "testing": self._testing,
                "metrics": {
                    **{key: step.get(key) for key in METRIC_KEYS},
                    **{key: validation.get(key, self._facts.get(key)) for key in VALIDATION_KEYS},
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
        """Return the training steps and validations after step ``since``."""
        with self._lock:
            return {
                "run_id": self.run_id,
                "history": self._history.since(since),
                "validations": [row for row in self._validations if row["batch_num"] > since],
                "running": self.mode is not None,
                "mode": self.mode,
            }

    def results(self) -> dict[str, Any]:
        """Return the test results, their ``table`` and its ``rows``; None before a run's end."""
        with self._lock:
            return {"run_id": self.run_id, **self._results}

    def lines(self, since: int) -> list[dict[str, Any]]:
        """Return the log lines after number ``since``."""
        with self._lock:
            return [line for line in self._lines if line["n"] > since]
