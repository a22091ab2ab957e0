"""Each route: its responses and errors."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers_cli import until
from helpers_station import Station

from arc.config.flat_keys import KEY_PATHS, SETTINGS
from arc.server.app import CONCURRENT_REQUESTS, ComputeTurn
from arc.server.requests import displayed
from arc.server.routes.samples import LONGEST_MESSAGE

Monkey = pytest.MonkeyPatch
BRIEF = ["data.test=null", "metric=[]"]
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
    "/concepts": "dictionary",
    "/metrics_history": "history",
    "/list_checkpoints": "checkpoints",
    "/pretrained_encoders": "encoders",
}
STATUS = {
    *("settings_version", "ends_with_run", "run_mode"),
    *("running", "state", "mode", "run_id", "run_name", "device", "precision", "folder", "epoch"),
    *("batch", "batches_per_epoch", "step", "seconds", "progress", "eta_seconds", "testing"),
    *("metrics", "throughput", "outcome", "error", "pending_saves", "last_save", "recent_saves"),
    *KEY_PATHS,
}


def test_before_a_run_lists_are_empty_and_a_probe_is_refused(station: Station) -> None:
    assert all(station.get(route)[key] == [] for route, key in EMPTY_BEFORE_A_RUN.items())
    assert "start a run" in station.get("/probe?example=x", 400)["error"]


def test_the_status_has_the_same_keys_before_during_and_after(station: Station) -> None:
    seen = [station.get("/status")]
    seen.append(station.start())
    station.post("/stop")
    seen.append(station.idle())
    assert [set(status) for status in seen] == [STATUS] * 3


def test_the_status_tells_when_settings_change(station: Station) -> None:
    before = station.get("/status")["settings_version"]
    station.post("/task_config", {"batch_size": -1}, 400)
    assert station.get("/status")["settings_version"] == before
    station.post("/task_config", {"batch_size": 8})
    assert station.get("/status")["settings_version"] == before + 1


def test_the_history_has_the_steps_after_since(trained: Station) -> None:
    history = trained.get("/metrics_history")
    assert (history["running"], history["mode"]) == (False, None)
    assert [row["batch_num"] for row in history["history"]] == [1, 2, 3, 4, 5]
    assert {"epoch", "batch", "loss", "accuracy"} < set(history["history"][0])
    assert history["validations"][-1]["val_acc"] >= 0
    news = trained.get("/metrics_history?since=3")["history"]
    assert [row["batch_num"] for row in news] == [4, 5]
    assert trained.get(f"/metrics_history?since={10**18}")["history"] == []
    for route in ("/metrics_history", "/log"):
        assert "since" in trained.get(f"{route}?since=soon", 400)["error"]


def test_samples_name_their_run_and_step(trained: Station) -> None:
    samples, status = trained.get("/samples"), trained.get("/status")
    assert (samples["run_id"], samples["step"]) == (status["run_id"], 5)
    assert samples["task_type"] == "selection"
    assert {"grid", "message", "candidates", "correct"} <= set(samples["samples"][0])


def test_a_probe_of_an_edited_message_shows_both_outputs(trained: Station) -> None:
    name = trained.example
    own = trained.get(f"/probe?example={name}")
    edited = trained.get(f"/probe?example={name}&message=4,0,3,1,2")
    assert (edited["message"], edited["edited"]) == ([4, 0, 3, 1, 2], True)
    assert edited["as_sent"] == {key: own[key] for key in ("candidates", "correct")}
    assert "as_sent" not in own


def test_a_probe_compares_two_examples(trained: Station) -> None:
    one, other = trained.get("/examples")["examples"][:2]
    both = trained.get(f"/probe?example={one}&beside={other}")
    assert (both["example"], both["beside"]["example"]) == (one, other)
    assert "no such example" in trained.get(f"/probe?example={one}&beside=x", 400)["error"]


def test_an_invalid_message_is_refused(trained: Station) -> None:
    name = trained.example
    for message in ("", "a", "1,", "1;2", "99,0,0,0,0", "-1,0,0,0,0", "1"):
        asked = trained.client.get("/probe", query_string={"example": name, "message": message})
        assert asked.status_code == 400, message
        assert any(word in asked.get_json()["error"] for word in ("message", "symbol"))


def test_a_message_is_read_whole_or_refused(trained: Station) -> None:
    longest = ",".join(["9999"] * 1000)
    refused = trained.get(f"/probe?example={trained.example}&message={longest}", 400)
    assert "message has 1000 symbols" in refused["error"]
    longer = "0," * LONGEST_MESSAGE
    refused = trained.get(f"/probe?example={trained.example}&message={longer}", 400)
    assert f"at most {LONGEST_MESSAGE}" in refused["error"]


def test_the_language_counts_the_messages_of_the_validation_set(trained: Station) -> None:
    language = trained.get("/language")
    assert language["total"] == sum(row["count"] for row in language["messages"])
    assert len(language["positions"]) == language["max_length"]
    assert len(language["positions"][0]) == language["vocab_size"]


def test_the_concepts_of_a_finished_run_are_those_of_its_last_validation(trained: Station) -> None:
    concepts, language = trained.get("/concepts"), trained.get("/language")
    assert (concepts["step"], concepts["examples"]) == (5, language["total"])
    assert len(concepts["information"]["bits"]) == language["max_length"]
    for entry in concepts["dictionary"]:
        sent = language["positions"][entry["position"] - 1][entry["symbol"]]
        assert entry["count"] / entry["precision"] == pytest.approx(sent)


def test_the_schema_describes_every_setting(station: Station) -> None:
    schema = station.get("/task_schema")
    keys = schema["keys"]
    assert {name: about["key"] for name, about in keys.items()} == SETTINGS
    assert set(schema["values"]) == set(SETTINGS)
    assert keys["distractors"]["options"][0] == "random"
    assert (keys["seed"]["type"], keys["seed"]["minimum"]) == ("integer", 0)
    assert keys["max_steps"]["nullable"]
    assert keys["stop_token"]["type"] == keys["augment"]["type"] == "boolean"
    assert keys["vocab_size"]["minimum"] == 2
    assert "selection" in keys["task_type"]["options"]
    assert keys["batch_size"]["help"]
    assert keys["max_grids"]["help"]  # data=folder takes this key from arc1.yaml


def test_extra_settings_are_returned_only_if_sent(station: Station) -> None:
    answer = station.post("/task_config", {"seed": 5, "stop_token": True})
    assert (answer["seed"], answer["stop_token"]) == (5, True)
    assert set(answer) == {"status", "seed", "stop_token", *KEY_PATHS}
    assert set(station.get("/task_config")) == set(KEY_PATHS)
    values = station.get("/task_schema")["values"]
    assert (values["seed"], values["stop_token"]) == (5, True)
    assert "seed=-1" in station.post("/task_config", {"seed": -1}, 400)["error"]


def test_the_configuration_and_its_overrides(station: Station) -> None:
    answer = station.get("/config")
    assert answer["config"]["task"]["name"] == "selection"
    assert "model=tiny" in answer["overrides"]
    assert "server" not in answer["config"]


def test_checkpoints_are_listed_inspected_and_downloaded(trained: Station) -> None:
    rows = trained.get("/list_checkpoints")["checkpoints"]
    name = trained.get("/status")["run_name"]
    assert {row["filename"] for row in rows} == {f"{name}_last.pth", f"{name}_best.pth"}
    expected = {"path", "size_mb", "modified", "epoch", "batch", "task_type", "bottleneck_type"}
    assert expected | {"val_loss", "val_acc", "hidden_dim", "latent_dim"} <= set(rows[0])
    assert trained.get(f"/checkpoint?name={name}_last")["metadata"]["step"] == 5
    download = trained.client.get(f"/download/{name}_last.pth")
    assert download.data == (trained.session.folder / f"{name}_last.pth").read_bytes()
    download.close()


def test_an_unreadable_file_is_listed_with_its_error(station: Station) -> None:
    station.session.folder.mkdir()
    (station.session.folder / "broken.pth").write_bytes(b"nothing")
    (row,) = station.get("/list_checkpoints")["checkpoints"]
    assert row["filename"] == "broken.pth"
    assert row["error"]
    assert "error" in station.get("/checkpoint?name=broken", 400)


def test_the_folder_of_the_current_run_is_listed(station: Station, tmp_path: Path) -> None:
    other = tmp_path / "other"
    station.session.start("train", [f"checkpoint.dir={other}"])
    station.stepped()
    station.post("/save_checkpoint", {"name": "there"})
    station.written()
    rows = station.get("/list_checkpoints")["checkpoints"]
    assert str(other / "there.pth") in {row["path"] for row in rows}


def test_a_link_to_itself_hides_no_other_file(station: Station) -> None:
    folder = station.session.folder
    folder.mkdir()
    (folder / "loop.pth").symlink_to("loop.pth")
    (folder / "other.pth").write_bytes(b"")
    rows = {row["filename"]: row for row in station.get("/list_checkpoints")["checkpoints"]}
    assert "error" in rows["loop.pth"]
    assert "other.pth" in rows


def test_an_invalid_name_is_refused(station: Station) -> None:
    station.post("/start_train")
    for name in (*NAMES, SURROGATE):
        assert "name=" in station.post("/save_checkpoint", {"name": name}, 400)["error"]
    assert station.get("/status")["pending_saves"] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_file_outside_the_folder_is_opened(trained: Station, name: str) -> None:
    for key in ("resume", "finetune"):
        assert "not the name" in trained.post("/start_train", {key: name}, 400)["error"]
    asked = trained.client.get("/checkpoint", query_string={"name": name})
    assert asked.status_code == 400
    assert trained.client.get(f"/download/{name}").status_code in (400, 404)


def test_the_names_of_automatic_saves_are_reserved(station: Station) -> None:
    station.post("/start_train", {"overrides": ["run_name=mine"]})
    for name in ("mine_last", "mine_best", "mine_epoch_0001", "pretrained_encoder_x"):
        wanted = {"name": name, "overwrite": True}
        assert "automatic" in station.post("/save_checkpoint", wanted, 400)["error"]


@pytest.mark.parametrize("case", NO_BODIES)
@pytest.mark.parametrize("route", ["/start_train", "/save_checkpoint", "/task_config"])
def test_a_body_must_be_a_json_object(trained: Station, route: str, case: str) -> None:
    answer = trained.client.post(route, data=NO_BODIES[case])
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith("the body is not")


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
def test_an_invalid_key_is_named(trained: Station, route: str, body: Any, named: str) -> None:
    assert trained.post(route, body, 400)["error"].startswith(f"{named}:")


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded"])
def test_any_content_type_is_read_as_json(trained: Station, kind: str | None) -> None:
    body = '{"batch_size": 8}'
    answer = trained.client.post("/task_config", data=body, content_type=kind)
    assert answer.get_json()["batch_size"] == 8


def test_unknown_routes_and_wrong_methods_are_errors(station: Station) -> None:
    assert station.get("/no_such_route", 404)["error"]
    answer = station.client.get("/start_train")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST"}
    assert answer.get_json()["error"]


def test_requests_after_a_programming_error(station: Station, monkeypatch: Monkey) -> None:
    def broken(*given: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(station.session.status, "status", broken)
    assert "KeyError" in station.get("/status", 500)["error"]
    assert station.get("/task_config")


def test_an_exit_in_a_request_is_an_error_of_the_request(
    station: Station, monkeypatch: Monkey
) -> None:
    def exits(*given: Any) -> None:
        raise SystemExit(3)

    station.start()
    example = station.example
    for place, route in (
        ("arc.server.status.RunStatus.status", "/status"),
        ("arc.server.samples.SampleViewer.sample", f"/probe?example={example}"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, exits)
            answer = station.client.get(route)
            assert answer.status_code == 500
            assert "SystemExit" in answer.get_json()["error"]
    step = station.get("/status")["step"]
    station.stepped(step + 2)
    assert station.get(f"/probe?example={example}")["example"] == example


UNPRINTABLE = {
    "\x1b[31m\x7f\x9b": r"\u001b[31m\u007f\u009b",
    "\u202eetad": r"\u202eetad",
    "\u2066a\u061c\ufeff": r"\u2066a\u061c\ufeff",
    "caf\udce9": r"caf\udce9",
    "\\\u202e": r"\\u202e",
    r"\u202e": r"\u202e",
    "a\r\b": r"a\r\b",
    "\U0001f480 é\t\n": "\U0001f480 é\t\n",
}


@pytest.mark.parametrize("text", UNPRINTABLE)
def test_control_characters_are_shown_escaped(text: str) -> None:
    assert displayed(text) == UNPRINTABLE[text]


def test_names_with_control_characters_are_listed_and_found(
    station: Station, save_puzzles: Any
) -> None:
    puzzles: dict[str, Any] = {f"\u202e\x1b{n}": ([([[n, 1]], [[n, 2]])], []) for n in range(6)}
    path = save_puzzles(puzzles)
    (station.session.folder).mkdir()
    (station.session.folder / "\x1b[2J.pth").write_bytes(b"")
    (row,) = station.get("/list_checkpoints")["checkpoints"]
    assert row["filename"] == r"\u001b[2J.pth"
    assert "\x1b" not in str(row)
    station.finish(f"data.path={path}", "training.max_steps=1", "task=reconstruction", *BRIEF)
    assert station.example.startswith(r"\u202e\u001b")
    shown = station.client.get("/probe", query_string={"example": station.example})
    assert shown.get_json()["example"] == station.example


def test_nan_and_infinity_are_null(station: Station, monkeypatch: Monkey) -> None:
    values = {"metrics": {"loss": math.nan, "accuracy": math.inf}, "error": None}
    monkeypatch.setattr(station.session.status, "status", lambda: values)
    metrics = json.loads(station.client.get("/status").text, parse_constant=pytest.fail)["metrics"]
    assert metrics == {"loss": None, "accuracy": None}


def test_too_many_requests_are_refused_and_stop_is_accepted(station: Station) -> None:
    station.start()
    query = {"example": station.example}
    station.hold()
    waiting = [
        station.request("/probe", query_string=query) for _ in range(CONCURRENT_REQUESTS + 8)
    ]
    until(lambda: sum(not each.is_alive() for each in waiting), lambda ended: ended == 8)
    refused = [each.answer for each in waiting if not each.is_alive()]
    assert [(each.status_code, each.headers["Retry-After"]) for each in refused] == [(503, "1")] * 8
    assert "too many" in refused[0].get_json()["error"]
    assert station.get("/status")["state"] == "training"
    assert station.post("/stop") == {"status": "stopped"}
    station.go_on()
    for each in waiting:
        each.join(60)
    answered = sum(each.answer.status_code == 200 for each in waiting)
    assert answered == CONCURRENT_REQUESTS
    assert station.get("/task_config"), "places are released"


@pytest.mark.parametrize(("seconds", "pause"), [(0.001, 0.0), (0.101, 1.9), (5.0, 10.0)])
def test_the_pause_after_a_request_is_at_most_ten_seconds(
    seconds: float, pause: float, monkeypatch: Monkey
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = clock.thread_time = lambda: clock.now
    clock.sleep = lambda slept: setattr(clock, "now", clock.now + slept)
    monkeypatch.setattr("arc.server.app.time", clock)
    turn = ComputeTurn(lambda: True)
    turn.acquire()
    clock.now += seconds
    turn.release()
    turn.acquire()
    assert clock.now - seconds == pytest.approx(pause)


def test_the_page_loads_nothing_from_other_hosts(station: Station) -> None:
    with station.client.get("/") as answer:
        assert answer.content_type.startswith("text/html")
        assert not re.search(r"(src|href)=\W*(https?:)?//", answer.get_data(as_text=True))


def test_finite_content_is_not_converted(trained: Station, monkeypatch: Monkey) -> None:
    monkeypatch.setattr("arc.server.requests.json_plain", pytest.fail)
    assert trained.get("/metrics_history")["history"]


def test_the_status_has_throughput_progress_and_eta(station: Station) -> None:
    station.start("training.max_steps=100000")
    status = station.stepped(5)
    assert status["throughput"]["steps_per_second"] > 0
    assert status["throughput"]["examples_per_second"] > status["throughput"]["steps_per_second"]
    assert status["eta_seconds"] > 0
    assert 0 < status["progress"] < 1


def test_a_new_run_begins_a_new_history(station: Station) -> None:
    station.finish("training.max_steps=2", *BRIEF)
    before = station.get("/metrics_history")
    station.finish("training.max_steps=1", *BRIEF)
    after = station.get("/metrics_history")
    assert after["run_id"] == before["run_id"] + 1
    assert [row["batch_num"] for row in after["history"]] == [1]


OTHERS = [
    ("reconstruction", "built", "autoencoder"),
    ("puzzle_classification", "top", "communication"),
    pytest.param("transformation", "built", "communication", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("task", "shown", "bottleneck"), OTHERS)
def test_samples_of_other_tasks(station: Station, task: str, shown: str, bottleneck: str) -> None:
    station.finish(f"task={task}", f"bottleneck={bottleneck}", "training.max_steps=1", *BRIEF)
    sample = station.get("/samples")["samples"][0]
    assert sample[shown]
    assert (sample["vector"] is None) == (bottleneck == "communication")
    if bottleneck == "autoencoder":
        assert station.get("/language")["messages"] == []
        assert "vectors" in station.get("/concepts", 400)["error"]
    if task == "reconstruction":
        assert [len(row) for row in sample["built"]] == [len(row) for row in sample["grid"]]


def test_pretrained_encoders_have_their_own_list(station: Station) -> None:
    station.post("/start_pretrain", {"overrides": ["pretrain.epochs=1"]})
    station.idle()
    assert len(station.get("/pretrained_encoders")["encoders"]) == 1
    assert station.get("/list_checkpoints")["checkpoints"] == []
