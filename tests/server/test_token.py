"""A typed token is in no file, however the process starts and ends."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_cli import Outcome, call, run_here, tiny

import arc.evaluate
from arc.server import app, endpoint

SECRET = "a-secret-of-mine"
QUOTED = f'server.token="{SECRET}"'
FAILING = "training.batch_size=0"
STOP = "training.stop_at_step=1"  # without a test
SLOW = {  # like a case that is not slow
    *("plain", "quoted", "a refused value beside it", "finetune", "a mistyped key in a sweep"),
    *("a failing sweep", "an unknown key beside it"),
}
STARTS = {
    "plain": [f"server.token={SECRET}"],
    "quoted": [QUOTED],
    "added": [f"++server.token='{SECRET}'", STOP],
    "reserved characters": [f"server.token={SECRET}=({{"],
    "a sweep": [QUOTED, "-m", "seed=0,1", STOP],
    "a failing sweep": [f"server.token={SECRET}", "-m", f"{FAILING},-1"],
    "a refused key beside it": [f"server.token={SECRET}", "server.port=-1"],
    "an unknown key beside it": [f"server.token={SECRET}", "++server.prot=1"],
    "a mistyped key": [f"+server.tokn={SECRET}"],
    "a mistyped key in a sweep": [f"++server.tokn={SECRET}", "-m", "seed=0,1"],
    "a mapping": [f"++server={{token: {SECRET}}}"],
    "an unknown option beside it": [f"server.token={SECRET}", "task=selektion"],
    "a refused value beside it": [f"server.token={SECRET}", FAILING],
    "a token that is refused": [f"server.token='{SECRET} '"],
    "pretraining": [f"server.token={SECRET}", "mode=pretrain", "pretrain=binary"],
    "resume": [f"server.token={SECRET}", "resume=none"],
    "finetune": [f"server.token={SECRET}", "finetune=none"],
    "a taken port": [f"server.token={SECRET}", "server.host=192.0.2.7", "server.required=true"],
}


def assert_written_nowhere(folder: Path, outcome: Outcome) -> None:
    assert SECRET not in outcome.out + outcome.err
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
        assert SECRET not in path.name


def small(corpus: Path, folder: Path) -> list[str]:
    typed = [*tiny(corpus, steps=1), "task=reconstruction", "server.port=0", "pretrain.epochs=1"]
    typed.remove("server.enabled=false")
    return [
        *typed,
        f"hydra.sweep.dir={folder / 'sweep'}",
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
    ]


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in STARTS]
)
def test_a_typed_token_is_written_nowhere(case: str, arc_folder: Path, tmp_path: Path) -> None:
    outcome = run_here(tmp_path, *small(arc_folder, tmp_path), *STARTS[case])
    assert "Traceback" not in outcome.err
    assert_written_nowhere(tmp_path, outcome)


def test_a_resumed_run_and_its_evaluation_store_no_token(arc_folder: Path, tmp_path: Path) -> None:
    typed = small(arc_folder, tmp_path)
    run_here(tmp_path, *typed, "run_name=mine", f"server.token={SECRET}")
    resumed = ["run_name=mine", "resume=auto", "training.max_steps=2", QUOTED]
    outcome = run_here(tmp_path, *(each for each in typed if "max_steps" not in each), *resumed)
    assert outcome.status == 0, outcome.err
    assert_written_nowhere(tmp_path, outcome)
    path = f"path={tmp_path / 'checkpoints' / 'mine_last.pth'}"
    output = f"output={tmp_path / 'results.json'}"
    refused = call(arc.evaluate.main, path, output, f"++server.token={SECRET}")
    assert "server" in refused.complaint
    assert_written_nowhere(tmp_path, refused)


@pytest.mark.parametrize(
    ("typed", "status"),
    [([], 401), (["server.token=null"], 200), (["server.token='${oc.env:OTHER}'"], 401)],
)
def test_the_token_may_come_from_the_environment(
    typed: list[str], status: int, arc_folder: Path, tmp_path: Path, seen: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("ARC_TOKEN", SECRET)
    monkeypatch.setenv("OTHER", SECRET[::-1])
    outcome = run_here(tmp_path, *small(arc_folder, tmp_path), *typed, STOP)
    assert outcome.status == 0, outcome.err
    (client,) = seen
    assert client.get("/status").status_code == status
    token = SECRET[::-1] if typed else SECRET
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/status", headers=headers).status_code == 200


def test_a_token_is_made_and_shown_as_a_link(arc_folder: Path, tmp_path: Path, seen: Any) -> None:
    outcome = run_here(tmp_path, *small(arc_folder, tmp_path), "server.token=auto", STOP)
    (link,) = re.findall(r"^http://localhost:\d+/#token=(\S{16,})$", outcome.err, re.MULTILINE)
    (client,) = seen
    assert client.get("/status").status_code == 401
    headers = {"Authorization": f"Bearer {link}"}
    assert client.get("/status", headers=headers).status_code == 200
    assert link not in client.get("/log", headers=headers).text
    assert not [
        each
        for each in tmp_path.rglob("*")
        if each.is_file() and link.encode() in each.read_bytes()
    ]


@pytest.mark.parametrize(
    "token",
    [
        *("short", "ümlaut-token"),
        pytest.param("with spaces in it", marks=pytest.mark.slow),
        pytest.param("", marks=pytest.mark.slow),
    ],
)
def test_a_weak_token_is_refused_and_not_repeated(
    token: str, arc_folder: Path, tmp_path: Path
) -> None:
    typed = f"server.token='{token}'"
    complaint = run_here(tmp_path, *small(arc_folder, tmp_path), typed).complaint
    assert complaint.startswith("server.token=***: must be auto, or at least 8")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Clients of the applications that a process serves."""
    clients: list[Any] = []
    create: Callable[..., Any] = app.create_app

    def create_app(*given: Any) -> Any:
        made = create(*given)
        clients.append(made.test_client())
        return made

    monkeypatch.setattr(endpoint, "create_app", create_app)
    return clients
