"""Applies command-line overrides to the configuration stored in a checkpoint.

A resumed or fine-tuned run starts from its stored configuration and not from conf/, whose defaults
may have changed. Only the overrides of this command line are applied to it.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from arc.config.files import ConfigError, config_folder
from arc.config.hydra_main import quoted
from arc.config.schema import options_of, plain
from arc.config.sweeps import key_of as key_of

EXPERIMENT = "experiment"
GLOBAL_HEADER = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)


def is_typed(key: str, typed: Sequence[str]) -> bool:
    """Return whether one of the overrides sets ``key``."""
    return any(key_of(override) == key for override in typed)


def refuse_names(typed: Sequence[str]) -> None:
    """Raise ConfigError for ``GROUP.name=…``, which would keep the keys of another option."""
    for override in typed:
        group, _, key = key_of(override).partition(".")
        if key == "name" and options_of(group):
            value = override.partition("=")[2]
            raise ConfigError(
                f"{key_of(override)}: choose the option by its group: {group}={value}"
            )


def overlay(stored: dict[str, Any], composed: DictConfig, typed: list[str]) -> dict[str, Any]:
    """Return ``stored`` with the values that ``typed`` sets, taken from ``composed``.

    A group (``bottleneck=autoencoder``) replaces its whole section. An experiment, or another
    option whose file has the package ``_global_``, also replaces the sections and keys in that
    file, unless the stored run has that option already; a key replaces one value. Keys outside a
    replaced group that still have the values of its stored option are composed anew. ``device`` and
    ``checkpoint.dir`` always come from ``composed``.

    Raises ConfigError for a deletion (``~key``).
    """
    tree = OmegaConf.create(copy.deepcopy(stored))
    resolved = OmegaConf.create(plain(composed))
    groups, keys = _chosen(tree, typed)
    keys += [key for group in groups for key in _set_by_stored(tree, resolved, group)]
    for key in ["device", "checkpoint.dir", *groups, *keys]:
        value = OmegaConf.select(resolved, key)
        OmegaConf.update(tree, key, value, merge=False, force_add=True)
    container = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _chosen(stored: DictConfig, typed: list[str]) -> tuple[list[str], list[str]]:
    """Return the groups and the keys that a command line sets in a stored configuration."""
    groups: list[str] = []
    keys: list[str] = []
    for override in OverridesParser.create().parse_overrides(typed):
        name = override.key_or_group
        if override.is_delete():
            raise ConfigError(f"~{name}: keys of a stored configuration cannot be deleted")
        if not (config_folder() / name).is_dir():
            keys.append(name)
            continue
        if name != EXPERIMENT:
            groups.append(name)
            if OmegaConf.select(stored, f"{name}.name") == override.value():
                continue  # the stored run has this option, and its own values of other keys
        for kind, place in _touched_by(override):
            (groups if kind == "group" else keys).append(place)
    return groups, keys


def _set_by_stored(stored: DictConfig, composed: DictConfig, group: str) -> Iterator[str]:
    """Yield the stored keys outside of ``group`` that only its replaced option has set."""
    option = OmegaConf.select(stored, f"{group}.name")
    if option is None or option == OmegaConf.select(composed, f"{group}.name"):
        return
    for file in filter(_is_global, _option_files(group, option)):
        values = OmegaConf.load(file)
        for kind, key in _touched(file):
            is_outside = kind == "key" and not key.startswith(f"{group}.")
            if is_outside and OmegaConf.select(stored, key) == OmegaConf.select(values, key):
                yield key


def groups_of_experiments(typed: Sequence[str]) -> list[str]:
    """Return the groups that the typed experiments choose."""
    overrides = OverridesParser.create().parse_overrides(list(typed))
    experiments = [each for each in overrides if each.key_or_group == EXPERIMENT]
    touched = [part for override in experiments for part in _touched_by(override)]
    return [name for kind, name in touched if kind == "group"]


def without_experiments(typed: Sequence[str], composed: DictConfig) -> list[str]:
    """Return ``typed`` with the groups and keys that an experiment sets in place of it.

    Their values are those in ``composed``.
    """
    parts: list[str] = []
    for override in OverridesParser.create().parse_overrides(list(typed)):
        if override.key_or_group != EXPERIMENT:
            parts.append(str(override.input_line))
            continue
        for kind, place in dict.fromkeys(_touched_by(override)):
            value = OmegaConf.select(composed, f"{place}.name" if kind == "group" else place)
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value)
            parts.append(f"{place}={quoted(value)}")
    return parts


def value_of(override: str) -> Any:
    """Return the value of an override, as plain types."""
    return OverridesParser.create().parse_override(override).value()


def _touched_by(override: Override) -> Iterator[tuple[str, str]]:
    """Yield the groups and keys that the chosen files of the package ``_global_`` set."""
    group, value = override.key_or_group, override.value()
    for name in value if isinstance(value, list) else [] if value is None else [value]:
        files = _option_files(group, name)
        if not files and group == EXPERIMENT:
            raise ConfigError(f"{EXPERIMENT}={name}: no such file in {config_folder() / group}")
        for file in filter(_is_global, files):
            yield from _touched(file)


def _option_files(group: str, option: Any) -> list[Path]:
    """Return the file of a group's option, the first one found; empty if there is none."""
    files = [folder / group / f"{option}.yaml" for folder in _config_folders()]
    return [file for file in files if file.is_file()][:1]


def _is_global(file: Path) -> bool:
    return bool(GLOBAL_HEADER.search(file.read_text(encoding="utf-8")))


def _config_folders() -> list[Path]:
    """Return conf/ and the folders of --config-dir and hydra.searchpath."""
    folders = [config_folder()]
    if HydraConfig.initialized():
        sources = HydraConfig.get().runtime.config_sources
        return folders + [Path(each.path) for each in sources if each.schema == "file"]
    for argument, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folders.append(Path(value or following).absolute())
    return folders


def _touched(file: Path) -> Iterator[tuple[str, str]]:
    """Yield ("group", name) and ("key", name) for what a file of the package ``_global_`` sets."""
    content = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(content, dict)
    for entry in content.pop("defaults", []):
        if isinstance(entry, dict):
            for name in entry:
                yield "group", name.removeprefix("override ").strip().lstrip("/")
            continue
        base = file.with_name(f"{entry.partition('@')[0]}.yaml")
        if entry != "_self_" and base.is_file() and _is_global(base):
            yield from _touched(base)
    for section, values in content.items():
        if isinstance(values, dict):
            yield from (("key", f"{section!s}.{key!s}") for key in values)
        else:
            yield "key", str(section)
