"""Access control for the endpoint.

Any web page can send requests to addresses of this machine. Therefore every request must name
this machine as its host (which defeats DNS rebinding), no request but that for the page itself may
come from a page of another origin, and endpoints that other machines can reach require a token.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit

from flask import Flask, Request, Response, abort, request

BODY_LIMIT = 64 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """The host names that the endpoint accepts, and the token that it requires, if any.

    With ``any_address`` every numeric address is accepted as a host.
    """

    hosts: tuple[str, ...]
    token: str | None
    any_address: bool = False

    def accepts(self, host: str | None) -> bool:
        """Return whether requests may name ``host``."""
        return host in self.hosts or (self.any_address and _is_address(host))


def install_guard(app: Flask, guard: Guard) -> None:
    """Check every request to ``app``, and add security headers to every response."""
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT + 1  # for bodies without a Content-Length

    @app.before_request
    def check() -> None:
        _check_host(request, guard)
        _check_origin(request)
        _check_token(request, guard)
        if (request.content_length or 0) > BODY_LIMIT:
            refuse_long_body()

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response


def refuse_long_body() -> NoReturn:
    """Abort with 413."""
    abort(413, f"the body exceeds {BODY_LIMIT} bytes")


def _check_host(request: Request, guard: Guard) -> None:
    named = request.headers.get("Host", "")
    try:
        host = urlsplit(f"//{named}").hostname
    except ValueError:
        host = None
    if not guard.accepts(host):
        abort(403, f"host {named[:100]!r} is not accepted; use localhost or server.host")


def _is_address(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True


def _check_origin(request: Request) -> None:
    if request.blueprint == "page":  # links from elsewhere open the page
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        abort(403, "cross-origin requests are not allowed")
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        abort(403, f"requests from origin {origin[:100]!r} are not allowed")


def _check_token(request: Request, guard: Guard) -> None:
    """Require the token, except for the page itself, which prompts for it."""
    if guard.token is None or request.endpoint in ("page.index", "static"):
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), guard.token.encode())
    if scheme.lower() != "bearer" or not right:
        abort(401, "send the header Authorization: Bearer TOKEN (server.token)")
