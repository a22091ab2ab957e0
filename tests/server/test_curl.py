"""The curl commands of the documentation, and a typical workflow."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers_cli import CHECKOUT, environment
from helpers_served import Client
from hydra import compose

from arc.config.schema import parse_config
from arc.data import SplitSpec, load_corpus

DOCUMENTED = ("045e512c train 0 input", "045e512c train 0 output")
NAME = "my_checkpoint_name"
STARTS = ("/start_train", "/start_pretrain")
WORKFLOW = """
curl -X POST http://localhost:5002/start_train

curl -X POST http://localhost:5002/save_checkpoint \\
  -H "Content-Type: application/json" \\
  -d '{"name": "selection_good_performance_epoch_45"}'

curl -X POST http://localhost:5002/save_checkpoint

curl http://localhost:5002/list_checkpoints

curl http://localhost:5002/status
"""


def curl_lines(text: str) -> list[str]:
    """Return the commands of ``text``, with continuation lines joined."""
    return re.findall(r"^\s*(curl .*)$", text.replace("\\\n", " "), re.MULTILINE)


def route(line: str) -> str:
    """Return the route that a command calls."""
    return str(re.findall(r"localhost:5002(/\w*)", line)[0])


def documented_lines() -> list[Any]:
    """The commands of the documentation; those that need a run follow each other."""
    lines = {
        line: pytest.param(line, id=line.replace("http://localhost:5002", ""))
        for page in ("docs/reference/http-api.md", "docs/quickstart.md")
        for line in curl_lines((CHECKOUT / page).read_text(encoding="utf-8"))
    }
    return [lines[line] for line in sorted(lines, key=lambda line: (needs_idle(line), route(line)))]


def needs_idle(line: str) -> bool:
    return route(line) in STARTS or (route(line) == "/task_config" and "POST" in line)


def typed(process: Client, line: str, cwd: Path) -> str:
    """Run a command as a shell would, on the port of ``process``; returns its output."""
    words = shlex.split(line.replace("localhost:5002", f"localhost:{process.port}"))
    assert words[0] == "curl"
    quiet = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60"]
    done = subprocess.run([*quiet, *words[1:]], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _saved(live: Client) -> None:
    live.save(NAME)


@pytest.mark.parametrize("line", documented_lines())
def test_documented_commands(live: Client, line: str, tmp_path: Path) -> None:
    if needs_idle(line):
        live.idle()
    else:
        live.training()
    if route(line) == "/save_checkpoint":
        (live.checkpoints / f"{NAME}.pth").unlink()
    if route(line) == "/probe":
        for example, held_out in zip(DOCUMENTED, live.get("/examples")["examples"], strict=False):
            line = line.replace(quote(example), quote(held_out))
    answer = typed(live, line, tmp_path)
    if "-OJ" in line:
        saved = live.checkpoints / f"{NAME}.pth"
        assert (tmp_path / f"{NAME}.pth").read_bytes() == saved.read_bytes()
        return
    assert "error" not in json.loads(answer) or route(line) == "/status"
    if route(line) in STARTS:
        assert live.until(lambda status: status["step"])["error"] is None
    if route(line) == "/save_checkpoint":
        live.save(NAME)


def test_documented_examples_are_in_the_default_validation_set() -> None:
    config = parse_config(compose("config"))
    corpus = load_corpus(config.data, SplitSpec(pairs=False, held_out="puzzles"))
    assert set(DOCUMENTED) <= set(corpus.validation.example_ids)


def test_a_typical_workflow(live: Client, tmp_path: Path) -> None:
    start, save, unnamed, listing, status = curl_lines(WORKFLOW)
    live.idle()
    assert json.loads(typed(live, start, tmp_path))["status"] == "started"
    requested = json.loads(typed(live, save, tmp_path))
    name = requested["checkpoint_name"]
    assert requested["message"] == f"Checkpoint save requested: {name}"
    by_default = json.loads(typed(live, unnamed, tmp_path))["checkpoint_name"]
    assert re.fullmatch(r"manual_checkpoint_epoch_\d+(_\d+)?", by_default)
    live.until(lambda status: status["last_save"] and not status["pending_saves"])
    rows = json.loads(typed(live, listing, tmp_path))["checkpoints"]
    assert {f"{name}.pth", f"{by_default}.pth"} <= {row["filename"] for row in rows}
    assert json.loads(typed(live, status, tmp_path))["running"] is True
    shown = subprocess.run(
        [
            *(sys.executable, CHECKOUT / "scripts" / "load_checkpoint.py"),
            *(live.checkpoints / f"{name}.pth", "--info-only"),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "selection" in shown.stdout
