"""Text for the terminal: control characters escaped; a closed output does not end a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import IO, NoReturn

from arc.terminal.streams import open_standard_streams

ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, bidirectional, surrogate, line separators


def escaped(text: str, keep: str = "") -> str:
    """Return ``text`` with control and bidirectional characters as escape sequences.

    The characters in ``keep`` are left as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if each not in keep else each for each in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in ESCAPED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def show(text: str, file: IO[str] | None = None) -> None:
    """Print ``text``; if the output is closed (``| head``), it is discarded from now on.

    Line breaks are printed and other control characters escaped. ``file``: standard output.
    """
    stream = sys.stdout if file is None else file
    if stream is None:  # started with a closed descriptor
        return
    try:
        stream.write(escaped(text, keep="\n") + "\n")
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)


def show_error(message: object) -> int:
    """Print each line of ``message`` to standard error after ``error: ``; returns status 1."""
    for line in str(message).splitlines() or [""]:
        show(f"error: {line}", sys.stderr)
    return 1


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and exit with its status; a closed output is not an error."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may have no form in its encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status: object = main()
        except BrokenPipeError:  # from a library's own output, such as Hydra's help
            status = 0
        except SystemExit as ended:
            status = ended.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                _discard(stream)
    sys.exit(status)  # type: ignore[arg-type]


def _discard(stream: IO[str]) -> None:
    """Let the stream's descriptor lead nowhere, so that what is buffered can be flushed."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)


class EscapeFilter(logging.Filter):
    """Escapes control characters in the message and the traceback of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; returns True."""
        record.msg, record.args = escaped(record.getMessage()), ()
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = escaped(text, keep="\n")
        return True
