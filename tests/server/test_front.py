"""The process that pages speak to: what it answers by itself, and its life and death."""

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from flask import Flask, Response
from helpers_cli import until
from helpers_served import served
from helpers_station import server_config

from arc.server import front, link
from arc.server.endpoint import endpoint
from arc.server.front import Shared
from arc.server.security import Guard
from arc.server.status import Board


def children(pid):
    """Return the processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def only_child(served):
    """Return the front process of another, once it is there."""
    (pid,) = until(lambda: children(served.process.pid), lambda found: len(found) == 1)
    return pid


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def process(arc_folder, tmp_path):
    with served(tmp_path, arc_folder) as process:
        yield process


@pytest.fixture
def linked(tmp_path):
    """A front process of this one, with nobody behind it."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    one = link.Link(Board(), Guard(("localhost",), None), listening, str(tmp_path / "none"))
    one.port = port
    yield one
    one.close()


@pytest.fixture
def linked_to_nothing(monkeypatch, request):
    monkeypatch.setattr("sys.executable", "/bin/false")
    errors = []
    monkeypatch.setattr(link.log, "error", errors.append)
    monkeypatch.setattr(link, "PAUSE", 0.01)
    one = request.getfixturevalue("linked")
    one.errors = errors
    return one


def asked(linked, path="/status"):
    with urllib.request.urlopen(f"http://localhost:{linked.port}{path}", timeout=60) as answer:
        return json.load(answer)


def fronts():
    """Return the front processes of this one."""
    return {pid for pid in children(os.getpid()) if b"arc.server.front" in command(pid)}


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def board():
    board = Board()
    board.note("begin", {})
    return board


@pytest.fixture
def app():
    app = Flask(__name__)
    with app.test_request_context():
        yield app


class Asked:
    """A process that trains and counts how often it is asked."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return Response(str(self.count), content_type="text/x-count")


def validated(board, step):
    board.note("validation", {"batch_num": step})


def test_a_moment_is_asked_about_once(app, board):
    shared = Shared(board, Asked())
    said = [shared().get_data(as_text=True) for _ in range(3)]
    validated(board, 5)
    assert [*said, shared().get_data(as_text=True)] == ["1", "1", "1", "2"]
    assert shared().content_type == "text/x-count"


def test_while_a_run_is_tested_what_was_seen_last_is_told(app, board):
    shared = Shared(board, Asked())
    shared()
    board.note("state", ["testing", "train"])
    validated(board, 9)
    assert shared().get_data(as_text=True) == "1"
    board.note("state", ["idle", None])
    assert shared().get_data(as_text=True) == "2"


def test_another_run_s_answer_is_never_told(app, board):
    shared = Shared(board, Asked())
    shared()
    board.note("state", ["testing", "train"])
    board.note("begin", {})
    assert shared().get_data(as_text=True) == "2"


def test_an_error_is_not_kept(app, board):
    answers = [Response("not now", 503), Response("here")]
    shared = Shared(board, lambda: answers.pop(0))
    assert [shared().status_code, shared().status_code, shared().status_code] == [503, 200, 200]


def test_while_one_asks_the_others_get_the_last_answer(app, board):
    asked, may = threading.Event(), threading.Event()
    answers = [Response("early"), Response("late")]

    def slow():
        answer = answers.pop(0)
        if not answers:
            asked.set()
            may.wait()
        return answer

    shared = Shared(board, slow)
    shared()
    validated(board, 5)
    first = threading.Thread(target=shared)
    first.start()
    asked.wait()
    assert shared().get_data(as_text=True) == "early"
    may.set()
    first.join()
    assert shared().get_data(as_text=True) == "late"


def test_who_waits_behind_others_is_told_in_time(app, board, monkeypatch):
    monkeypatch.setattr(front, "SHARED_SECONDS", 0.05)
    asked, may = threading.Event(), threading.Event()

    def slow():
        asked.set()
        may.wait()
        return Response("late")

    shared = Shared(board, slow)
    first = threading.Thread(target=shared)
    first.start()
    asked.wait()
    with pytest.raises(Exception, match="no answer within") as refused:
        shared()
    assert refused.value.code == 503
    may.set()
    first.join()


def spoken(port, content):
    """Send bytes; return status, content type and content of the answer."""
    with socket.create_connection(("localhost", port), timeout=60) as client:
        client.sendall(content)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.getheader("Content-Type"), json.loads(answer.read())


START = b"GET /config HTTP/1.1\r\nHost: localhost\r\n"
NO_REQUESTS = {
    "garbage": b"garbage\r\n\r\n",
    "no length": b"POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
    "no chunk": START + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
    "an unknown coding": START + b"Transfer-Encoding: gzip\r\n\r\n",
    "a long header": START + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method": b"OPTIONS /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a name that is none": b"GET /status HTTP/1.1\r\nHost: [\r\n\r\n",
    "a body without end": START + b"Content-Length: 9999999999\r\n\r\n",
}


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_what_is_no_request_is_refused_in_json(serving, case):
    status, kind, content = spoken(serving.port, NO_REQUESTS[case])
    assert 400 <= status < 500 or status == 501
    assert kind == "application/json"
    assert content["error"]


def test_many_headers_are_no_matter(serving):
    serving.training()
    headers = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    status, _, content = spoken(serving.port, START + headers + b"\r\n")
    assert status == 200, content


def test_who_reads_slowly_holds_nobody_up(serving):
    """However many do, the run can be watched, and stopped."""
    serving.training()
    big = serving.checkpoints / "big.pth"
    big.write_bytes(bytes(60_000_000))
    slow = []
    try:
        for _ in range(front.THREADS + 10):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("localhost", serving.port))
            client.sendall(b"GET /download/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            slow.append(client)
        assert serving.get("/status")["state"] == "training"
        until(lambda: serving.ask("GET", "/download/big")[0], lambda status: status == 503)
        serving.post("/stop")
    finally:
        for client in slow:
            client.close()
        big.unlink()
    serving.idle()


def test_what_a_request_did_is_seen_by_the_next(serving):
    for _ in range(10):
        serving.idle()
        serving.post("/start_train")
        assert serving.get("/status")["mode"] == "train"
        serving.post("/stop")
        assert serving.get("/status")["state"] in ("stopping", "idle")
        serving.idle()
        serving.post("/task_config", {"batch_size": 8})


def test_a_file_is_passed_on_byte_by_byte(serving):
    serving.save("whole")
    status, content = serving.ask("GET", "/download/whole")
    assert status == 200
    assert content == (serving.checkpoints / "whole.pth").read_bytes()


@pytest.mark.parametrize("path", ["/%ff", "/a%00b", "/%2e%2e/x", "/status/%C3%A9?x=%ff&=;"])
def test_a_strange_path_is_not_found(serving, path):
    assert serving.ask("GET", path)[0] == 404


def test_where_nobody_is_behind_it_says_so(linked):
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(linked, "/task_config")
    assert refused.value.code == 503
    assert "does not answer" in json.load(refused.value)["error"]


def test_it_needs_little_memory(serving):
    pid = only_child(serving)
    (line,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert int(line) < 80 * 1024


def test_one_that_dies_young_is_replaced_too(linked):
    asked(linked)
    (first,) = fronts()
    os.kill(first, signal.SIGKILL)
    assert asked(linked)["state"] == "idle"
    assert first not in fronts()


def test_one_that_dies_is_replaced_and_nothing_is_lost(process):
    process.training()
    process.until(lambda status: status["seconds"] and status["step"] > 3)
    first = only_child(process)
    run = process.get("/status")["run_id"]
    until(lambda: process.get("/status"), lambda status: status["seconds"] > link.SHORT_LIFE)
    os.kill(first, signal.SIGKILL)
    history = process.get("/metrics_history")
    assert history["run_id"] == run
    assert history["history"][0]["batch_num"] == 1
    assert only_child(process) != first
    process.idle()


def test_one_that_stands_still_is_replaced(linked, monkeypatch):
    monkeypatch.setattr(link, "WAITING_NOTES", 100)
    monkeypatch.setattr(link, "SHORT_LIFE", 0.0)
    assert asked(linked)["state"] == "idle"
    (first,) = fronts()
    os.kill(first, signal.SIGSTOP)
    for number in range(1, 400):  # more than the link itself holds
        linked.board.note("line", {"n": number, "text": "x" * 10_000})
    until(fronts, lambda found: found and first not in found)
    linked.board.note("state", ["training", "train"])
    until(lambda: asked(linked)["state"], lambda state: state == "training")


def test_one_that_cannot_begin_is_given_up(linked_to_nothing):
    until(lambda: linked_to_nothing.listening.fileno(), lambda number: number == -1)
    assert any("no page from now on" in said for said in linked_to_nothing.errors)
    linked_to_nothing.board.note("line", {"n": 1})  # what is published goes nowhere


def test_a_connection_serves_many_requests(linked):
    connection = http.client.HTTPConnection("localhost", linked.port)
    connection.connect()
    opened = connection.sock
    for _ in range(3):
        connection.request("GET", "/status")
        assert connection.getresponse().read()
        assert connection.sock is opened
    connection.close()


def test_who_watches_has_a_last_look_at_the_end(linked):
    linked.lingers = True
    asked(linked)
    linked.board.note("end", {"kind": "finished", "error": None})
    closing = threading.Thread(target=linked.close)
    closing.start()
    until(lambda: asked(linked), lambda status: status["outcome"] == "finished")
    closing.join()
    with pytest.raises(urllib.error.URLError):
        asked(linked)


def test_an_end_that_nobody_watches_takes_no_time(linked):
    linked.lingers = True
    asked(linked, "/log")
    began = time.monotonic()
    linked.close()
    assert time.monotonic() - began < front.LAST_LOOK_SECONDS


def test_it_ends_with_the_process_that_trains(process):
    pid = only_child(process)
    assert is_alive(pid)
    process.process.kill()
    until(lambda: is_alive(pid), lambda alive: not alive)


def test_ctrl_c_leaves_none_behind(process):
    pid = only_child(process)
    process.process.send_signal(signal.SIGINT)
    assert process.end().status == 130
    assert not is_alive(pid)


def test_the_sockets_of_the_dead_are_swept_and_no_others(tmp_path, monkeypatch, station):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sockets = {}
    for name, age in (("dead", 100), ("new", 0), ("alive", 100)):
        path = tmp_path / f"arc-endpoint-{name}" / "run"
        path.parent.mkdir()
        sockets[name] = socket.socket(socket.AF_UNIX)
        sockets[name].bind(str(path))
        os.utime(path, (time.time() - age,) * 2)
    sockets["alive"].listen()
    with endpoint(server_config(), station.session):
        left = {path.name for path in tmp_path.iterdir()}
    for each in sockets.values():
        each.close()
    assert "arc-endpoint-dead" not in left
    assert {"arc-endpoint-new", "arc-endpoint-alive"} <= left
