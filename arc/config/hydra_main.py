"""Runs Hydra: composes a tree from overrides, and turns errors into one readable line.

Imports no torch, so that ``--help`` is fast.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arc.config.files import ConfigError, config_folder
from arc.config.run_status import State, read_status
from arc.config.sweeps import AUTO, is_stopping, job_states, write_sweep
from arc.terminal import show, show_error
from arc.terminal.signals import signals_handled


class JobResult(NamedTuple):
    """The exit status of a job, and the value that a sweeper such as Optuna's optimises."""

    status: int
    objective: float | None = None


class FailedJobError(Exception):
    """A job failed and has reported its error; the message is that error."""


TOKEN_VARIABLE = "ARC_TOKEN"  # read by conf/config.yaml
PATH = re.compile(r"[\w./+=-]*")
WORD = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
RESERVED = ("null", "true", "false", "nan", "inf")  # words with a special meaning in Hydra


# Hydra copies its store for every group that --help lists, a second in all, and changes no copy.
ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


def hydra_entry(job: Callable[[DictConfig], JobResult], config_name: str) -> int:
    """Compose ``config_name`` from conf/ and run ``job``; returns the exit status.

    User errors are printed as one line on standard error, with status 1. Other exceptions keep
    their traceback. A job of a sweep that fails does not end the sweep; the last lines name the
    failed jobs. A signal ends a sweep as soon as its running jobs have saved their state.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    jobs = _Jobs(job)
    entry = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(jobs.run)
    is_sweep = get_args_parser().parse_known_args()[0].multirun
    try:
        with _sweep_signals(jobs.received) if is_sweep else nullcontext():
            entry()
    except ConfigError as error:
        jobs.failed.append(str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return show_error(_explain(error, config_name, sys.argv[1:]))
    except OSError as error:
        if jobs.have_started or isinstance(error, BrokenPipeError):
            raise
        return show_error(
            f"{error.filename}: {error.strerror}; set hydra.run.dir, or hydra.sweep.dir for a "
            "sweep, to a folder that can be written to"
        )
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not is_sweep:
            raise
        traceback.print_exc()  # of a launcher or a sweeper
        jobs.failed.append(one_line(error))
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code > 128:
            jobs.received.append(ended.code - 128)
        raise
    finally:
        faults = jobs.failed
        if is_sweep:
            faults = _end_sweep(faults, is_interrupted=bool(jobs.received))
        for fault in faults:
            show_error(fault)
    return 128 + jobs.received[0] if jobs.received else int(bool(faults))


class _Jobs:
    """The jobs of one command: a single run, or those of a sweep.

    ``failed`` has the faults of a sweep's jobs, ``received`` the numbers of the signals.
    """

    def __init__(self, job: Callable[[DictConfig], JobResult]) -> None:
        self.job = job
        self.failed: list[str] = []
        self.received: list[int] = []
        self.have_started = False  # only of a single run
        self._process = os.getpid()

    def run(self, tree: DictConfig) -> float | None:
        """Run one job; Hydra calls this. Returns the value that a sweeper optimises."""
        # relative paths are those of the shell, also with hydra.job.chdir=true
        os.chdir(HydraConfig.get().runtime.cwd)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return self._run_in_sweep(tree)
        self.have_started = True
        if _fault(self.job, tree)[0] is not None:
            raise SystemExit(1)
        return None

    def _run_in_sweep(self, tree: DictConfig) -> float | None:
        is_own = os.getpid() == self._process
        if not is_own:  # the launcher's process, which Ctrl-C would end between two jobs
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.received or is_stopping(_sweep_folder()):
            if is_own:
                raise SystemExit(128 + self.received[0] if self.received else 1)
            return None
        try:
            fault, result = _fault(self.job, tree)
        except SystemExit:  # a signal
            if is_own:
                raise
            return None
        if fault is None:
            return result.objective
        fault = f"{job_title()}: {fault}"
        if is_own:
            self.failed.append(fault)
        elif read_status(Path(HydraConfig.get().runtime.output_dir)).get("state") != "failed":
            raise ConfigError(fault)  # the sweep cannot read it from the status file
        return None


@contextmanager
def _sweep_signals(received: list[int]) -> Iterator[None]:
    """Let the jobs of the sweep end at the first signal, and the process at the second."""

    def handle(number: int, frame: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        received.append(number)
        if not HydraConfig.initialized():  # there is no job yet
            raise SystemExit(128 + number)
        with suppress(OSError):
            write_sweep(_sweep_folder(), "interrupted")

    with signals_handled(handle) as handled:
        yield


def _sweep_folder() -> Path:
    return Path(str(HydraConfig.get().sweep.dir))


def _end_sweep(failed: list[str], *, is_interrupted: bool) -> list[str]:
    """Print how many jobs of the sweep finished; returns the faults of those that did not."""
    if not HydraConfig.initialized():
        return failed
    folder, typed = _sweep_folder(), typed_overrides()
    HydraConfig.instance().cfg = None  # as it was before the sweep
    states = job_states(folder)
    counts = Counter(status["state"] for status in states.values())
    counted = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    is_done = not is_interrupted and not failed and set(counts) <= {"finished"}
    is_from_file = any(each.startswith("resume=") and each != f"resume={AUTO}" for each in typed)
    can_continue = not is_done and not is_from_file
    advice = "; the same command with resume=auto continues it" if can_continue else ""
    show(f"sweep {folder}: {counted or 'no job was started'}{advice}", sys.stderr)
    if counts["finished"] > 1:
        show(f"compare: python scripts/compare.py {shlex.quote(str(folder))}", sys.stderr)
    recorded = [
        f"job {name}: {status['error'] or 'its process ended'}"
        for name, status in states.items()
        if status["state"] == "failed" or (status["state"] == "running" and not is_interrupted)
    ]
    failed = failed or recorded
    with suppress(OSError):
        state: State = "failed" if failed else "finished"
        write_sweep(folder, "interrupted" if is_interrupted else state)
    return failed


def _fault(
    job: Callable[[DictConfig], JobResult], tree: DictConfig
) -> tuple[str | None, JobResult]:
    """Run ``job``; returns its error, which was reported. Raises SystemExit after a signal.

    In a sweep, an unexpected exception is an error of the job too.
    """
    try:
        result = job(tree)
    except FailedJobError as error:
        return str(error), JobResult(1)
    except ValueError as error:
        show_error(error)
        return one_line(error), JobResult(1)
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        traceback.print_exc()
        return one_line(error), JobResult(1)
    if result.status > 128:
        raise SystemExit(result.status)
    return None if result.status == 0 else f"status {result.status}", result


def one_line(error: Exception) -> str:
    """Describe an error in one line; the type of a ValueError is left out."""
    if isinstance(error, ValueError):
        return "; ".join(str(error).split("\n"))
    return f"{type(error).__name__}: {error}".splitlines()[0]


def job_title() -> str:
    """Return the folder of a sweep's job, below that of the sweep."""
    output = HydraConfig.get().runtime.output_dir
    return f"job {os.path.relpath(output, _sweep_folder())}"


def _explain(error: Exception, config_name: str, typed: Sequence[str]) -> str:
    from arc.config.errors import explain  # imports torch

    return explain(error, config_name, typed)


def compose_tree(overrides: Sequence[str]) -> DictConfig:
    """Compose conf/config.yaml with ``overrides``, also in a program that uses Hydra itself.

    Raises ConfigError with one line.
    """
    with nullcontext() if _has_conf() else _initialized():
        try:
            return hydra.compose("config", _without_null_experiment(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(_explain(error, "config", overrides)) from None


def _has_conf() -> bool:
    """Return whether Hydra is initialised with conf/, and not with another program's folder."""
    if not GlobalHydra.instance().is_initialized():
        return False
    sources = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return str(config_folder()) in [source.path for source in sources]


@contextmanager
def _initialized() -> Iterator[None]:
    """Initialise Hydra with conf/, and restore its state, which may be another program's."""
    state, base = GlobalHydra.instance(), VersionBase.instance()
    hydra_before, version_before = state.hydra, base.getbase()
    state.clear()
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = hydra_before
        base.version_base = version_before


def typed_overrides() -> list[str]:
    """Return this command line's overrides as they were typed, interpolations unresolved."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def gather_overrides() -> list[str]:
    """Move the overrides to the end of sys.argv, where Hydra takes them; returns a copy.

    A typed token is moved to the environment, and ``experiment=null`` is left out.
    """
    overrides = list(get_args_parser().parse_intermixed_args(sys.argv[1:]).overrides)
    for override in reversed(overrides):
        del sys.argv[len(sys.argv) - 1 - sys.argv[::-1].index(override)]
    try:
        overrides = [as_path(_without_token(override)) for override in overrides]
    except ConfigError as error:
        raise SystemExit(show_error(error)) from None
    overrides = _without_null_experiment(overrides)
    sys.argv += overrides
    return overrides


def as_path(override: str) -> str:
    """Return ``key=path`` as Hydra can parse it.

    ``~`` becomes the home folder. Paths with letters of other alphabets, with ``=`` or, if they
    exist, commas, as the names of a sweep's jobs have them, are quoted.
    """
    key, _, value = override.partition("=")
    path = os.path.expanduser(value)
    if "," in value:
        is_literal = os.sep in value and os.path.exists(path)
    else:
        is_special = "=" in value or not value.isascii()
        is_literal = value.startswith("~") or (is_special and PATH.fullmatch(value) is not None)
    return f"{key}={quoted(path)}" if is_literal else override


def quoted(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if isinstance(value, str):
        if WORD.fullmatch(value) and value.lower() not in RESERVED:
            return value
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return json.dumps(value)


def gathered(key: str, overrides: Sequence[str]) -> list[str]:
    """Return ``overrides`` with a ``key`` that was typed several times as one list.

    Overrides that Hydra cannot parse, and those of a sweep, are returned unchanged.
    """
    typed = [each for each in overrides if each.partition("=")[0] == key]
    if len(typed) < 2:
        return list(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(typed)
    except HydraException:
        return list(overrides)
    if any(each.is_sweep_override() for each in parsed):
        return list(overrides)
    values: list[Any] = []
    for each in parsed:
        value = each.value()
        values += value if isinstance(value, list) else [value]
    joined = ",".join(quoted(str(value)) for value in values)
    return [*(each for each in overrides if each not in typed), f"{key}=[{joined}]"]


def _without_token(override: str) -> str:
    """Return ``override`` with a typed token moved to the environment.

    Hydra writes overrides to files. Other keys of ``server`` lose a leading ``+``, so that Hydra
    refuses a mistyped key before it writes files.
    """
    key, _, value = override.partition("=")
    key = key.strip().lstrip("+")
    if key == "server":
        raise ConfigError("server: set its keys one by one, such as server.port=5003")
    if not key.startswith("server."):
        return override
    if key == "server.token" and (token := _resolved(value)) is not None:
        os.environ[TOKEN_VARIABLE] = token
        return f"{key}=${{oc.env:{TOKEN_VARIABLE}}}"
    return f"{key}={value}"


def _resolved(value: str) -> str | None:
    """Return a typed value as Hydra would; None for null or an interpolation that fails."""
    try:
        parsed = OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        parsed = value  # characters that Hydra's grammar reserves
    if parsed is None:
        return None
    try:
        text = OmegaConf.create({"value": parsed if isinstance(parsed, str) else value}).value
    except OmegaConfBaseException:
        return None
    return None if text is None else str(text)


def _without_null_experiment(overrides: Sequence[str]) -> list[str]:
    """Leave out ``experiment=null``, the default, which Hydra refuses as an override."""
    return [each for each in overrides if each not in ("experiment=null", "experiment=")]
