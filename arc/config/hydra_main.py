"""Runs Hydra: composes a tree from overrides, and turns errors into one readable line.

Imports no torch, so that ``--help`` is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arc.config.files import ConfigError, config_folder

TOKEN_VARIABLE = "ARC_TOKEN"  # read by conf/config.yaml


def hydra_entry(job: Callable[[DictConfig], int], config_name: str) -> int:
    """Compose ``config_name`` from conf/ and run ``job``; returns the exit status.

    User errors are printed as one line on standard error, with status 1. Other exceptions keep
    their traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    statuses: list[int] = []

    def guarded(tree: DictConfig) -> None:
        # relative paths are those of the shell, also with hydra.job.chdir=true
        os.chdir(HydraConfig.get().runtime.cwd)
        try:
            statuses.append(job(tree))
        except ValueError as error:
            raise SystemExit(_complain(str(error))) from None
        if statuses[-1] != 0:
            raise SystemExit(statuses[-1])

    entry = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(guarded)
    try:
        entry()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _complain(_explain(error, config_name, sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    return 0


def _explain(error: Exception, config_name: str, typed: Sequence[str]) -> str:
    from arc.config.errors import explain  # imports torch

    return explain(error, config_name, typed)


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 1


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
            return hydra.compose("config", list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(_explain(error, "config", overrides)) from None


def typed_overrides() -> list[str]:
    """Return this command line's overrides as they were typed, interpolations unresolved."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def gather_overrides() -> list[str]:
    """Move the overrides to the end of sys.argv, where Hydra takes them; returns a copy.

    A typed token is moved to the environment.
    """
    overrides = list(get_args_parser().parse_intermixed_args(sys.argv[1:]).overrides)
    for override in reversed(overrides):
        del sys.argv[len(sys.argv) - 1 - sys.argv[::-1].index(override)]
    try:
        overrides = [expand_home(_without_token(override)) for override in overrides]
    except ConfigError as error:
        raise SystemExit(_complain(str(error))) from None
    sys.argv += overrides
    return overrides


def expand_home(override: str) -> str:
    """Return ``key=~/path`` with the home folder in place of ``~``, which Hydra cannot parse."""
    key, _, value = override.partition("=")
    if not value.startswith("~") or "," in value:
        return override
    path = os.path.expanduser(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{path}'"


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
