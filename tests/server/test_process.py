"""The endpoint of a real process: its start, its end, and its files."""

import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import call, finish, run_here, start, tiny
from helpers_served import Served

import arc.train
from arc.config.schema import ServerConfig
from arc.server.app import create_app
from arc.server.endpoint import guard_of
from arc.server.session import Session

ENABLED = "server.enabled=true"


@pytest.fixture
def process(arc_folder: Path, tmp_path: Path) -> Iterator[Served]:
    with Served.started(tmp_path, arc_folder) as process:
        yield process


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def brief(corpus: Path, *more: str) -> list[str]:
    stopped = "training.stop_at_step=1"  # without a test
    return [*tiny(corpus, steps=2), "task=reconstruction", ENABLED, stopped, *more]


def test_ctrl_c_ends_an_idle_process(process: Served) -> None:
    process.training()
    process.idle()
    process.process.send_signal(signal.SIGINT)
    outcome = process.end()
    assert outcome.status == 130
    assert "Traceback" not in outcome.err


def test_ctrl_c_saves_a_run_started_by_a_request(process: Served) -> None:
    status = process.training()
    process.process.send_signal(signal.SIGINT)
    assert process.end().status == 130
    saved = torch.load(process.checkpoints / f"{status['run_name']}_last.pth")
    assert saved["step"] >= status["step"]


def test_a_taken_port_does_not_end_a_run(taken: int, arc_folder: Path, tmp_path: Path) -> None:
    outcome = run_here(tmp_path, *brief(arc_folder, f"server.port={taken}"))
    assert outcome.status == 0
    (line,) = [line for line in outcome.err.splitlines() if str(taken) in line]
    assert f"server.port={taken}" in line
    assert "set server.port=" in line


@pytest.mark.parametrize("need", ["server.required=true", "server.autostart=false"])
def test_a_taken_port_ends_a_process_that_needs_it(
    need: str, taken: int, arc_folder: Path, tmp_path: Path
) -> None:
    outcome = run_here(tmp_path, *brief(arc_folder, f"server.port={taken}", need))
    assert outcome.status == 1
    assert f"error: server.port={taken}" in outcome.err
    assert "set server.port=" in outcome.err
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", *(pytest.param(each, marks=pytest.mark.slow) for each in ("::", "192.0.2.7"))],
)
def test_a_public_address_needs_a_token(host: str, arc_folder: Path, tmp_path: Path) -> None:
    complaint = run_here(tmp_path, *brief(arc_folder, f"server.host='{host}'")).complaint
    assert "server" in complaint
    assert "server.token" in complaint


def exits(*given: Any, **options: Any) -> None:
    raise SystemExit("a library's exit")


def exhausted(*given: Any, **options: Any) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


FAULTS = {
    "an exit of a library": ("arc.server.endpoint.create_app", exits),
    "no descriptor for the socket": ("socket.create_server", exhausted),
    "no descriptor for the server": ("waitress.trigger.os.pipe", exhausted),
}


@pytest.mark.parametrize(
    ("fault", "need"),
    [
        *((fault, "server.required=false") for fault in FAULTS),
        ("an exit of a library", "server.required=true"),
    ],
)
def test_an_endpoint_that_cannot_start_does_not_end_a_run(
    fault: str, need: str, arc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*FAULTS[fault])
    outcome = run_here(tmp_path, *brief(arc_folder, "server.port=0", need))
    (line,) = [line for line in outcome.err.splitlines() if "server.port=0" in line]
    assert "set server.port" not in line
    assert "Traceback" not in outcome.err
    assert outcome.status == (1 if need == "server.required=true" else 0)
    assert bool(list(tmp_path.rglob("*_last.pth"))) == (outcome.status == 0)


def test_the_published_log_begins_with_the_first_line_of_the_run(
    arc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Session] = []

    def session(*given: Any, **options: Any) -> Session:
        published.append(Session(*given, **options))
        return published[0]

    monkeypatch.setattr("arc.server.process.Session", session)
    outcome = run_here(tmp_path, *brief(arc_folder, "server.port=0"))
    texts = [line["text"] for line in published[0].status.lines(0)]
    printed = [line[10:] for line in outcome.err.splitlines()]
    assert texts == printed
    assert texts[0].startswith("run reconstruction_")


def test_the_settings_of_a_resumed_run_are_its_own(
    arc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_here(tmp_path, *brief(arc_folder, "bottleneck=autoencoder")).status == 0
    (last,) = tmp_path.rglob("*_last.pth")
    seen: list[Any] = []

    @contextmanager
    def asked(config: ServerConfig, session: Session) -> Iterator[None]:
        client = create_app(session, guard_of(config)).test_client()
        routes = ("/task_config", "/task_schema", "/status", "/list_checkpoints", "/runs")
        seen.append([client.get(route).get_json() for route in routes])  # before the run
        yield
        seen.append([client.get(route).get_json() for route in routes])  # after it

    monkeypatch.setattr("arc.server.process.endpoint", asked)
    more = ["server.port=0", "device=cpu", "training.stop_at_step=2", "bottleneck.noise=0.2"]
    call(arc.train.main, f"resume={last}", f"hydra.run.dir={tmp_path / 'out'}", *more)
    assert len(seen) == 2
    for settings, schema, status, files, runs in seen:
        assert (settings["bottleneck_type"], settings["batch_size"]) == ("autoencoder", 16)
        assert schema["values"].items() >= settings.items()
        assert status.items() >= settings.items()
        assert files["checkpoints"]
        assert runs["runs"]


def test_closed_standard_streams_are_opened(tmp_path: Path) -> None:
    script = (
        "import os, sys; from arc.terminal.streams import open_standard_streams\n"
        "os.close(0); os.close(1); os.close(2); sys.stdout = None; open_standard_streams()\n"
        "print('x'); number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "os.write(number, str(number).encode())"
    )
    assert finish(start(tmp_path, "written", script=script)).status == 0
    assert int((tmp_path / "written").read_text()) > 2


@pytest.mark.parametrize(("typed", "pages"), [([], 0), (["server.port=0"], 2)])
def test_a_sweep_has_an_endpoint_only_if_it_is_configured(
    typed: list[str], pages: int, arc_folder: Path, tmp_path: Path
) -> None:
    sweep = ["seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}", "task=reconstruction"]
    small = [each for each in tiny(arc_folder, steps=2) if not each.startswith("server.")]
    small.append("training.stop_at_step=1")  # without a test
    outcome = run_here(tmp_path, *sweep, *small, *typed, "-m")
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("dashboard: ") == pages
