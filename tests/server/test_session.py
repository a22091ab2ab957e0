"""The lifecycle of runs in one process, through its endpoint."""

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
from helpers_cli import until
from helpers_station import Station

from arc.runs.run import build_run
from arc.training.events import EvaluationEvent

Monkey = pytest.MonkeyPatch
BRIEF = ["training.max_steps=2", "data.test=null", "metric=[]"]


def saved(station: Station, name: str) -> dict[str, Any]:
    return torch.load(Path(station.session.folder) / f"{name}.pth")


def test_a_process_is_idle_before_and_after_a_run(station: Station) -> None:
    assert station.get("/status")["state"] == "idle"
    assert station.post("/start_train") == {"status": "started", "mode": "train"}
    status = station.stepped(2)
    assert (status["running"], status["mode"], status["state"]) == (True, "train", "training")
    assert station.post("/stop") == {"status": "stopped"}
    status = station.idle()
    assert (status["running"], status["mode"], status["outcome"]) == (False, None, "stopped")
    assert (station.session.folder / f"{status['run_name']}_last.pth").exists()


def test_a_pretraining_has_its_own_state(station: Station) -> None:
    endless = {"overrides": ["pretrain.epochs=100000"]}
    assert station.post("/start_pretrain", endless)["mode"] == "pretrain"
    status = station.stepped()
    assert (status["state"], status["mode"]) == ("pretraining", "pretrain")
    assert "pretraining" in station.post("/save_checkpoint", status=400)["error"]


def test_the_results_of_a_finished_run_are_published(trained: Station) -> None:
    name = trained.get("/status")["run_name"]
    results = json.loads((trained.session.folder / f"{name}_results.json").read_text())
    assert results["steps"] == 5
    published = trained.get("/results")
    assert published["results"] == {key: value for key, value in results.items() if key != "config"}
    assert "same size" in published["table"]


def test_a_request_that_does_not_fit_the_state_is_refused(station: Station) -> None:
    assert station.post("/stop", status=400)["error"] == "nothing is running"
    assert "no training" in station.post("/save_checkpoint", status=400)["error"]
    station.post("/start_train")
    for start in ("/start_train", "/start_pretrain"):
        assert "in progress" in station.post(start, status=400)["error"]
    assert "stop it first" in station.post("/task_config", {"batch_size": 8}, 409)["error"]
    station.post("/stop")
    station.idle()
    assert station.post("/task_config", {"batch_size": 8})["batch_size"] == 8


def test_a_stop_takes_effect_after_the_current_step_and_a_start_waits_for_it(
    station: Station,
) -> None:
    step = station.start("run_name=first")["step"]
    station.hold()
    step = max(step, station.get("/status")["step"])
    station.post("/stop")
    assert station.get("/status")["state"] == "stopping"
    second = {"overrides": ["run_name=second"]}
    waiting = station.request("/start_train", method="POST", json=second)
    waiting.join(0.2)
    assert waiting.is_alive()
    station.go_on()
    waiting.join(60)
    assert waiting.answer.status_code == 200
    station.until(lambda status: status["run_name"] == "second" and status["step"])
    assert saved(station, "first_last")["step"] <= step + 1


def test_one_start_waits_for_a_stop_and_others_are_refused(station: Station) -> None:
    station.start()
    station.hold()
    station.post("/stop")
    waiting = [station.request("/start_train", method="POST") for _ in range(3)]
    until(lambda: sum(each.is_alive() for each in waiting), lambda alive: alive == 1)
    station.go_on()
    for each in waiting:
        each.join(60)
    assert sorted(each.answer.status_code for each in waiting) == [200, 400, 400]
    run = station.until(lambda status: status["step"])["run_id"]
    station.post("/stop")
    assert station.idle()["run_id"] == run, "a start that was refused began a run"


def test_a_stop_before_the_run_is_built(station: Station, monkeypatch: Monkey) -> None:
    made = threading.Event()
    monkeypatch.setattr(
        "helpers_station.build_run", lambda *given: made.wait() and build_run(*given)
    )
    station.post("/start_train")
    station.post("/stop")
    made.set()
    status = station.idle()
    assert status["outcome"] == "stopped"
    assert status["step"] is None


def test_a_save_right_after_a_start_is_written_and_its_name_needs_overwrite(
    station: Station,
) -> None:
    station.post("/start_train")
    answer = station.post("/save_checkpoint", {"name": "early"})
    assert answer == {
        "status": "requested",
        "checkpoint_name": "early",
        "message": "Checkpoint save requested: early",
    }
    station.written()
    first = saved(station, "early")["step"]
    assert first >= 1
    assert "exists" in station.post("/save_checkpoint", {"name": "early"}, 409)["error"]
    station.stepped(first + 2)
    station.post("/save_checkpoint", {"name": "early", "overwrite": True})
    station.written()
    assert saved(station, "early")["step"] > first


def test_saves_have_increasing_numbers_over_all_runs(station: Station) -> None:
    numbers = []
    for _ in range(2):
        station.start()
        for name in ("one", "other"):
            station.post("/save_checkpoint", {"name": name, "overwrite": True})
            station.written()
        station.post("/stop")
        numbers += [save["number"] for save in station.idle()["recent_saves"]]
    assert len(numbers) >= 6
    assert numbers == sorted(set(numbers))


def test_saves_without_a_name_are_numbered(station: Station) -> None:
    station.start("training.batch_size=4")
    station.hold()
    epoch = station.get("/status")["epoch"]
    names = [station.post("/save_checkpoint")["checkpoint_name"] for _ in range(3)]
    base = f"manual_checkpoint_epoch_{epoch}"
    assert names == [base, f"{base}_2", f"{base}_3"]
    assert set(names) <= set(station.get("/status")["pending_saves"])
    station.go_on()
    station.written()
    assert all(saved(station, name)["epoch"] in (epoch, epoch + 1) for name in names)


def test_a_run_follows_one_that_failed_to_build(station: Station) -> None:
    bad = ["data.path=/nowhere/at/all", "run_name=bad"]
    station.post("/start_train", {"overrides": bad})
    status = station.until(lambda status: status["state"] == "idle" and status["outcome"])
    assert status["outcome"] == "failed"
    assert "/nowhere/at/all" in status["error"]
    station.finish(*BRIEF)


@pytest.mark.parametrize(
    "overrides",
    [["task=selektion"], ["bottleneck.vocab_size=1"], ["server.port=1"], "task=selection", [3]],
)
def test_an_invalid_start_is_refused(trained: Station, overrides: Any) -> None:
    assert trained.post("/start_train", {"overrides": overrides}, 400)["error"]
    assert trained.get("/status")["state"] == "idle"


def test_each_run_has_its_own_settings(station: Station) -> None:
    seen = []
    for overrides in (
        ["task=reconstruction", "bottleneck=autoencoder", "model.hidden_dim=8"],
        ["task=puzzle_classification", "bottleneck.vocab_size=7"],
    ):
        station.post("/start_train", {"overrides": [*overrides, *BRIEF]})
        status = station.idle()
        seen.append((status["task_type"], status["bottleneck_type"], status["vocab_size"]))
        assert saved(station, f"{status['run_name']}_last")["task_type"] == status["task_type"]
    assert seen == [
        ("reconstruction", "autoencoder", None),
        ("puzzle_classification", "communication", 7),
    ]


def test_resume_and_finetune_by_name(station: Station) -> None:
    name = station.finish("training.max_steps=5", *BRIEF[1:])["run_name"]
    station.post("/start_train", {"resume": f"{name}_last", "overrides": ["training.max_steps=8"]})
    assert station.idle()["step"] == 8
    station.post("/start_train", {"resume": f"{name}_last"})  # it has its full length
    status = station.idle()
    assert (status["outcome"], status["step"]) == ("finished", None)
    assert (status["run_name"], status["folder"]) == (name, str(station.session.folder))
    assert station.get("/results")["results"]["steps"] == 8
    assert station.get("/samples")["samples"] == []
    station.post(
        "/start_train",
        {"finetune": f"{name}_last.pth", "overrides": ["training.learning_rate=1e-5"]},
    )
    status = station.idle()
    assert (status["step"], status["learning_rate"]) == (8, 1e-5)
    origin = saved(station, f"{status['run_name']}_last")["started_from"][-1]
    assert origin == f"finetune {name}_last.pth step 8"


def test_a_checkpoint_may_have_the_name_of_any_run(station: Station) -> None:
    run = "lr=0.1,beta=1e+3," + 83 * "x"
    stem = f"{run}_last"
    station.finish(f"run_name='{run}'", *BRIEF)
    asked = {"query_string": {"name": stem}}
    assert station.client.get("/checkpoint", **asked).get_json()["metadata"]["step"] == 2
    with station.client.get(f"/download/{quote(stem)}.pth") as answer:
        assert answer.status_code == 200
    station.post("/start_train", {"finetune": stem, "overrides": BRIEF})
    assert station.idle()["outcome"] == "finished"
    station.post("/start_train", {"resume": stem, "overrides": ["training.max_steps=4"]})
    assert station.idle()["step"] == 4


def test_an_invalid_origin_is_refused(trained: Station) -> None:
    name = trained.get("/status")["run_name"]
    both = {"resume": f"{name}_last", "finetune": f"{name}_best"}
    assert "mutually exclusive" in trained.post("/start_train", both, 400)["error"]
    assert "absent" in trained.post("/start_train", {"resume": "absent"}, 404)["error"]


def test_a_run_and_its_checkpoint_have_the_posted_settings(station: Station) -> None:
    changed = {"vocab_size": 9, "learning_rate": 1e-4, "num_epochs": 1, "max_grids": 48}
    answer = station.post("/task_config", changed)
    assert answer["status"] == "success"
    assert {key: answer[key] for key in changed} == changed
    station.post("/start_train", {"overrides": BRIEF[1:]})
    content = saved(station, f"{station.idle()['run_name']}_last")
    assert {key: content[key] for key in changed} == changed
    assert content["config"]["bottleneck"]["vocab_size"] == 9


def test_true_selects_the_newest_pretrained_encoder(station: Station) -> None:
    station.post("/start_pretrain", {"overrides": ["pretrain.epochs=1"]})
    station.idle()
    (row,) = station.get("/pretrained_encoders")["encoders"]
    assert set(row) == {"filename", "path", "task_type", "val_acc", "epoch"}
    assert row["task_type"] == "selection"
    assert station.post("/task_config", {"use_pretrained": True})["use_pretrained"] is True
    station.post("/start_train", {"overrides": BRIEF})
    content = saved(station, f"{station.idle()['run_name']}_last")
    assert content["started_from"][0].startswith(f"encoder.pretrained {row['filename']}")
    assert content["use_pretrained"] is True


def test_a_query_is_answered_during_a_run_and_after_it_but_not_without_steps(
    station: Station, monkeypatch: Monkey
) -> None:
    station.start()
    name = station.example
    station.hold()
    with monkeypatch.context() as patch:
        patch.setattr("arc.server.session.Session.ask.__defaults__", (0.05,))
        assert "did not answer" in station.get(f"/probe?example={name}", 503)["error"]
    station.go_on()
    assert station.get(f"/probe?example={name}")["example"] == name
    station.post("/stop")
    station.idle()
    assert station.get(f"/probe?example={name}")["example"] == name


def test_after_shutdown_nothing_starts(station: Station) -> None:
    station.session.shutdown()
    assert "ends" in station.post("/start_train", status=400)["error"]
    assert "no model" in station.get("/probe?example=x", 400)["error"]


@pytest.fixture
def testing(station: Station, monkeypatch: Monkey) -> Station:
    """A station whose run is held in its final evaluation."""
    monkeypatch.setattr("arc.runs.results.REPORT_EVERY_SECONDS", 0.0)
    station.hold_at(EvaluationEvent)
    station.post("/start_train", {"overrides": ["training.max_steps=3"]})
    station.wait_until_held()
    return station


def test_the_test_phase_shows_its_progress_and_samples(testing: Station) -> None:
    status = testing.get("/status")
    assert testing.get("/language")["total"] > 0
    assert testing.get("/examples")["examples"]
    assert (status["state"], status["mode"], status["outcome"]) == ("testing", "train", "finished")
    assert status["testing"]["stage"]
    assert 0 <= status["testing"]["progress"] <= 1
    assert "no training" in testing.post("/save_checkpoint", status=400)["error"]
    testing.go_on()
    assert testing.idle()["testing"] is None
    assert testing.get("/results")["results"]["test"]
    assert testing.get("/samples")["run_id"] == status["run_id"]


def test_a_stop_in_the_test_phase_keeps_results_so_far(testing: Station) -> None:
    assert testing.post("/stop") == {"status": "stopped"}
    assert testing.get("/status")["state"] == "stopping"
    testing.go_on()
    assert testing.idle()["outcome"] == "stopped"
    assert testing.get("/results")["results"]["stopped"]
