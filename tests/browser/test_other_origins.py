"""Pages of other origins can neither change nor read anything."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers_browser import OpenPage, Served
from playwright.sync_api import Browser, Page

# Each sends a request that changes something, and resolves when it has been answered or refused.
SIMPLE = "target => fetch(target, {method: 'POST', mode: 'no-cors', %s}).catch(() => null)"
ATTACKS = {
    "no body": SIMPLE % "",
    "text/plain": SIMPLE % "body: '{}'",
    "blob without a type": SIMPLE % "body: new Blob(['{}'])",
    "with credentials": SIMPLE % "body: '{}', credentials: 'include'",
    "json": "target => fetch(target, {method: 'POST', body: '{}', "
    "headers: {'Content-Type': 'application/json'}}).catch(() => null)",
    "form": """target => new Promise(done => {
        const frame = Object.assign(document.createElement('iframe'), {name: 'hidden'});
        document.body.append(frame);
        const form = Object.assign(document.createElement('form'),
            {action: target, method: 'post', enctype: 'text/plain', target: 'hidden'});
        document.body.append(form);
        frame.onload = () => {
            try { if (frame.contentWindow.location.href === 'about:blank') return; } catch {}
            done();
        };
        setTimeout(done, 1000);
        try { form.submit(); } catch (error) { done(); }
    })""",
}
READS = {
    "fetch": "target => fetch(target).then(answer => answer.text(), () => null)",
    "no-cors": "target => fetch(target, {mode: 'no-cors'})"
    ".then(answer => answer.text(), () => null).then(text => text || null)",
    "script": """target => new Promise(done => {
        const script = Object.assign(document.createElement('script'), {src: target});
        script.onload = () => done('loaded');
        script.onerror = () => done(null);
        document.body.append(script);
    })""",
}


class Blank(BaseHTTPRequestHandler):
    """An empty page at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another</title><body>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def other_port() -> Iterator[int]:
    """The port of a server of empty pages on every name of this machine."""
    with ThreadingHTTPServer(("0.0.0.0", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def foreign_window(browser: Browser) -> Iterator[Page]:
    """A window apart from the dashboard's."""
    with closing(browser.new_context()) as context:
        yield context.new_page()


@pytest.fixture
def visit(foreign_window: Page) -> Callable[[str], Page]:
    """Open an address."""

    def open_one(url: str) -> Page:
        foreign_window.goto(url)
        return foreign_window

    return open_one


@pytest.fixture(params=["127.0.0.1", "127.0.0.2", "localhost"])
def foreign(request: pytest.FixtureRequest, other_port: int, visit: OpenPage) -> Page:
    """A page at another port, under this host's name and others."""
    return visit(f"http://{request.param}:{other_port}/")


def test_a_foreign_page_stops_nothing(foreign: Page, served: Served) -> None:
    served.running()
    run = served.get("/status")["run_id"]
    for attack, script in ATTACKS.items():
        foreign.evaluate(script, f"{served.url}/stop")
        after = served.get("/status")
        assert (after["state"], after["run_id"]) == ("training", run), attack


def test_a_foreign_page_reads_nothing(foreign: Page, served: Served) -> None:
    for read, script in READS.items():
        for path in ("/status", "/", "/static/main.js"):
            assert foreign.evaluate(script, served.url + path) is None, (read, path)


def test_the_page_cannot_be_framed(foreign: Page, served: Served) -> None:
    with foreign.expect_event("framenavigated", lambda frame: frame != foreign.main_frame):
        foreign.evaluate(
            "src => document.body.append(Object.assign(document.createElement('iframe'), {src}))",
            served.url,
        )
    assert foreign.frames[1].url.startswith("chrome-error:")


def test_a_rebound_name_is_refused(visit: Callable[[str], Page], served: Served) -> None:
    served.running()
    page = visit(f"http://evil.test:{served.port}/")
    assert "evil.test" in page.locator("body").inner_text()
    assert page.locator("#controls").count() == 0
    ask = "path => fetch(path, {method: 'POST'}).then(answer => answer.status)"
    assert page.evaluate(ask, "/stop") == 403
    assert served.get("/status")["state"] == "training"
