# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a policy file while it is written, each line with the place in the script that it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from xfrmd.model.source import Problem, Span
from xfrmd.netsh.scalars import scalar

_KEY: Final = re.compile(
    r"\b(action|activatedefaultrule|assign|conntype|dstaddr|dstport|mirrored|mmpfs|protocol|srcaddr|srcport): ",
    re.ASCII,
)
"""A key of the language that netsh has as a tag, in a message."""


class Page:
    """Lines of YAML. Mappings that stand in lists are begun with `entry`, all else follows them indented."""

    def __init__(self, start: Span) -> None:
        self._lines: list[str] = []
        self._places: list[Span] = []
        self._at = start
        self._indent = 0
        self._dash = False

    def line(self, text: str, at: Span | None = None) -> None:
        """A line as it stands, at the present depth. `at`: what it comes from; else what the line before comes from."""
        self._at = at or self._at
        lead = " " * self._indent
        if self._dash:
            lead = lead[:-2] + "- "
            self._dash = False
        self._lines.append(f"{lead}{text}" if text else "")
        self._places.append(self._at)

    def key(self, name: str, text: str) -> None:
        """A key with a text for its value."""
        self.line(f"{name}: {scalar(text)}")

    def entry(self, at: Span) -> None:
        """Begin an entry of a list: the next line has its dash."""
        self._at = at
        self._dash = True

    def items(self, name: str, texts: Iterable[str]) -> None:
        """A key with a list of texts."""
        self.line(f"{name}:")
        for text in texts:
            self.line(f"  - {scalar(text)}")

    def deeper(self) -> None:
        """The next lines belong to entries of the list whose key stands in the line before."""
        self._indent += 4

    def out(self) -> None:
        """Back to where the last `deeper` began."""
        self._indent -= 4

    @property
    def here(self) -> Span:
        """What the last line, or the entry that was begun, comes from."""
        return self._at

    @property
    def length(self) -> int:
        """Number of lines."""
        return len(self._lines)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines) + "\n"

    def place(self, line: int) -> Span:
        """What a line (counted from 1) comes from."""
        return self._places[min(line, len(self._places)) - 1]

    def in_script(self, problem: Problem) -> Problem:
        """A problem of this text, at its place in the script and in the words of netsh."""
        message, remedy = (_KEY.sub(r"\1=", text) for text in (problem.message, problem.remedy))
        return problem._replace(at=self.place(problem.at.line), message=message, remedy=remedy)
