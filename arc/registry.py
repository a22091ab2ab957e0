"""Closed tables from a word in the configuration to the class that it names.

A configuration value is only ever a key into one of these tables, so a stored
configuration can choose among the project's components but never run code.
A component and its typed configuration are registered together, by the module
that defines them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class ComponentConfig(BaseModel):
    """Base of every component's configuration: immutable, exact types, no unknown keys.

    Defaults stand in conf/, not here. ``name`` is the key of the component's registry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """Name to class, with the class's configuration type beside it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}
        self._configs: dict[str, type[ComponentConfig]] = {}

    def register(
        self, name: str, config: type[ComponentConfig] | None = None
    ) -> Callable[[type], type]:
        """Class decorator that enters a class under ``name``; a name is given once."""

        def enter(cls: type) -> type:
            assert name not in self._classes, f"{self.kind} {name!r} is registered twice"
            self._classes[name] = cls
            if config is not None:
                self._configs[name] = config
            return cls

        return enter

    def __getitem__(self, name: str) -> type[T]:
        self._check(name)
        return self._classes[name]

    def config(self, name: str) -> type[ComponentConfig]:
        """Return the configuration type registered beside ``name``."""
        self._check(name)
        if name not in self._configs:
            raise ValueError(f"{self.kind} {name!r} is registered without a config=")
        return self._configs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def _check(self, name: str) -> None:
        if name not in self._classes:
            allowed = ", ".join(sorted(self._classes))
            hint = nearest(str(name), self._classes)
            raise ValueError(f"unknown {self.kind} {name!r}; choose one of: {allowed}.{hint}")


def import_members(package: str) -> None:
    """Import every module of ``package``, so that each registers what it defines."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
