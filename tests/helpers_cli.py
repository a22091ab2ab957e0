"""Run the command line on a small corpus, in this process or in a new one."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from helpers_fork import Forked
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

import arc.train
from arc.config.schema import RunConfig
from arc.training import Callback, RunControl

CHECKOUT = Path(__file__).resolve().parents[1]
TIMEOUT = 120
T = TypeVar("T")
Process = subprocess.Popen[str] | Forked
Make = Callable[..., Any]  # a fixture that builds something from overrides


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The single line of standard error after ``error: ``; the status must be 1."""
        assert "Traceback" not in self.err, self.err
        assert self.status == 1, (self.status, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


def tiny(corpus: Path, steps: int | None = 4) -> list[str]:
    """Overrides for a run of at most a second on the puzzles in ``corpus``."""
    return [
        "data=folder",
        f"data.path={corpus}",
        "data.validation_fraction=0.25",
        "model=tiny",
        "device=cpu",
        "server.enabled=false",
        "training.batch_size=16",
        f"training.max_steps={'null' if steps is None else steps}",
    ]


def place(folder: Path) -> list[str]:
    """Overrides that write every file of a run below ``folder``."""
    return [f"checkpoint.dir={folder / 'checkpoints'}", f"hydra.run.dir={folder / 'out'}"]


def placed(config: RunConfig, folder: Path) -> RunConfig:
    """Return ``config`` with its checkpoints below ``folder``."""
    checkpoint = config.checkpoint.model_copy(update={"dir": str(folder / "checkpoints")})
    return config.model_copy(update={"checkpoint": checkpoint})


def run_here(folder: Path, *overrides: str) -> Outcome:
    """Run ``python -m arc.train`` in this process, with its files below ``folder``."""
    return call(arc.train.main, *place(folder), *overrides)


def call(main: Callable[[], None], *overrides: str) -> Outcome:
    """Run an entry point in this process, as if ``overrides`` had been typed."""
    argv = ["program", "hydra/job_logging=none", "hydra/hydra_logging=none", *overrides]
    root, out, err = logging.getLogger(), io.StringIO(), io.StringIO()
    handlers, level, status = list(root.handlers), root.level, 0
    try:
        with (
            patch.object(sys, "argv", argv),
            patch.dict(os.environ),
            patch.object(Hydra, "get_mode", return_value=None),  # it would compose a second time
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        GlobalHydra.instance().clear()
    return Outcome(status, out.getvalue(), err.getvalue())


def environment(*, package: Path = CHECKOUT) -> dict[str, str]:
    """Return the environment of a new process that imports ``arc`` from ``package``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HYDRA_")}
    return {"OMP_NUM_THREADS": "1", **kept, "PYTHONPATH": str(package)}


def start(cwd: Path, *arguments: str, script: str | None = None, **options: Any) -> Process:
    """Start ``python -m arc.train``, or the source code ``script``, in a new process."""
    command = ["-m", "arc.train"] if script is None else ["-c", script]
    return start_python(cwd, *command, *arguments, **options)


def start_python(
    cwd: Path,
    *command: str,
    package: Path = CHECKOUT,
    is_fresh: bool = False,
    new_session: bool = False,
) -> Process:
    """Start ``python`` with the arguments of ``command`` in a new process.

    Unless it must be fresh, or import ``arc`` from another ``package``, the process is a fork of
    one that has imported torch.
    """
    if not is_fresh and package == CHECKOUT:
        return Forked(list(command), cwd, environment(), new_session=new_session)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=environment(package=package),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def wait_for(process: Process, text: str) -> str:
    """Read standard error up to the line that contains ``text``; returns what was read."""
    assert process.stderr is not None
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    lines = []
    for line in iter(process.stderr.readline, ""):
        lines.append(line)
        if text in line:
            break
    watchdog.cancel()
    assert lines, "standard error is empty"
    assert text in lines[-1], "".join(lines)
    return "".join(lines)


def until(look: Callable[[], T], holds: Callable[[T], Any]) -> T:
    """Poll ``look`` until ``holds`` of its value; returns the value."""
    end = time.monotonic() + TIMEOUT
    while not holds(seen := look()):
        assert time.monotonic() < end, f"timed out at {seen}"
        time.sleep(0.01)
    return seen


def finish(process: Process, timeout: float = TIMEOUT) -> Outcome:
    """Wait for ``process``; the status is -N if signal N ended it."""
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.start()
    out, err = process.communicate()
    assert not watchdog.finished.is_set(), f"still running after {timeout} s\n{out}\n{err}"
    watchdog.cancel()
    assert process.returncode is not None
    return Outcome(process.returncode, out, err)


def run(cwd: Path, *arguments: str, **options: Any) -> Outcome:
    """Run ``python -m arc.train`` in a new process; options are those of ``start``."""
    return finish(start(cwd, *arguments, **options))


class Recorder(Callback):
    """Keeps every event; requests a stop at the first event that ``stop_at`` accepts."""

    def __init__(self, stop_at: Callable[[object], bool] = lambda event: False) -> None:
        self.events: list[object] = []
        self.control, self.stop_at = RunControl(), stop_at
        self.is_closed = False

    def on_event(self, event: object) -> None:
        self.events.append(event)
        if self.stop_at(event):
            self.control.request_stop("a callback")

    def close(self) -> None:
        self.is_closed = True


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two trees differ, apart from times and file names."""
    if isinstance(one, dict):
        keys = (one.keys() | other.keys()) - {"seconds", "created", "started_from"}
        return [
            each for key in keys for each in differences(one[key], other[key], f"{place}.{key}")
        ]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [each for n, pair in pairs for each in differences(*pair, place=f"{place}[{n}]")]
    same = one.equal(other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [place]
