"""Reserves the names of requested saves, so that no other process writes them."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import IO

from arc.checkpointing.format import TEMPORARY, create_locked, temporary_path


class Reservations:
    """The names that this process has reserved in one folder; safe to use from any thread.

    A reservation is a hidden file that is created exclusively, a second name of one file that this
    process keeps locked: ``sweep_temporaries`` deletes the reservations of processes that died.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: set[Path] = set()
        self._owner: tuple[Path, IO[bytes]] | None = None
        self._closed = False

    def take(self, path: Path, *, overwrite: bool = False) -> bool:
        """Reserve ``path``; returns whether it was free.

        With ``overwrite`` it may exist, or be reserved by this process. Where no reservation can be
        made, as in a folder that was removed, ``path`` is free if it does not exist.
        """
        with self._lock:
            if path in self._held:
                return overwrite
            try:
                self._create(_reservation(path))
            except FileExistsError:
                return False
            except OSError:
                return overwrite or not path.exists()
            self._held.add(path)
            if path.exists() and not overwrite:  # another process may have just written it
                self._release(path)
                return False
            return True

    def release(self, path: Path) -> None:
        """Give up the reservation of ``path``, if there is one."""
        with self._lock:
            self._release(path)

    def close(self) -> None:
        """Give up every reservation; later ones are not kept."""
        with self._lock:
            self._closed = True
            for path in list(self._held):
                self._release(path)
            if self._owner is not None:
                path, file = self._owner
                with contextlib.suppress(OSError):
                    path.unlink()
                file.close()
                self._owner = None

    def _create(self, reservation: Path) -> None:
        if self._closed:
            raise OSError("closed")
        if self._owner is None:
            path = temporary_path(reservation.parent, "names")
            self._owner = path, create_locked(path)
        try:
            os.link(self._owner[0], reservation)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            reservation.open("xb").close()

    def _release(self, path: Path) -> None:
        if path in self._held:
            self._held.remove(path)
            with contextlib.suppress(OSError):
                _reservation(path).unlink()


def _reservation(path: Path) -> Path:
    return path.with_name(f".{path.name}.reserved{TEMPORARY}")
