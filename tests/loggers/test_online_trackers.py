"""Weights & Biases and Trackio with their own libraries, which `make slow` installs."""

import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers_cli import finish, place, start_python, tiny

pytestmark = pytest.mark.slow
EVERY = ["logger.wandb.every_steps=1", "logger.trackio.every_steps=1"]
BLOCK = 32_768
SHORT = ["task=reconstruction", "run_name=mine", "training.max_steps=8"]


def train(folder: Path, *overrides: str) -> str:
    """Train in a new process; returns what it logged."""
    process = start_python(folder, "-m", "arc.train", *place(folder), *overrides, is_fresh=True)
    outcome = finish(process)
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.err
    return outcome.err + outcome.out


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, arc_folder: Path) -> tuple[Path, list[str]]:
    """The folder of a run that was resumed from an earlier step, and what it logged."""
    folder = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRACKIO_DIR", str(folder / "trackio"))
        logged = [
            train(
                folder,
                *tiny(arc_folder),
                *SHORT,
                *EVERY,
                *("logger=[wandb,trackio]", "training.stop_at_step=5"),
            )
        ]
        last = folder / "checkpoints" / "mine_last.pth"
        kept = last.read_bytes()
        again = [f"resume={last}", "device=cpu", "server.enabled=false"]
        logged.append(train(folder, *again, "training.stop_at_step=7"))
        last.write_bytes(kept)
        logged.append(train(folder, *again, "training.stop_at_step=null"))
    return folder, logged


def logged_records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_nothing_but_the_run_is_logged(resumed: tuple[Path, list[str]]) -> None:
    text = "".join(resumed[1]).lower()
    assert "logger=" not in text
    assert "\nwandb:" not in text
    assert "trackio" not in text


def test_trackio_has_each_step_once(resumed: tuple[Path, list[str]]) -> None:
    (path,) = (resumed[0] / "trackio").glob("*.db")
    database = sqlite3.connect(path)
    rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    database.close()
    assert {name for name, *_ in rows} == {"mine"}
    metrics = [(step, json.loads(values)) for _, step, values in rows]
    steps = [step for step, values in metrics if "train/loss" in values]
    assert steps == list(range(1, 9))
    keys = {key for _, values in metrics for key in values}
    assert {"validation/accuracy", "symbols/position_1", "language/unique_messages"} <= keys
    assert any(key.startswith("examples/") for key in keys)
    assert any(key.startswith("results/test/") for key in keys)


def test_wandb_has_each_step_once_under_one_id(resumed: tuple[Path, list[str]]) -> None:
    from wandb.proto import wandb_internal_pb2

    folder = resumed[0] / "checkpoints"
    identity = json.loads((folder / "mine_wandb.json").read_text())["identity"]
    paths = sorted(folder.glob("mine_wandb/wandb/offline-run-*/*.wandb"))
    assert [path.name for path in paths] == [f"run-{identity}.wandb"] * len(paths)
    steps, keys = [], set()
    for path in paths:
        for data in logged_records(path):
            record = wandb_internal_pb2.Record.FromString(data)
            items = {"/".join(each.nested_key) or each.key for each in record.history.item}
            keys |= {item.removesuffix("/_type") for item in items}
            if "train/loss" in items:
                steps.append(record.history.step.num)
    assert steps == list(range(1, 9))
    assert {"validation/accuracy", "symbols/position_1"} <= keys
    assert list(folder.glob("mine_wandb/wandb/*/files/media/images/examples/*.png"))


@pytest.mark.parametrize("key", [None, "a" * 40])
def test_a_missing_account_or_a_dead_network_costs_one_line(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    online = ["logger=wandb", "logger.wandb.mode=online", *EVERY[:1]]
    logged = train(tmp_path, *tiny(arc_folder), *SHORT, *online)
    (line,) = [line for line in logged.splitlines() if "logger=" in line]
    assert ("no account" in line) == (key is None)
    assert "training continues without it" in line
    assert "\nwandb:" not in logged
    assert (tmp_path / "checkpoints" / "mine_results.json").exists()
