"""From the command line to a composed tree, and from an error to one readable line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from arc.config.errors import explain
from arc.config.schema import RunConfig, config_folder


def hydra_entry(
    job: Callable[[DictConfig], int], config_name: str, schema: type[BaseModel] = RunConfig
) -> int:
    """Compose ``config_name`` from conf/ and run ``job``; returns the exit status.

    ``schema`` is the configuration's, for the names of its keys.

    What a user can get wrong ends in one line on standard error and status 1. Anything else
    is a fault of the program, and keeps its traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them
    statuses: list[int] = []

    def guarded(tree: DictConfig) -> None:
        try:
            statuses.append(job(tree))
        except ValueError as error:
            raise SystemExit(_complain(str(error))) from None
        if statuses[-1] != 0:
            raise SystemExit(statuses[-1])

    entry = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(guarded)
    try:
        entry()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _complain(explain(error, schema, sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 1
