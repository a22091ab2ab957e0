"""What the application that answers this request works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from arc.board import Board
    from arc.session import Session

BOARD, SESSION = "arc.board", "arc.session"


def board() -> Board:
    """Return what was published; every application has it."""
    found: Board = current_app.extensions[BOARD]
    return found


def session() -> Session:
    """Return the session; only the application beside it has it."""
    found: Session = current_app.extensions[SESSION]
    return found
