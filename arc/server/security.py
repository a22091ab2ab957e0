"""Who may speak to the endpoint.

A page from anywhere can send requests to an address of this machine. So every request must
name this machine as its host (a name that was made to point here is not one), anything that
changes something must come from no page or from our own, and others than this machine need a
token.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit

from flask import Flask, Request, Response, abort, request

BODY_LIMIT = 64 * 1024
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-CheckpointSource-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """The names that the endpoint answers to, and what clients must send, if anything.

    With ``any_address`` every numeric address is one of its names: it listens on all of them.
    """

    hosts: tuple[str, ...]
    token: str | None
    any_address: bool = False

    def is_named(self, host: str | None) -> bool:
        """Return whether ``host`` is one of the endpoint's names."""
        return host in self.hosts or (self.any_address and _is_address(host))


def install_guard(app: Flask, guard: Guard) -> None:
    """Check every request to ``app``, and mark every answer."""
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT + 1  # where a body of no told length is cut

    @app.before_request
    def check() -> None:
        _check_host(request, guard)
        _check_origin(request)
        _check_token(request, guard)
        if (request.content_length or 0) > BODY_LIMIT:
            refuse_long_body()

    @app.after_request
    def mark(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response


def refuse_long_body() -> NoReturn:
    """Abort with 413."""
    abort(413, f"a body of at most {BODY_LIMIT} bytes")


def _check_host(request: Request, guard: Guard) -> None:
    named = request.headers.get("Host", "")
    try:
        host = urlsplit(f"//{named}").hostname
    except ValueError:
        host = None
    if not guard.is_named(host):
        abort(403, f"host {named[:100]!r} is not this endpoint's; use localhost or server.host")


def _is_address(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True


def _check_origin(request: Request) -> None:
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        abort(403, "a page of another origin may not do this")
    origin = request.headers.get("CheckpointSource")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        abort(403, f"origin {origin[:100]!r} may not do this")


def _check_token(request: Request, guard: Guard) -> None:
    """Ask for the token, but for the page itself, which asks its user."""
    if guard.token is None or request.endpoint in ("page.index", "static"):
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), guard.token.encode())
    if scheme.lower() != "bearer" or not right:
        abort(401, "send the header Authorization: Bearer TOKEN (server.token)")
