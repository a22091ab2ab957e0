"""The plan of a run: its checked configuration and the checkpoint that it starts from."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata
from arc.checkpointing.loader import config_fault
from arc.checkpointing.policy import is_preserved
from arc.checkpointing.restore import CheckpointSource
from arc.checkpointing.tables import is_encoder
from arc.config.files import ConfigError, config_folder
from arc.config.hydra_main import compose_tree, quoted
from arc.config.overrides import (
    groups_of_experiments,
    is_typed,
    key_of,
    overlay,
    refuse_names,
)
from arc.config.schema import ProcessConfig, RunConfig, parse, parse_config
from arc.config.sweeps import AUTO, job_name
from arc.loggers import missing_packages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPlan:
    """A checked, named configuration and the checkpoint to start from; None for a fresh run.

    ``typed`` are the overrides that it was made from. With ``may_resume`` it is the continuation of
    its run, or the start with resume=auto, which may replace the files ``replaced``.
    """

    config: RunConfig
    source: CheckpointSource | None = None
    typed: tuple[str, ...] = ()
    replaced: tuple[Path, ...] = ()
    may_resume: bool = False

    @property
    def overrides(self) -> list[str]:
        """The typed overrides without those of the process, such as the endpoint's token."""
        own = [each for each in self.typed if key_of(each).split(".")[0] != "server"]
        return [each for each in own if each != "mode=train"]

    @property
    def resumes(self) -> bool:
        """Whether it continues an earlier run."""
        return self.source is not None and self.source.kind == "resume"


def plan_run(tree: DictConfig, typed: Sequence[str], own_folder: Path | None = None) -> RunPlan:
    """Plan a run from the composed ``tree`` and the overrides that were ``typed``.

    ``own_folder`` is the default of ``checkpoint.dir`` in a sweep, where each job has its own; the
    name of the job's folder is the default of ``run_name``. Raises ConfigError or CheckpointError
    if the run is not possible.
    """
    refuse_names(typed)
    if own_folder is not None and not is_typed("checkpoint.dir", typed):
        OmegaConf.update(tree, "checkpoint.dir", str(own_folder))
    if own_folder is not None and tree.run_name is None:
        name = job_name(own_folder.parent.name, "job")
        OmegaConf.update(tree, "run_name", name)
        typed = [*typed, f"run_name={quoted(name)}"]
    process = parse(ProcessConfig, tree)
    if process.resume == AUTO:
        source = _latest_source(tree)
    else:
        folder = _folder(tree)
        source = read_source(process.resume, process.finetune, folder, strict=process.strict)
    config = _config(tree, typed, source)
    _check_start(config, source)
    if process.resume is None:
        return RunPlan(_named(config), source, tuple(typed))
    return RunPlan(config, source, tuple(typed), tuple(_files(config)), may_resume=True)


def plan_from(config: RunConfig, source: CheckpointSource | None = None) -> RunPlan:
    """Plan a run of a complete configuration.

    A resumed run without a name keeps its stored one; a fine-tuned run never does. Raises
    ConfigError if the run is not possible.
    """
    _check_start(config, source)
    stored = None if source is None else source.content["config"].get("run_name")
    if source is None or source.kind == "finetune":
        is_stored = stored is not None and config.run_name == stored
        return RunPlan(_named(_renamed(config, None) if is_stored else config), source)
    return RunPlan(_renamed(config, config.run_name or stored), source)


def read_source(
    resume: str | Path | None,
    finetune: str | Path | None,
    folder: Path,
    *,
    strict: bool = True,
) -> CheckpointSource | None:
    """Read the checkpoint that a run starts from; None for a fresh run.

    ``resume`` or ``finetune`` is a path, or the name of a checkpoint in ``folder``. Raises
    CheckpointError.
    """
    if resume is not None:
        path = checkpoint_path(resume, folder)
        return CheckpointSource("resume", path, read_checkpoint(path), True)
    if finetune is not None:
        path = checkpoint_path(finetune, folder)
        return CheckpointSource("finetune", path, read_checkpoint(path), strict)
    return None


def checkpoint_path(value: str | Path, folder: Path) -> Path:
    """Return the file that ``value`` means: a path, or a name in ``folder`` without ``.pth``."""
    path = Path(value).expanduser()
    if path.exists() or path.name != str(value):
        return path
    named = folder / f"{path.name.removesuffix('.pth')}.pth"
    return named if named.is_file() else path


def stored_group_choices(typed: list[str]) -> list[str]:
    """Return the group choices of the run that ``typed`` resumes or fine-tunes.

    Hydra must compose them, because it only knows the keys of the options that it composes. Groups
    that were typed are left out. Empty if no file can be read; ``plan_run`` then raises the error.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(typed)
        given = {override.key_or_group: str(override.value()) for override in parsed}
        folder = Path(given.get("checkpoint.dir", "checkpoints")).expanduser()
        if given.get("resume") == AUTO:
            paths = _files_of(folder, given.get("run_name", ""))
        else:
            starts = [given[key] for key in ("resume", "finetune") if key in given]
            paths = [checkpoint_path(start, folder) for start in starts]
        stored = read_metadata(paths[0])["config"] if paths else {}
        chosen = [*given, *groups_of_experiments(typed)]
    except (CheckpointError, ConfigError, HydraException):
        return []
    return group_choices(stored, chosen)


def group_choices(stored: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """Return the group choices of a ``stored`` configuration, without the ``given`` groups."""
    return [
        f"{group}={option}"
        for group, section in stored.items()
        if group not in given and (option := _option(group, section)) is not None
    ]


def _option(group: str, section: Any) -> str | None:
    """Return the option, or the list of options, that a stored section was composed from."""
    if not isinstance(section, dict):
        return None
    names = [section["name"]] if "name" in section else list(section)
    if not all((config_folder() / group / f"{name}.yaml").is_file() for name in names):
        return None
    return str(section["name"]) if "name" in section else f"[{','.join(names)}]"


def with_overrides(stored: dict[str, Any], overrides: Sequence[str]) -> RunConfig:
    """Return a stored configuration with ``overrides`` in Hydra's grammar; raises ConfigError."""
    given = {*map(key_of, overrides), *groups_of_experiments(overrides)}
    choices = group_choices(stored, given)
    tree = compose_tree([*choices, *overrides])
    return parse_config(overlay(stored, tree, list(overrides)))


def _folder(tree: DictConfig) -> Path:
    """Return ``checkpoint.dir`` of a tree that has not been parsed."""
    return Path(str(tree.checkpoint.dir)).expanduser()


def _latest_source(tree: DictConfig) -> CheckpointSource | None:
    """Return the latest checkpoint of the run that ``run_name`` names, for resume=auto."""
    if tree.run_name is None:
        raise ConfigError("resume=auto: continues the run named by run_name=…; set run_name")
    latest = _latest_checkpoint(_folder(tree), str(tree.run_name))
    if latest is None:
        log.info(f"resume=auto: no checkpoint of {tree.run_name} yet; starting a new run")
    return latest


def _config(tree: DictConfig, typed: Sequence[str], source: CheckpointSource | None) -> RunConfig:
    """Return the run's configuration: the stored one with the typed overrides applied."""
    if source is None:
        return parse_config(tree)
    stored = dict(source.content["config"])
    if source.kind == "finetune":  # a new run, whose encoder comes from this file
        stored["run_name"] = None
        stored["encoder"] = {**stored.get("encoder", {}), "pretrained": None}
    process = tuple(ProcessConfig.model_fields)
    typed_for_run = [each for each in typed if key_of(each).split(".")[0] not in process]
    if source.kind == "resume" and not is_typed("checkpoint.dir", typed):
        OmegaConf.update(tree, "checkpoint.dir", str(source.path.parent))
    try:
        return parse_config(overlay(stored, tree, typed_for_run))
    except ConfigError as error:
        if error.missing:
            fault = f"{config_fault(error, source.content)}; set them on the command line"
            raise ConfigError(f"{source.path}: {fault}") from None
        raise ConfigError(f"{source.path} with these overrides: {error}") from None


def _check_start(config: RunConfig, source: CheckpointSource | None) -> None:
    """Refuse loggers that cannot work, and a checkpoint that the mode cannot start from."""
    if fault := missing_packages(config.logger.selected):
        raise ConfigError(fault)
    if source is None:
        return
    path, kind = source.path, source.kind
    if config.mode == "pretrain" and is_encoder(source.content):
        raise ConfigError(
            f"{kind}={path}: contains only an encoder; encoder.pretrained={path} starts a training "
            f"from it, mode=pretrain pretrain.init_from={path} pretrains it further"
        )
    if config.mode == "pretrain":
        raise ConfigError(
            f"mode=pretrain cannot {kind} a run; pretrain.init_from={path} starts from its encoder"
        )
    stored = source.content["config"].get("encoder", {}).get("pretrained")
    if kind == "resume" and config.encoder.pretrained != stored:
        raise ConfigError("encoder.pretrained: cannot change in a resumed run; use finetune=…")


def _latest_checkpoint(folder: Path, run_name: str) -> CheckpointSource | None:
    """Return the run's valid file of the highest step; broken files are skipped with a warning."""
    for path in _files_of(folder, run_name):
        try:
            return CheckpointSource("resume", path, read_checkpoint(path), True)
        except CheckpointError as error:
            log.warning(f"resume=auto: skipped: {error}")
    return None


def _files_of(folder: Path, run_name: str) -> list[Path]:
    """Return a run's readable files, highest step first, preserved files last."""
    found = []
    for path in folder.glob("*.pth"):
        try:
            metadata = read_metadata(path)
            if is_encoder(metadata):
                continue
            if metadata["config"].get("run_name") == run_name:
                is_current = not is_preserved(path.stem, run_name)
                step = int(metadata.get("step") or 0)
                found.append((is_current, step, path.stat().st_mtime, path))
        except (CheckpointError, OSError) as error:
            if path.name.startswith(f"{run_name}_"):
                log.warning(f"resume=auto: skipped: {error}")
    return [path for *_, path in sorted(found, reverse=True)]


def _renamed(config: RunConfig, name: str | None) -> RunConfig:
    return config.model_copy(update={"run_name": name})


def _named(config: RunConfig) -> RunConfig:
    """Return ``config`` with a run name that is unique in its folder."""
    if config.run_name is not None:
        refuse_taken_name(config)
        return config
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]  # several runs may start at once
    parts = (config.task.name, config.bottleneck.name)
    if config.mode == "pretrain":
        parts = ("pretrain", config.pretrain.name)
    name = base = "_".join((*parts, stamp))
    number = 2
    while _files(_renamed(config, name)):
        name, number = f"{base}_{number}", number + 1
    return _renamed(config, name)


def refuse_taken_name(config: RunConfig, replaced: Collection[Path] = ()) -> None:
    """Raise ConfigError if there are files of a run of that name, other than ``replaced``."""
    if any(path not in replaced for path in _files(config)):
        raise ConfigError(
            f"run_name={config.run_name}: {config.checkpoint.dir} contains a run of that name; "
            "choose another name, or continue the run with resume=auto"
        )


def _files(config: RunConfig) -> list[Path]:
    """Return the existing files that a run of ``config`` would replace."""
    folder, ends = Path(config.checkpoint.dir), ("last.pth", "best.pth", "results.json")
    paths = [folder / f"{config.run_name}_{end}" for end in ends]
    return [path for path in paths if path.exists()]
