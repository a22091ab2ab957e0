"""Access control of the endpoint, and the security headers of its responses."""

import hmac
import socket
from unittest.mock import patch

import pytest
from flask.testing import FlaskClient
from helpers_station import Station, server_config

from arc.server.app import create_app
from arc.server.endpoint import guard_of
from arc.server.security import BODY_LIMIT

TOKEN = "a-long-secret"
FOREIGN = {
    "another origin": {"Origin": "http://evil.example"},
    "another port": {"Origin": "http://localhost:8080"},
    "a sandboxed frame": {"Origin": "null"},
    "marked by the browser": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain": {"Sec-Fetch-Site": "same-site"},
    "an invalid address": {"Origin": "http://[::1"},
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


@pytest.fixture(scope="module")
def guarded(trained: Station) -> FlaskClient:
    """A client of an endpoint that other machines can reach."""
    config = server_config(host="192.0.2.7", token=TOKEN)
    return create_app(trained.session, guard_of(config)).test_client()


def test_a_host_may_have_capitals(trained: Station) -> None:
    config = server_config(host="MyBox", token=TOKEN)
    client = create_app(trained.session, guard_of(config)).test_client()
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "mybox:5002"}
    assert client.get("/status", headers=headers).status_code == 200


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("route", ["/start_train", "/stop", "/save_checkpoint", "/task_config"])
def test_a_page_of_another_origin_changes_nothing(trained: Station, route: str, case: str) -> None:
    answer = trained.client.post(route, headers=FOREIGN[case])
    assert answer.status_code in (400, 403)
    assert "origin" in answer.get_json()["error"]
    assert trained.session.state == "idle"


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize(
    "route",
    [
        *("/probe?example=x", "/samples", "/language", "/examples", "/download/x", "/task_schema"),
        *("/metrics_history", "/log", "/status", "/results", "/config", "/static/app.js"),
    ],
)
def test_foreign_pages_cost_no_computation(trained: Station, route: str, case: str) -> None:
    answer = trained.client.get(route, headers=FOREIGN[case])
    assert answer.status_code == 403
    assert "origin" in answer.get_json()["error"]


@pytest.mark.parametrize("case", OWN)
def test_own_pages_and_scripts_have_access(trained: Station, case: str) -> None:
    assert trained.client.get("/samples", headers=OWN[case]).status_code == 200
    answer = trained.client.post("/task_config", data="{}", headers=OWN[case])
    assert answer.status_code == 200


def test_a_link_from_elsewhere_opens_the_page(trained: Station) -> None:
    with trained.client.get("/", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_foreign_form_with_a_json_body_is_refused(trained: Station, kind: str) -> None:
    headers = {"Origin": "http://evil.example", "Content-Type": kind}
    answer = trained.client.post("/task_config", data='{"batch_size": 8}', headers=headers)
    assert answer.status_code == 403
    assert trained.get("/task_config")["batch_size"] != 8


@pytest.mark.parametrize("host", HOSTS)
def test_the_names_of_this_machine_are_accepted(trained: Station, host: str) -> None:
    assert trained.client.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_a_foreign_host_name_is_refused(trained: Station, host: str) -> None:
    answer = trained.client.get("/status", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert answer.get_json()["error"]


def test_no_response_can_be_read_by_another_origin(trained: Station) -> None:
    with trained.client.get("/", headers={"Origin": "http://evil.example"}) as answer:
        assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer ", f"Bearer {TOKEN}x", "Basic é"])
def test_every_request_needs_the_token(guarded: FlaskClient, given: str | None) -> None:
    headers = {"Host": "192.0.2.7", **({"Authorization": given} if given else {})}
    for answer in (
        guarded.get("/status", headers=headers),
        guarded.post("/stop", headers=headers),
        guarded.get("/no_such_route", headers=headers),
    ):
        assert answer.status_code == 401
        assert set(answer.get_json()) == {"error"}


def test_requests_with_the_token_are_answered(guarded: FlaskClient) -> None:
    for scheme, status in (("Bearer", 200), ("bearer", 200), ("BEARER", 200), ("Basic", 401)):
        headers = {"Host": "192.0.2.7:5002", "Authorization": f"{scheme} {TOKEN}"}
        assert guarded.get("/status", headers=headers).status_code == status
    with guarded.get("/", headers={"Host": "192.0.2.7"}) as page:
        assert page.status_code == 200, "the page itself needs no token"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_on_all_interfaces_every_numeric_host_is_accepted(trained: Station, host: str) -> None:
    config = server_config(host=host, token=TOKEN)
    client = create_app(trained.session, guard_of(config)).test_client()
    names = ["192.0.2.9:5002", "[2001:db8::1]:5002", "localhost", socket.gethostname()]
    for name, status in [*((name, 200) for name in names), ("evil.example", 403)]:
        headers = {"Host": name, "Authorization": f"Bearer {TOKEN}"}
        assert client.get("/status", headers=headers).status_code == status, name


def test_the_token_is_compared_in_constant_time(guarded: FlaskClient) -> None:
    with patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
        guarded.get("/status", headers={"Host": "192.0.2.7", "Authorization": "Bearer guess"})
    compare.assert_called_once_with(b"guess", TOKEN.encode())


@pytest.mark.parametrize("route", ["/", "/status", "/no_such_route", "/start_train"])
def test_every_response_has_the_security_headers(trained: Station, route: str) -> None:
    with trained.client.get(route) as answer:
        headers = answer.headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "img-src 'self' blob:;" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_body_has_a_limit(trained: Station) -> None:
    body = b"{}".ljust(BODY_LIMIT)
    assert trained.client.post("/task_config", data=body).status_code == 200
    answer = trained.client.post("/task_config", data=body + b" ")
    assert answer.status_code == 413
    assert str(BODY_LIMIT) in answer.get_json()["error"]
