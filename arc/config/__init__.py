"""The typed configuration, and what is built from it."""

from arc.config.schema import (
    LOOPBACK,
    NAME_PATTERN,
    ConfigError,
    ModelConfig,
    ProcessConfig,
    RunConfig,
    ServerConfig,
    config_folder,
    parse,
    parse_config,
    to_tree,
)

__all__ = [
    "LOOPBACK",
    "NAME_PATTERN",
    "ConfigError",
    "ModelConfig",
    "ProcessConfig",
    "RunConfig",
    "ServerConfig",
    "config_folder",
    "parse",
    "parse_config",
    "to_tree",
]
