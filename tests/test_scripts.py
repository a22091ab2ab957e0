"""scripts/inspect.py and scripts/load_checkpoint.py, run by path as a user does."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import CHECKOUT, TIMEOUT, Outcome, run_here, tiny

from arc.checkpointing import load

SCRIPTS = CHECKOUT / "scripts"
INSPECT, LOAD = SCRIPTS / "inspect.py", SCRIPTS / "load_checkpoint.py"
SECTIONS = ["Training state", "Task", "Architecture", "Training", "Data", "Provenance"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, arc_folder: Path) -> Path:
    """Two runs' checkpoints, one file older than the other."""
    place = tmp_path_factory.mktemp("runs")
    for task, rate in (("selection", 1e-3), ("reconstruction", 2e-3)):
        game = [f"task={task}", f"run_name={task}", f"training.learning_rate={rate}"]
        game += ["task.num_distractors=3"] if task == "selection" else []
        sizes = ["model.latent_dim=16", "training.warmup_steps=0"]
        outcome = run_here(place, *tiny(arc_folder, steps=2), *game, *sizes)
        assert outcome.status == 0, outcome.err
    found = place / "checkpoints"
    for path in found.glob("*_best.pth"):
        path.unlink()
    os.utime(found / "selection_last.pth", (1_000_000_000, 1_000_000_000))
    return found


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "selection_last.pth"


def script(where: Path | str, *arguments: Any, cwd: Path, options: tuple[str, ...] = ()) -> Outcome:
    """Run a script in a process that finds ``arc`` by the script's own place alone."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *options, str(where), *map(str, arguments)],
        cwd=cwd,
        env={"OMP_NUM_THREADS": "1", **kept},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a script in this process, which has loaded what takes seconds to load."""

    def call(where: Path, *arguments: Any) -> Outcome:
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", [str(where), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(where), run_name="__main__")
        return Outcome(ended.value.code, *capsys.readouterr())

    return call


def flipped(path: Path, to: Path) -> Path:
    """Copy a file with one byte of a weight turned."""
    content = bytearray(path.read_bytes())
    weight = torch.load(path)["model_state_dict"]["encoder.color.weight"]
    content[content.index(weight.numpy().tobytes())] ^= 1
    to.write_bytes(content)
    return to


# -- inspect.py --------------------------------------------------------------------------


@pytest.mark.parametrize("cwd", ["checkout", "its own folder", "elsewhere", "a link"])
def test_it_runs_from_anywhere(cwd: str, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "show"
    link.symlink_to(INSPECT)
    at, name = {
        "checkout": (CHECKOUT, "scripts/inspect.py"),
        "its own folder": (SCRIPTS, "inspect.py"),
        "elsewhere": (tmp_path, os.path.relpath(INSPECT, tmp_path)),
        "a link": (tmp_path, "show"),
    }[cwd]
    outcome = script(name, path, cwd=at)
    assert (outcome.status, outcome.err) == (0, "")
    assert [line for line in outcome.out.splitlines() if line in SECTIONS] == SECTIONS
    rows = dict(line.split(None, 1) for line in outcome.out.splitlines() if "  " in line)
    assert rows["task_type"].strip() == "selection"
    assert rows["step"].strip() == "2"
    assert rows["learning_rate"].strip() == "0.001"


def test_a_plain_look_loads_no_torch(path: Path, tmp_path: Path) -> None:
    for where, more in ((INSPECT, []), (LOAD, ["--info-only"])):
        outcome = script(where, path, *more, cwd=tmp_path, options=("-X", "importtime"))
        assert outcome.status == 0
        loaded = {line.split("|")[-1].strip() for line in outcome.err.splitlines()}
        assert "arc.inspection" in loaded
        assert not {"torch", "numpy", "hydra"} & loaded


def test_a_folder_is_listed_newest_first_with_broken_files(
    folder: Path, here: Any, tmp_path: Path
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    for path in folder.glob("*.pth"):
        (shown / path.name).hardlink_to(path)
    (shown / "broken.pth").write_bytes(b"broken")
    os.utime(shown / "broken.pth", (1, 1))
    (shown / ".hidden.pth").touch()
    (shown / "notes.txt").touch()
    outcome = here(INSPECT, shown)
    assert outcome.status == 0
    head, _, *rows = outcome.out.splitlines()
    assert [row.split()[0] for row in rows] == [
        *("reconstruction_last.pth", "selection_last.pth", "broken.pth")
    ]
    assert "error" in head
    assert "not a whole checkpoint" in rows[-1]
    listed = json.loads(here(INSPECT, shown, "--json").out)
    assert [each.get("step") for each in listed] == [2, 2, None]
    assert [str(shown / "broken.pth") in each.get("error", "") for each in listed] == [0, 0, 1]
    assert listed[0]["task_type"] == "reconstruction"


def test_json_of_a_file(path: Path, here: Any) -> None:
    content = json.loads(here(INSPECT, path, "--json").out)
    assert content["config"] == torch.load(path)["config"]
    model = load(path).model
    assert content["num_parameters"] == sum(weight.numel() for weight in model.parameters())


def test_verify_tells_good_files_from_flipped_bytes(path: Path, tmp_path: Path, here: Any) -> None:
    good = tmp_path / "good.pth"
    good.hardlink_to(path)
    outcome = script(INSPECT, good, "--verify", cwd=SCRIPTS)
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{good}: every record's CRC-32 is right" in outcome.out
    bad = flipped(path, tmp_path / "bad.pth")
    assert here(INSPECT, bad).status == 0  # a look alone reads no weights
    outcome = here(INSPECT, tmp_path, "--verify")
    assert f"{bad}: record data/" in outcome.complaint
    assert f"{good}: every record's CRC-32 is right" in outcome.out


def test_diff_shows_what_differs_alone(folder: Path, here: Any) -> None:
    one, other = folder / "selection_last.pth", folder / "reconstruction_last.pth"
    outcome = here(INSPECT, "--diff", one, other)
    assert outcome.status == 0
    rows = dict(line.split(None, 1) for line in outcome.out.splitlines()[2:])
    assert rows.keys() == {
        *("run_name", "task.name", "task.num_distractors", "task.distractors"),
        "training.learning_rate",
    }
    assert rows["training.learning_rate"].split() == ["0.001", "0.002"]
    assert here(INSPECT, "--diff", one, one).out == "the configurations are the same\n"


@pytest.mark.parametrize("where", [INSPECT, LOAD], ids=lambda path: path.name)
def test_a_missing_path_is_one_line(where: Path, tmp_path: Path, here: Any) -> None:
    assert here(where, tmp_path / "absent.pth").complaint == (
        f"{tmp_path / 'absent.pth'}: no such file" + " or folder" * (where == INSPECT)
    )
    (tmp_path / "foreign.pth").write_bytes(b"foreign")
    assert "foreign.pth" in here(where, tmp_path / "foreign.pth").complaint


# -- load_checkpoint.py ------------------------------------------------------------------


def test_sections_and_the_rebuilt_model(path: Path, here: Any) -> None:
    info = here(LOAD, path, "--info-only")
    assert info.status == 0
    assert [line for line in info.out.splitlines() if line in SECTIONS] == SECTIONS
    whole = here(LOAD, path)
    assert whole.status == 0
    count = sum(weight.numel() for weight in load(path).model.parameters())
    added = whole.out.removeprefix(info.out)
    assert added.strip() == f"model rebuilt: {count:,} parameters, epoch 1"


def test_resume_really_trains_on(path: Path, tmp_path: Path) -> None:
    named = tmp_path / "runs (1), a=b's"
    named.mkdir()
    copy = named / "x.pth"
    copy.hardlink_to(path)
    before = torch.load(path)
    outcome = script(LOAD, copy, "--resume", "--epochs", 1, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    after = torch.load(named / "selection_last.pth")
    assert after["epoch"] == before["epoch"] + 1
    assert after["step"] > before["step"] == 2
    assert after["started_from"] == ["resume x.pth step 2"]
    weights = [content["model_state_dict"]["encoder.color.weight"] for content in (before, after)]
    assert not torch.equal(*weights)
