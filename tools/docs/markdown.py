# SPDX-License-Identifier: GPL-2.0-or-later
"""Pieces of Markdown as forges render it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with a line break at its end."""
    lines = [head, ["---"] * len(head), *([cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def mermaid(lines: Iterable[str]) -> str:
    """A diagram in a fence that forges draw."""
    return "```mermaid\n" + "".join(f"{line}\n" for line in lines) + "```\n"


def made(how: str) -> str:
    """The first line of a document that nobody edits."""
    return f"<!-- made by `python -m tools.docs` from {how}: change that, not this -->\n"
