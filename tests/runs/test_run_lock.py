"""A run's name, which one process has at a time."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from helpers_cli import place, run_here, start, tiny, wait_for

from arc.config.schema import ConfigError
from arc.runs.claim import claimed


def test_who_comes_second_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with claimed(tmp_path, "mine"):
        with (
            pytest.raises(ConfigError, match="another process is writing mine_"),
            claimed(tmp_path, "mine"),
        ):
            pass
        with claimed(tmp_path, "other"):
            pass
    with claimed(tmp_path, "mine"):
        pass
    assert not list(tmp_path.iterdir())


def hold_and_die(folder: Path) -> None:
    with claimed(folder, "mine"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_it_dies_with_the_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with claimed(tmp_path, "mine"):
        pass


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
def test_where_nothing_can_be_written_nothing_is_held(folder: str) -> None:
    with claimed(Path(folder), "mine"):
        pass


def test_two_processes_never_train_one_run(tmp_path: Path, arc_folder: Path) -> None:
    game = ["task=reconstruction", "run_name=mine"]
    first = start(tmp_path, *place(tmp_path), *tiny(arc_folder, steps=None), *game)
    try:
        wait_for(first, "epoch 1 ")
        second = run_here(tmp_path, *tiny(arc_folder, steps=10**6), *game, "resume=auto")
        assert second.status == 1
        assert "another process is writing mine_*.pth" in second.err.splitlines()[-1]
        assert not list(tmp_path.glob("checkpoints/mine_best_*")), "the first one's file was moved"
    finally:
        first.kill()
        first.communicate()
