"""The endpoint on a socket: malformed requests, slow and idle clients, the end of the server."""

import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers_cli import until
from helpers_served import Client
from helpers_station import Station, server_config

from arc.runs.next_run import NextRun
from arc.server import endpoint as module
from arc.server.endpoint import CONNECTIONS, LAST_LOOK_SECONDS, THREADS, endpoint
from arc.server.security import BODY_LIMIT
from arc.server.session import Session

Ending = tuple[Client, Session, Callable[[], object]]
START = b"GET /config HTTP/1.1\r\nHost: localhost\r\n"
MALFORMED = {
    "garbage": b"garbage\r\n\r\n",
    "no length": b"POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
    "no chunk": START + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
    "an unknown coding": START + b"Transfer-Encoding: gzip\r\n\r\n",
    "a long header": START + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method": b"OPTIONS /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a bad host": b"GET /status HTTP/1.1\r\nHost: [\r\n\r\n",
    "a body without end": START + b"Content-Length: 9999999999\r\n\r\n",
}


def exchange(port: int, content: bytes) -> tuple[int, str | None, Any]:
    """Send bytes; return status, content type and content of the response."""
    with socket.create_connection(("localhost", port), timeout=60) as client:
        client.sendall(content)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.getheader("Content-Type"), json.loads(answer.read())


def open_connection(port: int, content: bytes = b"") -> socket.socket:
    client = socket.create_connection(("localhost", port), timeout=60)
    client.sendall(content)
    return client


def wait_for_close(client: socket.socket) -> None:
    """Wait until the other side closes the connection."""
    with suppress(ConnectionResetError), client:
        while client.recv(1 << 16):
            pass


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_refused_in_json(live: Client, case: str) -> None:
    status, kind, content = exchange(live.port, MALFORMED[case])
    assert 400 <= status < 500 or status == 501
    assert kind == "application/json"
    assert content["error"]


def test_many_headers_are_accepted(live: Client) -> None:
    headers = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    status, _, content = exchange(live.port, START + headers + b"\r\n")
    assert status == 200, content


@pytest.mark.parametrize("path", ["/%ff", "/a%00b", "/%2e%2e/x", "/status/%C3%A9?x=%ff&=;"])
def test_an_unusual_path_is_not_found(live: Client, path: str) -> None:
    assert live.ask("GET", path)[0] == 404


def test_a_connection_serves_many_requests(live: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 600.0)
    connection = http.client.HTTPConnection("localhost", live.port)
    connection.connect()
    opened = connection.sock
    for _ in range(3):
        connection.request("GET", "/status")
        assert connection.getresponse().read()
        assert connection.sock is opened
    connection.close()


def test_a_body_without_a_length_is_read_up_to_the_limit(live: Client) -> None:
    live.idle()
    chunks = iter([b'{"batch', b'_size": 8}'])
    status, content = live.ask("POST", "/task_config", chunks, encode_chunked=True)
    assert (status, json.loads(content)["batch_size"]) == (200, 8)
    chunks = (b" " * 1024 for _ in range(2 * BODY_LIMIT // 1024))
    status, content = live.ask("POST", "/task_config", chunks, encode_chunked=True)
    assert status == 413
    assert str(BODY_LIMIT) in json.loads(content)["error"]


def test_a_client_may_disconnect_in_the_middle_of_a_body(live: Client) -> None:
    unfinished = b"POST /task_config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
    open_connection(live.port, unfinished).close()
    assert live.get("/status")["state"]


def test_the_effect_of_a_request_is_visible_to_the_next(live: Client) -> None:
    for _ in range(2):
        live.idle()
        live.post("/start_train")
        assert live.get("/status")["mode"] == "train"
        live.post("/stop")
        assert live.get("/status")["state"] in ("stopping", "idle")
        live.idle()
        live.post("/task_config", {"batch_size": 8})


def test_a_checkpoint_stores_the_posted_settings(live: Client) -> None:
    posted = {"hidden_dim": 16, "vocab_size": 9, "temperature": 0.5, "max_grids": 60}
    live.idle()
    live.post("/task_config", posted)
    live.save("mine")
    saved = torch.load(live.checkpoints / "mine.pth")
    assert {key: saved[key] for key in posted} == posted
    assert saved["config"]["model"]["hidden_dim"] == 16
    assert "server" not in saved["config"]


def test_slow_readers_block_no_other_client(live: Client) -> None:
    live.save("big")
    live.training()
    content = bytes(60_000_000)
    (live.checkpoints / "big.pth").write_bytes(content)
    slow = []
    for _ in range(THREADS + 10):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("localhost", live.port))
        client.sendall(b"GET /download/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slow.append(client)
    try:
        assert live.get("/status")["state"] == "training"
        assert live.ask("GET", "/download/big") == (200, content)
        live.post("/stop")
    finally:
        for client in slow:
            client.close()
        (live.checkpoints / "big.pth").unlink()
    live.idle()


def test_idle_connections_time_out(live: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, unfinished = open_connection(live.port), open_connection(live.port, START)
    used = open_connection(live.port, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert used.recv(1 << 16)
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)
    for client in (silent, unfinished, used):
        wait_for_close(client)  # or its time limit fails the test


def test_slow_requests_time_out(live: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_connection(live.port, START) as client:
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)
        client.settimeout(0.05)
        with pytest.raises((ConnectionError, AssertionError)):  # noqa: PT012
            for _ in range(600):
                client.sendall(b"A")
                try:
                    assert client.recv(1), "closed"
                except TimeoutError:
                    continue
            pytest.fail("the connection stayed open")


def test_half_open_connections_block_no_other_client(
    live: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 600.0)  # longer than a request may take
    waiting = [open_connection(live.port, START) for _ in range(2 * CONNECTIONS)]
    live.training()
    assert live.post("/stop") == {"status": "stopped"}
    assert live.get("/status")
    for client in waiting:
        client.close()
    live.idle()


def client_of(address: str | None, station: Station) -> Client:
    assert address is not None
    return Client(int(address.rsplit(":", 1)[1]), station.output)


@pytest.fixture
def ending(station: Station) -> Ending:
    """A process that ends with its run, and a client of its endpoint."""
    session = Session(NextRun(station.session.settings.overrides), exit_after_run=True)
    server = endpoint(server_config(autostart=True), session)
    client = client_of(server.__enter__(), station)
    return client, session, lambda: server.__exit__(None, None, None)


def replace_sleep(monkeypatch: pytest.MonkeyPatch, sleep: Callable[[float], object]) -> None:
    """Have the endpoint call ``sleep`` in place of that of ``time``."""
    monkeypatch.setattr(module, "time", SimpleNamespace(**{**vars(time), "sleep": sleep}))


def test_an_open_page_sees_the_outcome_before_the_end(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, session, close = ending
    slept: list[float] = []
    may_end = threading.Event()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        may_end.wait(60)

    monkeypatch.setattr(module, "WATCHED_SECONDS", 600.0)
    replace_sleep(monkeypatch, sleep)
    client.get("/status")
    session.status.publish("end", {"kind": "finished", "error": None})
    closing = threading.Thread(target=close)
    closing.start()
    client.until(lambda status: status["outcome"] == "finished")
    assert client.ask("POST", "/start_train")[0] == 400
    may_end.set()
    closing.join()
    assert slept == [LAST_LOOK_SECONDS]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://localhost:{client.port}/status")


def test_without_an_open_page_the_end_takes_no_time(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _, close = ending
    client.get("/log")
    slept: list[float] = []
    replace_sleep(monkeypatch, slept.append)
    close()
    assert slept == []


def test_the_end_leaves_no_thread_and_no_connection(station: Station) -> None:
    threads = threading.active_count()
    with endpoint(server_config(), station.session) as address:
        client = open_connection(
            client_of(address, station).port, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert client.recv(1 << 16)
    wait_for_close(client)
    until(threading.active_count, lambda count: count <= threads)


def test_a_waiting_query_is_refused_when_the_process_ends(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = module.Server.stop

    def stop_once_answered(server: module.Server) -> None:
        asking.join(30)
        stop(server)

    monkeypatch.setattr(module.Server, "stop", stop_once_answered)
    station.start()
    name = station.example.replace(" ", "%20")
    answers = []
    with endpoint(server_config(), station.session) as address:
        client = client_of(address, station)
        station.hold()
        asking = threading.Thread(
            target=lambda: answers.append(client.ask("GET", f"/probe?example={name}"))
        )
        asking.start()
        until(lambda: station.session._queries, bool)
    asking.join(30)
    assert answers[0][0] == 400
    assert "ending" in json.loads(answers[0][1])["error"]


def test_log_lines_are_published(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    with module.published_log(station.session.status):
        module.log.warning("a line")
    (number,) = [line["n"] for line in station.get("/log")["lines"] if line["text"] == "a line"]
    assert station.get(f"/log?since={number}")["lines"] == []
    time.sleep(0.01)  # the numbers count milliseconds
    with module.published_log(station.session.status):  # as of a process that was started again
        module.log.warning("a later line")
    (later,) = station.get(f"/log?since={number}")["lines"]
    assert later["text"] == "a later line"
