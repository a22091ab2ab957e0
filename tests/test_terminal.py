"""Text for the terminal, and outputs that nobody reads."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import CHECKOUT, environment, run_here, tiny

from arc.checkpointing.commands import inspect
from arc.checkpointing.tables import list_folder, table
from arc.loggers.console import LogFile, TerminalConsole
from arc.terminal import EscapeFilter, escaped, show

RAW = "a\x1b[2J\u202eb\n\x9b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("größe – 漢字", "größe – 漢字"),
        ("\x1b[31m\r\n\t", "\\x1b[31m\\r\\n\\t"),
        ("\u202e\u2066\u2028\udcff", "\\u202e\\u2066\\u2028\\udcff"),
    ],
)
def test_control_and_bidirectional_characters_are_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert escaped("a\nb", keep="\n") == "a\nb"


def test_log_lines_and_tracebacks_are_escaped() -> None:
    try:
        raise ValueError(RAW)
    except ValueError:
        record = logging.LogRecord("arc", 20, "x", 1, "file %s", (RAW,), sys.exc_info())
    EscapeFilter().filter(record)
    text = logging.Formatter().format(record)
    assert escaped(text, keep="\n") == text
    assert text.startswith(f"file {escaped(RAW)}\nTraceback")


def test_a_folder_is_listed_whatever_its_files_are_called_and_contain(
    one_content: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**one_content["config"], "run_name": RAW, "seed": RAW}
    torch.save({**one_content, "config": config, "task_type": RAW}, tmp_path / "sound.pth")
    (tmp_path / "cleared\x1b[2J.pth").write_bytes(b"PK")
    (tmp_path / os.fsdecode(b"\xff.pth")).write_bytes(b"PK")
    os.utime(tmp_path / "cleared\x1b[2J.pth", (2**40, 2**40))
    text = table(list_folder(tmp_path), wide=True)
    assert text == escaped(text, keep="\n")
    for part in ("sound.pth", "\\x1b[2J.pth", "\\udcff.pth"):
        assert part in text
    for arguments in ([tmp_path, "--verify"], [tmp_path / "sound.pth"]):
        inspect(list(map(str, arguments)))
        for stream in capsys.readouterr():
            assert stream == escaped(stream, keep="\n")


@pytest.fixture
def one_content(train_small: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of a run's last checkpoint."""
    folder = tmp_path_factory.mktemp("one")
    run = train_small(folder, "task=reconstruction", "training.max_steps=1")
    return dict(torch.load(run.checkpoints.last))


def closed_stdout(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output was closed by its reader."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, *command],
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize(
    "command", [["-m", "arc.train", "--help"], [str(CHECKOUT / "scripts" / "inspect.py"), "--help"]]
)
def test_help_into_a_closed_output_ends_quietly(command: list[str]) -> None:
    ended = closed_stdout(*command)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_closed_output_is_discarded(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as closed:
        show("nobody reads this", closed)
        show("nor this", closed)
        console = TerminalConsole(file=closed, force_terminal=True)
        console.print("x")
    console.on_broken_pipe()
    console.print("x")


def test_a_log_file_that_cannot_be_written_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handler = LogFile(tmp_path)  # a folder
    for _ in range(2):
        handler.emit(logging.LogRecord("arc", 20, "x", 1, "line", (), None))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{tmp_path}: cannot be written: ")


def test_helpful_files_that_cannot_be_written_do_not_end_a_run(
    tmp_path: Path, arc_folder: Path
) -> None:
    (tmp_path / "out" / "metrics.jsonl").mkdir(parents=True)
    (tmp_path / "out" / "train.log").mkdir()
    task = ["task=reconstruction", "run_name=mine", *tiny(arc_folder, 1)]
    outcome = run_here(tmp_path, "hydra/job_logging=stdout", *task)
    assert outcome.status == 0, outcome.err
    assert "train.log: cannot be written: " in outcome.err
    assert "logger=jsonl: " in outcome.err
    assert (tmp_path / "checkpoints" / "mine_results.json").exists()
