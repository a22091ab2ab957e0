"""The code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from helpers_cli import CHECKOUT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "CONTRIBUTING.md",
    *sorted(path for path in (CHECKOUT / "docs").rglob("*.md") if "_build" not in path.parts),
]


@dataclass(frozen=True)
class Block:
    """A fenced code block: its page, its language, its text, and the last line before it."""

    page: str
    language: str
    text: str
    before: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [
            line.split("  # ")[0].split("    # ")[0] for line in lines if line and line[0] != "#"
        ]


def blocks(*languages: str) -> Iterator[Block]:
    """Yield the code blocks of every page in one of ``languages``."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            before = text[: match.start()].rstrip().splitlines()
            if match[1] in languages:
                page = str(path.relative_to(CHECKOUT))
                yield Block(page, match[1], match[2], before[-1] if before else "")
