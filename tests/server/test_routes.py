"""What each route tells of a run, and what it refuses."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from arc.flat import PLACES
from arc.inspection import ROW
from arc.training import Step

BAD_NAMES = {
    "above": "../x",
    "absolute": "/tmp/x",
    "empty": "",
    "long": "x" * 300,
    "nul": "x\0y",
    "not ascii": "größe",
    "hidden": ".x",
    "space": "a b",
    "windows": "a\\b",
    "line": "a\n",
}


@pytest.fixture
def examples(seen):
    return seen.get("/examples")["examples"]


def test_the_page_is_there_with_its_parts(station):
    with station.client.get("/") as page:
        kind, text = page.mimetype, page.text
    parts = re.findall(r'(?:src|href)="(/[^"#]+)"', text)
    assert kind == "text/html"
    assert len(parts) > 3
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    for part in parts:
        with station.client.get(part) as answer:
            assert answer.status_code == 200


def test_status_tells_where_the_run_is(seen):
    status = seen.get("/status")
    assert set(PLACES) <= set(status)
    assert (status["step"], status["device"], status["outcome"]) == (5, "cpu", "finished")
    assert 0 < status["metrics"]["loss"] < 10
    assert 0 <= status["metrics"]["val_acc"] <= 100
    assert status["last_save"]["state"] == "saved"
    assert status["folder"] == str(seen.session.folder)


def test_status_tells_how_fast_and_how_long(station):
    station.post("/start_train", {"overrides": ["training.max_steps=100000"]})
    status = station.stepped(5)
    assert status["throughput"]["steps_per_second"] > 0
    assert status["throughput"]["targets_per_second"] > status["throughput"]["steps_per_second"]
    assert status["eta_seconds"] > 0
    assert 0 < status["progress"] < 1


def test_history_tells_every_step_and_what_is_new(seen):
    whole = seen.get("/metrics_history")
    assert [row["batch_num"] for row in whole["history"]] == [1, 2, 3, 4, 5]
    assert {"batch_num", "epoch", "batch", "loss", "accuracy"} <= set(whole["history"][0])
    assert (whole["running"], whole["mode"]) == (False, None)
    (validation,) = whole["validations"]
    assert validation["batch_num"] == 5
    assert validation["baselines"]["chance"] == 25.0
    assert "message_entropy_bits" in validation["language"]
    new = seen.get("/metrics_history?since=3")
    assert [row["batch_num"] for row in new["history"]] == [4, 5]
    assert seen.get("/metrics_history?since=5")["history"] == []


@pytest.mark.parametrize("since", ["x", "1.5", "0x1", "٣x"])
def test_since_is_a_number(seen, since):
    for url in ("/metrics_history", "/log"):
        assert "whole number" in seen.get(f"{url}?since={since}", 400)["error"]


def test_what_is_no_number_is_null(trained):
    step = trained.session.board.step
    values = {**vars(step), "loss": math.nan, "accuracy": math.inf, "step": 6}
    trained.session.board.publish(Step(**values))
    text = trained.client.get("/metrics_history").text
    assert "NaN" not in text
    assert "Infinity" not in text
    last = json.loads(text)["history"][-1]
    assert (last["loss"], last["accuracy"]) == (None, None)
    assert trained.get("/status")["metrics"]["loss"] is None


def test_a_new_run_begins_a_new_history(trained):
    before = trained.get("/metrics_history")
    trained.post("/start_train", {"overrides": ["training.max_steps=1"]})
    trained.idle()
    after = trained.get("/metrics_history")
    assert after["run_id"] == before["run_id"] + 1
    assert [row["batch_num"] for row in after["history"]] == [1]


def test_task_config_is_the_21_keys(station):
    assert set(station.get("/task_config")) == set(PLACES)


def test_the_schema_says_what_each_setting_may_be(station):
    keys = station.get("/task_schema")["keys"]
    assert set(keys) == set(PLACES)
    assert keys["task_type"]["options"] == ["puzzle_classification", "reconstruction", "selection"]
    distractors = keys["num_distractors"]
    assert (distractors["minimum"], distractors["maximum"]) == (1, 999)
    assert (distractors["type"], distractors["applies"]) == ("integer", True)
    assert keys["max_grids"]["nullable"] is True
    assert keys["learning_rate"]["type"] == "number"
    assert keys["filter_grid_size"]["type"] == "size"
    station.post("/task_config", {"task_type": "reconstruction"})
    assert station.get("/task_schema")["keys"]["num_distractors"]["applies"] is False


def test_the_whole_tree_and_what_was_typed(station):
    told = station.get("/config")
    assert told["config"]["task"]["name"] == "selection"
    assert "task.num_distractors=3" in told["overrides"]
    assert not any(override.startswith("server") for override in told["overrides"])


def test_samples_show_what_the_receiver_made_of_them(seen):
    told = seen.get("/samples")
    assert (told["task_type"], told["vocab_size"], told["step"]) == ("selection", 25, 5)
    for sample in told["samples"]:
        assert len(sample["message"]) == told["max_message_length"]
        assert sum(each["probability"] for each in sample["candidates"]) == pytest.approx(
            1, abs=1e-3
        )
        (target,) = [each for each in sample["candidates"] if each["is_target"]]
        assert target["grid"] == sample["grid"]
        assert sample["correct"] in (True, False)


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


def test_a_message_changed_by_hand_is_heard(seen, examples):
    own = seen.get(f"/probe?example={examples[0]}")
    assert not own["edited"]
    assert own["message"] == own["sent"]
    other = [(symbol + 7) % 25 for symbol in own["message"]]
    text = ",".join(map(str, other))
    told = seen.get(f"/probe?example={examples[0]}&message={text}")
    assert (told["message"], told["sent"], told["edited"]) == (other, own["sent"], True)
    chances = [[each["probability"] for each in heard["candidates"]] for heard in (own, told)]
    assert chances[0] != chances[1]


@pytest.mark.parametrize(
    "message", ["", "x", "1,2", "1,2,3,4,25", "1,2,3,4,-1", "1,2,3,4,5,6", ","]
)
def test_what_is_no_message_of_the_channel_is_refused(seen, examples, message):
    told = seen.get(f"/probe?example={examples[0]}&message={message}", 400)
    assert told["error"]


@pytest.mark.parametrize("example", ["", "absent", "t00"])
def test_an_example_that_is_not_held_out_is_refused(seen, example):
    assert "example" in seen.get(f"/probe?example={example}", 400)["error"]


def test_there_is_no_probe_before_a_run(station):
    assert "start a run" in station.get("/probe?example=x", 400)["error"]


def test_the_language_counts_every_message_once(seen, examples):
    told = seen.get("/language")
    assert told["total"] == len(examples) == sum(row["count"] for row in told["messages"])
    assert told["distinct"] == len(told["messages"])
    assert all(sum(position) == told["total"] for position in told["positions"])
    counts = [row["count"] for row in told["messages"]]
    assert counts == sorted(counts, reverse=True)
    heard = seen.get(f"/probe?example={told['messages'][0]['examples'][0]['example']}")
    assert heard["sent"] == told["messages"][0]["message"]


def test_a_vector_has_no_language(station):
    station.post("/start_train", {"overrides": ["bottleneck=autoencoder", "training.max_steps=1"]})
    station.idle()
    assert station.get("/language")["messages"] == []
    name = station.get("/examples")["examples"][0]
    told = station.get(f"/probe?example={name}&message=1,2,3,4,5", 400)
    assert "vector" in told["error"]


def test_the_log_is_told_from_where_it_was_left(seen):
    lines = seen.get("/log")["lines"]
    if lines:  # the handler is the server's, not the application's
        assert seen.get(f"/log?since={lines[-1]['n']}")["lines"] == []


def test_checkpoints_are_listed_newest_first(trained):
    folder = trained.session.folder
    (folder / "broken.pth").write_bytes(b"nothing")
    rows = trained.get("/list_checkpoints")["checkpoints"]
    assert rows[0]["filename"] == "broken.pth"
    assert "error" in rows[0]
    assert {row["filename"] for row in rows} == {path.name for path in folder.glob("*.pth")}
    whole = rows[-1]
    assert set(ROW) <= set(whole)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", whole["modified"])


def test_encoders_are_listed_apart(station):
    station.post("/start_pretrain", {"overrides": ["pretrain.epochs=1"]})
    station.idle()
    assert len(station.get("/pretrained_encoders")["encoders"]) == 1
    assert station.get("/list_checkpoints")["checkpoints"] == []


def test_a_run_s_own_folder_is_listed(station, tmp_path):
    other = tmp_path / "other"
    station.post("/start_train", {"overrides": [f"checkpoint.dir={other}"]})
    station.post("/save_checkpoint", {"name": "here"})
    station.until(lambda status: status["last_save"] and not status["pending_saves"])
    assert (other / "here.pth").exists()
    names = [row["filename"] for row in station.get("/list_checkpoints")["checkpoints"]]
    assert "here.pth" in names


def test_a_checkpoint_is_inspected_and_downloaded(seen):
    name = f"{seen.get('/status')['run_name']}_last"
    assert seen.get(f"/checkpoint?name={name}")["metadata"]["step"] == 5
    answer = seen.client.get(f"/download/{name}.pth")
    assert f"filename={name}.pth" in answer.headers["Content-Disposition"]
    assert answer.data == (seen.session.folder / f"{name}.pth").read_bytes()
    answer.close()


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_what_is_no_name_is_refused_everywhere(station, name, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"")
    station.post("/start_train")
    station.stepped()
    assert station.post("/save_checkpoint", {"name": name}, 400)["error"]
    station.post("/stop")
    station.idle()
    for key in ("resume", "finetune"):
        assert station.post("/start_train", {key: name}, 400)["error"]
    for url in ("/checkpoint", "/download/"):
        query = {"query_string": {"name": name}} if url == "/checkpoint" else {}
        answer = station.client.get(url if query else f"{url}{name}", **query)
        assert answer.status_code in (400, 404, 308)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["x.pth"]


@pytest.mark.parametrize(
    "name", ["mine_best", "mine_last", "mine_epoch_0001", "pretrained_encoder_x"]
)
def test_the_names_of_automatic_saves_are_theirs(station, name):
    station.post("/start_train", {"overrides": ["run_name=mine"]})
    assert "automatic" in station.post("/save_checkpoint", {"name": name}, 400)["error"]


@pytest.mark.parametrize(
    "body",
    [{"name": 3}, {"name": "x", "overwrite": "yes"}, {"name": ["x"]}],
    ids=str,
)
def test_a_save_of_another_kind_is_refused(station, body):
    assert "must be" in station.post("/save_checkpoint", body, 400)["error"]


def test_what_was_saved_by_name_is_a_whole_checkpoint(station):
    station.post("/start_train")
    station.post("/save_checkpoint", {"name": "my_checkpoint_name"})
    station.until(lambda status: status["last_save"] and not status["pending_saves"])
    content = torch.load(Path(station.session.folder) / "my_checkpoint_name.pth")
    assert content["config"]["task"]["name"] == "selection"
