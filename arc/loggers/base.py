"""The interface of loggers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from arc.registry import Registry, Settings
from arc.training import Callback

LOGGERS: Registry[type[Logger]] = Registry("logger")


class Logger(Callback):
    """A callback that records the events of one run.

    Built from its configuration (the keys below its name in conf/logger/NAME.yaml), the ``output``
    folder of the run, and the ``run``'s resolved configuration tree as plain containers.

    ``package`` is the optional package that the logger imports; it is installed by the extra of the
    same name.
    """

    package: ClassVar[str | None] = None

    def __init__(self, config: Settings, output: Path, run: Mapping[str, Any]) -> None:
        self.config, self.output, self.run = config, output, run

    @property
    def prefix(self) -> Path:
        """The beginning of the paths of files that a resumed run continues.

        They are beside the run's checkpoints, where it finds them again.
        """
        return Path(self.run["checkpoint"]["dir"]) / str(self.run["run_name"])

    def begin(self, step: int) -> None:
        """Prepare to record what follows ``step``, 0 for a fresh run; before the first event."""

    def continue_from(self, step: int, *, is_validated: bool) -> None:
        """Drop what the output folder holds of later steps, before the first event.

        Called for a run that is resumed after ``step`` in the same output folder. Without
        ``is_validated`` the validation of ``step`` is repeated.
        """


def missing_packages(names: Mapping[str, Any]) -> str | None:
    """Return an error if a selected logger needs a package that is not installed."""
    for name in names:
        package = LOGGERS[name].package
        if package is not None and importlib.util.find_spec(package) is None:
            return (
                f"logger={name}: needs {package}: pip install -e '.[{package}]', or "
                "choose another logger"
            )
    return None
