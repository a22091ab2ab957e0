"""Runs that differ only in their seed: their groups, and the interval of their mean."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

LEVEL = 0.95
Interval = tuple[float, float]


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the mean by Student's t distribution; None for one value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # imported here because it is slow

    factor = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2))
    half, middle = factor * stdev(values) / math.sqrt(len(values)), fmean(values)
    return middle - half, middle + half


def possible(interval: Interval | None) -> Interval | None:
    """Limit the interval of an accuracy to 0 to 100."""
    return None if interval is None else (max(interval[0], 0.0), min(interval[1], 100.0))


def seed_groups(runs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Group the names of ``runs`` (name to results) by configuration, apart from the seed.

    The name of the run may differ too, and the files that it began with as in ``origins``. Files of
    one seed are not independent, so a group has at most one file of each seed.
    """
    return one_per_seed(
        (
            name,
            (frozen(without_seed(results["config"])), origins(results.get("started_from"))),
            results["config"]["seed"],
        )
        for name, results in runs.items()
    )


def origins(started_from: Any) -> tuple[str, ...]:
    """Return what a run's ``started_from`` adds to its setting: ``kind file`` of each new start.

    Continuing a run is no new start. Steps, folders and seeds in names of files are left out, so
    that each seed may begin with a file of its own. None, as of older files, is no start.
    """
    entries = started_from if isinstance(started_from, list) else []
    starts = [each for each in entries if isinstance(each, str) and not each.startswith("resume ")]
    return tuple(re.sub(r" step \S+$|(?<=\bseed=)\d+", "", start) for start in starts)


def one_per_seed(runs: Iterable[tuple[str, Hashable, Hashable]]) -> list[list[str]]:
    """Group names, given with their setting and seed; a group has each seed at most once."""
    groups: dict[Hashable, list[dict[Hashable, str]]] = {}
    order: list[dict[Hashable, str]] = []
    for name, setting, seed in runs:
        alike = groups.setdefault(setting, [])
        group = next((each for each in alike if seed not in each), None)
        if group is None:
            group = {}
            alike.append(group)
            order.append(group)
        group[seed] = name
    return [list(group.values()) for group in order]


def without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without seed and name, and with whether it has an encoder's file."""
    tree = copy.deepcopy(dict(config))
    for key in ("seed", "run_name"):
        tree.pop(key, None)
    for section, key in (("encoder", "pretrained"), ("pretrain", "init_from")):
        if isinstance(tree.get(section), dict):
            tree[section][key] = tree[section].get(key) is not None
    return tree


def frozen(value: Any) -> Hashable:
    """Return plain containers as tuples; 1 equals 1.0 as in Python, but not true."""
    if isinstance(value, Mapping):
        return tuple((key, frozen(value[key])) for key in sorted(value, key=str))
    if isinstance(value, list | tuple):
        return ("list", *map(frozen, value))
    return ("bool", value) if isinstance(value, bool) else value
