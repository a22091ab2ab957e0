"""The packages of arc: each imports only from those before it, and a few rules for all modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

from helpers_cli import CHECKOUT

PACKAGES = [
    "terminal",
    "registry",
    "io",
    "data",
    "models",
    "metrics",
    "tasks",
    "pretraining",
    "training",
    "loggers",
    "config",
    "checkpointing",
    "runs",
    "report",
    "server",
    "api",
    "train",
    "evaluate",
]
PACKAGE = CHECKOUT / "arc"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_PRINT = {
    "train.py",
    "evaluate.py",
    "config/hydra_main.py",
    "checkpointing/commands.py",
    "runs/export.py",
    "server/process.py",
}


def label(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(source: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that a module imports, at any level."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages_imported(source: ast.AST) -> set[str]:
    parts = [name.split(".") for name in imported(source)]
    return {name[1] for name in parts if name[0] == "arc" and len(name) > 1}


def calls(source: ast.AST, *names: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def test_each_package_imports_only_from_earlier_ones() -> None:
    assert {package_of(path) for path in MODULES} - {"__init__"} <= set(PACKAGES)
    later = [
        f"{label(path)} imports arc.{name}"
        for path in MODULES
        if path.parent != PACKAGE or path.name != "__init__.py"
        for name in packages_imported(tree(path)) & set(PACKAGES)
        if name != package_of(path) and PACKAGES.index(name) >= PACKAGES.index(package_of(path))
    ]
    assert later == []


def test_every_form_of_import_is_seen() -> None:
    source = ast.parse(
        "import arc.runs\nimport torch\nfrom arc.train import x\nfrom arc import api\n"
        "def f():\n    from arc.config import y\n"
    )
    assert packages_imported(source) == {"runs", "train", "api", "config"}


def test_at_most_six_modules_stand_directly_in_arc() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_no_module_has_global_statements_or_evaluates_strings() -> None:
    found = []
    for path in MODULES:
        source = tree(path)
        found += [f"{label(path)}: global" for n in ast.walk(source) if isinstance(n, ast.Global)]
        found += [f"{label(path)}:{line}" for line in calls(source, "eval", "exec")]
        found += [f"{label(path)}: {n}" for n in imported(source) if n.startswith("hydra.utils")]
    assert found == []


def test_only_entry_points_print() -> None:
    assert {label(path) for path in MODULES if calls(tree(path), "print")} <= MAY_PRINT


def test_the_package_itself_imports_nothing() -> None:
    assert list(imported(tree(PACKAGE / "__init__.py"))) == []


def test_no_configuration_names_code() -> None:
    """Hydra's callback of a sweep can only be set by name; it is not stored."""
    files = [*MODULES, *(CHECKOUT / "conf").rglob("*.yaml")]
    assert [path.name for path in files if "_target_" in path.read_text(encoding="utf-8")] == [
        "sweeps.py"
    ]
