"""Runs Hydra: composes a tree from overrides, and turns errors into one readable line.

Imports no torch, so that ``--help`` is fast.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arc.config.files import ConfigError, config_folder
from arc.terminal import show_error


class FailedJobError(Exception):
    """A job failed and has reported its error; the message is that error."""


TOKEN_VARIABLE = "ARC_TOKEN"  # read by conf/config.yaml


def hydra_entry(job: Callable[[DictConfig], int], config_name: str) -> int:
    """Compose ``config_name`` from conf/ and run ``job``; returns the exit status.

    User errors are printed as one line on standard error, with status 1. Other exceptions keep
    their traceback. A job of a sweep that fails does not end the sweep; the last lines name the
    failed jobs.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    failed: list[str] = []
    started: list[DictConfig] = []
    process = os.getpid()

    def guarded(tree: DictConfig) -> None:
        # relative paths are those of the shell, also with hydra.job.chdir=true
        os.chdir(HydraConfig.get().runtime.cwd)
        is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if not is_sweep:
            started.append(tree)
        fault = _fault(job, tree)
        if fault is None:
            return
        if not is_sweep:
            raise SystemExit(1)
        fault = f"{_job_title()}: {fault}"
        if os.getpid() != process:  # a launcher that uses other processes
            raise ConfigError(fault)
        failed.append(fault)

    entry = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(guarded)
    try:
        entry()
    except ConfigError as error:
        failed.append(str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return show_error(_explain(error, config_name, sys.argv[1:]))
    except OSError as error:
        if started or isinstance(error, BrokenPipeError):
            raise
        return show_error(
            f"{error.filename}: {error.strerror}; set hydra.run.dir, or hydra.sweep.dir for a "
            "sweep, to a folder that can be written to"
        )
    except KeyboardInterrupt:
        return 130
    finally:
        for fault in failed:
            show_error(fault)
    return 1 if failed else 0


def _fault(job: Callable[[DictConfig], int], tree: DictConfig) -> str | None:
    """Run ``job``; returns its error, which was reported. Raises SystemExit after a signal.

    In a sweep, an unexpected exception is an error of the job too.
    """
    try:
        status = job(tree)
    except FailedJobError as error:
        return str(error)
    except ValueError as error:
        show_error(error)
        return "; ".join(str(error).split("\n"))
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    if status > 128:
        raise SystemExit(status)
    return None if status == 0 else f"status {status}"


def _job_title() -> str:
    """Return the number of a sweep's job and the overrides that are not the same in all jobs."""
    config = HydraConfig.get()
    typed = [argument.lower() for argument in sys.argv]  # Hydra writes false as False
    own = [each for each in config.overrides.task if each.lower() not in typed]
    return f"job {config.job.num} ({', '.join(own)})" if own else f"job {config.job.num}"


def _explain(error: Exception, config_name: str, typed: Sequence[str]) -> str:
    from arc.config.errors import explain  # imports torch

    return explain(error, config_name, typed)


def compose_tree(overrides: Sequence[str]) -> DictConfig:
    """Compose conf/config.yaml with ``overrides``, inside ``hydra_entry`` or outside of it.

    Raises ConfigError with one line.
    """
    is_initialised = GlobalHydra.instance().is_initialized()
    with ExitStack() as stack:
        if not is_initialised:
            context = hydra.initialize_config_dir(str(config_folder()), version_base="1.3")
            stack.enter_context(context)
        try:
            return hydra.compose("config", _without_null_experiment(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(_explain(error, "config", overrides)) from None


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
        overrides = [expand_home(_without_token(override)) for override in overrides]
    except ConfigError as error:
        raise SystemExit(show_error(error)) from None
    overrides = _without_null_experiment(overrides)
    sys.argv += overrides
    return overrides


def expand_home(override: str) -> str:
    """Return ``key=~/path`` with the home folder in place of ``~``, which Hydra cannot parse."""
    key, _, value = override.partition("=")
    if not value.startswith("~") or "," in value:
        return override
    return f"{key}={quoted(os.path.expanduser(value))}"


def quoted(text: str) -> str:
    """Return ``text`` as a string of Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


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
