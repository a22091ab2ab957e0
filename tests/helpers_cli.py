"""Running the command line, in this process or in one of its own, on a small corpus."""

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

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import arc.train
from arc.config.schema import RunConfig, config_folder, parse_config

CHECKOUT = Path(__file__).resolve().parents[1]
TIMEOUT = 120
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error, after ``error: ``; the status must be 1."""
        assert "Traceback" not in self.err, self.err
        assert self.status == 1, (self.status, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


def composed(*overrides: str) -> RunConfig:
    """Compose conf/ with ``overrides`` and check it, as a run does."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return parse_config(compose("config", list(overrides)))


def tiny(corpus: Path, steps: int | None = 4) -> list[str]:
    """Overrides for a run of a second at most on the puzzles in ``corpus``."""
    return [
        "data=folder",
        f"data.path={corpus}",
        "data.validation_fraction=0.25",
        "model=tiny",
        "device=cpu",
        "server.enabled=false",
        "training.batch_size=16",
        "training.max_minutes=null",
        f"training.max_steps={'null' if steps is None else steps}",
    ]


def place(folder: Path) -> list[str]:
    """Overrides that put every file of a run below ``folder``."""
    return [f"checkpoint.dir={folder / 'checkpoints'}", f"hydra.run.dir={folder / 'out'}"]


def run_here(folder: Path, *overrides: str) -> Outcome:
    """Run ``python -m arc.train`` in this process, its files below ``folder``."""
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
    """The environment of a new process that finds ``arc`` in ``package``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HYDRA_")}
    return {"OMP_NUM_THREADS": "1", **kept, "PYTHONPATH": str(package)}


def start(
    cwd: Path, *arguments: str, script: str | None = None, package: Path = CHECKOUT
) -> subprocess.Popen[str]:
    """Start ``python -m arc.train``, or the source ``script``, in a process of its own."""
    what = ["-m", "arc.train"] if script is None else ["-c", script]
    return subprocess.Popen(
        [sys.executable, *what, *arguments],
        cwd=cwd,
        env=environment(package=package),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read standard error up to the line that holds ``text``; return what was read."""
    assert process.stderr is not None
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    lines = []
    for line in iter(process.stderr.readline, ""):
        lines.append(line)
        if text in line:
            break
    watchdog.cancel()
    assert lines, "nothing was said"
    assert text in lines[-1], "".join(lines)
    return "".join(lines)


def until(look: Callable[[], T], holds: Callable[[T], Any]) -> T:
    """Look again and again until ``holds`` of what is seen; returns it."""
    end = time.monotonic() + TIMEOUT
    while not holds(seen := look()):
        assert time.monotonic() < end, f"never came to hold: {seen}"
        time.sleep(0.01)
    return seen


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for ``process``; a death by signal N reads as status -N."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {TIMEOUT} s\n{out}\n{err}") from None
    return Outcome(process.returncode, out, err)


def run(cwd: Path, *arguments: str, package: Path = CHECKOUT) -> Outcome:
    """Run ``python -m arc.train`` in a process of its own, and wait for it."""
    return finish(start(cwd, *arguments, package=package))
