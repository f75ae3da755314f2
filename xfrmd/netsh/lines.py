# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of a script as cmd sees them: a ^ at the end of a line goes on in the next one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from xfrmd import limits

NETSH: Final = re.compile(r"(?:\S*\\)?netsh(?:\.exe)?", re.IGNORECASE)
"""The word that calls netsh."""


class Line(NamedTuple):
    """A line, perhaps of several of the script. `parts`: where each begins in the text, and its number."""

    text: str
    parts: tuple[tuple[int, int], ...]

    @property
    def number(self) -> int:
        """Number of its first line in the script."""
        return self.parts[0][1]

    @property
    def begin(self) -> int:
        """Where its first word begins, behind an @."""
        return len(self.text) - len(self.text.lstrip("@ \t"))

    def place(self, column: int) -> tuple[int, int]:
        """Line and column in the script of a column (counted from 1) of the text."""
        offset, number = next(part for part in reversed(self.parts) if part[0] < column)
        return number, column - offset


def lines(text: str) -> Iterator[Line]:
    """The lines of a script."""
    rows = enumerate(text.split("\n"), 1)
    for number, row in rows:
        line = Line(row.rstrip("\r"), ((0, number),))
        while _goes_on(line) and (more := next(rows, None)) is not None:
            before = line.text[:-1]
            line = Line(before + more[1].rstrip("\r"), (*line.parts, (len(before), more[0])))
        yield line._replace(text=line.text.rstrip())


def _goes_on(line: Line) -> bool:
    """Does cmd join the next line to this one? Between quotation marks, and behind another one, a ^ is a ^."""
    text = line.text
    if not text.endswith("^") or text.endswith("^^") or len(text) > limits.NETSH_LINE:
        return False
    return text.count('"') % 2 == 0 and NETSH.match(text, line.begin) is not None
