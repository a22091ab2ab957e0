"""What a command line asks for: a fresh run, one to continue, or one from a run's weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata
from arc.checkpointing.loader import config_fault
from arc.config import (
    ConfigError,
    RunConfig,
    StartConfig,
    config_folder,
    parse,
    parse_config,
)
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


def stored_choices(typed: list[str]) -> list[str]:
    """Return the group choices of the run that ``typed`` resumes or fine-tunes.

    Hydra must compose them, or it would know the keys of conf/'s default options only:
    ``task=…`` and so on, for each group that was not typed. Empty where no file can be read;
    the plan then says why.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(typed)
        given = {override.key_or_group: str(override.value()) for override in parsed}
        if given.get("resume") == AUTO:
            folder = Path(given.get("checkpoint.dir", "checkpoints"))
            paths = [path for _, _, path in _files_of(folder, given.get("run_name", ""))]
        else:
            paths = [Path(given[key]) for key in ("resume", "finetune") if key in given]
        stored = read_metadata(paths[0])["config"] if paths else {}
    except (CheckpointError, HydraException):
        return []
    sections = [(group, section) for group, section in stored.items() if isinstance(section, dict)]
    return [
        f"{group}={section['name']}"
        for group, section in sections
        if group not in given
        and (config_folder() / group / f"{section.get('name')}.yaml").is_file()
    ]


def plan_run(tree: DictConfig, chosen: Sequence[str] = ()) -> Plan:
    """Read the composed ``tree`` and the overrides that were typed.

    ``chosen`` are those that ``stored_choices`` added to the command line. Raises ConfigError
    or CheckpointError for what cannot be done.
    """
    typed = [override for override in _typed() if override not in chosen]
    start = parse(StartConfig, tree)
    origin = _origin(start, tree)
    if origin is None:
        config = _in_own_folder(parse_config(tree), typed)
        return Plan(config if start.resume == AUTO else _named(config), None)
    stored = dict(origin.content["config"])
    if origin.kind == "finetune":  # neither its name, nor where its own encoder came from
        stored["run_name"] = None
        stored["encoder"] = {**stored.get("encoder", {}), "pretrained": None}
    elif any(_key(override) == "encoder.pretrained" for override in typed):
        raise ConfigError("encoder.pretrained: a resumed run has its encoder; use finetune=…")
    typed_for_run = [each for each in typed if _key(each) not in StartConfig.model_fields]
    try:
        config = parse_config(overlay(stored, tree, typed_for_run))
    except ConfigError as error:
        if error.missing:  # what is typed is laid over it, so that it need not stay so
            fault = f"{config_fault(error, origin.content)}; type them to go on"
            raise ConfigError(f"{origin.path}: {fault}") from None
        raise ConfigError(f"{origin.path} with these overrides: {error}") from None
    if config.mode == "pretrain":
        raise ConfigError(
            "mode=pretrain: starts afresh, or from an encoder: pretrain.init_from=PATH in place "
            f"of {origin.kind}"
        )
    config = _in_own_folder(config, typed)
    if origin.kind == "resume" and not any(_key(each) == "checkpoint.dir" for each in typed):
        config = _in_folder(config, str(origin.path.parent))
    return Plan(config if origin.kind == "resume" else _named(config), origin)


def _typed() -> list[str]:
    """Return this command line's overrides as they were typed, interpolations too."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


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
    for _, _, path in _files_of(folder, run_name):
        try:
            return Origin("resume", path, read_checkpoint(path), True)
        except CheckpointError as error:
            log.warning(f"resume=auto: passed over: {error}")
    return None


def _files_of(folder: Path, run_name: str) -> list[tuple[int, float, Path]]:
    """Return (step, time, path) of a run's readable files, the most steps first."""
    found = []
    for path in folder.glob("*.pth"):
        try:
            metadata = read_metadata(path)
            if metadata["config"].get("run_name") == run_name:
                found.append((int(metadata.get("step") or 0), path.stat().st_mtime, path))
        except (CheckpointError, OSError) as error:
            if path.name.startswith(f"{run_name}_"):
                log.warning(f"resume=auto: passed over: {error}")
    return sorted(found, reverse=True)


def _in_own_folder(config: RunConfig, typed: list[str]) -> RunConfig:
    """Give a job of a sweep a folder of its own, unless one was typed."""
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not sweep or any(_key(override) == "checkpoint.dir" for override in typed):
        return config
    return _in_folder(config, str(Path(HydraConfig.get().runtime.output_dir) / "checkpoints"))


def _in_folder(config: RunConfig, folder: str) -> RunConfig:
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
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]  # runs may start together
    pretraining = f"pretrain_{config.pretrain.name}"
    playing = f"{config.task.name}_{config.bottleneck.name}"
    name = base = f"{playing if config.mode == 'train' else pretraining}_{stamp}"
    number = 2
    while taken(name):
        name, number = f"{base}_{number}", number + 1
    return config.model_copy(update={"run_name": name})
