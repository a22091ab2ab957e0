"""What watching costs a run: its speed with and without clients, and how soon they are answered.

The default run trains with the endpoint beside it, on one batch again and again so that steps are
equal; clients in a process of their own, which keep their connections as browsers do, poll it in
every other window of steps. Then it is stopped a few times. Run by ``make endpoint``; needs Linux.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_dir
from tabulate import tabulate

from arc.config.schema import ServerConfig, config_folder
from arc.runs.next_run import NextRun
from arc.runs.run import make_run
from arc.server.endpoint import endpoint
from arc.server.session import Session
from arc.training import RunControl, StepEvent, ValidationEvent

SETTLING = 2  # steps after the clients begin or cease
LISTENING = ServerConfig(
    enabled=True, host="127.0.0.1", port=0, token=None, autostart=False, required=True
)


class Clients:
    """Polls an endpoint as so many pages do, from a process of its own."""

    def __init__(self, address: str, count: int, rate: float) -> None:
        port = address.rsplit(":", 1)[1]
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--poll", port, str(count), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, word: str) -> None:
        """Tell them to begin (``on``), cease (``off``), or another word of ``poll``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def ask(self, word: str) -> Any:
        """Say a word that has an answer."""
        assert self._process.stdout is not None
        self.say(word)
        return json.loads(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        """Of their process."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Polling:
    """The other side of ``Clients``."""

    def __init__(self, port: int, count: int, rate: float) -> None:
        self.port, self.period = port, count / rate
        self.may = threading.Event()
        self.seconds: list[tuple[str, float]] = []
        self._own = threading.local()
        for number in range(count):
            phase = self.period * number / count
            threading.Thread(target=self._client, args=(phase,), daemon=True).start()

    def request(self, method: str, path: str) -> dict[str, Any]:
        """Send a request and take down how long its answer took."""
        began = time.monotonic()
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
        self._own.connection.request(method, path)
        content: dict[str, Any] = json.loads(self._own.connection.getresponse().read())
        self.seconds.append((path.split("?")[0], time.monotonic() - began))
        return content

    def _client(self, phase: float) -> None:
        step, line = -1, 0
        for turn in itertools.count():
            self.may.wait()
            time.sleep(self.period - (time.monotonic() - phase) % self.period)
            if turn % 4 == 0:
                self.request("GET", "/status")
            elif turn % 4 == 1:
                rows = self.request("GET", f"/metrics_history?since={step}")["history"]
                step = rows[-1]["batch_num"] if rows else step
            elif turn % 4 == 2:
                self.request("GET", "/samples")
            else:
                lines = self.request("GET", f"/log?since={line}")["lines"]
                line = lines[-1]["n"] if lines else line

    def obey(self, word: str) -> None:
        """Do what ``Clients`` were told; ``report`` and ``stop`` are answered."""
        if word == "on":
            self.may.set()
        elif word == "off":
            self.may.clear()
        elif word == "report":
            print(json.dumps(self.seconds), flush=True)
        elif word == "stop":
            began = time.monotonic()
            self.request("POST", "/stop")
            print(json.dumps([began, time.monotonic() - began]), flush=True)


def front_process() -> int:
    """Return the number of the process that serves this one's page."""
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            if b"arc.server.front" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise LookupError("no process serves this one's page")


def processor_seconds(pid: int) -> float:
    """Return how long a process has had a processor, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Windows:
    """Times windows of steps, in turn without and with clients; then stops the run."""

    def __init__(self, clients: Clients, control: RunControl, steps: int, count: int) -> None:
        self.clients, self.control, self.steps, self.count = clients, control, steps, count
        self.plain: list[float] = []
        self.polled: list[float] = []
        self.spent = [0.0, 0.0]  # processor seconds with clients: the page's process, the clients
        self._spent: list[float] = []
        self._seen, self._began, self._last = -SETTLING, 0.0, 0.0

    def see(self, event: StepEvent | ValidationEvent) -> None:
        """Take in an event of the run; what a validation takes is not counted."""
        now = time.monotonic()
        if isinstance(event, ValidationEvent):
            self._began += now - self._last
        elif not self.control.stop_requested:
            self._seen += 1
            if self._seen == 0:
                self._began = now
                self._spent = self._processes()
            elif self._seen == self.steps:
                self._turn((now - self._began) / self.steps)
        self._last = now

    def _turn(self, step: float) -> None:
        with_clients = len(self.polled) < len(self.plain)
        if with_clients:
            now = self._processes()
            self.spent = [
                sum(each) - before
                for *each, before in zip(self.spent, now, self._spent, strict=True)
            ]
        (self.polled if with_clients else self.plain).append(step)
        self.clients.say("off" if with_clients else "on")
        self._seen = -SETTLING
        if len(self.polled) == self.count:
            self.control.request_stop("measured")

    def _processes(self) -> list[float]:
        return [processor_seconds(pid) for pid in (front_process(), self.clients.pid)]


class Bench:
    """A process that trains and is watched."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder, self.heap = folder, Heap()
        typed = [f"checkpoint.dir={folder}", "training.max_minutes=null", *overrides]
        self.session = Session(NextRun(typed), once=False)

    def train(self, watching: Any) -> float:
        """Run what is asked for now, every batch the same; returns when the process was idle."""
        self.session.start("train")
        plan = self.session.next_plan()
        assert plan is not None
        with self.session.running(plan) as control:
            run = make_run(plan, self.folder, self.heap)
            source = run.trainer.sampler
            draw, examples = source.next, source.next()
            source.next = lambda: (draw(), examples)[1]  # type: ignore[method-assign]
            self.session.attach(run)
            run.execute(control, watching(control), self.session.watch)
        return time.monotonic()


def measure(bench: Bench, clients: Clients, arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    windows: list[Windows] = []
    stops: list[tuple[float, float]] = []

    def timed(control: RunControl) -> Any:
        windows.append(Windows(clients, control, arguments.steps, arguments.windows))
        return windows[-1].see

    def stopped(control: RunControl) -> Any:
        def ask() -> None:
            stops.append(tuple(clients.ask("stop")))

        def see(event: StepEvent | ValidationEvent) -> None:
            if event.step == 5 and isinstance(event, StepEvent):
                threading.Thread(target=ask).start()

        return see

    bench.train(timed)
    seconds = clients.ask("report")
    ends = [bench.train(stopped) for _ in range(arguments.stops)]
    (run,) = windows
    step = statistics.median(run.plain)
    ratios = [plain / polled for plain, polled in zip(run.plain, run.polled, strict=True)]
    status = [1e3 * took for path, took in seconds if path == "/status"]
    percentiles = statistics.quantiles(status, n=100)
    asked = len(seconds) / (sum(run.polled) * (arguments.steps + SETTLING))
    polled = sum(run.polled) * arguments.steps
    page, poll = (100 * spent / polled for spent in run.spent)
    answers = [1e3 * took for _, took in stops]
    idle = [(end - began) / step for end, (began, _) in zip(ends, stops, strict=True)]
    return [
        ("a step without clients", f"{1e3 * step:.0f} ms", ""),
        ("clients", f"{arguments.clients}", f"{asked:.0f} requests/s in all"),
        ("speed with clients", f"{100 * statistics.median(ratios):.1f} %",
         f"{100 * min(ratios):.1f} to {100 * max(ratios):.1f} over {len(ratios)} pairs of windows"),
        ("of one core", f"{page + poll:.1f} %",
         f"{page:.1f} the page's process, {poll:.1f} the clients"),
        ("/status, median", f"{percentiles[49]:.1f} ms", f"of {len(status)}"),
        ("/status, 99 of 100", f"{percentiles[98]:.1f} ms", f"slowest {max(status):.0f} ms"),
        ("/stop answered after", f"{max(answers):.1f} ms", f"slowest of {len(answers)}"),
        ("idle after a stop", f"{max(idle):.2f} steps", "the last state saved; slowest"),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--poll"]:
        port, count, rate = sys.argv[2:]
        polling = Polling(int(port), int(count), float(rate))
        for line in sys.stdin:
            polling.obey(line.strip())
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the default run, in Hydra's grammar")
    parser.add_argument("--threads", type=int, default=None, help="of training; default: all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, default=50, help="requests/s of all clients")
    parser.add_argument("--windows", type=int, default=24, help="with clients; as many without")
    parser.add_argument("--steps", type=int, default=15, help="of a window")
    parser.add_argument("--stops", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(config_folder()), version_base="1.3"),
    ):
        bench = Bench(Path(folder), arguments.overrides)
        with endpoint(LISTENING, bench.session) as address:
            assert address is not None
            clients = Clients(address, arguments.clients, arguments.rate)
            try:
                rows = measure(bench, clients, arguments)
            finally:
                clients.close()
    print(f"{torch.get_num_threads()} threads")
    print(tabulate(rows, headers=("what", "measured", "beside")))


if __name__ == "__main__":
    main()
