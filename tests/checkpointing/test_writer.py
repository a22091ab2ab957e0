"""Background saves: every request is written, from a consistent state, whatever fails."""

import contextlib
import errno
import fcntl
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import finish, start

import arc.checkpointing.writer as writer_module
from arc.checkpointing import (
    CheckpointError,
    CheckpointWriter,
    make_checkpoint,
    read_checkpoint,
    sweep_temporaries,
    write_checkpoint,
)
from arc.checkpointing.policy import CheckpointPolicy
from arc.training import RunControl

TIMEOUT = 30


class Gate:
    """Wraps ``write_checkpoint`` and can block it."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, path: Path, content: dict[str, Any]) -> None:
        self.entered.set()
        assert self.open.wait(TIMEOUT)
        write_checkpoint(path, content)

    def hold(self, writer: CheckpointWriter, path: Path, state: Any) -> None:
        """Return when ``writer`` stands before the gate with a save of ``path``."""
        self.entered.clear()
        self.open.clear()
        writer.save(path, state)
        assert self.entered.wait(TIMEOUT)


class State:
    """The state to save; ``looked`` counts the calls."""

    def __init__(self) -> None:
        self.weight, self.looked = torch.zeros(1000), 0

    def __call__(self) -> dict[str, Any]:
        self.looked += 1
        return {"model_state_dict": {"w": self.weight}, "first": self.weight[0].item()}

    def set(self, value: float) -> None:
        self.weight.fill_(value)


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(writer_module, "write_checkpoint", gate)
    yield gate
    gate.open.set()


@pytest.fixture
def writer(gate: Gate, state: State) -> Iterator[CheckpointWriter]:
    writer = CheckpointWriter()
    yield writer
    gate.open.set()
    writer.close(state)


def value(path: Path) -> float:
    """Return the one number that a file holds, everywhere."""
    content = torch.load(path)
    weight = content["model_state_dict"]["w"]
    assert (weight == content["first"]).all()
    return content["first"]


def paths(folder: Path, *names: str) -> list[Path]:
    return [folder / f"{name}.pth" for name in names]


def test_every_requested_name_is_written(
    writer: CheckpointWriter, state: State, tmp_path: Path
) -> None:
    writer.offer(state)  # nobody asked
    asked = paths(tmp_path, "a", "b", "c")
    for path in [*asked, asked[0]]:
        writer.request(path)
    assert writer.pending == asked
    assert (state.looked, list(tmp_path.iterdir())) == (0, [])
    writer.offer(state)
    writer.wait()
    assert writer.pending == []
    assert sorted(tmp_path.iterdir()) == asked
    assert writer.recent[-1] == writer_module.Save(asked[-1], None)


def test_requests_during_a_write_share_the_next_snapshot(
    writer: CheckpointWriter, gate: Gate, state: State, tmp_path: Path
) -> None:
    first, *others = paths(tmp_path, "a", "b", "c", "d")
    gate.hold(writer, first, state)
    for number, path in enumerate(others, start=1):
        state.set(number)
        writer.request(path)
        writer.offer(state)
    assert state.looked == 1
    assert writer.pending == [first, *others]
    gate.open.set()
    writer.wait()
    state.set(9)
    writer.offer(state)
    state.set(10)
    writer.wait()
    assert state.looked == 2
    assert [value(path) for path in (first, *others)] == [0, 9, 9, 9]


def test_a_snapshot_does_not_change_while_it_is_written(
    writer: CheckpointWriter, gate: Gate, state: State, tmp_path: Path
) -> None:
    first, second = paths(tmp_path, "a", "b")
    state.set(1)
    gate.hold(writer, first, state)
    state.set(2)
    saving = threading.Thread(target=writer.save, args=(second, state))
    saving.start()
    time.sleep(0.1)  # it waits until the first is written
    assert saving.is_alive()
    assert state.looked == 1
    gate.open.set()
    saving.join(TIMEOUT)
    state.set(3)
    writer.wait()
    assert (value(first), value(second)) == (1, 2)


def test_closing_finishes_current_and_waiting_saves(
    gate: Gate, state: State, tmp_path: Path
) -> None:
    first, second = paths(tmp_path, "a", "b")
    writer = CheckpointWriter()
    gate.hold(writer, first, state)
    writer.request(second)
    closing = threading.Thread(target=writer.close, args=(state,))
    closing.start()
    time.sleep(0.1)
    assert closing.is_alive()
    assert list(tmp_path.glob("*.pth")) == []
    gate.open.set()
    closing.join(TIMEOUT)
    assert not closing.is_alive()
    assert sorted(tmp_path.iterdir()) == [first, second]
    assert writer.errors == []


@pytest.mark.parametrize("place", ["torch.save", "os.fsync", "write_checkpoint", "the folder"])
def test_a_failed_write_affects_one_save_and_leaves_no_file(
    place: str, gate: Gate, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    writer = CheckpointWriter()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patched:
        if place == "the folder":
            bad = tmp_path / "gone" / "bad.pth"
        elif place == "write_checkpoint":
            patched.setattr(writer_module, place, full)
        else:
            patched.setattr(place, full)
        writer.save(bad, state)
        writer.wait()
    said = "No such file" if place == "the folder" else "No space left"
    assert writer.recent[-1].path == bad
    assert said in str(writer.recent[-1].error)
    assert list(tmp_path.iterdir()) == []
    writer.save(good, state)
    assert [failed.path for failed in writer.close(state)] == [bad]
    assert writer.recent[-1] == writer_module.Save(good, None)
    assert list(tmp_path.iterdir()) == [good]


@pytest.mark.parametrize("fault", [MemoryError, RuntimeError, KeyError])
def test_a_failed_copy_fails_all_waiting_saves(
    fault: type[Exception],
    writer: CheckpointWriter,
    state: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = paths(tmp_path, "a", "b")

    def no_memory(*_: Any) -> None:
        raise fault("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(writer_module.HostBuffers, "_buffer", no_memory)
        writer.warm_up(state())
        writer.request(first)
        writer.request(second)
        writer.offer(state)
    assert "training continues" in caplog.text
    assert writer.pending == []
    assert [save.path for save in writer.errors] == [first, second]
    assert all("no memory" in str(save.error) for save in writer.errors)
    looked = state.looked
    writer.offer(state)  # nothing is tried again by itself
    assert (state.looked, list(tmp_path.iterdir())) == (looked, [])
    writer.save(first, state)
    writer.wait()
    assert [save.path for save in writer.errors] == [second]  # the first was made good
    assert writer.failures == 2
    assert value(first) == 0


def test_a_writer_has_no_thread_before_its_first_save(state: State) -> None:
    """A run may be built and never trained, and then nothing closes its writer."""
    threads = threading.active_count()
    writer = CheckpointWriter()
    assert threading.active_count() == threads
    assert writer.close(state) == []


def test_a_dead_writer_thread_blocks_no_caller_and_is_restarted(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = paths(tmp_path, "a", "b", "c")

    def dies(path: Path, content: Any) -> None:
        raise SystemExit

    writer = CheckpointWriter()
    with monkeypatch.context() as patched:
        patched.setattr(writer_module, "write_checkpoint", dies)
        patched.setattr(threading, "excepthook", lambda _: None)
        writer.request(first)
        writer.save(second, state)
        writer.wait()
        assert writer._thread is not None
        writer._thread.join(TIMEOUT)
    assert not writer._thread.is_alive()
    assert {save.path: save.error for save in writer.errors} == {
        path: f"{path}: the writer thread ended" for path in (first, second)
    }
    writer.save(third, state)
    assert [save.path for save in writer.close(state)] == [first, second]
    assert list(tmp_path.iterdir()) == [third]


def test_closing_twice_has_no_further_effect(state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    writer = CheckpointWriter()
    writer.request(path)
    closing = [threading.Thread(target=writer.close, args=(state,)) for _ in range(2)]
    for thread in closing:
        thread.start()
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in closing)
    assert (writer.close(state), value(path)) == ([], 0)
    with pytest.raises(CheckpointError, match="the run has ended"):
        writer.save(path, state)


def test_failures_are_counted_and_the_newest_are_kept(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise CheckpointError("full")

    monkeypatch.setattr(writer_module, "write_checkpoint", full)
    writer = CheckpointWriter()
    asked = paths(tmp_path, *(f"{number}" for number in range(writer_module.MAX_ERRORS + 10)))
    for path in [*asked, asked[20]]:
        writer.save(path, state)
    kept = [save.path for save in writer.close(state)]
    assert kept == [*asked[10:20], *asked[21:], asked[20]]
    assert writer.failures == len(asked) + 1


def test_keys_with_a_separator_have_separate_buffers() -> None:
    tree = {"a": {"b": torch.zeros(2)}, "a/b": torch.ones(2), "/a": [{"b": torch.full((2,), 2)}]}
    copied = writer_module.HostBuffers().copy(tree)
    assert copied["a"]["b"].tolist() == [0, 0]
    assert copied["a/b"].tolist() == [1, 1]
    assert copied["/a"][0]["b"].tolist() == [2, 2]


HELD = """
import signal, sys, torch
from pathlib import Path
from arc.checkpointing import write_checkpoint
def held(*_):
    print("writing", flush=True)
    signal.pause()
torch.save = held
write_checkpoint(Path(sys.argv[1]), {})
"""


def test_only_temporary_files_that_no_process_holds_are_swept(tmp_path: Path) -> None:
    left = tmp_path / f".x.y.{os.getpid()}.ab12.arc-tmp"  # another process had this number before
    kept = {".note.arc-tmp", ".x.123.ab12", "x.123.ab12.arc-tmp", "x.pth"}
    for name in (left.name, *kept):
        (tmp_path / name).touch()
    assert list(sweep_temporaries(tmp_path)) == [left]
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_file_that_is_being_written_is_not_swept(tmp_path: Path) -> None:
    process = start(tmp_path, str(tmp_path / "x.pth"), script=HELD)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    (writing,) = tmp_path.iterdir()
    os.utime(writing, (1, 1))
    assert list(sweep_temporaries(tmp_path)) == []
    process.kill()
    finish(process)
    assert list(sweep_temporaries(tmp_path)) == [writing]


def test_a_file_that_is_swept_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []
    flock = fcntl.flock

    def sweep_first(file: Any, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not swept:
            swept.extend(sweep_temporaries(tmp_path))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    write_checkpoint(tmp_path / "x.pth", {"number": 1})
    assert len(swept) == 1
    assert torch.load(tmp_path / "x.pth") == {"number": 1}


def test_the_writer_stores_the_trainer_state_without_duplicates(
    one: Any, writer: CheckpointWriter, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    writer.save(path, lambda: make_checkpoint(one.config, one.trainer))
    writer.wait()
    content, direct = read_checkpoint(path), one.content
    for name, weight in content["encoder_state_dict"].items():
        assert weight.equal(direct["encoder_state_dict"][name])
        assert weight.data_ptr() == content["model_state_dict"][f"encoder.{name}"].data_ptr()
    with zipfile.ZipFile(path) as mine, zipfile.ZipFile(one.path) as theirs:
        assert len(mine.namelist()) == len(theirs.namelist())
    assert abs(path.stat().st_size - one.path.stat().st_size) < 1024


def test_two_runs_never_get_one_name(make_run: Callable[..., Any], tmp_path: Path) -> None:
    """Both ask at the same moment, with and without names; a third one died while it asked."""
    (tmp_path / ".late.pth.reserved.arc-tmp").touch()
    assert len(list(sweep_temporaries(tmp_path))) == 1
    run = make_run("task=reconstruction", f"checkpoint.dir={tmp_path}")
    trainer = run.trainer()
    policies = [CheckpointPolicy(run.config, trainer) for _ in range(2)]
    start, names = threading.Barrier(4), list[tuple[int, str]]()

    def ask(owner: int, named: bool) -> None:
        start.wait()
        for number in range(25):
            with contextlib.suppress(FileExistsError):
                name = policies[owner].request(f"mine{number}" if named else None)
                names.append((owner, name))

    threads = [threading.Thread(target=ask, args=(n // 2, bool(n % 2))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(sweep_temporaries(tmp_path)) == []
    other = policies[1 - next(owner for owner, name in names if name == "mine0")]
    with pytest.raises(FileExistsError, match="saved by another run"):
        other.request("mine0", overwrite=True)
    for owner, policy in enumerate(policies):
        assert policy.writer.close(lambda: {"owner": owner}) == []  # noqa: B023
    assert len({name for _, name in names}) == len(names) == 75
    assert {path.stem for path in tmp_path.iterdir()} == {name for _, name in names}
    for owner, name in names:
        assert torch.load(tmp_path / f"{name}.pth") == {"owner": owner}


def test_an_earlier_numbering_costs_no_epoch_file_of_this_run(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    game = ["task=reconstruction", "data.max_grids=32", "training.max_steps=4"]
    saves = [f"checkpoint.dir={tmp_path}", "checkpoint.every_epochs=1", "checkpoint.keep_last=2"]
    run = make_run(*game, *saves, "run_name=mine")
    for number in (7, 8, 9):
        (tmp_path / f"mine_epoch_{number:04}.pth").write_bytes(b"unreadable")
    trainer = run.trainer()
    policy = CheckpointPolicy(run.config, trainer)
    for event in trainer.run(RunControl()):
        policy.on_event(event)
    policy.finish()
    assert {path.name for path in tmp_path.glob("mine_epoch_*")} == {
        "mine_epoch_0001.pth",
        "mine_epoch_0002.pth",
    }


def test_an_unfinished_epoch_has_no_epoch_file(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    """A run that ends within its second epoch of 2 batches is validated there."""
    game = ["task=reconstruction", "data.max_grids=32", "training.max_steps=3"]
    run = make_run(*game, f"checkpoint.dir={tmp_path}", "checkpoint.every_epochs=1")
    trainer = run.trainer()
    policy = CheckpointPolicy(run.config, trainer)
    for event in trainer.run(RunControl()):
        policy.on_event(event)
    policy.finish()
    assert trainer.is_validated
    assert [path.name for path in tmp_path.glob("*_epoch_*")] == ["None_epoch_0001.pth"]


def test_only_old_epoch_files_are_deleted(make_run: Callable[..., Any], tmp_path: Path) -> None:
    game = ["task=reconstruction", "data.max_grids=32", "training.max_steps=10"]
    saves = [f"checkpoint.dir={tmp_path}", "checkpoint.every_epochs=1", "checkpoint.keep_last=2"]
    run = make_run(*game, *saves, "run_name=mine")
    others = {
        *("other_epoch_0001.pth", "mine2_epoch_0001.pth", "mine_epoch_0001.pth.txt"),
        *("mine_epoch_x.pth", "mine_epoch_0001_copy.pth", "amine_epoch_0001.pth"),
    }
    for name in others:
        (tmp_path / name).touch()
    trainer = run.trainer()
    saving = CheckpointPolicy(run.config, trainer)
    for event in trainer.run(RunControl()):
        saving.on_event(event)
    assert saving.finish() == []
    epochs = {f"mine_epoch_{number:04}.pth" for number in (4, 5)}
    found = {path.name for path in tmp_path.iterdir()}
    assert found == others | epochs | {"mine_best.pth", "mine_last.pth"}
    assert read_checkpoint(tmp_path / "mine_epoch_0004.pth")["epoch"] == 4
    assert read_checkpoint(saving.path("last"))["step"] == 10
