"""The lock on a run name."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers_cli import (
    Recorder,
    finish,
    place,
    placed,
    run_here,
    start,
    tiny,
    wait_for,
)

from arc.api import TrainedRun
from arc.config.files import ConfigError
from arc.config.schema import RunConfig
from arc.runs import build_run, run_to_end
from arc.runs.plan import plan_from
from arc.runs.run_lock import run_lock
from arc.training import StepEvent


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


def test_a_replaced_lock_or_folder_is_noticed(tmp_path: Path) -> None:
    folder, lock = tmp_path / "folder", tmp_path / "folder" / ".mine.lock"
    for replace in (lock.unlink, lambda: folder.rename(tmp_path / "moved")):
        folder.mkdir(exist_ok=True)
        with run_lock(folder, "mine") as is_locked:
            assert is_locked()
            replace()
            assert not is_locked()
            folder.mkdir(exist_ok=True)
            with run_lock(folder, "mine") as other:
                assert not is_locked()
                assert other()
                lock.touch()
                assert other()


def test_a_removed_lock_is_renewed_unless_another_process_has_it(tmp_path: Path) -> None:
    folder, lock = tmp_path / "folder", tmp_path / "folder" / ".mine.lock"
    folder.mkdir()
    with run_lock(folder, "mine", lambda: True) as is_locked:
        folder.rename(tmp_path / "moved")
        assert not is_locked()
        folder.mkdir()
        assert is_locked()
        with pytest.raises(ConfigError), run_lock(folder, "mine"):
            pass
        lock.unlink()
        with run_lock(folder, "mine"):
            assert not is_locked()
        assert is_locked()
    assert not list(folder.iterdir())


def test_a_run_whose_lock_was_replaced_overwrites_nothing(
    train_small: Callable[..., TrainedRun], tmp_path: Path
) -> None:
    last = tmp_path / "checkpoints" / "mine_last.pth"

    def lose_lock(event: object) -> bool:
        if isinstance(event, StepEvent) and event.step == 2:
            (last.parent / ".mine.lock").unlink()
            last.write_bytes(b"another run's")
        return False

    run = train_small(tmp_path, "task=reconstruction", callbacks=[Recorder(lose_lock)])
    assert run.outcome.kind == "failed"
    assert run.outcome.error is not None
    assert last.read_bytes() == b"another run's"
    (kept,) = last.parent.glob("mine_last_*.pth")
    assert torch.load(kept)["step"] == 6
    assert run.outcome.error.endswith(f"the state was saved as {kept.name}")


def test_a_run_that_was_held_up_does_not_replace_a_finished_one(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = placed(make_config("task=reconstruction", "run_name=mine"), tmp_path)
    run = build_run(plan_from(config), tmp_path / "out")
    results = tmp_path / "checkpoints" / "mine_results.json"
    results.write_text("another run's", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^run_name=mine: .* contains a run of that name"):
        run_to_end(run)
    assert results.read_text(encoding="utf-8") == "another run's"


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
