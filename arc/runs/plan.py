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
from arc.checkpointing.policy import epoch_files, is_preserved
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
from arc.config.schema import ModelConfig, ProcessConfig, RunConfig, parse, parse_config
from arc.config.sweeps import AUTO, job_name
from arc.loggers import missing_packages
from arc.models import ENCODERS
from arc.tasks import TASKS

log = logging.getLogger(__name__)
REPLACED = ("training.epochs", "training.learning_rate")  # by pretrain.*, in a pretraining


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
        """The typed overrides without those of the process, such as the server's token.

        Those of a pretraining are without the settings that it replaces.
        """
        own = [each for each in self.typed if key_of(each).split(".")[0] != "server"]
        replaced = REPLACED if self.config.mode == "pretrain" else ()
        return [each for each in own if each != "mode=train" and key_of(each) not in replaced]

    @property
    def resumes(self) -> bool:
        """Whether it continues an earlier run."""
        return self.source is not None and self.source.kind == "resume"

    @property
    def is_in_place(self) -> bool:
        """Whether it continues an earlier run under that run's name and in its folder."""
        if self.source is None or not self.resumes:
            return False
        name, folder = self.source.content["config"].get("run_name"), self.source.path.parent
        is_same_folder = Path(self.config.checkpoint.dir).resolve() == folder.resolve()
        return is_same_folder and self.config.run_name == name


def plan_run(tree: DictConfig, typed: Sequence[str], own_folder: Path | None = None) -> RunPlan:
    """Plan a run from the composed ``tree`` and the overrides that were ``typed``.

    ``own_folder`` is the default of ``checkpoint.dir`` in a sweep, where each job has its own; the
    name of the job's folder is the default of ``run_name``. Raises ConfigError or CheckpointError
    if the run is not possible.
    """
    refuse_names(typed)
    process, folder = parse(ProcessConfig, tree), _folder(tree)
    has_folder = is_typed("checkpoint.dir", typed) or own_folder is not None
    if own_folder is not None and not is_typed("checkpoint.dir", typed):
        OmegaConf.update(tree, "checkpoint.dir", str(own_folder))
    if own_folder is not None and tree.run_name is None:
        name = job_name(own_folder.parent.name, "job")
        OmegaConf.update(tree, "run_name", name)
        typed = [*typed, f"run_name={quoted(name)}"]
    is_auto = process.resume == AUTO
    source = _latest_source(tree) if is_auto else None
    if source is None:
        resume = None if is_auto else process.resume
        source = read_source(resume, process.finetune, folder, strict=process.strict)
    if source is not None and source.kind == "resume" and not has_folder:
        OmegaConf.update(tree, "checkpoint.dir", str(source.path.parent))
    config = _config(tree, typed, source)
    _check_start(config, source)
    _check_pretraining(config, typed, is_both=not process.server.autostart)
    if process.resume is None:
        return refuse_taken_name(RunPlan(_named(config), source, tuple(typed)))
    replaced = tuple(_files(config)) if is_auto else ()
    return refuse_taken_name(RunPlan(config, source, tuple(typed), replaced, may_resume=True))


def plan_from(config: RunConfig, source: CheckpointSource | None = None) -> RunPlan:
    """Plan a run of a complete configuration.

    A resumed run without a name keeps its stored one. A fine-tuned run has neither the stored name
    nor the stored ``encoder.pretrained``: its encoder comes from ``source``. Raises ConfigError if
    the run is not possible.
    """
    stored = {} if source is None else source.content["config"]
    if source is not None and source.kind == "finetune":
        config = _without_origin(config, stored)
    _check_start(config, source)
    _check_pretraining(config)
    if source is not None and source.kind == "resume":
        name = config.run_name or stored.get("run_name")
        return refuse_taken_name(RunPlan(_renamed(config, name), source, may_resume=True))
    return refuse_taken_name(RunPlan(_named(config), source))


def read_source(
    resume: str | Path | None,
    finetune: str | Path | None,
    folder: Path,
    *,
    strict: bool = True,
) -> CheckpointSource | None:
    """Read the checkpoint that a run starts from; None for a fresh run.

    ``resume`` or ``finetune`` is a path, or the name of a checkpoint in ``folder``. Raises
    CheckpointError, and ConfigError if both are given.
    """
    if resume is not None and finetune is not None:
        raise ConfigError("resume and finetune are mutually exclusive; set only one")
    if resume is not None:
        path = _existing(resume, folder)
        return CheckpointSource("resume", path, read_checkpoint(path), True)
    if finetune is not None:
        path = _existing(finetune, folder)
        return CheckpointSource("finetune", path, read_checkpoint(path), strict)
    return None


def _existing(value: str | Path, folder: Path) -> Path:
    """Return ``checkpoint_path``; raises CheckpointError for a name that no file has."""
    path = checkpoint_path(value, folder)
    if path.name == str(value) and not path.exists():
        raise CheckpointError(f"{path}: no such file, and no checkpoint of that name in {folder}")
    return path


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
        if given.get("resume") == AUTO and "finetune" not in given:
            paths = _files_of(folder, given.get("run_name", ""))
        else:
            starts = [given[key] for key in ("finetune", "resume") if key in given]
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
        raise ConfigError("resume=auto requires run_name, the name of the run to continue")
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
    try:
        return parse_config(overlay(stored, tree, typed_for_run))
    except ConfigError as error:
        if error.missing:
            fault = f"{config_fault(error, source.content)}; set them on the command line"
            raise ConfigError(f"{source.path}: {fault}") from None
        raise ConfigError(f"{source.path} with these overrides: {error}") from None


def _check_start(config: RunConfig, source: CheckpointSource | None) -> None:
    """Refuse settings that cannot work, and a checkpoint that the mode cannot start from."""
    if fault := missing_packages(config.logger.selected):
        raise ConfigError(fault)
    _check_model(config.model, {} if source is None else source.content["config"].get("model", {}))
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
    if kind == "finetune":
        return
    stored = source.content["config"]
    if config.encoder.pretrained != stored.get("encoder", {}).get("pretrained"):
        raise ConfigError("encoder.pretrained: cannot change in a resumed run; use finetune=…")
    if config.seed != (seed := stored.get("seed", config.seed)):
        raise ConfigError(
            f"seed={config.seed}: the seed, {seed}, cannot change in a resumed run; finetune=… "
            "starts a new run"
        )


def _check_model(model: ModelConfig, stored: Mapping[str, Any]) -> None:
    """Refuse settings that have no effect with the architecture, unless they are ``stored``."""
    is_stored = stored.get("architecture") == model.architecture
    for key, value in ENCODERS[model.architecture].unused.items():
        given = getattr(model, key)
        if given != value and not (is_stored and stored.get(key) == given):
            raise ConfigError(
                f"model.{key}={given}: has no effect with model.architecture={model.architecture}; "
                f"set model.{key}={value}"
            )


def _check_pretraining(
    config: RunConfig, typed: Sequence[str] = (), *, is_both: bool = False
) -> None:
    """Refuse settings that have no effect in a pretraining, or make it useless.

    With ``is_both``, as for a server that waits for a start, the settings are those of a training
    as well, which ``encoder`` and ``training`` are for.
    """
    if config.mode != "pretrain":
        return
    for key in () if is_both else REPLACED:
        if is_typed(key, typed):
            own = key.replace("training.", "pretrain.")
            raise ConfigError(f"{key}: has no effect in mode=pretrain; set {own}")
    if not is_both and (config.encoder.pretrained is not None or config.encoder.freeze):
        raise ConfigError(
            "encoder.pretrained and encoder.freeze have no effect in mode=pretrain; "
            "pretrain.init_from=… starts from an encoder"
        )
    if TASKS[config.task.name].sends_pairs:
        raise ConfigError(
            f"mode=pretrain: the sender of task={config.task.name} sees pairs, and cannot start "
            "from an encoder of single grids; choose another task"
        )


def _latest_checkpoint(folder: Path, run_name: str) -> CheckpointSource | None:
    """Return the run's newest valid file; broken files are skipped with a warning."""
    for path in _files_of(folder, run_name):
        try:
            return CheckpointSource("resume", path, read_checkpoint(path), True)
        except CheckpointError as error:
            log.warning(f"resume=auto: skipped: {error}")
    return None


def _files_of(folder: Path, run_name: str) -> list[Path]:
    """Return a run's readable files, newest first, preserved files last.

    The time is that of the state, which a copy has as well. A later step alone does not make a file
    the newest: after a return to an earlier file, the run has files of steps that it gave up.
    """
    found = []
    for path in folder.glob("*.pth"):
        try:
            metadata = read_metadata(path)
            if is_encoder(metadata) or "step" not in metadata:
                continue
            if metadata["config"].get("run_name") == run_name:
                is_current = not is_preserved(path.stem, run_name)
                age = (metadata.get("created", ""), metadata["step"], path.stat().st_mtime)
                found.append((is_current, age, path))
        except (CheckpointError, OSError) as error:
            if path.name.startswith(f"{run_name}_"):
                log.warning(f"resume=auto: skipped: {error}")
    return [path for _, _, path in sorted(found, reverse=True)]


def _renamed(config: RunConfig, name: str | None) -> RunConfig:
    return config.model_copy(update={"run_name": name})


def _without_origin(config: RunConfig, stored: Mapping[str, Any]) -> RunConfig:
    """Return ``config`` without the name and the pretrained encoder of the ``stored`` one."""
    if config.run_name == stored.get("run_name"):
        config = _renamed(config, None)
    if config.encoder.pretrained == stored.get("encoder", {}).get("pretrained"):
        encoder = config.encoder.model_copy(update={"pretrained": None})
        config = config.model_copy(update={"encoder": encoder})
    return config


def _named(config: RunConfig) -> RunConfig:
    """Return ``config`` with its run name, or else one that is unique in its folder."""
    if config.run_name is not None:
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


def refuse_taken_name(plan: RunPlan) -> RunPlan:
    """Return ``plan``; raises ConfigError if it would replace the files of another run."""
    config = plan.config
    if not plan.is_in_place and any(path not in plan.replaced for path in _files(config)):
        raise ConfigError(
            f"run_name={config.run_name}: {config.checkpoint.dir} contains a run of that name; "
            "choose another name, or continue the run with resume=auto"
        )
    return plan


def _files(config: RunConfig) -> list[Path]:
    """Return the existing files that a run of ``config`` would replace."""
    folder, ends = Path(config.checkpoint.dir), ("last.pth", "best.pth", "results.json")
    paths = [folder / f"{config.run_name}_{end}" for end in ends]
    return [path for path in paths if path.exists()] + epoch_files(folder, config.run_name)
