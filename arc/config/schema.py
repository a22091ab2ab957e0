"""The schema of the whole configuration.

Hydra composes conf/ into a tree; ``parse_config`` checks it against the schemas of the components.
A stored configuration is checked in the same way, since its file may come from anywhere.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from arc.config.files import ConfigError
from arc.config.sweeps import AUTO
from arc.data import DATASETS, DataConfig
from arc.io.trees import leaves
from arc.loggers import LOGGERS
from arc.metrics import METRICS
from arc.models import BOTTLENECKS, ENCODERS, PAIR_ENCODERS
from arc.models.patches import PATCHES
from arc.pretraining import PRETRAINING, PretrainConfig
from arc.registry import ComponentConfig, PathName, Registry, Settings, nearest
from arc.tasks import TASKS, TaskConfig
from arc.training import OPTIMIZERS, SCHEDULES, OptimizerConfig, ScheduleConfig, TrainingConfig

Schema = TypeVar("Schema", bound=BaseModel)


RUN_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._=,+-]{0,99}$"  # with the names of a sweep's jobs
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ALLOWED = {  # by a pattern
    RUN_NAME_PATTERN: "use 1 to 100 letters, digits or . _ = , + -, starting with a letter or digit"
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
AUTO_TOKEN = "auto"


def _one_of(registry: Registry[Any]) -> Any:
    """Return the union of a registry's configurations, discriminated by ``name``."""

    def name(value: Any) -> Any:
        return value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)

    options = tuple(Annotated[registry.config(key), Tag(key)] for key in registry)
    return Annotated[Union[options], Discriminator(name)]  # noqa: UP007 (built at run time)


class Selection(Settings):
    """A section that selects components of one registry, each by its name.

    A field that is None is not selected.
    """

    @property
    def selected(self) -> dict[str, Settings]:
        """The selected names with their configurations, in the order of the registry."""
        return {name: value for name, value in self if value is not None}

    @model_serializer(mode="wrap")
    def _only_selected(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


def _some_of(registry: Registry[Any]) -> Any:
    """Return the schema of a section that selects any number of a registry's components."""
    fields: dict[str, Any] = {name: (registry.config(name) | None, None) for name in registry}
    return create_model(f"{registry.kind.title()}Selection", __base__=Selection, **fields)


if TYPE_CHECKING:
    AnyOptimizer = OptimizerConfig
    AnySchedule = ScheduleConfig
    SomeLoggers = Selection
    SomeMetrics = Selection
    AnyTask = TaskConfig
    AnyBottleneck = ComponentConfig
    AnyData = DataConfig
    AnyPretraining = PretrainConfig
else:
    AnyTask = _one_of(TASKS)
    AnyBottleneck = _one_of(BOTTLENECKS)
    AnyData = _one_of(DATASETS)
    AnyPretraining = _one_of(PRETRAINING)
    AnyOptimizer = _one_of(OPTIMIZERS)
    AnySchedule = _one_of(SCHEDULES)
    SomeLoggers = _some_of(LOGGERS)
    SomeMetrics = _some_of(METRICS)


class ModelConfig(ComponentConfig):
    """Sizes of both agents; the keys of conf/model/*.yaml."""

    embedding_dim: Annotated[int, Field(ge=1, le=512)]
    hidden_dim: Annotated[int, Field(ge=1, le=4096)]
    latent_dim: Annotated[int, Field(ge=1, le=4096)]
    num_conv_layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    architecture: Annotated[
        str,
        AfterValidator(ENCODERS.check),
        WithJsonSchema({"type": "string", "enum": list(ENCODERS)}),
    ]
    mixer: Literal["attention", "conv"]
    head: Literal["joint", "patch", "direct"]
    shared_encoder: bool
    shared_init: bool

    @model_validator(mode="after")
    def _every_patch_has_a_share(self) -> ModelConfig:
        if self.head == "direct" and self.latent_dim < PATCHES:
            raise ValueError(f"head=direct: latent_dim must be at least {PATCHES}, one per patch")
        return self


class EncoderConfig(Settings):
    """The source of the sender's encoder, and whether its weights are frozen."""

    pretrained: PathName | None
    freeze: bool


class CheckpointConfig(Settings):
    """Where and how often checkpoints are saved."""

    dir: PathName
    every_epochs: Annotated[int, Field(ge=1)] | None
    every_minutes: Annotated[float, Field(gt=0)] | None
    keep_last: Annotated[int, Field(ge=1)]


class ServerConfig(Settings):
    """The HTTP server: address, authentication and startup."""

    enabled: bool
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=0, le=65_535)]
    token: str | None
    autostart: bool
    required: bool

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is reachable from this machine only."""
        return self.host in LOOPBACK

    @field_validator("token")
    @classmethod
    def _printable(cls, token: str | None) -> str | None:
        if token not in (None, AUTO_TOKEN) and not re.fullmatch("[!-~]{8,}", token):
            raise ValueError("must be auto, or at least 8 ASCII characters without spaces")
        return token

    @model_validator(mode="after")
    def _guarded(self) -> ServerConfig:
        if not self.is_local and self.token is None:
            raise ValueError(
                f"host={self.host}: reachable from other machines; set server.token=auto"
            )
        if not self.autostart and not self.enabled:
            raise ValueError("autostart=false: requires server.enabled=true to receive a start")
        return self


class TorchrunConfig(Settings):
    """How the processes of torchrun work together; without torchrun it has no effect."""

    gather: bool
    timeout: Annotated[float, Field(ge=1, le=86_400)]


class ProcessConfig(Settings):
    """Settings of the process; not part of the run and not stored in its checkpoints."""

    model_config = ConfigDict(extra="ignore")

    resume: PathName | None
    finetune: PathName | None
    strict: bool
    torchrun: TorchrunConfig
    server: ServerConfig

    @model_validator(mode="after")
    def _one_start(self) -> ProcessConfig:
        if self.resume not in (None, AUTO) and self.finetune is not None:
            raise ValueError(
                "resume and finetune are mutually exclusive, except with resume=auto; set only one"
            )
        return self


class RunConfig(Settings):
    """The complete configuration of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: str
    run_name: Annotated[str, Field(pattern=RUN_NAME_PATTERN)] | None
    mode: Literal["train", "pretrain"]
    task: AnyTask
    bottleneck: AnyBottleneck
    model: ModelConfig
    data: AnyData
    pretrain: AnyPretraining
    encoder: EncoderConfig
    training: TrainingConfig
    optimizer: AnyOptimizer
    schedule: AnySchedule
    metric: SomeMetrics
    logger: SomeLoggers
    checkpoint: CheckpointConfig

    @model_validator(mode="after")
    def _sender_sees_pairs(self) -> RunConfig:
        task, architecture = self.task.name, self.model.architecture
        sends_pairs = self.mode == "train" and TASKS[task].sends_pairs
        if sends_pairs and architecture not in PAIR_ENCODERS:
            raise ValueError(
                f"model.architecture={architecture}: the sender of task={task} sees pairs; "
                f"choose one of {', '.join(PAIR_ENCODERS)}"
            )
        return self


class EvaluateDataConfig(Settings):
    """Replacements of the stored data configuration; only keys that were typed are used."""

    path: PathName | None
    test: PathName | None
    also: list[PathName] | None


def _report(value: Any) -> Any:
    if not isinstance(value, bool) and not str(value).endswith(".html"):
        raise ValueError("must be true, false or a path that ends in .html")
    return value


class EvaluateConfig(Settings):
    """Keys of conf/evaluate.yaml."""

    path: Annotated[list[PathName], Field(min_length=1)]
    device: str
    output: PathName | None
    measures: Literal["all", "fast", "none"]
    messages: bool
    learning: Annotated[int, Field(ge=0, le=100)]
    learning_steps: Annotated[int, Field(ge=1)]
    crossplay: bool
    report: Annotated[bool | PathName, BeforeValidator(_report)]
    data: EvaluateDataConfig

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_several(cls, path: Any) -> Any:
        if isinstance(path, str):
            return [path]
        if not isinstance(path, list):
            raise ValueError("must be a string, or a list of strings")
        return path


SCHEMAS: dict[str, type[BaseModel]] = {"config": RunConfig, "evaluate": EvaluateConfig}


def parse_config(tree: DictConfig | Mapping[str, Any]) -> RunConfig:
    """Check a run's composed or stored tree. Raises ConfigError with a line for each bad value."""
    run = {
        key: value for key, value in plain(tree).items() if key not in ProcessConfig.model_fields
    }
    return parse(RunConfig, run)


def parse(schema: type[Schema], tree: DictConfig | Mapping[str, Any]) -> Schema:
    """Check a tree against any schema. Raises ConfigError with a line for each bad value."""
    try:
        return schema.model_validate(plain(tree))
    except ValidationError as error:
        faults = error.errors()
        missing = [_place(each) for each in faults if each["type"] == "missing"]
        lines = "\n".join(_describe(schema, each) for each in faults)
        raise ConfigError(lines, missing) from None


def plain(tree: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree as plain containers, composed ones resolved; raises ConfigError."""
    if not isinstance(tree, DictConfig):
        _refuse_interpolations(tree)
        return dict(tree)
    try:
        container = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: required; set {error.full_key}=…") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]


def _refuse_interpolations(tree: Mapping[str, Any]) -> None:
    """Raise ConfigError if a stored tree contains an interpolation."""
    for key, value in leaves(tree).items():
        if isinstance(value, str) and "${" in value:
            fault = "interpolations are not allowed in a stored config"
            raise ConfigError(f"{key}={reprlib.repr(value)}: {fault}")


def to_tree(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain containers; ``parse_config`` gives it back."""
    return config.model_dump(serialize_as_any=True)


def _describe(schema: type[BaseModel], error: Any) -> str:
    """Return one line for one of pydantic's errors: the key, the value, what is allowed."""
    key, kind = _place(error), error["type"]
    if not key:
        return str(error["msg"]).removeprefix("Value error, ")
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(schema, error["loc"])
        hint = nearest(str(error["loc"][-1]), known)
        return f"{key}: no such key.{hint} Known: {', '.join(known)}"
    if kind == "missing":
        options = f"; choose one of {', '.join(_REGISTRIES[key])}" if key in _REGISTRIES else ""
        return f"{key}: missing{options}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = context.get("tag")
        allowed = context.get("expected_tags", "a mapping with a name")
        hint = nearest(str(name), allowed.split(chr(39)))
        return f"{key}={_brief(name)}: choose one of {allowed}.{hint}"
    if kind == "model_type" and (advice := one_of_its_keys(key, schema)):
        return advice
    message = str(error["msg"]).removeprefix("Value error, ")
    message = ALLOWED.get(context.get("pattern"), message)
    value = "***" if key == "server.token" else error["input"]
    if isinstance(value, Mapping):
        return f"{key}: {message}"
    return f"{key}={_brief(value)}: {message[0].lower() + message[1:]}"


def _brief(value: Any) -> str:
    return "null" if value is None else reprlib.repr(value).strip("'")


def _place(error: Any) -> str:
    """Return the dotted key that one of pydantic's errors is about; empty for the whole tree."""
    place = [str(part) for part in error["loc"]]
    if len(place) > 1 and place[1] in _REGISTRIES.get(place[0], ()):
        del place[1]  # the discriminator of the union
    return ".".join(place)


def _known_keys(schema: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """Return the valid keys at the place of an unknown one."""
    if len(place) < 2:
        return top_keys(schema)
    if schema is not RunConfig:
        return known_keys(place[0], schema)
    if place[0] in _REGISTRIES:
        return _fields(_REGISTRIES[place[0]].config(place[1]))
    return known_keys(place[0])


def top_keys(schema: type[BaseModel]) -> list[str]:
    """Return the keys at the top of a command's configuration."""
    start = list(ProcessConfig.model_fields) if schema is RunConfig else []
    return list(schema.model_fields) + start


def known_keys(section: str, owner: type[BaseModel] | None = None) -> list[str]:
    """Return every key of any option of a section; empty for an unknown section.

    ``owner`` is the schema of a command other than training.
    """
    if owner is None and section in _REGISTRIES:
        registry = _REGISTRIES[section]
        return list(
            dict.fromkeys(key for name in registry for key in _fields(registry.config(name)))
        )
    fields = {**RunConfig.model_fields, **ProcessConfig.model_fields}
    field = (fields if owner is None else owner.model_fields).get(section)
    schema = field.annotation if field else None
    return _fields(schema) if isinstance(schema, type) and issubclass(schema, BaseModel) else []


def one_of_its_keys(section: str, owner: type[BaseModel] | None = None) -> str:
    """Return the message for a section that was set as a whole; empty for an unknown section."""
    keys = [f"{section}.{key}" for key in known_keys(section, owner)]
    return f"{section}: set one of its keys: {', '.join(keys)}" if keys else ""


_REGISTRIES: dict[str, Registry[Any]] = {
    "task": TASKS,
    "bottleneck": BOTTLENECKS,
    "data": DATASETS,
    "pretrain": PRETRAINING,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def options_of(group: str) -> list[str]:
    """Return the options of a group of components; empty for an unknown group."""
    return list(_REGISTRIES.get(group, ()))


def options_with(section: str, key: str) -> list[str]:
    """Return the options of a group that have ``key``; empty for an unknown group."""
    registry = _REGISTRIES.get(section)
    if registry is None:
        return []
    return [name for name in registry if key in registry.config(name).model_fields]


def accepts(group: str, option: str, key: str, value: Any) -> bool:
    """Return whether ``option`` of a group has ``key`` and accepts ``value`` for it.

    An interpolation is accepted: its value is not known here.
    """
    field = _REGISTRIES[group].config(option).model_fields.get(key)
    if field is None or (isinstance(value, str) and "${" in value):
        return field is not None
    try:
        TypeAdapter(field.rebuild_annotation()).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _fields(schema: type[BaseModel]) -> list[str]:
    return [field for field in schema.model_fields if field != "name"]
