"""The lock on a run name."""

import signal
from pathlib import Path

import pytest
from helpers_cli import finish, place, run_here, start, tiny, wait_for

from arc.config.files import ConfigError
from arc.runs.run_lock import run_lock


def test_a_second_process_is_refused_until_the_first_releases_the_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path, "mine"):
        with (
            pytest.raises(ConfigError, match="another process is writing mine_"),
            run_lock(tmp_path, "mine"),
        ):
            pass
        with run_lock(tmp_path, "other"):
            pass
    with run_lock(tmp_path, "mine"):
        pass
    assert not list(tmp_path.iterdir())


HOLD_AND_DIE = """
import os, signal
from pathlib import Path
from arc.runs.run_lock import run_lock
with run_lock(Path.cwd(), "mine"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_is_released_when_its_process_dies(tmp_path: Path) -> None:
    assert finish(start(tmp_path, script=HOLD_AND_DIE)).status == -signal.SIGKILL
    with run_lock(tmp_path, "mine"):
        pass


@pytest.mark.parametrize("folder", ["/sys", "/nowhere"])
def test_no_lock_is_held_where_none_can_be_created(folder: str) -> None:
    with run_lock(Path(folder), "mine"):
        pass


def test_two_processes_never_train_one_run(tmp_path: Path, arc_folder: Path) -> None:
    task = ["task=reconstruction", "run_name=mine"]
    first = start(tmp_path, *place(tmp_path), *tiny(arc_folder, steps=None), *task)
    try:
        wait_for(first, "epoch 1 ")
        second = run_here(tmp_path, *tiny(arc_folder, steps=10**6), *task, "resume=auto")
        assert second.status == 1
        assert "another process is writing mine_*.pth" in second.err.splitlines()[-1]
        assert not list(tmp_path.glob("checkpoints/mine_best_*")), (
            "a file of the first run was renamed"
        )
    finally:
        first.kill()
        first.communicate()
