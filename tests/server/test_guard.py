"""Who may speak to the endpoint, and what is refused before a route sees it."""

import json

import pytest
from flask.testing import FlaskClient
from helpers_station import Station, server_config

from arc.config import ConfigError, ServerConfig, parse
from arc.server import create_app
from arc.server.guard import BODY_LIMIT
from arc.server.state import State

HERE = "http://localhost:5002"
TOKEN = "correct-horse"
CHANGES = ["/start_train", "/start_pretrain", "/stop", "/save_checkpoint", "/task_config"]
READS = [
    *("/status", "/metrics_history", "/task_config", "/task_schema", "/config", "/log"),
    *("/samples", "/examples", "/language", "/list_checkpoints", "/pretrained_encoders", "/"),
]


def asked(station: Station, url: str, method: str = "GET", **headers: str):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return station.client.open(url, method=method, base_url=HERE, headers=headers)


@pytest.mark.parametrize("url", READS)
def test_everything_can_be_read_before_a_run(station, url):
    with asked(station, url) as answer:
        assert answer.status_code == 200
        assert answer.is_json == (url != "/")


@pytest.mark.parametrize("host", ["localhost", "localhost:5002", "127.0.0.1:5002", "[::1]:5002"])
def test_this_machine_s_names_are_its_host(station, host):
    assert asked(station, "/status", Host=host).status_code == 200


@pytest.mark.parametrize("url", ["/status", "/", "/static/main.js", "/stop"])
@pytest.mark.parametrize("host", ["evil.test", "evil.test:5002", "localhost.evil.test", "", "[::1"])
def test_a_name_that_was_made_to_point_here_is_refused(station, host, url):
    method = "POST" if url == "/stop" else "GET"
    assert asked(station, url, method, Host=host).status_code in (400, 403)


def test_the_configured_name_is_a_host_too(station):
    app = create_app(State(station.session), server_config(host="10.1.2.3", token=TOKEN))
    ask = {"headers": {"Host": "10.1.2.3:5002", "Authorization": f"Bearer {TOKEN}"}}
    assert app.test_client().get("/status", **ask).status_code == 200


@pytest.mark.parametrize("url", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost:5002.evil.test"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_changes_nothing(station, url, headers):
    answer = asked(station, url, "POST", **headers)
    assert answer.status_code == 403
    assert "error" in answer.json
    assert station.get("/status")["state"] == "idle"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": HERE}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}],
    ids=str,
)
def test_curl_and_our_own_page_may(station, headers):
    assert asked(station, "/stop", "POST", **headers).status_code == 400  # nothing is running


@pytest.fixture
def closed(station: Station) -> FlaskClient:
    """A client of an endpoint that asks for a token."""
    return create_app(State(station.session), server_config(token=TOKEN)).test_client()


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "bearer é", TOKEN[:-1]])
def test_a_token_is_asked_for(closed, given):
    headers = {} if given is None else {"Authorization": given}
    for url in READS:
        expected = 200 if url == "/" else 401  # the page asks its user
        with closed.get(url, headers=headers) as answer:
            assert answer.status_code == expected
    for url in CHANGES:
        assert closed.post(url, headers=headers).status_code == 401


def test_with_the_token_all_is_as_without(closed):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.get("/status", headers=headers).status_code == 200
    assert closed.post("/stop", headers=headers).json["error"] == "nothing is running"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_an_address_that_others_reach_needs_a_token(host):
    settings = {**server_config().model_dump(), "host": host}
    with pytest.raises(ConfigError, match=r"server\.token"):
        parse(ServerConfig, settings)
    assert parse(ServerConfig, {**settings, "token": TOKEN}).host == host


def test_every_answer_is_marked(station):
    for url in ("/", "/status", "/nowhere", "/static/main.js"):
        with asked(station, url) as answer:
            headers = answer.headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("url", CHANGES)
def test_a_large_body_is_refused(station, url):
    answer = station.client.post(url, data=b"{" + b" " * 1_000_000)
    assert answer.status_code == 413
    assert str(BODY_LIMIT) in answer.json["error"]


@pytest.mark.parametrize("url", [url for url in CHANGES if url != "/stop"])  # it reads none
@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b'"x"', b"3", b"\xff\xfe", b"[" * 60_000, b'{"a": }', b"NaN"],
    ids=["open", "list", "text", "number", "bytes", "deep", "broken", "nan"],
)
def test_a_body_that_is_no_object_is_refused(station, url, body):
    answer = station.client.post(url, data=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json["error"]
    assert station.get("/status")["state"] == "idle"


@pytest.mark.parametrize(
    "kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"]
)
def test_a_body_is_read_whatever_its_header_says(station, kind):
    body = json.dumps({"batch_size": 8})
    answer = station.client.post("/task_config", data=body, content_type=kind)
    assert answer.json["batch_size"] == 8


@pytest.mark.parametrize("url", ["/start_train", "/start_pretrain", "/save_checkpoint"])
def test_an_unknown_key_is_named(station, url):
    assert "nmae" in station.post(url, {"nmae": 1}, 400)["error"]


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/stop", 405),
        ("DELETE", "/status", 405),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/..%2fapp.py", 404),
        ("GET", "/download/", 404),
    ],
)
def test_every_refusal_is_json(station, method, url, status):
    answer = asked(station, url, method)
    assert answer.status_code == status
    assert answer.json["error"]
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_fault_of_the_program_is_told_and_logged(station, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("arc.session.Session.tree", broken)
    assert station.get("/config", 500)["error"] == "RuntimeError: boom"
    assert "a request failed" in caplog.text
    assert station.get("/status")["state"] == "idle"
