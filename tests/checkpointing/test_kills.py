"""SIGKILL at random moments of a process that saves without pause."""

import json
from pathlib import Path

import pytest
from helpers_cli import finish, start

# A parent that has loaded torch forks a child, which saves to one name again and again and to
# new ones, and says what is durable. The parent kills it, reads what it said, and looks.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from arc.checkpointing import CheckpointWriter, read_checkpoint, read_metadata, sweep_temporaries

folder, kills, noise = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
torch.set_num_threads(1)

def content(number, size):
    return {
        "format_version": 2,
        "config": {"number": number},
        "model_state_dict": {"w": torch.full((size,), float(number))},
        "number": number,
    }

def save_for_ever(round, said, noise):
    writer, number = CheckpointWriter(), 0
    while True:
        number += 1
        new = folder / f"new_{round:04}_{number:04}.pth"
        paths = [folder / "same.pth", new] if number % 2 else [folder / "same.pth"]
        for path in paths:
            writer.request(path)
        mark, size = 1000 * round + number, noise.choice([1000, 300_000, 2_000_000])
        writer.offer(lambda: content(mark, size))
        writer.wait()
        assert writer.errors == []
        os.write(said, "".join(f"{path.name} {mark}\\n" for path in paths).encode())

def number_in(path):
    whole = read_checkpoint(path)
    number = whole["number"]
    assert (whole["model_state_dict"]["w"] == number).all(), path
    assert read_metadata(path)["number"] == number
    return number

durable, swept, renamed, whole = {}, 0, 0, 0
for round in range(kills):
    out, said = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(round, said, random.Random(round))
    os.close(said)
    # every other child is left to save once, however slow the machine
    first = os.read(out, 65536) if round % 2 else b""
    time.sleep(noise.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(out, "rb") as rest:
        for line in (first + rest.read()).decode().splitlines():
            name, number = line.split()
            durable[name] = int(number)
    swept += len(list(sweep_temporaries(folder)))
    found = {path.name for path in folder.iterdir()}
    assert all(name.endswith(".pth") for name in found), found
    assert durable.keys() <= found, durable.keys() - found
    for name in found:
        if name == "same.pth" or name.startswith(f"new_{round:04}"):
            whole += 1
            number = number_in(folder / name)
            renamed += name not in durable
            assert number >= durable.get(name, 0), (name, number, durable[name])
for path in folder.iterdir():
    number_in(path)
print(json.dumps({"durable": len(durable), "swept": swept, "renamed": renamed, "whole": whole}))
"""


def kill(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill repeatedly; returns the numbers of complete files and of deleted leftovers."""
    done = finish(start(folder, str(folder), str(kills), str(seed), script=KILLER), timeout=1200)
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_killed_processes_leave_only_complete_files(tmp_path: Path) -> None:
    counts = kill(tmp_path, 20, seed=0)
    assert counts["durable"] > 5
    assert counts["swept"] > 0


@pytest.mark.slow
def test_five_hundred_kills_leave_only_complete_files(tmp_path: Path) -> None:
    counts = kill(tmp_path, 500, seed=1)
    assert counts["durable"] > 100
    assert counts["swept"] > 50
    assert counts["whole"] > 500
