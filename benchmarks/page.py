"""The first paint of the page, and the duration of one update of its charts.

First paint: new windows on a server of this machine, nothing cached. Charts: all six at once, with
a hundred thousand points, drawn repeatedly. Run by ``make bench-page``; needs Debian's Chromium.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Route, sync_playwright
from tabulate import tabulate

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"]
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
    const paint = list.getEntriesByName('first-contentful-paint')[0];
    if (paint) done(paint.startTime);
}).observe({type: 'paint', buffered: true}))"""
REDRAW = """() => new Promise(done => {
    const [charts, slider] = ['charts', 'smoothing'].map(id => document.getElementById(id));
    slider.value = slider.valueAsNumber > 0.5 ? 0.4 : 0.6;
    slider.dispatchEvent(new Event('input'));
    requestAnimationFrame(() => requestAnimationFrame(() => done(Number(charts.dataset.updateMs))));
})"""


@contextmanager
def served() -> Iterator[str]:
    """Serve the page of a process that waits for a run; yields its address."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["server.autostart=false", "server.port=0", f"hydra.run.dir={folder}"]
        command = [sys.executable, "-m", "arc.train", *words, f"checkpoint.dir={folder}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "dashboard: " in line)
            yield re.findall(r"http://\S+", said)[0]
            process.terminate()


def first_paint(browser: Browser, url: str) -> float:
    """Return the milliseconds from a new window's request to its first content."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    paint = float(page.evaluate(PAINT))
    context.close()
    return paint


def history(points: int) -> dict[str, Any]:
    """Return a run of so many steps, as /metrics_history returns it."""
    rows = []
    for step in range(1, points + 1):
        loss = 4 * math.exp(-step / points) + 0.3 * math.sin(step * 12.9898) ** 2
        accuracy = 100 - 20 * loss
        rows.append(
            {
                **{"batch_num": step, "epoch": 1, "batch": step, "seconds": step / 5},
                **{"loss": loss, "loss_min": loss - 0.1, "loss_max": loss + 0.1},
                **{"accuracy": accuracy, "accuracy_min": accuracy, "accuracy_max": accuracy},
                **{"learning_rate": 0.002 * (1 - step / points), "grad_norm": 1 + loss},
            }
        )
    return {"run_id": 1, "running": False, "mode": None, "history": rows, "validations": []}


def updates(browser: Browser, url: str, points: int, times: int) -> list[float]:
    """Return the milliseconds of each of ``times`` updates of all charts."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    told = history(points)

    def tell(route: Route) -> None:
        route.fulfill(json=told if "since" not in route.request.url else {**told, "history": []})

    page.route("**/metrics_history*", tell)
    page.goto(url)
    page.wait_for_selector(f'#charts[data-points="{points}"]', timeout=120_000)
    taken = [float(page.evaluate(REDRAW)) for _ in range(times)]
    context.close()
    return taken


def main() -> None:
    """Print both durations next to their limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="loads, and updates")
    parser.add_argument("--points", type=int, default=100_000, help="points of each line")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("error: needs the system package chromium: apt-get install chromium")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        first_paint(browser, url)  # the first window includes browser startup
        paints = [first_paint(browser, url) for _ in range(arguments.times)]
        drawn = updates(browser, url, arguments.points, arguments.times)
        browser.close()
    rows = [
        (name, statistics.median(taken), min(taken), max(taken), limit)
        for name, taken, limit in [
            ("first paint", paints, 300),
            (f"all charts, {arguments.points:,} points", drawn, 50),
        ]
    ]
    print(tabulate(rows, ["ms", "median", "min", "max", "limit"], floatfmt=".0f"))


if __name__ == "__main__":
    main()
