"""Trains one run on two hosts, cuts the link between them, and restarts it.

    sudo python benchmarks/two_hosts.py [--folder FOLDER]

The hosts are network namespaces of this machine, joined by a pair of virtual interfaces (Linux,
``ip`` of iproute2, root). Each runs ``torchrun --nnodes=2``. The script checks that

- both hosts train one run;
- after the link is cut, both end by themselves, and both logs name the fault;
- every checkpoint is then readable;
- the same commands continue the run from its newest checkpoint, and finish it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arc.checkpointing import load, read_metadata

HOSTS = ("arc-host-0", "arc-host-1")
ADDRESSES = ("10.213.0.1", "10.213.0.2")
TIMEOUT = 15  # torchrun.timeout
LIMIT = 180  # seconds for each stage
ROOT = Path(__file__).resolve().parents[1]
RUN = [
    *("task=puzzle_classification", "model=tiny", "device=cpu", "data.max_grids=300"),
    *("training.batch_size=32", "server.enabled=false", "run_name=two_hosts", "resume=auto"),
    *("checkpoint.every_minutes=0.02", f"torchrun.timeout={TIMEOUT}"),
]


def ip(*command: str) -> None:
    """Run a command of iproute2."""
    subprocess.run(["ip", *command], check=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Create two network namespaces with a link between them, and remove them at the end."""
    try:
        for host in HOSTS:
            ip("netns", "add", host)
            ip("-n", host, "link", "set", "lo", "up")
        pair = ("link", "add", "arc0", "netns", HOSTS[0], "type", "veth")
        ip(*pair, "peer", "name", "arc1", "netns", HOSTS[1])
        for number, (host, address) in enumerate(zip(HOSTS, ADDRESSES, strict=True)):
            ip("-n", host, "address", "add", f"{address}/24", "dev", f"arc{number}")
            ip("-n", host, "link", "set", f"arc{number}", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", host], check=False, stderr=subprocess.DEVNULL)


def start(folder: Path, attempt: str, *overrides: str) -> list[subprocess.Popen[bytes]]:
    """Start torchrun on both hosts; the output of each goes to a file."""
    processes = []
    for number, host in enumerate(HOSTS):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        torchrun += [f"--node-rank={number}", "--nproc-per-node=1"]
        torchrun += [f"--master-addr={ADDRESSES[0]}", "--master-port=29500"]
        places = [f"checkpoint.dir={folder / 'checkpoints'}", f"hydra.run.dir={folder / attempt}"]
        command = [*torchrun, "-m", "arc.train", *RUN, *places, *overrides]
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": search, "GLOO_SOCKET_IFNAME": f"arc{number}"}
        with (folder / f"{attempt}_{number}.log").open("wb") as log:
            inside = ["ip", "netns", "exec", host, *command]
            processes.append(
                subprocess.Popen(inside, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    return processes


def wait_for_step(path: Path, step: int) -> int:
    """Wait until the checkpoint ``path`` is of ``step`` or later; returns its step."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if path.exists() and (found := int(read_metadata(path)["step"])) >= step:
            return found
        time.sleep(0.2)
    raise SystemExit(f"{path}: not at step {step} after {LIMIT} s")


def check(holds: bool, what: str) -> None:
    """Print what was checked; exits with status 1 if it does not hold."""
    print(f"{'ok' if holds else 'FAILED'}: {what}", flush=True)
    if not holds:
        raise SystemExit(1)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, help="logs and checkpoints; default: temporary")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="two_hosts_"))
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise SystemExit("two_hosts.py: needs root and the command ip (package iproute2)")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"logs and checkpoints: {folder}")
    last = folder / "checkpoints" / "two_hosts_last.pth"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with two_hosts():
            processes += start(folder, "first", "training.max_steps=100000")
            step = wait_for_step(last, 20)
            log = (folder / "first_0.log").read_text()
            check("shared by 2 processes" in log, f"both hosts train one run (step {step})")
            cut = time.monotonic()
            ip("-n", HOSTS[0], "link", "set", "arc0", "down")
            statuses = [process.wait(LIMIT) for process in processes]
            seconds = time.monotonic() - cut
            check(all(statuses), f"both hosts end {seconds:.0f} s after the link is cut")
            for number in range(2):
                text = (folder / f"first_{number}.log").read_text()
                fault = next((line for line in text.splitlines() if "lost" in line), None)
                check(fault is not None, f"host {number}: {fault}")
            for path in sorted(last.parent.glob("*.pth")):
                check(load(path).metadata["step"] > 0, f"{path.name} is readable")
            step = int(read_metadata(last)["step"])
            ip("-n", HOSTS[0], "link", "set", "arc0", "up")
            processes += start(folder, "second", f"training.max_steps={step + 20}")
            statuses = [process.wait(LIMIT) for process in processes[2:]]
            log = (folder / "second_0.log").read_text()
            check(f"at step {step}\n" in log, f"the restart resumes at step {step}")
            check(statuses == [0, 0], "both hosts finish the run")
            check(int(read_metadata(last)["step"]) == step + 20, f"the run has {step + 20} steps")
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()


if __name__ == "__main__":
    main()
