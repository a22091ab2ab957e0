"""The rooms of the package: data flows down this list, and nothing imports a room below."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT

ROOMS = [
    ["registry"],
    ["archive"],
    ["metadata"],
    ["data"],
    ["models"],
    ["analysis"],
    ["tasks"],
    ["pretraining"],
    ["training"],
    ["config"],
    ["flat"],
    ["checkpointing"],
    ["inspection"],
    ["explain"],
    ["overlay"],
    ["plan"],
    ["settings"],
    ["saving"],
    ["report"],
    ["export"],
    ["record"],
    ["claim"],
    ["run"],
    ["history"],
    ["board"],
    ["looking"],
    ["session"],
    ["server"],
    ["terminal"],
    ["cli"],
    ["train", "evaluate"],
]
PLACE = {name: number for number, names in enumerate(ROOMS) for name in names}
PACKAGE = CHECKOUT / "arc"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PRINTING = {"train.py", "evaluate.py", "cli.py"}


def label(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(source: ast.AST) -> Iterator[str]:
    """Yield the full names of what is imported, wherever in the module."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(source: ast.AST) -> set[str]:
    parts = [name.split(".") for name in imported(source)]
    return {name[1] for name in parts if name[0] == "arc" and len(name) > 1}


def calls(source: ast.AST, name: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_every_module_has_a_room() -> None:
    assert len(MODULES) > 20
    assert {room(path) for path in MODULES} <= set(PLACE)
    assert {label(path) for path in MODULES} >= PRINTING


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_imports_from_its_own_room_and_those_above(path: Path) -> None:
    own = room(path)
    below = {
        name
        for name in rooms_imported(tree(path))
        if name in PLACE and name != own and PLACE[name] >= PLACE[own]
    }
    assert below == set()


def test_the_check_sees_every_form_of_import() -> None:
    source = ast.parse(
        "import arc.cli\nimport torch\nfrom arc.train import x\nfrom arc import report\n"
        "def f():\n    from arc.config import y\n"
    )
    assert rooms_imported(source) == {"cli", "train", "report", "config"}


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", *MODULES], ids=label)
def test_a_module_has_no_global_statement(path: Path) -> None:
    assert [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Global)] == []


@pytest.mark.parametrize("path", [p for p in MODULES if label(p) not in PRINTING], ids=label)
def test_only_entry_points_print(path: Path) -> None:
    assert calls(tree(path), "print") == []


def test_the_package_itself_imports_nothing() -> None:
    assert list(imported(tree(PACKAGE / "__init__.py"))) == []


def test_no_configuration_names_code() -> None:
    files = [*PACKAGE.rglob("*.py"), *(CHECKOUT / "conf").rglob("*.yaml")]
    assert [path.name for path in files if "_target_" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_nothing_runs_what_a_name_says(path: Path) -> None:
    source = tree(path)
    assert calls(source, "eval") + calls(source, "exec") == []
    assert not any(name.startswith("hydra.utils") for name in imported(source))
