"""Who may ask the endpoint, and what every answer says to a browser."""

import hmac
import socket

import pytest
from helpers_station import server_config

from arc.server.app import create_app
from arc.server.endpoint import guard_of
from arc.server.security import BODY_LIMIT

TOKEN = "a-long-secret"
FOREIGN = {
    "another origin": {"Origin": "http://evil.example"},
    "another port": {"Origin": "http://localhost:8080"},
    "a sandboxed frame": {"Origin": "null"},
    "said by the browser": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain": {"Sec-Fetch-Site": "same-site"},
    "no address": {"Origin": "http://[::1"},
    "half an address": {"Origin": "http://["},
}
OWN = {
    "a script": {},
    "our page": {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
    "typed": {"Sec-Fetch-Site": "none"},
}
HOSTS = ["localhost", "localhost:5002", "127.0.0.1:80", "[::1]:5002", "LOCALHOST"]
STRANGE_HOSTS = ["evil.example", "localhost.evil.example", "evil.example:5002", "0.0.0.0", "", "["]
STRANGE_HOSTS += ["[::1", "[evil]", "192.0.2.9"]


@pytest.fixture
def guarded(station):
    """A client of an endpoint that others can reach."""
    config = server_config(host="192.0.2.7", token=TOKEN)
    return create_app(station.session, guard_of(config)).test_client()


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("route", ["/start_train", "/stop", "/save_checkpoint", "/task_config"])
def test_a_page_of_another_origin_changes_nothing(station, route, case):
    answer = station.client.post(route, headers=FOREIGN[case])
    assert answer.status_code in (400, 403)
    assert "origin" in answer.json["error"]
    assert station.session.state == "idle"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_foreign_form_is_refused_though_its_body_is_json(station, kind):
    headers = {"Origin": "http://evil.example", "Content-Type": kind}
    answer = station.client.post("/task_config", data='{"batch_size": 8}', headers=headers)
    assert answer.status_code == 403
    assert station.get("/task_config")["batch_size"] != 8


@pytest.mark.parametrize("case", OWN)
def test_our_page_and_scripts_may(station, case):
    answer = station.client.post("/task_config", data="{}", headers=OWN[case])
    assert answer.status_code == 200


@pytest.mark.parametrize("host", HOSTS)
def test_this_machine_s_names_are_answered(station, host):
    assert station.client.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_a_name_made_to_point_here_is_refused(station, host):
    answer = station.client.get("/status", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert answer.json["error"]


def test_no_answer_may_be_read_by_another_origin(station):
    answer = station.client.get("/status", headers={"Origin": "http://evil.example"})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer ", f"Bearer {TOKEN}x", "Basic é"])
def test_without_the_token_nothing_is_told(guarded, given):
    headers = {"Host": "192.0.2.7", **({"Authorization": given} if given else {})}
    for answer in (
        guarded.get("/status", headers=headers),
        guarded.post("/stop", headers=headers),
        guarded.get("/no_such_route", headers=headers),
    ):
        assert answer.status_code == 401
        assert set(answer.json) == {"error"}


def test_with_the_token_all_is(guarded):
    headers = {"Host": "192.0.2.7:5002", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/status", headers=headers).status_code == 200


def test_the_scheme_s_case_does_not_matter(guarded):
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Basic", 401)):
        headers = {"Host": "192.0.2.7", "Authorization": f"{scheme} {TOKEN}"}
        assert guarded.get("/status", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_one_that_listens_everywhere_answers_to_every_address(station, host):
    config = server_config(host=host, token=TOKEN)
    client = create_app(station.session, guard_of(config)).test_client()
    names = ["192.0.2.9:5002", "[2001:db8::1]:5002", "localhost", socket.gethostname()]
    for name, status in [*((name, 200) for name in names), ("evil.example", 403)]:
        headers = {"Host": name, "Authorization": f"Bearer {TOKEN}"}
        assert client.get("/status", headers=headers).status_code == status, name


def test_the_page_itself_asks_for_the_token(guarded):
    headers = {"Host": "192.0.2.7"}
    with guarded.get("/", headers=headers) as answer:
        assert answer.status_code == 200


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    seen, compare = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or compare(a, b))
    guarded.get("/status", headers={"Host": "192.0.2.7", "Authorization": "Bearer guess"})
    assert seen == [(b"guess", TOKEN.encode())]


@pytest.mark.parametrize("route", ["/", "/status", "/no_such_route", "/start_train"])
def test_every_answer_is_marked(station, route):
    with station.client.get(route) as answer:
        headers = answer.headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_that_is_too_large_is_refused(station):
    answer = station.client.post("/task_config", data=b" " * 1_000_000)
    assert answer.status_code == 413
    assert str(BODY_LIMIT) in answer.json["error"]


def test_a_body_of_the_limit_is_read(station):
    body = b"{}".ljust(BODY_LIMIT)
    assert station.client.post("/task_config", data=body).status_code == 200
