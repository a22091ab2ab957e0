"""The configuration of the next run: the command line and later changes.

The control endpoint uses flat names (``arc.config.flat_keys``); here they become Hydra
overrides, so that there is a single configuration.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arc.checkpointing.tables import list_encoders
from arc.config.files import ConfigError
from arc.config.flat_keys import GROUPS, PRESENCE_KEYS, SETTINGS, flat_view
from arc.config.hydra_main import as_path, compose_tree, quoted
from arc.config.overrides import (
    groups_of_experiments,
    key_of,
    value_of,
    without_experiments,
)
from arc.config.schema import ProcessConfig, RunConfig, accepts, options_of, parse_config
from arc.registry import nearest
from arc.runs.plan import RunPlan, plan_run, stored_group_choices

NOT_OF_A_RUN = (*ProcessConfig.model_fields, "mode", "hydra")


class NextRun:
    """The overrides of this process's runs; safe to use from any thread.

    Hydra must have been initialised (inside ``hydra.main``, or by ``initialize_config_dir``).
    """

    def __init__(self, typed: Sequence[str]) -> None:
        self._lock = threading.RLock()
        self._overrides = [
            override for override in typed if key_of(override) not in ("resume", "finetune", "mode")
        ]
        self._composed: RunConfig | None = None  # cached, as composing is too slow for polling

    @property
    def overrides(self) -> list[str]:
        """The overrides of conf/, without those of this process."""
        with self._lock:
            return [each for each in self._overrides if key_of(each).split(".")[0] != "server"]

    def config(self) -> RunConfig:
        """Return the configuration that a run started now would have."""
        with self._lock:
            if self._composed is None:
                self._composed = parse_config(compose_tree(self._overrides))
            return self._composed

    def plan(
        self,
        mode: str,
        overrides: Sequence[str] = (),
        *,
        resume: str | None = None,
        finetune: str | None = None,
    ) -> RunPlan:
        """Plan a run with further ``overrides``, in Hydra's grammar.

        ``resume`` and ``finetune`` are paths of checkpoints. Raises ConfigError or CheckpointError
        if the run is not possible.
        """
        with self._lock:
            overrides = list(map(as_path, overrides))
            for override in overrides:
                if re.split("[./]", key_of(override))[0] in NOT_OF_A_RUN:
                    raise ConfigError(
                        f"{override}: not accepted in a request; set it on the command line"
                    )
            starts = {"resume": resume, "finetune": finetune, "mode": mode}
            fixed = [f"{key}={quoted(value)}" for key, value in starts.items() if value]
            if resume or finetune:  # the stored configuration with these overrides
                typed = [*_of_process(self._overrides), *overrides, *fixed]
            else:
                typed = [*self._merge(overrides), *overrides, *fixed]
            return plan_run(compose_tree([*stored_group_choices(typed), *typed]), typed)

    def _merge(self, overrides: Sequence[str]) -> list[str]:
        """Return the settings without the keys that the options in ``overrides`` do not have."""
        kept = self._overrides
        for override in overrides:
            group, _, option = override.partition("=")
            if option in options_of(group):
                kept = _without_option(kept, group, option)
        return kept

    def change(self, values: Mapping[str, Any]) -> RunConfig:
        """Change settings by their flat names, all or none; raises ConfigError."""
        with self._lock:
            self._overrides, self._composed = self._changed_by(values)
            return self._composed

    def preview(self, values: Mapping[str, Any]) -> RunConfig:
        """Return what ``change`` would return, and change nothing; raises ConfigError."""
        with self._lock:
            return self._changed_by(values)[1] if values else self.config()

    def _changed_by(self, values: Mapping[str, Any]) -> tuple[list[str], RunConfig]:
        """Return the overrides with ``values`` applied, and the composed configuration."""
        for key in values:
            if key not in SETTINGS:
                hint = nearest(key, SETTINGS)
                raise ConfigError(f"{key}: no such key.{hint} Known: {', '.join(SETTINGS)}")
        changed = list(self._overrides)
        for key in GROUPS:  # first, since they add and remove other keys
            if key in values:
                changed = _with_option(changed, key, values[key])
        view = flat_view(parse_config(compose_tree(changed)), SETTINGS)
        for key in values.keys() - GROUPS.keys():
            changed = self._changed(changed, key, values[key], view)
        return changed, parse_config(compose_tree(changed))

    def _changed(
        self, before: list[str], key: str, value: Any, view: Mapping[str, Any]
    ) -> list[str]:
        """Return the overrides ``before`` with a new value of one flat key, now as in ``view``."""
        if value is None and view[key] is None:  # the key may not apply
            return before
        if key in PRESENCE_KEYS:
            value = self._file(key, value, view)
        place = SETTINGS[key]
        kept = [override for override in before if key_of(override) != place]
        return [*kept, f"{place}={quoted(value)}"]

    def _file(self, key: str, value: Any, view: Mapping[str, Any]) -> str | None:
        """Return the path that ``true`` stands for: the newest encoder of that pretraining."""
        if not isinstance(value, bool):
            raise ConfigError(f"{key}={value}: must be true or false")
        if not value:
            return None
        if view[key]:
            return _set_file(self._overrides, SETTINGS[key])
        folder, task = Path(self.config().checkpoint.dir), view["pretrain_task_type"]
        for row in list_encoders(folder):
            if row["task_type"] == task:
                return str(row["path"])
        raise ConfigError(f"{key}=true: {folder} contains no encoder pretrained by {task}")


def _set_file(overrides: list[str], place: str) -> str | None:
    tree = compose_tree(overrides)
    section, key = place.split(".")
    return str(tree[section][key])


def _with_option(before: list[str], key: str, value: Any) -> list[str]:
    """Choose a group's option; settings of keys that it does not have are dropped."""
    group = GROUPS[key]
    options = options_of(group)
    if value not in options:
        raise ConfigError(
            f"{key}={value}: choose one of {', '.join(options)}.{nearest(str(value), options)}"
        )
    return [f"{group}={value}", *_without_option(before, group, value)]


def _without_option(before: list[str], group: str, option: str) -> list[str]:
    """Return the overrides ``before`` without the group's option and what ``option`` refuses.

    An experiment that chooses the group's option is replaced by what it sets.
    """
    if group in groups_of_experiments(before):
        before = without_experiments(before, compose_tree(before))
    kept = []
    for override in before:
        place = key_of(override)
        section, _, name = place.partition(".")
        if place != group and (
            section != group or accepts(group, option, name, value_of(override))
        ):
            kept.append(override)
    return kept


def _of_process(overrides: list[str]) -> list[str]:
    """Return the overrides of the machine and the process, not of a run."""
    return [
        override
        for override in overrides
        if key_of(override) in ("device", "checkpoint.dir")
        or key_of(override).split(".")[0] == "server"
    ]
