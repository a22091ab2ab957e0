"""Starts, stops and requests of every kind neither leak resources nor disturb a run.

Each test takes minutes in full, and has a short version that runs with the others.
"""

import json
import math
import random
import urllib.parse
from typing import Any

import pytest
from helpers_served import Served

# Cycles, those that warm up, and the growth allowed after them in MB: freed memory stays in the
# allocator, so that a process grows for some tens of cycles without a leak.
CYCLES = [(4, 3, 24), pytest.param(200, 100, 12, marks=pytest.mark.slow)]
REQUESTS = [100, pytest.param(10_000, marks=pytest.mark.slow)]
ROUTES = [
    *("/", "/static/app.js", "/static/../app.py", "/status", "/metrics_history", "/log"),
    *("/task_config", "/task_schema", "/config", "/samples", "/examples", "/probe", "/language"),
    *("/concepts",),
    *("/list_checkpoints", "/pretrained_encoders", "/checkpoint", "/download/x", "/nothing"),
    *("/save_checkpoint", "/start_train", "/start_pretrain", "/%00", "//", "/download/%2e%2e%2fx"),
]
METHODS = ["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "FOO"]
QUERIES = ["since", "example", "message", "name", "x"]
KEYS = [
    *("name", "overwrite", "overrides", "resume", "finetune", "task_type", "num_distractors"),
    *("bottleneck_type", "use_input_output_pairs", "max_grids", "filter_grid_size", "hidden_dim"),
    *("vocab_size", "temperature", "learning_rate", "use_pretrained", "pretrain_task_type", ""),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 10**30, -(10**30), 0.5, 1e308, math.nan, math.inf, -math.inf),
    *(
        "",
        "x",
        "selection",
        "../x",
        "a\0b",
        "\ud800",
        "é",
        "x" * 5000,
        "${now:%Y}",
        "${oc.env:HOME}",
    ),
    *("'", '"', "=", "\\", "task=selection", "+a=1", "~task", "seed=[", "model@x=tiny", "\n"),
    *([], [3, 3], [[]], ["task=selektion"], ["seed=${seed}"], ["hydra.run.dir=x"], {}, {"a": {}}),
]
HEADERS = [
    *({}, {}, {}, {"Content-Type": "text/plain"}, {"Origin": "http://evil.example"}),
    *({"Host": "evil.example"}, {"Authorization": "Bearer \xff"}, {"If-None-Match": "*"}),
    *({"Range": "bytes=0-"}, {"Accept": "nothing"}, {"Content-Encoding": "gzip"}, {"Expect": "x"}),
]


def resources(process: Any) -> tuple[int, float]:
    """Return a process's threads, and its resident memory in MB."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["Threads"]), int(fields["VmRSS"].split()[0]) / 1024


def a_body(choose: random.Random) -> str | bytes | None:
    kind = choose.random()
    if kind < 0.2:
        return None
    if kind < 0.3:
        return choose.randbytes(choose.randrange(200))
    keys = choose.sample(KEYS, choose.randrange(4))
    whole = json.dumps({key: choose.choice(VALUES) for key in keys})
    return whole[: choose.randrange(len(whole))] if kind < 0.35 else whole


def a_request(choose: random.Random) -> tuple[str, str, str | bytes | None, dict[str, str]]:
    path = choose.choice(ROUTES)
    if choose.random() < 0.4:
        values = [str(choose.choice(VALUES)).encode("utf-8", "surrogatepass") for _ in range(2)]
        query = zip(choose.sample(QUERIES, 2), values, strict=True)
        path += "?" + urllib.parse.urlencode(list(query))
    return choose.choice(METHODS), path, a_body(choose), choose.choice(HEADERS)


def bombard(
    serving: Served, requests: int, seed: int, routes: list[str] | None = None
) -> dict[int, int]:
    """Send seeded requests; returns how often each status was the answer."""
    choose = random.Random(seed)
    seen: dict[int, int] = {}
    for _ in range(requests):
        method, path, body, headers = a_request(choose)
        if routes:
            method, path = "POST", choose.choice(routes)
        status, content = serving.ask(method, path, body, headers=headers)
        assert status < 500, (method, path, body, headers, content)
        if status >= 400 and method != "HEAD":
            assert json.loads(content)["error"], (method, path, body, headers)
        seen[status] = seen.get(status, 0) + 1
    return seen


@pytest.mark.parametrize(("cycles", "warm", "growth"), CYCLES)
def test_starts_and_stops_leak_nothing(
    serving: Served, cycles: int, warm: int, growth: float
) -> None:
    course = []
    for _ in range(cycles):
        serving.idle()
        serving.post("/start_train")
        serving.until(lambda status: status["metrics"]["val_acc"] is not None)
        serving.idle()
        course.append(resources(serving.process))
    threads, memory = zip(*course[warm:], strict=True)
    print(f"after {warm} and {cycles}: {course[warm]} and {course[-1]} threads and MB")
    assert threads[-1] <= max(course[:warm])[0] + 1  # one may be answering a request
    assert memory[-1] - course[warm - 1][1] < growth


@pytest.mark.parametrize("requests", REQUESTS)
def test_a_run_continues_whatever_is_requested(serving: Served, requests: int) -> None:
    run, step = (serving.training()[key] for key in ("run_id", "step"))
    print(bombard(serving, requests, seed=1))
    status = serving.until(lambda status: status["step"] > step)
    assert (status["state"], status["run_id"]) == ("training", run)
    assert math.isfinite(status["metrics"]["loss"])


@pytest.mark.parametrize("requests", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_settings_can_be_read_and_restored_after_any_change(serving: Served, requests: int) -> None:
    serving.idle()
    before = serving.get("/task_config")
    bombard(serving, requests, seed=2, routes=["/task_config"])
    serving.post("/task_config", before)
    assert serving.get("/task_config") == before
