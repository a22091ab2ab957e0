"""Each route: what it answers, and what it refuses."""

import json
import math
import re

import pytest

from arc.config.flat_keys import KEY_PATHS

NAMES = ["../x", "/etc/passwd", "", "x" * 300, "a\0b", "é", "x/y", ".x", "-x", "x\n", "x y"]
SURROGATE = "\ud800"  # JSON can hold half a character
NO_BODIES = {
    "cut off": b'{"name": ',
    "a list": b"[]",
    "a number": b"3",
    "a form": b"name=x",
    "not UTF-8": b'{"name": "\xff"}',
    "deep": b"[" * 20_000,
    "a long number": b"9" * 10_000,
}
EMPTY_BEFORE_A_RUN = {
    "/samples": "samples",
    "/examples": "examples",
    "/language": "messages",
    "/metrics_history": "history",
    "/list_checkpoints": "checkpoints",
    "/pretrained_encoders": "encoders",
}
STATUS = {
    *("running", "state", "mode", "run_id", "run_name", "device", "precision", "folder", "epoch"),
    *(
        "batch",
        "batches_per_epoch",
        "step",
        "seconds",
        "progress",
        "eta_seconds",
        "testing",
        "metrics",
    ),
    *(
        "metrics",
        "throughput",
        "outcome",
        "error",
        "pending_saves",
        "last_save",
        "recent_saves",
        *KEY_PATHS,
    ),
}


@pytest.mark.parametrize("route", EMPTY_BEFORE_A_RUN)
def test_before_a_run_there_is_nothing_and_no_error(station, route):
    assert station.get(route)[EMPTY_BEFORE_A_RUN[route]] == []


def test_before_a_run_there_is_nobody_to_probe(station):
    assert "start a run" in station.get("/probe?example=x", 400)["error"]


def test_the_status_has_the_same_keys_before_during_and_after(station):
    seen = [station.get("/status")]
    station.post("/start_train")
    seen.append(station.stepped())
    station.post("/stop")
    seen.append(station.idle())
    assert [set(status) for status in seen] == [STATUS] * 3


def test_the_history_tells_each_step_and_then_what_is_new(trained):
    history = trained.get("/metrics_history")
    assert (history["running"], history["mode"]) == (False, None)
    assert [row["batch_num"] for row in history["history"]] == [1, 2, 3, 4, 5]
    assert {"epoch", "batch", "loss", "accuracy"} < set(history["history"][0])
    assert history["validations"][-1]["val_acc"] >= 0
    news = trained.get("/metrics_history?since=3")["history"]
    assert [row["batch_num"] for row in news] == [4, 5]
    assert trained.get(f"/metrics_history?since={10**18}")["history"] == []


def test_a_number_that_is_none_is_refused(station):
    for route in ("/metrics_history", "/log"):
        assert "since" in station.get(f"{route}?since=soon", 400)["error"]


def test_samples_say_of_which_run_and_step_they_are(trained):
    samples, status = trained.get("/samples"), trained.get("/status")
    assert (samples["run_id"], samples["step"]) == (status["run_id"], 5)
    assert samples["task_type"] == "selection"
    assert {"grid", "message", "candidates", "correct"} <= set(samples["samples"][0])


def test_a_message_changed_by_hand_is_heard(trained):
    name = trained.get("/examples")["examples"][0]
    heard = trained.get(f"/probe?example={name}&message=4,0,3,1,2")
    assert (heard["message"], heard["edited"]) == ([4, 0, 3, 1, 2], True)


def test_beside_what_comes_of_a_changed_message_stands_what_comes_of_its_own(trained):
    name = trained.get("/examples")["examples"][0]
    own = trained.get(f"/probe?example={name}")
    heard = trained.get(f"/probe?example={name}&message=4,0,3,1,2")
    assert heard["as_sent"] == {key: own[key] for key in ("candidates", "correct")}
    assert "as_sent" not in own


def test_two_examples_are_asked_about_at_once(trained):
    one, other = trained.get("/examples")["examples"][:2]
    both = trained.get(f"/probe?example={one}&beside={other}")
    assert (both["example"], both["beside"]["example"]) == (one, other)
    assert "no held-out example" in trained.get(f"/probe?example={one}&beside=x", 400)["error"]


def test_what_is_no_message_is_refused(trained):
    name = trained.get("/examples")["examples"][0]
    for message in ("", "a", "1,", "1;2", "99,0,0,0,0", "-1,0,0,0,0", "1"):
        asked = trained.client.get("/probe", query_string={"example": name, "message": message})
        assert asked.status_code == 400, message
        assert any(word in asked.json["error"] for word in ("message", "symbol"))


def test_the_language_counts_what_was_said_of_the_validation_set(trained):
    language = trained.get("/language")
    assert language["total"] == sum(row["count"] for row in language["messages"])
    assert len(language["positions"]) == language["max_length"]
    assert len(language["positions"][0]) == language["vocab_size"]


def test_a_vector_has_no_language(station):
    game = ["bottleneck=autoencoder", "training.max_steps=5"]
    station.post("/start_train", {"overrides": game})
    station.idle()
    assert station.get("/language")["messages"] == []


def test_the_schema_describes_every_setting(station):
    keys = station.get("/task_schema")["keys"]
    assert set(keys) == set(KEY_PATHS)
    assert keys["vocab_size"]["minimum"] == 2
    assert "selection" in keys["task_type"]["options"]
    assert keys["batch_size"]["help"]
    assert keys["max_grids"]["help"]  # data=folder takes this key from arc1.yaml


def test_the_tree_and_what_was_typed(station):
    answer = station.get("/config")
    assert answer["config"]["task"]["name"] == "selection"
    assert "model=tiny" in answer["overrides"]
    assert "server" not in answer["config"]


def test_checkpoints_are_listed_shown_and_handed_out(trained):
    rows = trained.get("/list_checkpoints")["checkpoints"]
    name = trained.get("/status")["run_name"]
    assert {row["filename"] for row in rows} == {f"{name}_last.pth", f"{name}_best.pth"}
    expected = {"path", "size_mb", "modified", "epoch", "batch", "task_type", "bottleneck_type"}
    assert expected | {"val_loss", "val_acc", "hidden_dim", "latent_dim"} <= set(rows[0])
    assert trained.get(f"/checkpoint?name={name}_last")["metadata"]["step"] == 5
    download = trained.client.get(f"/download/{name}_last.pth")
    assert download.data == (trained.session.folder / f"{name}_last.pth").read_bytes()
    download.close()


def test_a_file_that_cannot_be_read_is_a_row_with_its_error(station):
    station.session.folder.mkdir()
    (station.session.folder / "broken.pth").write_bytes(b"nothing")
    (row,) = station.get("/list_checkpoints")["checkpoints"]
    assert row["filename"] == "broken.pth"
    assert row["error"]
    assert "error" in station.get("/checkpoint?name=broken", 400)


def test_the_folder_of_the_run_under_way_is_listed(station, tmp_path):
    other = tmp_path / "other"
    station.post("/start_train", {"overrides": [f"checkpoint.dir={other}"]})
    station.post("/save_checkpoint", {"name": "there"})
    station.until(lambda status: status["last_save"] and not status["pending_saves"])
    rows = station.get("/list_checkpoints")["checkpoints"]
    assert str(other / "there.pth") in {row["path"] for row in rows}


def test_a_file_that_cannot_be_followed_hides_no_other(trained):
    folder = trained.session.folder
    (folder / "loop.pth").symlink_to("loop.pth")
    rows = {row["filename"]: row for row in trained.get("/list_checkpoints")["checkpoints"]}
    assert "error" in rows["loop.pth"]
    assert len(rows) > 1


def test_what_is_no_name_is_refused_and_never_mended(station):
    station.post("/start_train")
    for name in (*NAMES, SURROGATE):
        assert "name=" in station.post("/save_checkpoint", {"name": name}, 400)["error"]
    assert station.get("/status")["pending_saves"] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_file_outside_the_folder_is_opened(station, name):
    for key in ("resume", "finetune"):
        assert "not the name" in station.post("/start_train", {key: name}, 400)["error"]
    asked = station.client.get("/checkpoint", query_string={"name": name})
    assert asked.status_code == 400
    assert station.client.get(f"/download/{name}").status_code in (400, 404)


def test_the_names_of_automatic_saves_are_not_given_away(station):
    station.post("/start_train", {"overrides": ["run_name=mine"]})
    for name in ("mine_last", "mine_best", "mine_epoch_0001", "pretrained_encoder_x"):
        wanted = {"name": name, "overwrite": True}
        assert "automatic" in station.post("/save_checkpoint", wanted, 400)["error"]


@pytest.mark.parametrize("case", NO_BODIES)
@pytest.mark.parametrize("route", ["/start_train", "/save_checkpoint", "/task_config"])
def test_a_body_that_is_no_json_object_is_refused(station, route, case):
    answer = station.client.post(route, data=NO_BODIES[case])
    assert answer.status_code == 400
    assert answer.json["error"].startswith("the body is not")


@pytest.mark.parametrize(
    ("route", "body", "named"),
    [
        ("/start_train", {"override": []}, "override"),
        ("/start_pretrain", {"resume": "x"}, "resume"),
        ("/start_train", {"overrides": "task=selection"}, "overrides"),
        ("/start_train", {"resume": 3}, "resume"),
        ("/save_checkpoint", {"name": ["x"]}, "name"),
        ("/save_checkpoint", {"overwrite": "yes"}, "overwrite"),
        ("/task_config", {"vocab": 3}, "vocab"),
    ],
)
def test_a_key_or_kind_that_does_not_belong_is_named(station, route, body, named):
    assert station.post(route, body, 400)["error"].startswith(f"{named}:")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_is_read_as_json_whatever_its_header_says(station, kind):
    body = '{"batch_size": 8}'
    answer = station.client.post("/task_config", data=body, content_type=kind)
    assert answer.json["batch_size"] == 8


def test_an_unknown_route_is_404_in_json(station):
    assert station.get("/no_such_route", 404)["error"]


def test_a_wrong_method_is_told_the_right_one(station):
    answer = station.client.get("/start_train")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST"}
    assert answer.json["error"]


def test_a_fault_of_the_program_is_told_and_the_next_request_answered(station, monkeypatch):
    def broken(*given):
        raise KeyError("gone")

    monkeypatch.setattr(station.session.status, "status", broken)
    assert "KeyError" in station.get("/status", 500)["error"]
    assert station.get("/task_config")


def test_numbers_that_json_lacks_are_null(station, monkeypatch):
    figures = {"metrics": {"loss": math.nan, "accuracy": math.inf}, "error": None}
    monkeypatch.setattr(station.session.status, "status", lambda: figures)
    text = station.client.get("/status").text
    assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {
        "loss": None,
        "accuracy": None,
    }


def test_the_page_is_served_and_needs_nothing_from_elsewhere(station):
    with station.client.get("/") as answer:
        assert answer.content_type.startswith("text/html")
        assert not re.search(r"(src|href)=\W*(https?:)?//", answer.text)


def test_an_answer_of_numbers_that_json_has_is_not_walked_through(trained, monkeypatch):
    monkeypatch.setattr("arc.server.app.json_plain", pytest.fail)
    assert trained.get("/metrics_history")["history"]


def test_status_tells_how_fast_and_how_long(station):
    station.post("/start_train", {"overrides": ["training.max_steps=100000"]})
    status = station.stepped(5)
    assert status["throughput"]["steps_per_second"] > 0
    assert status["throughput"]["examples_per_second"] > status["throughput"]["steps_per_second"]
    assert status["eta_seconds"] > 0
    assert 0 < status["progress"] < 1


def test_a_new_run_begins_a_new_history(trained):
    before = trained.get("/metrics_history")
    trained.post("/start_train", {"overrides": ["training.max_steps=1"]})
    trained.idle()
    after = trained.get("/metrics_history")
    assert after["run_id"] == before["run_id"] + 1
    assert [row["batch_num"] for row in after["history"]] == [1]


@pytest.mark.parametrize(
    ("task", "shown"), [("reconstruction", "built"), ("puzzle_classification", "top")]
)
@pytest.mark.parametrize("bottleneck", ["communication", "autoencoder"])
def test_samples_of_the_other_games(station, task, shown, bottleneck):
    overrides = [f"task={task}", f"bottleneck={bottleneck}", "training.max_steps=1"]
    station.post("/start_train", {"overrides": overrides})
    station.idle()
    sample = station.get("/samples")["samples"][0]
    assert sample[shown]
    assert (sample["vector"] is None) == (bottleneck == "communication")
    if task == "reconstruction":
        assert [len(row) for row in sample["built"]] == [len(row) for row in sample["grid"]]


def test_encoders_are_listed_apart(station):
    station.post("/start_pretrain", {"overrides": ["pretrain.epochs=1"]})
    station.idle()
    assert len(station.get("/pretrained_encoders")["encoders"]) == 1
    assert station.get("/list_checkpoints")["checkpoints"] == []
