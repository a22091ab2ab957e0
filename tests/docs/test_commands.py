"""Every command of the documentation is valid: it composes, without training."""

from __future__ import annotations

import ast
import importlib
import re
import shlex

import pytest
from helpers_cli import CHECKOUT, finish, start_python
from helpers_docs import PAGES, blocks
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from arc.config.files import config_folder
from arc.config.hydra_main import as_path, gathered
from arc.config.schema import EvaluateConfig, ProcessConfig, parse, parse_config

COMMANDS = sorted({line for block in blocks("bash") for line in block.commands})
OWN = {
    "count_colors",
    "random_points",
    "coverage",
    "scores",
}  # the worked examples of CONTRIBUTING.md


def commands(pattern: str) -> list[str]:
    return [line for line in COMMANDS if re.search(pattern, line) and not OWN & set(words(line))]


def words(line: str) -> list[str]:
    return re.findall(r"\w+", line)


def overrides(line: str) -> list[str]:
    """The overrides of a command line, without those of Ray, whose plugin is not installed."""
    typed = [word for word in shlex.split(line) if "=" in word and not word.startswith("-")]
    return [as_path(word) for word in typed if not re.match(r"hydra.launcher(=ray|\.ray)", word)]


def jobs(typed: list[str]) -> list[list[str]]:
    """The overrides of jobs that have every value of a multirun.

    Of an interval, and of seeds, the first.
    """
    choices = [
        [f"{each.key_or_group}={interval.start}"]
        if isinstance(interval := each.value(), IntervalSweep)
        else [f"{each.key_or_group}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [text]
        for each, text in zip(OverridesParser.create().parse_overrides(typed), typed, strict=True)
    ]
    choices = [values[:1] if values[0].startswith("seed=") else values for values in choices]
    count = max(map(len, choices), default=1)
    return [[values[number % len(values)] for values in choices] for number in range(count)]


def training_jobs() -> list[list[str]]:
    """The overrides of every training command.

    A job is left out if another one has the same options of groups, and its keys besides others.
    """
    found = {frozenset(job) for line in commands(r"-m arc\.train") for job in jobs(overrides(line))}
    groups = {path.name for path in config_folder().iterdir()}

    def options(job: frozenset[str]) -> set[str]:
        return {each for each in job if each.split("=")[0] in groups}

    return sorted(
        sorted(job)
        for job in found
        if not any(job < other and options(job) == options(other) for other in found)
    )


@pytest.mark.parametrize("job", training_jobs(), ids=" ".join)
def test_a_training_command_composes(job: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARC_TOKEN", "0123456789")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        tree = compose("config", job)
    parse_config(tree)
    parse(ProcessConfig, tree)


@pytest.mark.parametrize("line", commands(r"-m arc\.evaluate"))
def test_an_evaluation_command_composes(line: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        parse(EvaluateConfig, compose("evaluate", gathered("path", overrides(line))))


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/\w+\.py", str(COMMANDS)))))
def test_a_script_has_the_options_that_are_shown(script: str) -> None:
    shown = {word for line in commands(script) for word in line.split() if word.startswith("-")}
    done = finish(start_python(CHECKOUT, script, "--help"))
    assert done.status == 0, done.err
    assert shown <= set(re.findall(r"(?<![\w-])--?[\w-]+", done.out))


def test_every_make_target_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    used = {name for text in pages for name in re.findall(r"[`\n]make ([\w-]+)", text)}
    assert {"train", "docs", "ablation"} <= used
    assert used <= targets


def test_every_curl_command_uses_a_documented_route() -> None:
    api = CHECKOUT / "docs" / "reference" / "http-api.md"
    documented = set(re.findall(r"/\w+", api.read_text(encoding="utf-8")))
    used = {re.search(r":5002(/\w+)", line) for line in commands("^curl")}
    routes = {match[1] for match in used if match}
    assert len(routes) > 3
    assert routes <= documented


def test_every_python_block_imports_names_that_exist() -> None:
    found = list(blocks("python"))
    assert len(found) > 5
    for block in found:
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                missing = [a.name for a in node.names if not hasattr(module, a.name)]
                assert missing == [], (block.page, node.module)
