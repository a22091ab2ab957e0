"""The endpoint of a real process: its beginning, its end, and what only a socket shows."""

import json
import signal
import socket

import pytest
import torch
from helpers_cli import run_here, tiny
from helpers_served import served

from arc.server.security import BODY_LIMIT

ENABLED = "server.enabled=true"


@pytest.fixture
def process(arc_folder, tmp_path):
    with served(tmp_path, arc_folder) as process:
        yield process


@pytest.fixture
def taken():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def brief(corpus, *more):
    return [*tiny(corpus, steps=2), "task=reconstruction", ENABLED, *more]


def test_ctrl_c_ends_a_process_that_waits_after_a_run(process):
    process.training()
    process.idle()
    process.process.send_signal(signal.SIGINT)
    outcome = process.end()
    assert outcome.status == 130
    assert "Traceback" not in outcome.err


def test_ctrl_c_during_a_run_that_was_asked_for_saves_it(process):
    status = process.training()
    process.process.send_signal(signal.SIGINT)
    assert process.end().status == 130
    saved = torch.load(process.checkpoints / f"{status['run_name']}_last.pth")
    assert saved["step"] >= status["step"]


def test_a_stored_configuration_is_what_was_posted(serving):
    posted = {"hidden_dim": 16, "vocab_size": 9, "temperature": 0.5, "max_grids": 60}
    serving.idle()
    serving.post("/task_config", posted)
    serving.save("mine")
    saved = torch.load(serving.checkpoints / "mine.pth")
    assert {key: saved[key] for key in posted} == posted
    assert saved["config"]["model"]["hidden_dim"] == 16
    assert "server" not in saved["config"]


def test_a_body_without_a_length_has_the_same_limit(serving):
    serving.idle()
    chunks = (b" " * 1024 for _ in range(2 * BODY_LIMIT // 1024))
    status, content = serving.ask("POST", "/task_config", chunks, encode_chunked=True)
    assert status == 413
    assert str(BODY_LIMIT) in json.loads(content)["error"]


def test_a_body_without_a_length_is_read(serving):
    serving.idle()
    chunks = iter([b'{"batch', b'_size": 8}'])
    status, content = serving.ask("POST", "/task_config", chunks, encode_chunked=True)
    assert (status, json.loads(content)["batch_size"]) == (200, 8)


def test_a_client_that_goes_away_harms_nobody(serving):
    with socket.create_connection(("127.0.0.1", serving.port)) as client:
        client.sendall(
            b"POST /task_config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        )
    assert serving.get("/status")["state"]


def test_a_taken_port_does_not_end_a_run(taken, arc_folder, tmp_path):
    outcome = run_here(tmp_path, *brief(arc_folder, f"server.port={taken}"))
    assert outcome.status == 0
    (line,) = [line for line in outcome.err.splitlines() if str(taken) in line]
    assert f"server.port={taken}" in line
    assert "set server.port=" in line


@pytest.mark.parametrize("need", ["server.required=true", "server.autostart=false"])
def test_a_taken_port_ends_what_has_no_use_without_it(need, taken, arc_folder, tmp_path):
    outcome = run_here(tmp_path, *brief(arc_folder, f"server.port={taken}", need))
    assert outcome.status == 1
    assert f"error: server.port={taken}" in outcome.err
    assert "set server.port=" in outcome.err
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_an_address_that_others_reach_needs_a_token(host, arc_folder, tmp_path):
    complaint = run_here(tmp_path, *brief(arc_folder, f"server.host='{host}'")).complaint
    assert "server" in complaint
    assert "server.token" in complaint


def test_the_token_is_told_nowhere(arc_folder, tmp_path):
    secret = "a-secret-of-mine"
    told = run_here(tmp_path, *brief(arc_folder, "server.port=0", f"server.token={secret}"))
    assert told.status == 0
    assert secret not in told.out + told.err
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(("typed", "pages"), [([], 0), (["server.port=0"], 2)])
def test_a_sweep_has_an_endpoint_only_if_it_was_asked_for(typed, pages, arc_folder, tmp_path):
    sweep = ["seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}", "task=reconstruction"]
    small = [each for each in tiny(arc_folder, steps=1) if not each.startswith("server.")]
    outcome = run_here(tmp_path, *sweep, *small, *typed, "-m")
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("page and control") == pages
