# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks in code and tests: `# rfc 7296: retransmit-identical` above a function says that it fulfils, or shows, that."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MARK: Final = re.compile(r"^\s*# rfc (\d+): (.+)$")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class MarkError(Exception):
    """A mark that stands nowhere, or names nothing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody says: this place has to do with that requirement."""

    rfc: int
    requirement: str
    file: str
    """Below the root of the tree."""
    name: str
    """Function or class."""

    @property
    def shows(self) -> bool:
        """Is it a test?"""
        return self.file.startswith("tests/")

    def __str__(self) -> str:
        return f"`{self.file}`: `{self.name}`" if self.shows else f"`{self.file.removeprefix('xfrmd/')}`: `{self.name}`"


def marks(root: Path) -> list[Mark]:
    """All marks of the tree, by file and line. MarkError for one that stands above nothing."""
    found: list[Mark] = []
    for folder in ("xfrmd", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            found += _of_file(path, str(path.relative_to(root)))
    return found


def _of_file(path: Path, name: str) -> Iterator[Mark]:
    lines = path.read_text().splitlines()
    marked = {number: match for number, line in enumerate(lines, 1) if (match := _MARK.match(line))}
    if not marked:
        return
    begins = {
        _first_line(node): node.name for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, _Definition)
    }
    for number, match in marked.items():
        below = number + 1
        while below in marked:
            below += 1
        if below not in begins:
            raise MarkError(f"{name}:{number}: a mark stands directly above a function or class, or its decorators")
        for requirement in match[2].split():
            yield Mark(int(match[1]), requirement, name, begins[below])


def _first_line(node: _Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
