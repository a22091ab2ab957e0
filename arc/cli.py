"""From the command line to a composed tree, and from an error to one readable line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from arc.config import RunConfig, config_folder, known_keys, options_with, top_keys
from arc.registry import nearest

ALIASES = {"lr": "learning_rate"}


def hydra_entry(
    job: Callable[[DictConfig], int], config_name: str, schema: type[BaseModel] = RunConfig
) -> int:
    """Compose ``config_name`` from conf/ and run ``job``; returns the exit status.

    ``schema`` is the configuration's, for the names of its keys.

    What a user can get wrong ends in one line on standard error and status 1. Anything else
    is a fault of the program, and keeps its traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them
    statuses: list[int] = []

    def guarded(tree: DictConfig) -> None:
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
        return _complain(_explain(error, schema))
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 1


def _explain(error: Exception, schema: type[BaseModel]) -> str:
    """Say in one line what Hydra says in several, with the nearest spelling."""
    for group in _groups_without_option(schema):
        return f"{group}: choose one of {', '.join(_options(group))}"
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    if found := re.search(r"Could not find '([^/']+(?:/[^/']+)*)/([^/']+)'", text):
        group, option = found.groups()
        options = _options(group)
        hint = nearest(option, options)
        return f"{group}={option}: choose one of {', '.join(options)}.{hint}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found.group(1), schema)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not of the form key=value; a value with special characters "
            "needs quotes within quotes: 'key=\"value\"'"
        )
    if found := re.search(r"full_key: (\S+)", text):
        return f"{found.group(1)}: {text.splitlines()[0]}"
    return text.splitlines()[0]


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def _groups_without_option(schema: type[BaseModel]) -> list[str]:
    """Return the groups that the command line sets to nothing, which Hydra does not name."""
    typed = [argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument]
    groups = [key for key in schema.model_fields if _options(key)]
    return [key for key, value in typed if value in ("", "null") and key in groups]


def _unknown_key(key: str, schema: type[BaseModel]) -> str:
    """Say what a key that stands nowhere may have been meant to be."""
    section, _, name = key.partition(".")
    if others := options_with(section, name):
        chosen = " or ".join(f"{section}={option}" for option in others)
        return f"{key}: the chosen {section} has no such key; {chosen} has"
    known = known_keys(section) if name else []
    if not known:
        wanted = ALIASES.get(section, section)
        places = [each for each in schema.model_fields if wanted in known_keys(each)]
        if places:
            return f"{key}: no such key. Did you mean {places[0]}.{wanted}?"
        name, known = section, top_keys(schema)
    return f"{key}: no such key.{nearest(name, known)} Known: {', '.join(known)}"
