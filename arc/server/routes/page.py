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
    """Import what /concepts needs, which takes 0.5 s, before the page asks for it."""
    load = importlib.import_module
    threading.Thread(target=load, args=("scipy.optimize",), daemon=True).start()


@blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the page's icon."""
    return current_app.send_static_file("icon.svg")
