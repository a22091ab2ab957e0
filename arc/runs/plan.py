"""What a command line asks for: a fresh run, one to continue, or one from a run's weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata
from arc.checkpointing.loader import config_fault
from arc.checkpointing.restore import CheckpointSource
from arc.checkpointing.tables import is_encoder
from arc.config.overrides import overlay
from arc.config.schema import (
    ConfigError,
    ProcessConfig,
    RunConfig,
    config_folder,
    options_of,
    parse,
    parse_config,
)

log = logging.getLogger(__name__)
AUTO = "auto"


@dataclass(frozen=True)
class RunPlan:
    """A checked configuration, named; where its run starts from (None: from nothing).

    ``typed`` is what it was made from, for those who want to make it again.
    """

    config: RunConfig
    origin: CheckpointSource | None
    typed: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """What was typed, but for what is of the process alone (the endpoint's token is)."""
        own = [each for each in self.typed if key_of(each).split(".")[0] != "server"]
        return [each for each in own if each != "mode=train"]


def stored_group_choices(typed: list[str]) -> list[str]:
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


def plan_run(tree: DictConfig, typed: Sequence[str], own_folder: Path | None = None) -> RunPlan:
    """Read the composed ``tree`` and the overrides that were ``typed``.

    ``own_folder`` is where files go unless ``typed`` says so (a job of a sweep has its own).
    Raises ConfigError or CheckpointError for what cannot be done.
    """
    _refuse_names(typed)
    start = parse(ProcessConfig, tree)
    origin = _origin(start, tree, typed, own_folder)
    if origin is None:
        config = _in_own_folder(parse_config(tree), typed, own_folder)
        return RunPlan(config if start.resume == AUTO else _named(config), None, tuple(typed))
    stored = dict(origin.content["config"])
    if origin.kind == "finetune":  # neither its name, nor where its own encoder came from
        stored["run_name"] = None
        stored["encoder"] = {**stored.get("encoder", {}), "pretrained": None}
    process = tuple(ProcessConfig.model_fields)
    typed_for_run = [each for each in typed if key_of(each).split(".")[0] not in process]
    try:
        config = parse_config(overlay(stored, tree, typed_for_run))
    except ConfigError as error:
        if error.missing:  # what is typed is laid over it, so that it need not stay so
            fault = f"{config_fault(error, origin.content)}; type them to go on"
            raise ConfigError(f"{origin.path}: {fault}") from None
        raise ConfigError(f"{origin.path} with these overrides: {error}") from None
    if config.mode == "pretrain":
        path, kind = origin.path, origin.kind
        if is_encoder(origin.content):
            raise ConfigError(
                f"{kind}={path}: an encoder alone; encoder.pretrained={path} starts a game with "
                f"it, mode=pretrain pretrain.init_from={path} trains it on"
            )
        raise ConfigError(
            f"mode=pretrain starts afresh, or from an encoder: pretrain.init_from={path} in place "
            f"of {kind}"
        )
    began_from = stored.get("encoder", {}).get("pretrained")
    if origin.kind == "resume" and config.encoder.pretrained != began_from:
        raise ConfigError("encoder.pretrained: a resumed run has its encoder; use finetune=…")
    config = _in_own_folder(config, typed, own_folder)
    if origin.kind == "resume" and not any(key_of(each) == "checkpoint.dir" for each in typed):
        config = _in_folder(config, str(origin.path.parent))
    return RunPlan(config if origin.kind == "resume" else _named(config), origin, tuple(typed))


def _refuse_names(typed: Sequence[str]) -> None:
    """Say how an option is chosen: its name alone would leave the keys of another."""
    for override in typed:
        group, _, key = key_of(override).partition(".")
        if key == "name" and options_of(group):
            value = override.partition("=")[2]
            raise ConfigError(f"{key_of(override)}: an option is chosen whole: {group}={value}")


def key_of(override: str) -> str:
    """Return the key or group that an override sets."""
    return override.split("=")[0].lstrip("+~")


def _origin(
    start: ProcessConfig, tree: DictConfig, typed: Sequence[str], own_folder: Path | None
) -> CheckpointSource | None:
    if start.finetune is not None:
        path = Path(start.finetune)
        return CheckpointSource("finetune", path, read_checkpoint(path), start.strict)
    if start.resume is None:
        return None
    if start.resume != AUTO:
        path = Path(start.resume)
        return CheckpointSource("resume", path, read_checkpoint(path), True)
    config = _in_own_folder(parse_config(tree), typed, own_folder)
    if config.run_name is None:
        raise ConfigError("resume=auto: continues the run that run_name=… names; give one")
    newest = _latest_checkpoint(Path(config.checkpoint.dir), config.run_name)
    if newest is None:
        log.info(f"resume=auto: no checkpoint of {config.run_name} yet, a fresh start")
    return newest


def _latest_checkpoint(folder: Path, run_name: str) -> CheckpointSource | None:
    """Return the run's valid file of the most steps; broken ones are passed over, and said."""
    for _, _, path in _files_of(folder, run_name):
        try:
            return CheckpointSource("resume", path, read_checkpoint(path), True)
        except CheckpointError as error:
            log.warning(f"resume=auto: passed over: {error}")
    return None


def _files_of(folder: Path, run_name: str) -> list[tuple[int, float, Path]]:
    """Return (step, time, path) of a run's readable files, the most steps first."""
    found = []
    for path in folder.glob("*.pth"):
        try:
            metadata = read_metadata(path)
            if is_encoder(metadata):  # alone, nothing to continue
                continue
            if metadata["config"].get("run_name") == run_name:
                found.append((int(metadata.get("step") or 0), path.stat().st_mtime, path))
        except (CheckpointError, OSError) as error:
            if path.name.startswith(f"{run_name}_"):
                log.warning(f"resume=auto: passed over: {error}")
    return sorted(found, reverse=True)


def _in_own_folder(config: RunConfig, typed: Sequence[str], folder: Path | None) -> RunConfig:
    if folder is None or any(key_of(override) == "checkpoint.dir" for override in typed):
        return config
    return _in_folder(config, str(folder))


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
