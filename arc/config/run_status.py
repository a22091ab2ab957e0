"""The file ``status.json`` in the output folder of a run: its state, for other processes.

A mapping: ``state`` (running, finished, failed or interrupted), ``error`` (one line, or null),
``step``, ``run_name``, ``folder`` (that of the checkpoints, relative to the file's), ``overrides``
(those of the run), ``objective`` (the value that a sweep optimises, or null), ``host``, ``pid``,
``updated`` (seconds since 1970). A process that dies leaves ``running``.

Imports no torch, so that a sweep starts and skips jobs quickly.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from arc.io.files import replace_json

State = Literal["running", "finished", "failed", "interrupted"]
STATUS_FILE = "status.json"
PROC = Path("/proc")


def write_status(
    output: Path,
    state: State,
    *,
    error: str | None = None,
    step: int | None = None,
    run_name: str | None = None,
    folder: Path | None = None,
    overrides: Sequence[str] = (),
    objective: float | None = None,
) -> None:
    """Replace the status file in ``output``; raises OSError if it cannot be written."""
    status = {
        "state": state,
        "error": error,
        "step": step,
        "run_name": run_name,
        "folder": None if folder is None else os.path.relpath(folder, output),
        "overrides": list(overrides),
        "objective": objective,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "updated": round(time.time(), 3),
    }
    replace_json(output / STATUS_FILE, status)


def read_status(output: Path) -> dict[str, Any]:
    """Return the content of the status file in ``output``; empty if it cannot be read."""
    return read_json(output / STATUS_FILE)


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a file; empty if it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_held_by_another(status: dict[str, Any]) -> bool:
    """Return whether another process of this machine, which is alive, writes the run."""
    pid, updated = status.get("pid"), status.get("updated")
    if status.get("state") != "running" or status.get("host") != socket.gethostname():
        return False
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    return is_alive(pid, updated if isinstance(updated, int | float) else math.inf)


def is_alive(pid: int, seen: float = math.inf) -> bool:
    """Return whether a process of this machine exists and, where /proc tells, began by ``seen``.

    ``seen``: when the process wrote something, in seconds since 1970. A process that began more
    than a second later is another one with the same number.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        pass
    return _began(pid) <= seen + 1


def _began(pid: int) -> float:
    """Return when a process began, in seconds since 1970; 0 where /proc does not tell.

    The times of the folder /proc/PID are of no use: they are those of the first look at it.
    """
    try:
        content = (PROC / str(pid) / "stat").read_bytes()
        after_name = content.rpartition(b")")[2].split()  # from field 3 on
        ticks = int(after_name[19])  # field 22, starttime
    except (OSError, ValueError, IndexError):
        return 0.0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")
