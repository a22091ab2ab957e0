"""Registries map names in the configuration to components and their configuration types.

A configuration value is only ever a key of a registry, so a stored configuration can choose
among the project's components but cannot run code. The module that defines a component
registers it together with its configuration type.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Generic, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

T = TypeVar("T")
Registered = TypeVar("Registered")

# The type of every key that names a file or folder: ``~`` is the user's home folder.
PathName = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]


class Settings(BaseModel):
    """Base of every configuration: immutable, exact types, no unknown keys.

    Defaults are set in conf/, not here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ComponentConfig(Settings):
    """Base of a component's configuration; ``name`` is the component's key in its registry."""

    name: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """Maps names to components of type ``T`` and to their configuration types.

    A component is a class (``Registry[type[Task]]``) or a function
    (``Registry[Callable[[Split], Tensor]]``). ``kind`` names the components in errors.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, T] = {}
        self._configs: dict[str, type[Settings]] = {}

    def register(
        self, name: str, config: type[Settings] | None = None
    ) -> Callable[[Registered], Registered]:
        """Return a decorator that registers a class or function under an unused ``name``."""

        def enter(component: Registered) -> Registered:
            assert name not in self._components, f"{self.kind} {name!r} is registered twice"
            self._components[name] = cast(T, component)
            if config is not None:
                self._configs[name] = config
            return component

        return enter

    def __getitem__(self, name: str) -> T:
        self.check(name)
        return self._components[name]

    def config(self, name: str) -> type[Settings]:
        """Return the configuration type registered with ``name``."""
        self.check(name)
        if name not in self._configs:
            raise ValueError(f"{self.kind} {name!r} is registered without a config=")
        return self._configs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def check(self, name: str) -> str:
        """Return ``name``; raises ValueError, with the allowed names, if it is not registered."""
        if name not in self._components:
            allowed = ", ".join(sorted(self._components))
            hint = nearest(str(name), self._components)
            raise ValueError(f"unknown {self.kind} {name!r}; choose one of: {allowed}.{hint}")
        return name


def import_members(package: str) -> None:
    """Import every module of ``package``, so that each registers its components."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
