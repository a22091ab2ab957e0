"""scripts/inspect.py and scripts/load_checkpoint.py, run by path as a user does."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers_cli import (
    CHECKOUT,
    TIMEOUT,
    Outcome,
    Process,
    finish,
    run_here,
    start_python,
    tiny,
    wait_for,
)
from omegaconf import OmegaConf

from arc.checkpointing import load
from arc.checkpointing.tables import shortened, shown
from arc.runs.tables import format_results

SCRIPTS = CHECKOUT / "scripts"
INSPECT, LOAD = SCRIPTS / "inspect.py", SCRIPTS / "load_checkpoint.py"
EXPORT = SCRIPTS / "export.py"
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


def script(where: Path | str, *arguments: Any, cwd: Path) -> Outcome:
    """Run a script in a new process."""
    return finish(start_python(cwd, str(where), *map(str, arguments)))


def fresh_script(
    where: Path | str, *arguments: Any, cwd: Path, options: tuple[str, ...] = ()
) -> Outcome:
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
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    return call


def flipped(path: Path, to: Path) -> Path:
    """Copy a file with one byte of a weight turned."""
    content = bytearray(path.read_bytes())
    weight = torch.load(path)["model_state_dict"]["encoder.norm.weight"]
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
    outcome = fresh_script(name, path, cwd=at)
    assert (outcome.status, outcome.err) == (0, "")
    assert [line for line in outcome.out.splitlines() if line in SECTIONS] == SECTIONS
    rows = dict(line.split(None, 1) for line in outcome.out.splitlines() if "  " in line)
    assert rows["task_type"].strip() == "selection"
    assert rows["step"].strip() == "2"
    assert rows["learning_rate"].strip() == "0.001"


def test_a_plain_look_loads_no_torch(path: Path, tmp_path: Path) -> None:
    for where, more in ((INSPECT, []), (LOAD, ["--info-only"])):
        outcome = fresh_script(where, path, *more, cwd=tmp_path, options=("-X", "importtime"))
        assert outcome.status == 0
        loaded = {line.split("|")[-1].strip() for line in outcome.err.splitlines()}
        assert "arc.checkpointing.tables" in loaded
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
    names = ["reconstruction_last.pth", "selection_last.pth", "broken.pth"]
    for wide in ([], ["--wide"]):
        outcome = here(INSPECT, shown, *wide)
        assert outcome.status == 0
        head, _, *rows, empty, error = outcome.out.splitlines()
        assert [row.split()[0] for row in rows] == names
        assert empty == ""
        assert error.startswith(f"error: {shown / 'broken.pth'}: not a complete checkpoint")
        assert "damaged or truncated: File is not a zip file" in error
        assert ("latent_dim" in head) == bool(wide)
        assert wide or max(map(len, [head, *rows])) <= 120
    listed = json.loads(here(INSPECT, shown, "--json").out)
    assert [each.get("step") for each in listed] == [2, 2, None]
    assert [str(shown / "broken.pth") in each.get("error", "") for each in listed] == [0, 0, 1]
    assert listed[0]["task_type"] == "reconstruction"


def test_a_long_name_is_shortened_in_its_middle(folder: Path, tmp_path: Path, here: Any) -> None:
    name = f"puzzle_classification_communication_{'x' * 40}_epoch_0001.pth"
    (tmp_path / name).hardlink_to(folder / "selection_last.pth")
    head, line, row = here(INSPECT, tmp_path).out.splitlines()
    assert max(map(len, (head, line, row))) == 120
    begin, end = row.split()[0].split("…")
    assert name.startswith(begin)
    assert name.endswith(end)
    assert len(end) > len("_epoch_0001.pth")
    assert name in here(INSPECT, tmp_path, "--wide").out
    assert shortened("abcdefghij", 6) == "ab…hij"
    assert shortened("abcdef", 6) == "abcdef"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "–"), ([], "–"), (True, "true"), (3, "3"), (12345, "12,345"), ("x", "x")),
        *((97.36842, "97.37"), (1e-6, "1e-06"), (12345.6, "12,346"), (0.0, "0"), ([3, 4], "3, 4")),
    ],
)
def test_values_are_shown_as_text(value: Any, text: str) -> None:
    assert shown(value) == text


def test_json_of_a_file(path: Path, here: Any) -> None:
    content = json.loads(here(INSPECT, path, "--json").out)
    assert content["config"] == torch.load(path)["config"]
    model = load(path).model
    assert content["num_parameters"] == sum(weight.numel() for weight in model.parameters())


def test_verify_tells_good_files_from_flipped_bytes(path: Path, tmp_path: Path, here: Any) -> None:
    good = tmp_path / "good.pth"
    good.hardlink_to(path)
    outcome = here(INSPECT, good, "--verify")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{good}: every record's CRC-32 is correct" in outcome.out
    bad = flipped(path, tmp_path / "bad.pth")
    assert here(INSPECT, bad).status == 0  # a look alone reads no weights
    outcome = here(INSPECT, tmp_path, "--verify")
    assert f"{bad}: record data/" in outcome.complaint
    assert f"{good}: every record's CRC-32 is correct" in outcome.out


def test_verify_also_checks_the_files_of_a_difference(
    path: Path, tmp_path: Path, here: Any
) -> None:
    bad = flipped(path, tmp_path / "bad.pth")
    outcome = here(INSPECT, "--verify", "--diff", path, bad)
    assert f"{bad}: record data/" in outcome.complaint
    assert f"{path}: every record's CRC-32 is correct" in outcome.out


def test_verify_knows_a_pretrained_encoder(tmp_path: Path, path: Path, here: Any) -> None:
    content = torch.load(path)
    kept = {key: value for key, value in content.items() if key != "model_state_dict"}
    encoder = tmp_path / "pretrained_encoder_binary.pth"
    torch.save({**kept, "encoder_architecture": {}}, encoder)
    outcome = here(INSPECT, encoder, "--verify")
    assert (outcome.status, outcome.err) == (0, "")
    assert "; encoder rebuilt" in outcome.out


def test_an_encoder_shows_its_pretraining_and_no_game(
    tmp_path: Path, path: Path, here: Any
) -> None:
    content = torch.load(path)
    weights = content.pop("model_state_dict")
    encoder = tmp_path / "pretrained_encoder_binary.pth"
    torch.save({**content, "pretrain_task_type": "binary", "encoder_architecture": {}}, encoder)
    outcome = here(INSPECT, encoder)
    rows = dict(line.split(None, 1) for line in outcome.out.splitlines() if "  " in line)
    assert rows["pretrain_task_type"].strip() == "binary"
    assert "task_type" not in rows
    sizes = (weight.numel() for name, weight in weights.items() if name.startswith("encoder."))
    assert int(rows["num_parameters"].replace(",", "")) == sum(sizes)
    assert "pretrain binary" in here(INSPECT, tmp_path).out


def test_diff_shows_both_states_and_what_differs_in_the_configurations(
    folder: Path, here: Any
) -> None:
    one, other = folder / "selection_last.pth", folder / "reconstruction_last.pth"
    outcome = here(INSPECT, "--diff", one, other)
    assert outcome.status == 0
    states, configs = outcome.out.split("\n\n")
    state = dict(line.split(None, 1) for line in states.splitlines()[2:])
    assert state.keys() == {"epoch", "batch", "step", "seconds", "val_loss", "val_acc"}
    assert state["step"].split() == [str(torch.load(each)["step"]) for each in (one, other)]
    rows = dict(line.split(None, 1) for line in configs.splitlines()[2:])
    assert rows.keys() == {
        *("run_name", "task.name", "task.num_distractors", "task.distractors"),
        *("task.negatives", "task.near_copies", "task.label_smoothing", "task.score"),
        "task.grid_weight",
        "task.palette",
        "training.learning_rate",
    }
    assert rows["training.learning_rate"].split() == ["0.001", "0.002"]
    assert here(INSPECT, "--diff", one, one).out.endswith("the configurations are identical\n")


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


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["data.pathh=1"], "overrides and --epochs need --resume"),
        (["--epochs", 3], "overrides and --epochs need --resume"),
        (["--resume", "--epochs", 0], "--epochs 0: at least 1"),
        (["--resume", "--info-only"], "not allowed with argument"),
    ],
)
def test_an_argument_without_effect_is_refused(
    arguments: list[Any], fault: str, path: Path, here: Any
) -> None:
    outcome = here(LOAD, path, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert fault in outcome.err


@pytest.mark.parametrize("is_fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resume_really_trains_on(
    is_fresh: bool, path: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "runs (1), a=b's"
    named.mkdir()
    copy = named / "x.pth"
    copy.hardlink_to(path)
    before = torch.load(path)
    command = (LOAD, copy, "--resume", "--epochs", 1)
    if is_fresh:
        outcome = script(*command, cwd=tmp_path)
    else:
        started: list[Process] = []

        def fork(command: list[str], **_: Any) -> Process:
            started.append(start_python(tmp_path, *command[1:]))
            return started[0]

        monkeypatch.setattr("arc.checkpointing.commands.subprocess", SimpleNamespace(Popen=fork))
        outcome = here(*command)
        assert finish(started[0]).status == 0
    assert outcome.status == 0, outcome.err
    after = torch.load(named / "selection_last.pth")
    assert after["epoch"] == before["epoch"] + 1
    assert after["step"] > before["step"] == 2
    assert after["started_from"] == ["resume x.pth step 2"]
    weights = [content["model_state_dict"]["encoder.norm.weight"] for content in (before, after)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_to_what_trains_on(
    number: signal.Signals, path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[int] = []

    def wait() -> int:
        signal.raise_signal(number)
        return -received[0]

    process = SimpleNamespace(wait=wait, send_signal=received.append)
    started = SimpleNamespace(Popen=lambda command, **_: process)
    monkeypatch.setattr("arc.checkpointing.commands.subprocess", started)
    assert here(LOAD, path, "--resume").status == 128 + number
    assert received == [number]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_trains_on_and_is_reported_once(
    number: signal.Signals, path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "x.pth"
    copy.hardlink_to(path)
    command = [str(LOAD), str(copy), "--resume", "--epochs", "100000"]
    process = start_python(tmp_path, *command, new_session=True)
    wait_for(process, "epoch 1 ")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    outcome = finish(process)
    assert outcome.status == 128 + number
    assert "Traceback" not in outcome.err
    assert "stopped at step" in outcome.err


# -- export.py ---------------------------------------------------------------------------


@pytest.fixture
def exported(path: Path, tmp_path: Path, here: Any) -> Path:
    folder = tmp_path / "a" / "model"
    outcome = here(EXPORT, path, "-o", folder)
    assert (outcome.status, outcome.err) == (0, "")
    files = [folder / name for name in ("model.safetensors", "config.json", "README.md")]
    assert outcome.out.splitlines() == list(map(str, files))
    assert sorted(folder.iterdir()) == sorted(files)
    return folder


def test_it_exports_from_anywhere(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "x.pth"
    copy.hardlink_to(path)
    outcome = script("export.py", copy, cwd=SCRIPTS)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == str(tmp_path / "x_export" / "model.safetensors")


def test_an_export_loads_as_its_card_says(
    exported: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(exported)
    names: dict[str, Any] = {}
    exec(snippet, names)
    model, original = names["model"], load(path).model
    grids = [[[0, 3], [3, 0]], [[1]], [[2] * 30] * 7]
    message = model.send(grids)
    assert message.equal(original.send(grids))
    answers = (each.receive(message, candidates=[grids] * 3) for each in (model, original))
    assert torch.equal(*answers)
    assert json.loads((exported / "config.json").read_text()) == torch.load(path)["config"]


def test_a_card_says_what_it_is_and_how_good(exported: Path, path: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    results = json.loads(path.with_name("selection_results.json").read_text(encoding="utf-8"))
    assert card.count(format_results(results)) == 1
    assert "histogram" in format_results(results)
    assert "measured with `selection_best.pth`, not with this file" in card
    for part in ("picks the target out", "# selection", "over a lattice", "| step ", "hidden_dim"):
        assert part in card, part
    assert card.endswith(f"```yaml\n{OmegaConf.to_yaml(torch.load(path)['config'])}```\n")


def test_a_card_without_results_or_with_older_ones(path: Path, tmp_path: Path, here: Any) -> None:
    copy = tmp_path / "x.pth"
    copy.hardlink_to(path)
    assert here(EXPORT, copy).status == 0
    card = tmp_path / "x_export" / "README.md"
    assert "run `python -m arc.evaluate path=x.pth`" in card.read_text(encoding="utf-8")
    results = tmp_path / "selection_results.json"
    older = {"test": {}, "validation": {}, "controls": {}, "language": {}, "steps": 1}
    results.write_text(json.dumps(older), encoding="utf-8")
    assert here(EXPORT, copy, "--overwrite").status == 0
    assert "older than this checkpoint" in card.read_text(encoding="utf-8")
    for broken in ("[]", "{", '{"test": {"x": 1}, "validation": {}, "controls": {}}'):
        results.write_text(broken, encoding="utf-8")
        complaint = here(EXPORT, copy, "--overwrite").complaint
        assert complaint.startswith(f"{results}: not the results of a run")


def test_what_is_there_is_replaced_only_when_told(exported: Path, path: Path, here: Any) -> None:
    (exported / "notes.txt").write_text("mine")
    (exported / "README.md").write_text("mine")
    (exported / "config.json").unlink()
    complaint = here(EXPORT, path, "-o", exported).complaint
    assert complaint == (
        f"{exported}: model.safetensors, README.md exist; --overwrite replaces them"
    )
    assert (exported / "README.md").read_text() == "mine"
    assert here(EXPORT, path, "-o", exported, "--overwrite").status == 0
    assert (exported / "README.md").read_text() != "mine"
    assert (exported / "config.json").exists()
    assert (exported / "notes.txt").read_text() == "mine"


def test_what_cannot_be_exported_is_one_line(path: Path, tmp_path: Path, here: Any) -> None:
    folder = tmp_path / "model"
    bad = flipped(path, tmp_path / "bad.pth")
    assert here(EXPORT, bad, "-o", folder).complaint.startswith(f"{bad}: record data/")
    absent = tmp_path / "absent.pth"
    assert here(EXPORT, absent).complaint == f"{absent}: no such file"
    assert not folder.exists()
    folder.touch()
    complaint = here(EXPORT, path, "-o", folder).complaint
    assert complaint.startswith(f"{folder}: cannot be written to")
