"""The dashboard."""

from __future__ import annotations

import importlib
import threading
from functools import lru_cache

from flask import Blueprint, Response, current_app

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """Return the page; its scripts and styles are in /static."""
    _prepare()
    return current_app.send_static_file("index.html")


@lru_cache(maxsize=1)
def _prepare() -> None:
    """Import the modules that /concepts needs in the background; this takes a second."""
    for name in ("scipy.ndimage", "scipy.optimize"):
        threading.Thread(target=importlib.import_module, args=(name,), daemon=True).start()


@blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the page's icon."""
    return current_app.send_static_file("icon.svg")
