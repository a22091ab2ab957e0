"""Disk faults during a run: it logs them, continues, and saves again once they are gone."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers_cli import TIMEOUT, Process, place, start, tiny

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts, limits of a process")

# Logs to a file; writing fails while another file exists.
INJECTING = """
import os, sys, torch, arc.train
log, fault = sys.argv.pop(1), sys.argv.pop(1)
os.dup2(os.open(log, os.O_WRONLY), 2)
save = torch.save
def faulty(content, file):
    if os.path.exists(fault):
        file.write(b"half of it")
        raise OSError(5, "Input/output error")
    return save(content, file)
torch.save = faulty
arc.train.main()
"""


def until(done: Callable[[], Any], what: str) -> Any:
    """Poll ``done`` until its value is true; returns the value."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if value := done():
            return value
        time.sleep(0.01)
    raise AssertionError(f"timed out: {what}")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mount a small file system in memory on ``folder``, if that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Training:
    """A run that saves many times a second, with all its files on ``disk``."""

    process: Process
    disk: Path
    log: Path
    flag: Path
    has_mount: bool

    @property
    def folder(self) -> Path:
        return self.disk / "checkpoints"

    @property
    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def step(self) -> int:
        """The step of the last save; 0 if there is none."""
        with suppress(CheckpointError):
            return int(read_metadata(self.folder / "mine_last.pth")["step"])
        return 0

    def leftovers(self) -> list[Path]:
        return [path for path in self.disk.rglob("*") if ".arc-tmp" in path.name]


# -- the faults ---------------------------------------------------------------------------


@contextmanager
def full(run: Training) -> Iterator[str]:
    """Fill the disk; without a disk of its own, limit the size of its files to 100 kB."""
    if not run.has_mount:
        limits = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (100_000, -1))
        yield "File too large"
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, limits)
        return
    filler, healed = run.disk / "filler", threading.Event()

    def fill() -> None:  # also the space of files that are replaced
        with filler.open("wb", buffering=0) as file:
            while not healed.is_set():
                with suppress(OSError):
                    file.write(bytes(4096))

    filling = threading.Thread(target=fill)
    filling.start()
    yield "No space left on device"
    healed.set()
    filling.join()
    filler.unlink()


@contextmanager
def read_only(run: Training) -> Iterator[str]:
    if run.has_mount:
        with mounted(run.folder, "ro"):
            yield "Read-only file system"
            healing = time.time()
        for path in run.folder.glob(
            "*.arc-tmp*"
        ):  # a save below the mount, which the run cannot reach
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < healing:
                    path.unlink()
    elif os.getuid() == 0:  # file modes do not apply
        with injected(run) as cause:
            yield cause
    else:
        run.folder.chmod(0o555)
        yield "Permission denied"
        run.folder.chmod(0o755)


@contextmanager
def removed(run: Training) -> Iterator[str]:
    while run.folder.exists():  # files are written to it meanwhile
        shutil.rmtree(run.folder, ignore_errors=True)
    yield "No such file or directory"
    run.folder.mkdir()


@contextmanager
def a_file(run: Training) -> Iterator[str]:
    away = run.disk / "away"
    run.folder.rename(away)
    run.folder.touch()
    for path in away.glob("*.arc-tmp*"):  # an incomplete save that moved with its folder
        path.unlink()
    yield "Not a directory"
    run.folder.unlink()
    away.rename(run.folder)


@contextmanager
def injected(run: Training) -> Iterator[str]:
    run.flag.touch()
    yield "Input/output error"
    run.flag.unlink()


FAULTS = (full, read_only, removed, a_file, injected)


@pytest.fixture
def training(tmp_path: Path, arc_folder: Path) -> Iterator[Training]:
    disk, flag, log = tmp_path / "disk", tmp_path / "fault", tmp_path / "log"
    disk.mkdir()
    task = ["task=reconstruction", "run_name=mine", "checkpoint.every_minutes=0.001"]
    often = ["checkpoint.every_epochs=1", "checkpoint.keep_last=1"]
    command = [*place(disk), *tiny(arc_folder, steps=None), *task, *often]
    with ExitStack() as stack:
        has_mount = stack.enter_context(mounted(disk, "size=16m"))
        log.touch()
        process = start(tmp_path, str(log), str(flag), *command, script=INJECTING)
        stack.callback(process.communicate)
        stack.callback(process.kill)
        run = Training(process, disk, log, flag, has_mount)
        until(run.step, "the first save")
        yield run


def check_fault(run: Training, fault: Any) -> None:
    """Cause and remove ``fault``; the run must log it, continue, leave no file, and save again."""
    before = run.step()
    start = len(run.logged)
    with fault(run) as cause:
        report = re.compile(f"save failed: .*{cause}.*; training continues")
        until(lambda: report.search(run.logged, start), f"{fault.__name__}: a message")
        left = set(run.leftovers())  # the next save may be writing its own already
        until(lambda: left.isdisjoint(run.leftovers()), "no temporary files")
    healed = time.time()
    last = run.folder / "mine_last.pth"
    until(lambda: last.exists() and last.stat().st_mtime > healed, f"{fault.__name__}: a save")
    assert run.process.poll() is None, run.logged
    assert read_checkpoint(last)["step"] > before


def stop(run: Training) -> None:
    """Stop the run; it must have saved its last state and left no temporary file."""
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(TIMEOUT) == 130, run.logged
    assert "Traceback" not in run.logged
    assert run.leftovers() == []
    assert "saves failed" in run.logged
    (stopped,) = [line for line in run.logged.splitlines() if "stopped at step" in line]
    assert f"stopped at step {run.step()} (SIGINT)" in stopped
    for path in run.folder.glob("*.pth"):
        read_checkpoint(path)


def test_a_run_continues_after_every_disk_fault(training: Training) -> None:
    for fault in FAULTS:
        check_fault(training, fault)
    stop(training)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_continues_after_many_disk_faults(training: Training, seed: int) -> None:
    noise = random.Random(seed)
    for _ in range(40):
        check_fault(training, noise.choice(FAULTS))
    stop(training)
