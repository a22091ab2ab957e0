"""The routes that compare runs: of a page of its own, and of a process that trains."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from helpers_runs import write_run
from helpers_served import Client
from helpers_station import Station
from hydra import initialize_config_dir

from arc.config.files import ConfigError, config_folder
from arc.runs.next_run import NextRun
from arc.server.app import create_runs_app
from arc.server.runs_page import runs_page, serve_runs
from arc.server.runs_view import MOST_RUNS, RunsView
from arc.server.security import Guard
from arc.server.session import Session

TOKEN = "secret"
GUARD = Guard(("localhost",), None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seeds of one setting, of which one still runs."""
    write_run(tmp_path / "jobs" / "0", 10.0, curve=(1.0, 3.0), steps=20)
    write_run(tmp_path / "jobs" / "1", state="running", curve=(5.0,), seed=1, status={"step": 12})
    return tmp_path / "jobs"


def client_of(folder: Path, guard: Guard = GUARD) -> FlaskClient:
    return create_runs_app(RunsView(lambda: [folder]), guard).test_client()


def get(client: FlaskClient, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.get_json()


def test_runs_lists_runs_and_groups(folder: Path) -> None:
    answer = get(client_of(folder), "/runs")
    assert answer["folders"] == [str(folder)]
    assert answer["curves"][0] == "val_acc"
    assert [(run["state"], run["step"]) for run in answer["runs"]] == [
        ("finished", 100),
        ("running", 12),
    ]
    (group,) = answer["groups"]
    assert group["runs"] == [run["id"] for run in answer["runs"]]
    assert (group["label"], group["n"], group["mean"]) == ("all runs", 1, 10.0)


def test_run_curves_are_those_of_runs_and_groups(folder: Path) -> None:
    client = client_of(folder)
    table = get(client, "/runs")
    group, run = table["groups"][0]["id"], table["runs"][0]["id"]
    answer = get(client, f"/run_curves?name=val_acc&of={group},{run},gone")
    assert answer == {
        "name": "val_acc",
        "curves": [
            {
                "id": group,
                "runs": 2,
                "steps": [10, 20],
                "mean": [3.0, 3.0],
                "low": [1.0, 3.0],
                "high": [5.0, 3.0],
            },
            {"id": run, "runs": 1, "steps": [10, 20], "mean": [1.0, 3.0]},
        ],
    }
    loss = get(client, f"/run_curves?name=loss&of={group}")["curves"][0]
    assert (loss["runs"], len(loss["steps"])) == (1, 20)
    assert get(client, f"/run_curves?name=nonsense&of={group}")["curves"] == []


@pytest.mark.parametrize("query", ["", "name=val_acc", f"name=x&of={',' * MOST_RUNS}"])
def test_a_bad_query_is_400(folder: Path, query: str) -> None:
    assert "of" in get(client_of(folder), f"/run_curves?{query}", 400)["error"]


def test_a_folder_that_was_removed_is_400(tmp_path: Path) -> None:
    assert "no such folder" in get(client_of(tmp_path / "gone"), "/runs", 400)["error"]


def test_the_latest_runs_are_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(folder / "0", (1e9, 1e9))
    monkeypatch.setattr("arc.server.runs_view.MOST_RUNS", 1)
    (run,) = get(client_of(folder), "/runs")["runs"]
    assert run["folder"] == str(folder / "1")


def test_the_page_of_runs_is_guarded(folder: Path) -> None:
    client = client_of(folder, Guard(("localhost",), TOKEN))
    with client.get("/") as page:
        assert b"static/runs.js" in page.data
    get(client, "/runs", 401)
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/runs", headers=with_token).status_code == 200
    assert client.get("/runs", headers=with_token | {"Host": "evil.example"}).status_code == 403
    assert client.get("/run_curves", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/start_train", headers=with_token).status_code == 404


def test_the_folders_of_a_process_are_its_checkpoints_and_outputs(tmp_path: Path) -> None:
    """A job of a sweep shows all jobs, once: its own checkpoints are below the sweep's folder."""
    job = tmp_path / "sweep" / "0"
    (job / "checkpoints").mkdir(parents=True)
    typed = [f"checkpoint.dir={job / 'checkpoints'}"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        session = Session(NextRun(typed), exit_after_run=False, outputs=[tmp_path / "sweep"])
        assert session.run_folders() == [tmp_path / "sweep"]
        session = Session(NextRun(typed), exit_after_run=False, outputs=[tmp_path / "none"])
        assert session.run_folders() == [job / "checkpoints"]


def test_a_process_shows_the_runs_of_its_checkpoint_folder(trained: Station) -> None:
    answer = get(trained.client, "/runs")
    assert answer["folders"] == [str(trained.session.folder)]
    (run,) = answer["runs"]
    assert run["metric"].startswith("test.")
    assert run["best"].endswith("_best.pth")


def test_a_token_is_made_and_shown_as_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(line: str) -> None:
        match = re.fullmatch(r"runs: http://localhost:(\d+)/#token=(\S{16,})  .*", line)
        assert match is not None, line
        client = Client(int(match[1]), folder)
        assert client.ask("GET", "/runs", headers={"Authorization": "Bearer auto"})[0] == 401
        headers = {"Authorization": f"Bearer {match[2]}"}
        assert client.ask("GET", "/runs", headers=headers)[0] == 200
        raise EOFError

    monkeypatch.setattr("arc.server.runs_page.show", shown)
    with pytest.raises(EOFError):
        serve_runs([folder], 0, "auto")


def test_a_weak_token_is_refused_and_not_repeated(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^ARC_TOKEN=\*\*\*: must be auto, or at least 8"):
        serve_runs([folder], 0, "short")


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"--port={port}: .*in use"),
            runs_page([folder], port, None),
        ):
            pass
