"""The wheel: it holds conf/, and runs from any folder."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from helpers_cli import CHECKOUT, TIMEOUT, run, tiny

SOURCES = ["arc", "conf", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"]


def python(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays clean; no network."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(
                CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(CHECKOUT / name, source / name)
    out = source / "dist"
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), cwd=source)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    python("-m", "pip", "install", *options, "--target", str(target), str(wheel), cwd=target)
    return target


def test_every_package_is_listed() -> None:
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    listed = settings["options"]["packages"].split()
    found = {path.parent.relative_to(CHECKOUT) for path in (CHECKOUT / "arc").rglob("__init__.py")}
    assert sorted(listed) == sorted(
        {str(path).replace(os.sep, ".") for path in found} | {"arc.conf"}
    )


def test_the_wheel_holds_every_module_and_every_configuration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "arc").rglob("*.py")}
    conf = {"arc" / path.relative_to(CHECKOUT) for path in (CHECKOUT / "conf").rglob("*.yaml")}
    folders = [CHECKOUT / "arc" / "server" / "static", CHECKOUT / "arc" / "report" / "templates"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    page = {path.relative_to(CHECKOUT) for path in files}
    assert {Path("arc/server/static/index.html"), Path("arc/report/templates/report.html")} <= page
    assert held == {path.as_posix() for path in modules | conf | page | {Path("arc/py.typed")}}


@pytest.mark.slow
def test_help_from_another_folder(installed: Path, tmp_path: Path) -> None:
    outcome = run(tmp_path, "--help", package=installed)
    assert (outcome.status, outcome.err) == (0, "")
    assert "task: puzzle_classification, reconstruction, selection, transformation\n" in outcome.out


def test_a_run_from_another_folder(installed: Path, tmp_path: Path, arc_folder: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import arc; print(arc.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()) == installed / "arc" / "__init__.py"
    game = ["task=selection", "task.num_distractors=3", "run_name=mine"]
    outcome = run(tmp_path, *tiny(arc_folder, steps=2), *game, package=installed)
    assert outcome.status == 0, outcome.err
    assert torch.load(tmp_path / "checkpoints" / "mine_last.pth")["step"] == 2
    assert (tmp_path / "checkpoints" / "mine_results.json").is_file()
