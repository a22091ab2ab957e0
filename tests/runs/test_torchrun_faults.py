"""Processes of torchrun that are killed, hang, or lose each other."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers_cli import environment, place, tiny, until

from arc.checkpointing import CheckpointError, read_metadata

SECONDS = 30  # in which a run must end after a fault
KILLS = 20
RUN = ["task=puzzle_classification", "run_name=mine", "resume=auto", "training.warmup_steps=2"]
SAVES = ["checkpoint.every_minutes=0.005", "logger=[]", "metric=[]"]

pytestmark = pytest.mark.slow
Begin = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def begin(tmp_path: Path, arc_folder: Path) -> Iterator[Begin]:
    """Start an endless run by torchrun, with its output in the file ``log``."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*overrides: str, processes: int = 2, restarts: int = 0) -> subprocess.Popen[bytes]:
        options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
        settings = [*tiny(arc_folder, steps=None), *RUN, *SAVES, *place(tmp_path), *overrides]
        command = ["-m", "torch.distributed.run", *options, "-m", "arc.train", *settings]
        with (tmp_path / "log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=tmp_path,
                    env=environment(),
                    stdout=log,
                    stderr=log,
                )
            )
        return started[-1]

    yield begin
    for process in started:
        left = [*workers(process).values(), process.pid]
        if process.poll() is None:
            for each in left:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            process.wait()


def workers(torchrun: subprocess.Popen[bytes]) -> dict[int, int]:
    """Return the process of each rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            values = dict(
                each.partition("=")[::2] for each in (path / "environ").read_text().split("\0")
            )
        except (OSError, ValueError):  # it has ended
            continue
        if parent == torchrun.pid and "RANK" in values:
            found[int(values["RANK"])] = int(path.name)
    return found


def newest_step(folder: Path) -> int:
    """Return the highest step of the run's files, all of which must be readable."""
    steps = [0]
    for path in (folder / "checkpoints").glob("mine_*.pth"):
        try:
            steps.append(read_metadata(path)["step"])
        except CheckpointError:
            if path.exists():
                raise
    return max(steps)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run(rank: int, begin: Begin, tmp_path: Path) -> None:
    process = begin()
    saved = until(lambda: newest_step(tmp_path), bool)
    killed = time.monotonic()
    os.kill(workers(process)[rank], signal.SIGKILL)
    assert process.wait(SECONDS) == 1
    print(f"ended after {time.monotonic() - killed:.1f} s")
    log = (tmp_path / "log").read_text()
    assert f"rank {rank}: lost" in log
    assert ("The last state is in" in log) == (rank == 1)
    assert newest_step(tmp_path) >= saved


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_hangs_ends_the_run(rank: int, begin: Begin, tmp_path: Path) -> None:
    process = begin("torchrun.timeout=5")
    until(lambda: newest_step(tmp_path), bool)
    hangs = time.monotonic()
    os.kill(workers(process)[rank], signal.SIGSTOP)
    until(lambda: (tmp_path / "log").read_text(), lambda log: f"rank {rank}: lost" in log)
    print(f"reported after {time.monotonic() - hangs:.1f} s")
    assert time.monotonic() - hangs < SECONDS
    assert process.wait(2 * SECONDS) == 1  # torchrun waits 30 s before it kills the process
    assert newest_step(tmp_path) > 0


def test_torchrun_restarts_from_the_newest_save_after_every_kill(
    begin: Begin, tmp_path: Path
) -> None:
    draw = random.Random(0)
    process = begin(processes=3, restarts=KILLS)
    gone: set[int] = set()
    saved = [0]

    def are_new(now: dict[int, int]) -> bool:
        return len(now) == 3 and not gone & set(now.values())

    for _ in range(KILLS):
        killed = time.monotonic()
        now = until(lambda: workers(process), are_new)
        print(f"step {saved[-1]}: restarted after {time.monotonic() - killed:.1f} s")
        if draw.random() < 0.7:  # while it trains, validates or saves; else while it starts
            until(lambda: newest_step(tmp_path), lambda step: step > saved[-1])
        time.sleep(draw.uniform(0, 6))
        saved.append(newest_step(tmp_path))
        gone |= set(now.values())
        os.kill(now[draw.randrange(3)], signal.SIGKILL)
    until(lambda: workers(process), are_new)
    before = newest_step(tmp_path)  # which a leader may have saved when it lost the killed process
    until(lambda: newest_step(tmp_path), lambda step: step > before)
    process.send_signal(signal.SIGTERM)
    process.wait(SECONDS)
    log = (tmp_path / "log").read_text()
    starts = [int(step) for step in re.findall(r"resuming \S+ at step (\d+)", log)]
    print(saved, starts)
    assert "Traceback" not in log.split("SIGTERM")[0]
    assert "The last state is in" in log
    assert saved == sorted(saved)
    assert starts == sorted(starts)
    assert newest_step(tmp_path) >= starts[-1] >= saved[-1] > 0
