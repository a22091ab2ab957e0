"""What a process is doing, from one run to the next, as the endpoint tells and steers it."""

import json
import threading
from pathlib import Path

import pytest
import torch
from helpers_station import Station

from arc.runs.run import make_run


def saved(station: Station, name: str) -> dict:
    return torch.load(Path(station.session.folder) / f"{name}.pth")


def test_it_waits_trains_and_waits_again(station):
    assert station.get("/status")["state"] == "idle"
    assert station.post("/start_train") == {"status": "started", "mode": "train"}
    status = station.stepped(2)
    assert (status["running"], status["mode"], status["state"]) == (True, "train", "training")
    assert station.post("/stop") == {"status": "stopped"}
    status = station.idle()
    assert (status["running"], status["mode"], status["outcome"]) == (False, None, "stopped")
    assert (station.session.folder / f"{status['run_name']}_last.pth").exists()


def test_a_pretraining_says_so(station):
    assert station.post("/start_pretrain")["mode"] == "pretrain"
    status = station.stepped()
    assert (status["state"], status["mode"]) == ("pretraining", "pretrain")
    assert "pretraining" in station.post("/save_checkpoint", status=400)["error"]


def test_a_finished_run_is_tested_and_says_so(station):
    station.post("/start_train", {"overrides": ["training.max_steps=3", "run_name=short"]})
    assert station.idle()["outcome"] == "finished"
    results = json.loads((station.session.folder / "short_results.json").read_text())
    assert results["steps"] == 3
    told = station.get("/results")
    assert told["results"] == {key: value for key, value in results.items() if key != "config"}
    assert "same size" in told["table"]


def test_one_run_at_a_time(station):
    station.post("/start_train")
    for start in ("/start_train", "/start_pretrain"):
        assert "under way" in station.post(start, status=400)["error"]


def test_there_is_nothing_to_stop_or_save_while_idle(station):
    assert station.post("/stop", status=400)["error"] == "nothing is running"
    assert "no training" in station.post("/save_checkpoint", status=400)["error"]


def test_a_stop_waits_for_the_step_under_way_and_no_longer(station):
    station.post("/start_train")
    step = station.stepped(2)["step"]
    station.hold()
    step = max(step, station.get("/status")["step"])
    station.post("/stop")
    assert station.get("/status")["state"] == "stopping"
    station.go_on()
    assert station.idle()["step"] <= step + 1


def test_a_start_while_a_run_is_stopping_waits_for_it(station):
    station.post("/start_train", {"overrides": ["run_name=first"]})
    station.stepped()
    station.hold()
    station.post("/stop")
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(
            station.app.test_client().post("/start_train", json={"overrides": ["run_name=second"]})
        )
    )
    asking.start()
    asking.join(0.2)
    assert asking.is_alive()
    station.go_on()
    asking.join(60)
    assert answers[0].status_code == 200
    station.until(lambda status: status["run_name"] == "second" and status["step"])
    assert (station.session.folder / "first_last.pth").exists()


def test_of_those_who_wait_for_a_stop_one_starts_and_the_rest_are_told_at_once(station):
    station.post("/start_train")
    station.stepped()
    station.hold()
    station.post("/stop")
    answers = []
    asking = [
        threading.Thread(
            target=lambda: answers.append(station.app.test_client().post("/start_train"))
        )
        for _ in range(3)
    ]
    for each in asking:
        each.start()
    station.go_on()
    for each in asking:
        each.join(20)
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    run = station.until(lambda status: status["step"])["run_id"]
    station.post("/stop")
    assert station.idle()["run_id"] == run, "a start that was refused began a run after all"


def test_with_nobody_left_to_ask_what_is_under_way_is_the_last(station):
    station.post("/start_train", {"overrides": ["training.max_steps=5"]})
    station.session.abandon()
    station.thread.join(60)
    assert not station.thread.is_alive()
    assert station.get("/status")["outcome"] == "finished"


def test_a_stop_before_the_run_is_made_is_not_lost(station, monkeypatch):
    made = threading.Event()
    monkeypatch.setattr("helpers_station.make_run", lambda *given: made.wait() and make_run(*given))
    station.post("/start_train")
    station.post("/stop")
    made.set()
    status = station.idle()
    assert status["outcome"] == "stopped"
    assert status["step"] is None


def test_a_save_right_after_a_start_is_written(station):
    station.post("/start_train")
    answer = station.post("/save_checkpoint", {"name": "early"})
    assert answer == {
        "status": "requested",
        "checkpoint_name": "early",
        "message": "Checkpoint save requested: early",
    }
    station.until(lambda status: status["last_save"] and not status["pending_saves"])
    assert saved(station, "early")["step"] >= 1


def test_saves_without_a_name_are_numbered(station):
    station.post("/start_train", {"overrides": ["training.batch_size=4"]})
    station.stepped()
    station.hold()
    epoch = station.get("/status")["epoch"]
    names = [station.post("/save_checkpoint")["checkpoint_name"] for _ in range(3)]
    base = f"manual_checkpoint_epoch_{epoch}"
    assert names == [base, f"{base}_2", f"{base}_3"]
    assert set(names) <= set(station.get("/status")["pending_saves"])
    station.go_on()
    station.until(lambda status: not status["pending_saves"])
    assert all(saved(station, name)["epoch"] in (epoch, epoch + 1) for name in names)


def test_a_name_that_is_taken_needs_overwrite(station):
    station.post("/start_train")
    station.post("/save_checkpoint", {"name": "mine"})
    station.until(lambda status: status["last_save"] and not status["pending_saves"])
    first = saved(station, "mine")["step"]
    assert "exists" in station.post("/save_checkpoint", {"name": "mine"}, 409)["error"]
    station.stepped(first + 2)
    station.post("/save_checkpoint", {"name": "mine", "overwrite": True})
    station.until(lambda status: not status["pending_saves"])
    assert saved(station, "mine")["step"] > first


def test_a_run_that_cannot_be_made_is_told_and_the_next_one_runs(station):
    bad = ["data.path=/nowhere/at/all", "run_name=bad"]
    station.post("/start_train", {"overrides": bad})
    status = station.until(lambda status: status["state"] == "idle" and status["outcome"])
    assert status["outcome"] == "failed"
    assert "/nowhere/at/all" in status["error"]
    station.post("/start_train", {"overrides": ["training.max_steps=2"]})
    assert station.idle()["outcome"] == "finished"


@pytest.mark.parametrize(
    "overrides",
    [["task=selektion"], ["bottleneck.vocab_size=1"], ["server.port=1"], "task=selection", [3]],
)
def test_a_start_that_makes_no_sense_is_refused(station, overrides):
    assert station.post("/start_train", {"overrides": overrides}, 400)["error"]
    assert station.get("/status")["state"] == "idle"


def test_runs_one_after_the_other_have_their_own_settings(station):
    seen = []
    for overrides in (
        ["task=reconstruction", "bottleneck=autoencoder", "model.hidden_dim=8"],
        ["task=puzzle_classification", "bottleneck.vocab_size=7"],
    ):
        station.post("/start_train", {"overrides": [*overrides, "training.max_steps=2"]})
        status = station.idle()
        seen.append((status["task_type"], status["bottleneck_type"], status["vocab_size"]))
        assert saved(station, f"{status['run_name']}_last")["task_type"] == status["task_type"]
    assert seen == [
        ("reconstruction", "autoencoder", None),
        ("puzzle_classification", "communication", 7),
    ]


def test_a_saved_run_is_resumed_and_fine_tuned_by_name(trained):
    name = trained.get("/status")["run_name"]
    trained.post("/start_train", {"resume": f"{name}_last", "overrides": ["training.max_steps=8"]})
    assert trained.idle()["step"] == 8
    trained.post("/start_train", {"resume": f"{name}_last"})  # has its length: nothing is validated
    last = saved(trained, f"{name}_last")
    assert trained.idle()["metrics"]["val_acc"] == last["val_acc"] is not None
    trained.post(
        "/start_train",
        {"finetune": f"{name}_last.pth", "overrides": ["training.learning_rate=1e-5"]},
    )
    status = trained.idle()
    assert (status["step"], status["learning_rate"]) == (8, 1e-5)
    origin = saved(trained, f"{status['run_name']}_last")["started_from"][-1]
    assert origin == f"finetune {name}_last.pth step 8"


def test_resume_and_finetune_exclude_each_other(trained):
    name = trained.get("/status")["run_name"]
    both = {"resume": f"{name}_last", "finetune": f"{name}_best"}
    assert "exclude" in trained.post("/start_train", both, 400)["error"]


def test_a_start_from_nothing_is_404(station):
    assert "absent" in station.post("/start_train", {"resume": "absent"}, 404)["error"]


def test_settings_cannot_change_while_a_run_is_under_way(station):
    station.post("/start_train")
    assert "stop it first" in station.post("/task_config", {"batch_size": 8}, 409)["error"]
    station.post("/stop")
    station.idle()
    assert station.post("/task_config", {"batch_size": 8})["batch_size"] == 8


def test_settings_are_what_a_start_composes_and_a_checkpoint_stores(station):
    changed = {"vocab_size": 9, "learning_rate": 1e-4, "num_epochs": 1, "max_grids": 48}
    answer = station.post("/task_config", changed)
    assert answer["status"] == "success"
    assert {key: answer[key] for key in changed} == changed
    station.post("/start_train")
    content = saved(station, f"{station.idle()['run_name']}_last")
    assert {key: content[key] for key in changed} == changed
    assert content["config"]["bottleneck"]["vocab_size"] == 9


def test_a_pretrained_encoder_is_taken_by_true(station):
    station.post("/start_pretrain", {"overrides": ["pretrain.epochs=1"]})
    station.idle()
    (row,) = station.get("/pretrained_encoders")["encoders"]
    assert set(row) == {"filename", "path", "task_type", "val_acc", "epoch"}
    assert row["task_type"] == "selection"
    assert station.post("/task_config", {"use_pretrained": True})["use_pretrained"] is True
    station.post("/start_train", {"overrides": ["training.max_steps=1"]})
    content = saved(station, f"{station.idle()['run_name']}_last")
    assert content["started_from"][0].startswith(f"encoder.pretrained {row['filename']}")
    assert content["use_pretrained"] is True


def test_a_question_is_answered_in_the_middle_of_a_run_and_after_it(station):
    station.post("/start_train")
    station.stepped()
    name = station.get("/examples")["examples"][0]
    assert station.get(f"/probe?example={name}")["example"] == name
    station.post("/stop")
    station.idle()
    assert station.get(f"/probe?example={name}")["example"] == name


def test_a_loop_that_stands_still_is_told_in_time(station, monkeypatch):
    station.post("/start_train")
    station.stepped()
    name = station.get("/examples")["examples"][0]
    station.hold()
    monkeypatch.setattr("arc.server.session.Session.ask.__defaults__", (0.05,))
    assert "no answer" in station.get(f"/probe?example={name}", 503)["error"]


def test_after_the_end_nothing_is_begun(station):
    station.session.close()
    assert "ends" in station.post("/start_train", status=400)["error"]
    assert "no model" in station.get("/probe?example=x", 400)["error"]
