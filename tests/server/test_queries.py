"""Model queries: at most one per step, within their time budget, and shared answers."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from helpers_cli import until

from arc.server.queries import QUERY_SHARE, AnswerCache, InvalidStateError, QueryQueue
from arc.server.samples import SampleViewer
from arc.server.status import RunStatus

Background = Callable[..., threading.Thread]
CLIENTS, STEPS = 32, 200
STEP_SECONDS, QUERY_SECONDS = 0.1, 0.04

VIEWER = cast(SampleViewer, object())  # the queries here compute nothing with it


def unexpected(viewer: SampleViewer) -> None:
    pytest.fail("the query was computed")


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> QueryQueue:
    return QueryQueue(threading.Condition(threading.RLock()), clock)


@pytest.fixture
def in_background() -> Iterator[Background]:
    """Start functions in threads, and join them at the end of the test."""
    threads = []

    def start(function: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=function, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def wait_for_query(queue: QueryQueue) -> None:
    until(lambda: queue, bool)


def test_clients_in_a_loop_get_one_query_per_step(
    queue: QueryQueue, clock: Clock, in_background: Background
) -> None:
    """All queries together take their share of the time, and no more."""
    answered, ended = [], threading.Event()

    def work(viewer: Any) -> None:
        answered.append(clock.now)
        clock.now += QUERY_SECONDS

    def client() -> None:
        while not ended.is_set():
            try:
                queue.ask(work, seconds=30)
            except InvalidStateError:
                return

    clients = [in_background(client) for _ in range(CLIENTS)]
    per_step = []
    for _ in range(STEPS):
        clock.now += STEP_SECONDS
        before = len(answered)
        wait_for_query(queue)
        queue.answer_within_budget(VIEWER)
        per_step.append(len(answered) - before)
    ended.set()
    while any(client.is_alive() for client in clients):
        queue.refuse_all("over")
    assert max(per_step) == 1
    assert len(answered) * QUERY_SECONDS <= QUERY_SHARE * clock.now + QUERY_SECONDS
    assert len(answered) >= 0.8 * QUERY_SHARE * clock.now / QUERY_SECONDS


@pytest.mark.parametrize(("seconds", "pause"), [(0.4, 7.6), (1.0, 10.0), (5.0, 10.0)])
def test_the_next_query_waits_for_19_times_the_last_at_most_ten_seconds(
    queue: QueryQueue, clock: Clock, in_background: Background, seconds: float, pause: float
) -> None:
    def ask_twice() -> None:
        for _ in range(2):
            queue.ask(lambda viewer: setattr(clock, "now", clock.now + seconds), seconds=30)

    in_background(ask_twice)
    wait_for_query(queue)
    queue.answer_within_budget(VIEWER)
    wait_for_query(queue)
    clock.now = seconds + pause - 0.1
    queue.answer_within_budget(VIEWER)
    assert queue
    clock.now = seconds + pause + 0.1
    queue.answer_within_budget(VIEWER)
    assert not queue


def test_an_idle_process_answers_without_a_limit(
    queue: QueryQueue, clock: Clock, in_background: Background
) -> None:
    asked = in_background(lambda: [queue.ask(lambda viewer: None, 30) for _ in range(5)])
    while asked.is_alive():
        queue.answer_next(VIEWER)
    assert clock.now == 0.0


def test_a_query_that_times_out_is_not_computed(queue: QueryQueue) -> None:
    with pytest.raises(TimeoutError, match="did not answer within"):
        queue.ask(unexpected, seconds=0.01)
    assert not queue
    queue.answer_next(VIEWER)


def invalid(viewer: SampleViewer) -> None:
    raise ValueError("example=x")


@pytest.mark.parametrize(
    ("query", "answer", "error"),
    [
        (invalid, lambda queue: queue.answer_next(VIEWER), "example=x"),
        (unexpected, lambda queue: queue.answer_next(None), "the run has ended"),
        (unexpected, lambda queue: queue.refuse_all("the process is ending"), "is ending"),
    ],
    ids=["its own error", "no model", "end of the process"],
)
def test_errors_are_raised_in_the_requesting_thread(
    queue: QueryQueue, in_background: Background, query: Any, answer: Any, error: str
) -> None:
    def answer_it() -> None:
        wait_for_query(queue)
        answer(queue)

    in_background(answer_it)
    with pytest.raises(ValueError, match=error) as raised:
        queue.ask(query, seconds=30)
    assert isinstance(raised.value, InvalidStateError) == (query is unexpected)


@pytest.fixture
def status() -> RunStatus:
    status = RunStatus()
    status.publish("begin", {})
    status.publish("state", ["training", "train"])
    return status


@pytest.fixture
def counted(status: RunStatus) -> AnswerCache:
    """A cache whose answers count how often they were computed."""
    counts = iter(range(1, 100))
    return AnswerCache(status, lambda: {"n": next(counts)})


def number(cache: AnswerCache) -> int:
    """The number in the cache's answer."""
    return json.loads(cache.get())["n"]


def validate(status: RunStatus, step: int) -> None:
    status.publish("validation", {"batch_num": step})


def test_an_answer_is_cached_until_the_next_validation_or_run(
    status: RunStatus, counted: AnswerCache
) -> None:
    assert [number(counted) for _ in range(3)] == [1, 1, 1]
    validate(status, 5)
    assert number(counted) == 2
    status.publish("begin", {})
    status.publish("end", {"kind": "finished", "error": None})
    assert number(counted) == 3


def test_the_last_answer_is_served_in_the_test_phase(
    status: RunStatus, counted: AnswerCache
) -> None:
    counted.get()
    validate(status, 9)
    status.publish("end", {"kind": "finished", "error": None})
    status.publish("state", ["testing", "train"])
    assert number(counted) == 1
    status.publish("state", ["idle", None])
    assert number(counted) == 2


def test_an_error_is_not_cached(status: RunStatus) -> None:
    answers = iter([TimeoutError("late"), {"n": 1}])

    def compute() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = AnswerCache(status, compute)
    with pytest.raises(TimeoutError):
        cache.get()
    assert [number(cache), number(cache)] == [1, 1]


class Slow:
    """Computes answers; each waits for ``may_end``."""

    def __init__(self) -> None:
        self.began, self.may_end, self.count = threading.Event(), threading.Event(), 0

    def __call__(self) -> dict[str, int]:
        self.count += 1
        self.began.set()
        self.may_end.wait()
        return {"n": self.count}


def test_other_clients_get_the_last_answer_meanwhile(
    status: RunStatus, in_background: Background
) -> None:
    slow = Slow()
    slow.may_end.set()
    cache = AnswerCache(status, slow)
    cache.get()
    slow.began.clear()
    slow.may_end.clear()
    validate(status, 5)
    first = in_background(cache.get)
    slow.began.wait()
    assert number(cache) == 1
    slow.may_end.set()
    first.join()
    assert number(cache) == 2


def test_waiting_for_the_first_answer_has_a_time_limit(
    status: RunStatus, in_background: Background
) -> None:
    slow = Slow()
    cache = AnswerCache(status, slow)
    in_background(cache.get)
    slow.began.wait()
    with pytest.raises(TimeoutError, match="no answer within"):
        cache.get(seconds=0.05)
    slow.may_end.set()
