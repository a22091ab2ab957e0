"""What the user typed, laid over the configuration that a checkpoint stores.

A resumed or fine-tuned run starts from its stored tree, not from conf/: a default that has
changed since must not leak in. Only the overrides of this command line are laid over it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from arc.config.schema import ConfigError, config_folder, plain

EXPERIMENT = "experiment"


def overlay(stored: dict[str, Any], composed: DictConfig, typed: list[str]) -> dict[str, Any]:
    """Return ``stored`` with the values that ``typed`` chose, taken from ``composed``.

    A group (``bottleneck=autoencoder``) replaces its whole section, an experiment the sections
    and keys that its file names, a key itself. What belongs to the machine comes from
    ``composed`` always. Raises ConfigError for an override that deletes.
    """
    tree = OmegaConf.create(copy.deepcopy(stored))
    resolved = OmegaConf.create(plain(composed))
    groups, keys = _chosen(typed)
    for key in ["device", "checkpoint.dir", *groups, *keys]:
        value = OmegaConf.select(resolved, key)
        OmegaConf.update(tree, key, value, merge=False, force_add=True)
    container = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _chosen(typed: list[str]) -> tuple[list[str], list[str]]:
    """Return the sections and the keys that a command line chose."""
    groups: list[str] = []
    keys: list[str] = []
    for override in OverridesParser.create().parse_overrides(typed):
        name = override.key_or_group
        if override.is_delete():
            raise ConfigError(f"~{name}: nothing can be deleted from a stored configuration")
        if name == EXPERIMENT:
            chosen = override.get_value_element_as_str()
            for kind, place in _touched(config_folder() / EXPERIMENT / (chosen + ".yaml")):
                (groups if kind == "group" else keys).append(place)
        elif (config_folder() / name).is_dir():
            groups.append(name)
        else:
            keys.append(name)
    return groups, keys


def _touched(experiment: Path) -> Iterator[tuple[str, str]]:
    """Yield ("group", name) and ("key", name) for what an experiment's file sets."""
    content = OmegaConf.to_container(OmegaConf.load(experiment))
    assert isinstance(content, dict)
    for entry in content.pop("defaults", []):
        for name in entry if isinstance(entry, dict) else ():
            yield "group", name.removeprefix("override ").strip().lstrip("/")
    for section, values in content.items():
        if isinstance(values, dict):
            yield from (("key", f"{section!s}.{key!s}") for key in values)
        else:
            yield "key", str(section)
