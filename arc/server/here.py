"""What the application that answers this request works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from arc.server.session import Session
    from arc.server.status import Board

BOARD, SESSION = "arc.server.status", "arc.server.session"


def board() -> Board:
    """Return what was published; every application has it."""
    found: Board = current_app.extensions[BOARD]
    return found


def session() -> Session:
    """Return the session; only the application beside it has it."""
    found: Session = current_app.extensions[SESSION]
    return found
