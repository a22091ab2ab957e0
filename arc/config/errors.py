"""Converts Hydra's errors to one-line messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import OverrideParseException
from pydantic import BaseModel

from arc.config.files import config_folder
from arc.config.schema import (
    SCHEMAS,
    RunConfig,
    known_keys,
    one_of_its_keys,
    options_with,
    top_keys,
)
from arc.registry import nearest

PLUGINS = {  # the extra that installs each launcher and sweeper of Hydra's
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
    "ray_aws": "ray",
    "optuna": "optuna",
}
ALIASES = {"lr": "learning_rate"}


def explain(error: Exception, config_name: str, typed: Sequence[str]) -> str:
    """Return a one-line message for one of Hydra's errors, with the closest valid name.

    ``config_name`` is a file of conf/, ``typed`` the overrides that failed to compose.
    """
    schema = SCHEMAS[config_name]
    for group in _groups_without_option(schema, typed):
        return f"{group}: choose one of {', '.join(_options(group))}"
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    pattern = r"Could not (?:find|load) '([^/']+(?:/[^/']+)*)/([^/']+)'"
    if found := re.search(pattern, text):
        group, option = found.groups()
        if group.startswith("hydra/"):
            return _without_plugin(group, option)
        options = _options(group)
        hint = nearest(option, options)
        return f"{group}={option}: choose one of {', '.join(options)}.{hint}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found.group(1), schema)
    if found := re.search(r"Ambiguous value for argument '(.+)'", text):
        return f"{found.group(1)}: add -m to run one job per value, or write a list as [a,b]"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not of the form key=value; a value with special characters "
            "needs quotes within quotes: 'key=\"value\"'"
        )
    if found := re.search(r"full_key: (\S+)", text):
        return f"{found.group(1)}: {text.splitlines()[0]}"
    return text.splitlines()[0]


def _without_plugin(group: str, option: str) -> str:
    """Return the message for an option of a group of Hydra's that is not installed."""
    if (extra := PLUGINS.get(option)) is not None:
        return f"{group}={option}: is not installed; pip install -e '.[{extra}]'"
    known = sorted({"basic", *PLUGINS, *_options(group)})
    return f"{group}={option}: no such option.{nearest(option, known)}"


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def _groups_without_option(schema: type[BaseModel], typed: Sequence[str]) -> list[str]:
    """Return the groups that ``typed`` sets to nothing; Hydra's error does not name them."""
    pairs = [argument.split("=", 1) for argument in typed if "=" in argument]
    groups = [key for key in schema.model_fields if _options(key)]
    return [key for key, value in pairs if value in ("", "null") and key in groups]


def _unknown_key(key: str, schema: type[BaseModel]) -> str:
    """Return the message for an unknown key, with a suggestion."""
    section, _, name = key.partition(".")
    owner = None if schema is RunConfig else schema
    if owner is None and (others := options_with(section, name)):
        chosen = " or ".join(f"{section}={option}" for option in others)
        return f"{key}: the chosen {section} has no such key; {chosen} has"
    known = known_keys(section, owner) if name else []
    if not known:
        wanted = ALIASES.get(section, section)
        places = [each for each in schema.model_fields if wanted in known_keys(each, owner)]
        if places:
            meant = " or ".join(f"{place}.{wanted}" for place in places)
            return f"{key}: no such key. Did you mean {meant}?"
        if not name and (advice := one_of_its_keys(section, owner)):
            return advice
        name, known = section, top_keys(schema)
    return f"{key}: no such key.{nearest(ALIASES.get(name, name), known)} Known: {', '.join(known)}"
