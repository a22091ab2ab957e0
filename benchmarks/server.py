"""Cost of HTTP clients: a run's speed with and without them, and the latency of their requests.

The default run trains with its endpoint, on the same batch in every step, so that steps are equal.
Clients in a separate process send requests during every other window of steps:

- page: one client that polls as the dashboard does
- many: clients that poll at ``--rate`` requests/s in total
- probe: clients that request /probe in a loop, compared with the same loop on a constant response

Each comparison is made with one core to spare and with all cores training. Finally the run is
stopped a few times while clients poll. Needs Linux.
"""

from __future__ import annotations

import argparse
import http.client
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
from urllib.parse import quote

import torch
from hydra import initialize_config_dir
from tabulate import tabulate

from arc.config.files import config_folder
from arc.config.schema import ServerConfig
from arc.runs.next_run import NextRun
from arc.runs.run import build_run, run_to_end
from arc.server.endpoint import endpoint
from arc.server.session import Session
from arc.training import StepEvent, ValidationEvent
from arc.training.callbacks import Callback

SETTLING = 2  # steps after the clients change
COMPARISONS = {"page": "off", "many": "off", "probe": "constant"}  # each mode's baseline
PAGE_PERIODS = {"/status": 1.0, "/metrics_history": 2.0, "/samples": 3.0}  # seconds
POLLED = ("/status", "/metrics_history", "/samples", "/log")
LISTENING = ServerConfig(
    enabled=True, host="127.0.0.1", port=0, token=None, autostart=False, required=True
)


# -- the process of the clients --------------------------------------------------------------


class Polling:
    """Threads that send requests according to ``mode``, and how long each response took."""

    def __init__(self, port: int, count: int, rate: float) -> None:
        self.port, self.period = port, count / rate
        self.mode = "off"
        self.latencies: list[tuple[str, str, float]] = []
        self._own = threading.local()
        for number in range(count):
            threading.Thread(target=self._client, args=(number,), daemon=True).start()

    def request(self, method: str, path: str) -> dict[str, Any]:
        """Send a request over the thread's connection, and record the latency."""
        began = time.monotonic()
        for attempt in (1, 2):  # an idle connection may have been closed
            if getattr(self._own, "connection", None) is None:
                self._own.connection = http.client.HTTPConnection("localhost", self.port)
            try:
                self._own.connection.request(method, path)
                content: dict[str, Any] = json.loads(self._own.connection.getresponse().read())
                break
            except (OSError, http.client.HTTPException):
                self._own.connection = None
                if attempt == 2:
                    raise
        self.latencies.append((self.mode, path.split("?")[0], time.monotonic() - began))
        return content

    def _client(self, number: int) -> None:
        since: dict[str, int] = {"/metrics_history": -1, "/log": 0}
        due = dict.fromkeys(PAGE_PERIODS, 0.0)
        turn = number
        while True:
            mode = self.mode
            if mode == "constant":
                self.request("GET", "/results")
            elif mode == "probe":
                names = self.request("GET", "/examples").get("examples", [])
                while self.mode == "probe" and names:
                    self.request("GET", f"/probe?example={quote(names[number])}")
            elif mode == "many":
                self._poll(POLLED[turn % len(POLLED)], since)
                turn += 1
                time.sleep(self.period)
            elif mode == "page" and number == 0:
                path = min(due, key=lambda path: due[path])
                time.sleep(max(0.0, due[path] - time.monotonic()))
                self._poll(path, since)
                due[path] = time.monotonic() + PAGE_PERIODS[path]
            else:
                time.sleep(0.02)

    def _poll(self, path: str, since: dict[str, int]) -> None:
        content = self.request("GET", f"{path}?since={since[path]}" if path in since else path)
        if path == "/metrics_history" and content.get("history"):
            since[path] = content["history"][-1]["batch_num"]
        elif path == "/log" and content.get("lines"):
            since[path] = content["lines"][-1]["n"]

    def obey(self, word: str) -> Any:
        """Change the mode; or return the latencies (``report``) or those of a stop (``stop``)."""
        if word == "report":
            return self.latencies
        if word == "stop":
            began = time.monotonic()
            self.request("POST", "/stop")
            return [began, time.monotonic() - began]
        self.mode = word
        return None


class Clients:
    """The process of the clients."""

    def __init__(self, address: str, count: int, rate: float) -> None:
        port = address.rsplit(":", 1)[1]
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--poll", port, str(count), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def obey(self, word: str) -> Any:
        """Send a command to ``Polling.obey``; returns its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


# -- the process that trains -----------------------------------------------------------------


class Windows(Callback):
    """Times windows of steps, alternately in the baseline mode and in ``mode``; then stops."""

    def __init__(self, clients: Clients, session: Session, mode: str, steps: int, pairs: int):
        self.clients, self.session, self.steps, self.pairs = clients, session, steps, pairs
        self.modes = (COMPARISONS[mode], mode)
        self.seconds: list[float] = []  # of a step, per window
        self._seen, self._began, self._last = -SETTLING, 0.0, 0.0
        clients.obey(self.modes[0])

    def on_event(self, event: object) -> None:
        """Count steps, without the time of validations."""
        now = time.monotonic()
        if isinstance(event, ValidationEvent):
            self._began += now - self._last
        elif isinstance(event, StepEvent):
            self._seen += 1
            if self._seen == 0:
                self._began = now
            elif self._seen == self.steps:
                self._end_window((now - self._began) / self.steps)
        self._last = now

    def _end_window(self, step: float) -> None:
        self.seconds.append(step)
        done = len(self.seconds) == 2 * self.pairs
        self.clients.obey("off" if done else self.modes[len(self.seconds) % 2])
        self._seen = -SETTLING
        if done:
            self.session.stop()

    def row(self, threads: int) -> tuple[str, ...]:
        """Return a row of the table: the speed relative to the baseline."""
        pairs = list(zip(self.seconds[::2], self.seconds[1::2], strict=True))
        ratios = [100 * baseline / step for baseline, step in pairs]
        return (
            f"{self.modes[1]} against {self.modes[0]}",
            f"{threads}",
            f"{1e3 * statistics.median(self.seconds[::2]):.0f} ms",
            f"{statistics.median(ratios):.1f} %",
            f"{min(ratios):.1f} to {max(ratios):.1f}",
        )


class StopAtStep(Callback):
    """Sends POST /stop at one step of the run; records the time and the latency."""

    def __init__(self, clients: Clients, step: int = 5) -> None:
        self.clients, self.step = clients, step
        self.sent: list[float] = []

    def on_event(self, event: object) -> None:
        """Send the request from a separate thread."""
        if isinstance(event, StepEvent) and event.step == self.step:
            threading.Thread(target=self._stop).start()

    def _stop(self) -> None:
        self.sent = self.clients.obey("stop")


class Bench:
    """A process that trains with its endpoint."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder = folder
        unlimited = ["training.max_minutes=null", "training.max_steps=1000000"]
        typed = [f"checkpoint.dir={folder}", *unlimited, *overrides]
        self.session = Session(NextRun(typed), exit_after_run=False)

    def train(self, callback: Callback) -> float:
        """Train on one batch until stopped; returns the time at which the process was idle."""
        self.session.start("train")
        plan = self.session.next_plan()
        assert plan is not None
        with self.session.running(plan) as control:
            run = build_run(plan, self.folder)
            sampler = run.trainer.sampler
            draw, examples = sampler.next, sampler.next()
            sampler.next = lambda: (draw(), examples)[1]  # type: ignore[method-assign]
            run_to_end(run, control=control, callbacks=[self.session, callback])
        return time.monotonic()


def measure(bench: Bench, clients: Clients, arguments: argparse.Namespace) -> None:
    """Print the tables."""
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for mode in arguments.modes:
            windows = Windows(clients, bench.session, mode, arguments.steps, arguments.pairs)
            bench.train(windows)
            rows.append(windows.row(threads))
    print(tabulate(rows, headers=("clients", "threads", "step", "speed", "range")), "\n")
    latencies = [1e3 * took for mode, path, took in clients.obey("report") if path == "/status"]
    stops: list[float] = []
    idle: list[float] = []
    for _ in range(arguments.stops):
        clients.obey("many")
        stop = StopAtStep(clients)
        ended = bench.train(stop)
        clients.obey("off")
        stops.append(1e3 * stop.sent[1])
        idle.append(ended - stop.sent[0])
    percentiles = statistics.quantiles(latencies, n=100)
    summary = [
        ("/status, median", f"{percentiles[49]:.1f} ms", f"of {len(latencies)}"),
        ("/status, 99th percentile", f"{percentiles[98]:.1f} ms", f"max {max(latencies):.0f} ms"),
        ("/stop answered after", f"{max(stops):.1f} ms", f"slowest of {len(stops)}"),
        ("idle after /stop", f"{max(idle):.2f} s", "with the last state saved; slowest"),
    ]
    print(tabulate(summary))


def main() -> None:
    """Measure, or run as the process of the clients."""
    if sys.argv[1:2] == ["--poll"]:
        port, count, rate = sys.argv[2:]
        polling = Polling(int(port), int(count), float(rate))
        for line in sys.stdin:
            print(json.dumps(polling.obey(line.strip())), flush=True)
        return
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the default run, in Hydra's grammar")
    parser.add_argument("--threads", type=int, nargs="+", default=[max(cores - 1, 1), cores])
    parser.add_argument("--modes", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, default=58, help="requests/s of all clients")
    parser.add_argument("--pairs", type=int, default=24, help="of windows per comparison")
    parser.add_argument("--steps", type=int, default=15, help="of a window")
    parser.add_argument("--stops", type=int, default=5)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(config_folder()), version_base="1.3"),
    ):
        bench = Bench(Path(folder), arguments.overrides)
        with endpoint(LISTENING, bench.session) as address:
            assert address is not None
            clients = Clients(address, arguments.clients, arguments.rate)
            try:
                measure(bench, clients, arguments)
            finally:
                clients.close()


if __name__ == "__main__":
    main()
