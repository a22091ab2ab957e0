"""What a command line asks for: a fresh run, one to continue, or one from a run's weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata
from arc.config import ConfigError, RunConfig, StartConfig, parse, parse_config, to_tree
from arc.metadata import leaves
from arc.overlay import overlay

log = logging.getLogger(__name__)
AUTO = "auto"


@dataclass(frozen=True)
class Origin:
    """The file that a run starts from, its whole ``content``, and what is taken of it."""

    kind: Literal["resume", "finetune"]
    path: Path
    content: dict[str, Any]
    strict: bool


@dataclass(frozen=True)
class Plan:
    """A checked configuration, named, and where its run starts from (None: from nothing)."""

    config: RunConfig
    origin: Origin | None


def plan_run(tree: DictConfig) -> Plan:
    """Read the composed ``tree`` and the overrides that were typed.

    Raises ConfigError or CheckpointError for what cannot be done.
    """
    typed = list(HydraConfig.get().overrides.task)
    start = parse(StartConfig, tree)
    origin = _origin(start, tree)
    if origin is None:
        return Plan(_named(_in_own_folder(parse_config(tree), typed)), None)
    stored = dict(origin.content["config"])
    if origin.kind == "finetune":
        stored["run_name"] = None
    typed_for_run = [each for each in typed if _key(each) not in StartConfig.model_fields]
    try:
        config = parse_config(overlay(stored, tree, typed_for_run))
    except ConfigError as error:
        raise ConfigError(f"{origin.path} with these overrides: {error}") from None
    config = _in_own_folder(config, typed)
    return Plan(config if origin.kind == "resume" else _named(config), origin)


def _key(override: str) -> str:
    return override.split("=")[0].lstrip("+~")


def _origin(start: StartConfig, tree: DictConfig) -> Origin | None:
    if start.finetune is not None:
        path = Path(start.finetune)
        return Origin("finetune", path, read_checkpoint(path), start.strict)
    if start.resume is None:
        return None
    if start.resume != AUTO:
        path = Path(start.resume)
        return Origin("resume", path, read_checkpoint(path), True)
    config = parse_config(tree)
    if config.run_name is None:
        raise ConfigError("resume=auto: continues the run that run_name=… names; give one")
    newest = _newest(Path(config.checkpoint.dir), config.run_name)
    if newest is None:
        log.info(f"resume=auto: no checkpoint of {config.run_name} yet, a fresh start")
    return newest


def _newest(folder: Path, run_name: str) -> Origin | None:
    """Return the run's valid file of the most steps; broken ones are passed over, and said."""
    found = []
    for path in folder.glob("*.pth"):
        try:
            metadata = read_metadata(path)
        except CheckpointError as error:
            if path.name.startswith(f"{run_name}_"):
                log.warning(f"resume=auto: passed over: {error}")
            continue
        if metadata["config"].get("run_name") == run_name:
            found.append((metadata["step"], path.stat().st_mtime, path))
    for _, _, path in sorted(found, reverse=True):
        try:
            return Origin("resume", path, read_checkpoint(path), True)
        except CheckpointError as error:
            log.warning(f"resume=auto: passed over: {error}")
    return None


def _in_own_folder(config: RunConfig, typed: list[str]) -> RunConfig:
    """Give a job of a sweep a folder of its own, unless one was typed."""
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not sweep or any(_key(override) == "checkpoint.dir" for override in typed):
        return config
    folder = str(Path(HydraConfig.get().runtime.output_dir) / "checkpoints")
    checkpoint = config.checkpoint.model_copy(update={"dir": folder})
    return config.model_copy(update={"checkpoint": checkpoint})


def _named(config: RunConfig) -> RunConfig:
    """Give a fresh run a name that no other run in its folder has."""
    folder = Path(config.checkpoint.dir)

    ends = ("last.pth", "best.pth", "results.json")

    def taken(name: str) -> bool:
        return any((folder / f"{name}_{which}").exists() for which in ends)

    if config.run_name is not None:
        if taken(config.run_name):
            raise ConfigError(
                f"run_name={config.run_name}: {folder} holds a run of that name; choose another, "
                "or continue it with resume=auto"
            )
        return config
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = base = f"{config.task.name}_{config.bottleneck.name}_{stamp}"
    number = 2
    while taken(name):
        name, number = f"{base}_{number}", number + 1
    return config.model_copy(update={"run_name": name})


def changes(before: dict[str, Any], config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return what differs between a stored tree and ``config``: dotted key -> (then, now)."""
    then, now = leaves(before), leaves(to_tree(config))
    machine = {"device", "checkpoint.dir"}
    return {
        key: (then.get(key), now.get(key))
        for key in sorted((then.keys() | now.keys()) - machine)
        if then.get(key) != now.get(key)
    }
