"""Finds the runs of folders and reads what they left there: settings, state, results, metrics.

Reads files only, and does not import torch.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.metadata import read_metadata
from arc.config.run_status import STATUS_FILE, State, is_alive
from arc.io.trees import leaves
from arc.runs.metrics_file import Metrics, MetricsFile
from arc.runs.tables import value_rows

STATES: tuple[State, ...] = ("finished", "running", "failed", "interrupted")
STALE_SECONDS = 1800.0  # without an update from a process of another machine
METRICS, HYDRA = "metrics.jsonl", Path(".hydra", "config.yaml")
FILE = re.compile(r"(?P<name>.+)_(?P<kind>results\.json|best\.pth|last\.pth)")
OWN_SECTIONS = {"task", "bottleneck", "model", "training"}  # of a run's configuration


@dataclass(frozen=True)
class RunRecord:
    """A run as its files describe it.

    ``folder``: its output folder, or that of its checkpoints. ``values``: those of its results by
    name, such as ``test.random_99``. ``metrics``: what its logger wrote. ``updated``: the time of
    its last update, in seconds since 1970. ``started_from``: the files that it began with.
    """

    name: str
    folder: Path
    state: State
    error: str | None
    step: int | None
    updated: float
    config: Mapping[str, Any]
    values: Mapping[str, float]
    best: Path | None
    metrics: Metrics
    started_from: Any

    @property
    def seed(self) -> Any:
        """The seed of its configuration."""
        return self.config.get("seed")


@dataclass
class _Output:
    """An output folder: its configuration, if it has one, and what identifies its run."""

    path: Path
    status: Mapping[str, Any] | None
    tree: Mapping[str, Any] | None
    name: str | None

    @property
    def place(self) -> tuple[str, str] | None:
        """The folder of its checkpoints and their name; None if its status does not tell."""
        folder = None if self.status is None else self.status.get("folder")
        if not isinstance(folder, str) or self.name is None:
            return None
        return os.path.abspath(self.path / folder), self.name


@dataclass
class _Saved:
    """The files of one run in a folder of checkpoints, by kind, and its output folders."""

    name: str
    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    outputs: list[_Output] = field(default_factory=list)


class RunFinder:
    """Finds the runs below folders; what was read is kept until a file changes."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Path], tuple[tuple[int, int], Any, str | None]] = {}
        self._files: dict[Path, MetricsFile] = {}
        self._seen: set[tuple[str, Path]] = set()  # the keys of what the last search has read
        self._warnings: dict[str, None] = {}

    def find(
        self, folders: Iterable[Path], most: int | None = None
    ) -> tuple[list[RunRecord], list[str]]:
        """Return the runs, in the order of their folders, and a warning for what cannot be read.

        ``most``: the number of runs to read, the latest ones. Raises ValueError if a folder does
        not exist.
        """
        self._seen, self._warnings = set(), {}
        saved, outputs = self._scan(folders)
        if most is not None:
            saved, outputs = _latest(saved, outputs, most)
        lonely = self._join(saved, outputs)
        records = [self._record(each) for each in [*saved, *lonely]]
        found = [record for record in records if record is not None]
        self._forget()
        found.sort(key=lambda record: (_natural(str(record.folder)), _natural(record.name)))
        return found, list(self._warnings)

    # -- files ---------------------------------------------------------------------------

    def _scan(self, folders: Iterable[Path]) -> tuple[list[_Saved], list[_Output]]:
        saved: dict[tuple[Path, str], _Saved] = {}
        outputs: list[_Output] = []
        for path, folders_here, files in _walk(folders, self._warn):
            for file in files:
                if match := FILE.fullmatch(file):
                    run = saved.setdefault((path, match["name"]), _Saved(match["name"], path))
                    run.files[match["kind"]] = path / file
            has_config = HYDRA.parts[0] in folders_here and (path / HYDRA).is_file()
            if has_config or STATUS_FILE in files or METRICS in files:
                output = self._output(path, has_config, STATUS_FILE in files, METRICS in files)
                outputs += [] if output is None else [output]
        return list(saved.values()), outputs

    def _output(
        self, path: Path, has_config: bool, has_status: bool, has_metrics: bool
    ) -> _Output | None:
        status = self._read(path / STATUS_FILE, _status) if has_status else None
        tree = self._read(path / HYDRA, _tree) if has_config else None
        name = None if status is None else status.get("run_name")
        if tree is not None and name is None:
            name = tree.get("run_name")
        if not has_config and name is None:
            name = path.name
        serves = tree is not None and not tree.get("server", {}).get("autostart", True)
        if serves and not (has_status or has_metrics):
            return None  # of a process that starts several runs, whose folders are below it
        if status is None and tree is None and not has_metrics:
            return None
        return _Output(path, status, tree, name)

    def _read(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """Return what ``read`` returns for a file, None with a warning if it raises."""
        key = (read.__name__, path)
        self._seen.add(key)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if key not in self._kept or self._kept[key][0] != stamp:
                self._kept[key] = (stamp, *_attempt(path, read))
        except OSError as error:
            self._warn(f"{path}: cannot be read: {error.strerror}")
            return None
        _, content, fault = self._kept[key]
        if fault is not None:
            self._warn(fault)
        return content

    def _metrics(self, path: Path) -> Metrics:
        return self._files.setdefault(path, MetricsFile(path)).read()

    def _forget(self) -> None:
        """Free what was kept of files that the search did not come upon."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._seen}
        seen = {path for _, path in self._kept}
        self._files = {path: file for path, file in self._files.items() if path in seen}

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    # -- runs ----------------------------------------------------------------------------

    def _join(self, saved: Sequence[_Saved], outputs: Sequence[_Output]) -> list[_Saved]:
        """Give each output folder to the run that wrote it; returns those of runs without files."""
        lonely: dict[tuple[Path, str], _Saved] = {}
        by_parent: dict[Path, list[_Saved]] = {}
        by_name: dict[str, list[_Saved]] = {}
        by_place = {(os.path.abspath(run.folder), run.name): run for run in saved}
        jobs = {(output.path, output.name) for output in outputs}
        for run in saved:
            by_parent.setdefault(run.folder.parent, []).append(run)
            if (run.folder.parent, run.name) not in jobs:
                by_name.setdefault(run.name, []).append(run)
        free = [run for runs in by_name.values() for run in runs]
        for output in outputs:
            below = by_parent.get(output.path, [])
            inside = [run for run in below if output.name in (None, run.name)]
            others = by_name.get(output.name or "", [])
            if place := output.place:
                found = by_place.get(place)
            elif len(inside) == 1:
                found = inside[0]
            elif len(others) == 1:
                found = others[0]
            else:
                found = self._by_validation(output, others or inside or free)
            name = output.name or output.path.name
            run = found or lonely.setdefault((output.path, name), _Saved(name, output.path))
            run.outputs.append(output)
        return list(lonely.values())

    def _by_validation(self, output: _Output, runs: Sequence[_Saved]) -> _Saved | None:
        """Return the run whose best or last checkpoint stores a validation of ``output``."""
        path = output.path / METRICS
        metrics = self._read(path, self._metrics) if runs and path.is_file() else None
        if metrics is None:
            return None
        known = {(row.get("val_loss"), row.get("val_acc")) for row in metrics.validations}
        for run in runs:
            for kind in ("best.pth", "last.pth"):
                metadata = self._metadata(run.files.get(kind)) or {}
                stored = (metadata.get("val_loss"), metadata.get("val_acc"))
                if None not in stored and stored in known:
                    return run
        return None

    def _metadata(self, path: Path | None) -> Any:
        return None if path is None else self._read(path, read_metadata)

    def _record(self, run: _Saved) -> RunRecord | None:
        outputs = sorted(run.outputs, key=lambda each: _changed(each.path))
        started = [each for each in outputs if not _is_refused(each.status)]
        if started or run.files:
            outputs = started
        content = None
        if "results.json" in run.files:
            content = self._read(run.files["results.json"], _results)
        config = content[0]["config"] if content else None
        started_from = content[0].get("started_from") if content else None
        best = run.files.get("best.pth")
        for path in (best, run.files.get("last.pth")):
            metadata = None if config else self._metadata(path)
            if metadata:
                config, started_from = metadata["config"], metadata.get("started_from")
        if not config:
            config = next((each.tree for each in reversed(outputs) if each.tree), None)
            started_from = _planned_start(config or {})
        statuses = [each.status for each in outputs if each.status is not None]
        if config is None and not statuses:
            return None  # nothing in it could be read, which was reported
        config = config or {}
        filename = _logged_file(config)
        read = [
            self._read(path, self._metrics)
            for each in outputs
            if (path := each.path / filename).is_file()
        ]
        metrics = Metrics.joined([each for each in read if each is not None])
        times = [_changed(path) for path in [*run.files.values(), *(each.path for each in outputs)]]
        status = max(statuses, key=_updated, default=None)
        state, error = _state(status, None if content is None else content[0], metrics.changed)
        known = [metrics.last_step, (status or {}).get("step")]
        steps = [step for step in known if isinstance(step, int)]
        if not steps and content is not None and isinstance(content[0].get("steps"), int):
            steps = [content[0]["steps"]]
        return RunRecord(
            name=run.name,
            folder=outputs[-1].path if outputs else run.folder,
            state=state,
            error=error,
            step=max(steps, default=None),
            updated=max([*times, metrics.changed]),
            config=config,
            values={} if content is None else content[1],
            best=best,
            metrics=metrics,
            started_from=started_from,
        )


def _walk(
    folders: Iterable[Path], warn: Callable[[str], None]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below ``folders`` once, with the names in it; hidden ones are skipped."""
    seen: set[str] = set()
    for root in folders:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder")
        for path, below, files in os.walk(root, onerror=lambda error: warn(_denied(error))):
            real = os.path.realpath(path)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            yield Path(path), list(below), files
            below[:] = sorted(each for each in below if not each.startswith("."))


def _denied(error: OSError) -> str:
    return f"{error.filename}: cannot be read: {error.strerror}"


def _latest(
    saved: list[_Saved], outputs: list[_Output], most: int
) -> tuple[list[_Saved], list[_Output]]:
    """Return the runs and output folders that changed last."""

    def newest(run: _Saved) -> float:
        return max(map(_changed, run.files.values()), default=0.0)

    kept = sorted(saved, key=newest, reverse=True)[:most]
    return kept, sorted(outputs, key=lambda each: _changed(each.path), reverse=True)[:most]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _natural(text: str) -> list[Any]:
    """Return a key that sorts numbers in ``text`` by their value."""
    return [
        (1, int(part), "") if part.isdecimal() else (0, 0, part)
        for part in re.split(r"(\d+)", text)
    ]


# -- what the files contain --------------------------------------------------------------


def _attempt(path: Path, read: Callable[[Path], Any]) -> tuple[Any, str | None]:
    """Return what ``read`` returns, or None and why; raises OSError."""
    try:
        return read(path), None
    except OSError:
        raise
    except CheckpointError as error:
        return None, str(error)
    except Exception as error:  # whatever a foreign file makes a parser raise
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return None, f"{path}: skipped: {text}"


def _status(path: Path) -> Mapping[str, Any]:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("state") not in STATES:
        raise ValueError(f"not the status of a run: state must be one of {', '.join(STATES)}")
    return content


def _tree(path: Path) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(path.read_bytes(), Loader=loader)
    if not isinstance(content, dict) or not content.keys() >= OWN_SECTIONS:
        raise ValueError("not the configuration of a run of arc.train")
    return content


def _results(path: Path) -> tuple[Mapping[str, Any], dict[str, float]]:
    """Return the content of a results file, and its values by name."""
    content = json.loads(path.read_bytes())
    try:
        if not isinstance(content["config"], dict):
            raise TypeError
        rows = value_rows(content)
    except (AttributeError, KeyError, StopIteration, TypeError):
        raise ValueError("not the results of a run") from None
    values = {f"{row['set']}.{row['metric']}".replace(" ", "_"): row["accuracy"] for row in rows}
    return content, {name: value for name, value in values.items() if value is not None}


def _planned_start(config: Mapping[str, Any]) -> list[str]:
    """Return ``started_from`` of a run that has saved nothing yet, without steps."""
    given = leaves(config)
    encoder = "pretrain.init_from" if given.get("mode") == "pretrain" else "encoder.pretrained"
    named = {key: given.get(key) for key in ("finetune", encoder)}
    names = {key: Path(str(value)).name for key, value in named.items() if value is not None}
    return [f"{key} {name.removesuffix('.pth')}.pth" for key, name in names.items()]


def _logged_file(config: Mapping[str, Any]) -> str:
    logger = config.get("logger")
    jsonl = logger.get("jsonl") if isinstance(logger, Mapping) else None
    name = jsonl.get("filename") if isinstance(jsonl, Mapping) else None
    return name if isinstance(name, str) else METRICS


def _is_refused(status: Mapping[str, Any] | None) -> bool:
    """Return whether a command failed before its run started."""
    return status is not None and status.get("state") == "failed" and status.get("step") is None


def _updated(status: Mapping[str, Any]) -> float:
    value = status.get("updated")
    return float(value) if isinstance(value, int | float) else 0.0


def _state(
    status: Mapping[str, Any] | None, results: Mapping[str, Any] | None, logged: float
) -> tuple[State, str | None]:
    """Return the state of a run, and the reason if it failed or was interrupted.

    Without a status, as of older versions, a run with complete results is finished, another one
    interrupted.
    """
    if status is None:
        done = results is not None and not results.get("stopped")
        return ("finished" if done else "interrupted"), None
    state: State = status["state"]
    if state == "running" and (fault := _interruption(status, max(_updated(status), logged))):
        return "interrupted", fault
    error = status.get("error")
    return state, None if error is None else str(error)


def _interruption(status: Mapping[str, Any], seen: float) -> str | None:
    """Return why a run that says running is not; ``seen``: its last update.

    A process of this machine is looked up; one of another machine must have written something in
    the last STALE_SECONDS.
    """
    pid, host = status.get("pid"), status.get("host")
    if host == socket.gethostname() and isinstance(pid, int):
        return None if is_alive(pid, seen) else f"its process {pid} ended without a result"
    silent = time.time() - seen
    if silent <= STALE_SECONDS:
        return None
    return f"no update from {host} for {silent / 60:.0f} minutes"
