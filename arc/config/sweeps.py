"""Sweeps: the names and states of their jobs, and where an interrupted sweep is continued.

The file ``sweep.json`` in the folder of a sweep holds its ``state`` (running, finished, failed or
interrupted), the ``overrides`` that make it the same sweep, the time ``started`` by the clock of
the file system, ``host``, ``pid`` and ``updated``.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arc.config.run_status import STATUS_FILE, State, read_json, read_status
from arc.io.files import replace_json
from arc.terminal import show

AUTO = "auto"
SWEEP_FILE = "sweep.json"
SWEEPS = "multirun/*/*"  # the folders of hydra.sweep.dir in conf/config.yaml
HOUSEKEEPING = ("resume", "run_name", "device", "server", "checkpoint.dir", "strict")
NAME_LENGTH = 100


def key_of(override: str) -> str:
    """Return the key or group that an override sets."""
    return override.split("=")[0].lstrip("+~")


def is_housekeeping(override: str) -> bool:
    """Return whether an override is about the process or its files, and not about the run."""
    key = key_of(override)
    return key in HOUSEKEEPING or key.split(".")[0] == "server"


def of_run(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without the housekeeping."""
    return [each for each in overrides if not is_housekeeping(each) and each != "mode=train"]


def job_name(overrides: str, number: object) -> str:
    """Return the name of a job, for paths: its ``overrides``, or its ``number`` if it has none.

    Characters that are not safe in paths become ``-``. A name that was changed, or shortened to
    NAME_LENGTH characters, ends in a hash of the overrides, so that it stays unique.
    """
    name = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", overrides)
    name = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", name)
    if name == overrides and len(name) <= NAME_LENGTH:
        return name or str(number)
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
    return f"{name[: NAME_LENGTH - 9]}-{digest}".lstrip("-")


OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def constant_keys(typed: Sequence[str]) -> list[str]:
    """Return the keys of a sweep's command line that the names of its jobs leave out.

    If some override has several values: the others; if none has: the housekeeping.
    """
    keys = [key_of(override) for override in typed if not _is_of_hydra(override)]
    varied = [key_of(override) for override in typed if _has_several_values(override)]
    if varied:
        return [key for key in keys if key not in varied or key == "server.token"]
    return [key for key in keys if is_housekeeping(key)]


def _has_several_values(override: str) -> bool:
    if _is_of_hydra(override):
        return False
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:  # Hydra reports it
        return False


def _is_of_hydra(override: str) -> bool:
    return re.split("[./]", key_of(override))[0] == "hydra"


def sweep_settings(typed: Sequence[str], inserted: Sequence[str] = ()) -> list[str]:
    """Return the settings of Hydra that complete a sweep's command line.

    ``inserted`` are overrides that were added to the ``typed`` ones. The settings
    name its jobs. With ``resume=auto`` and no ``hydra.sweep.dir``, the newest sweep of the same
    command is continued.
    """
    constant = [*constant_keys(typed), *map(key_of, inserted)]
    keys = ",".join(f"'{key}'" for key in constant)
    settings = [
        f"hydra.job.config.override_dirname.exclude_keys=[{keys}]",
        f"++hydra.callbacks.sweep._target_={SweepStart.__module__}.{SweepStart.__name__}",
    ]
    keys_typed = [key_of(each) for each in typed]
    if f"resume={AUTO}" in typed and "hydra.sweep.dir" not in keys_typed:
        found = latest_sweep(typed)
        if found is None:
            show("resume=auto: multirun/ has no sweep of this command; starting it", sys.stderr)
        else:
            show(f"resume=auto: continuing the sweep {found}", sys.stderr)
            settings.append(f"hydra.sweep.dir={found}")
    return settings


def sweep_identity(typed: Sequence[str]) -> list[str]:
    """Return the overrides that two commands of the same sweep share, sorted.

    The launcher and the housekeeping may differ, but not the name of the runs, nor their folder.
    """
    kept = ("run_name", "checkpoint.dir")
    own = [each for each in typed if not is_housekeeping(each) or key_of(each) in kept]
    return sorted(
        each
        for each in own
        if not _is_of_hydra(each) or re.match(r"hydra[./]sweeper", key_of(each))
    )


def latest_sweep(typed: Sequence[str]) -> Path | None:
    """Return the folder of the newest sweep of the same command below multirun/, or None."""
    wanted = sweep_identity(typed)
    for path in sorted(Path().glob(f"{SWEEPS}/{SWEEP_FILE}"), reverse=True):
        if read_json(path).get("overrides") == wanted:
            return path.parent
    return None


class SweepStart(Callback):
    """Hydra calls it before the first job: creates the sweep's folder and its file."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Raise OSError if the folder cannot be written to."""
        HydraConfig.instance().set_config(config)  # hydra_entry reads the sweep's folder from it
        folder = Path(str(config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        overrides = config.hydra.overrides
        typed = [str(each) for part in (overrides.hydra, overrides.task) for each in _plain(part)]
        path = folder / SWEEP_FILE
        path.touch()
        write_sweep(
            folder, "running", overrides=sweep_identity(typed), started=path.stat().st_mtime
        )


def _plain(overrides: Any) -> list[Any]:
    content = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(content, list)
    return content


def write_sweep(folder: Path, state: State, **changes: Any) -> None:
    """Write the file of a sweep: its state and ``changes``; the rest is kept."""
    own = {"host": socket.gethostname(), "pid": os.getpid(), "updated": round(time.time(), 3)}
    path = folder / SWEEP_FILE
    replace_json(path, {**read_json(path), "state": state, **changes, **own})


def is_stopping(folder: Path) -> bool:
    """Return whether the sweep in ``folder`` was asked to end."""
    return read_json(folder / SWEEP_FILE).get("state") == "interrupted"


def job_states(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the status of each job that ran or was skipped since the start, by its folder."""
    started = read_json(folder / SWEEP_FILE).get("started", 0)
    paths = [path for path in folder.rglob(STATUS_FILE) if path.stat().st_mtime >= started]
    found = {path.parent.relative_to(folder): read_status(path.parent) for path in sorted(paths)}
    return {str(name): status for name, status in found.items() if "state" in status}
