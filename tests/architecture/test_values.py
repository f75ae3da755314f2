# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that change no more: frozen dataclasses, and those that are made so often that only mypy keeps them so.

A frozen dataclass takes three times as long to be made, as each field is set by name from outside. `unsafe_hash=True`
marks those that do without; each of their fields is Final, which mypy refuses to see assigned.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "xfrmd"


def changeable(source: str) -> list[str]:
    """Fields of hashable dataclasses that somebody could assign to."""
    return [
        f"{one.name}.{ast.unparse(field.target)}"
        for one in ast.walk(ast.parse(source))
        if isinstance(one, ast.ClassDef) and any("unsafe_hash=True" in ast.unparse(how) for how in one.decorator_list)
        for field in one.body
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).startswith(("Final[", "ClassVar["))
    ]


@pytest.mark.parametrize(
    "field", ["data: Final[bytes] = b''", "type: ClassVar[int] = 1", "first: Final[dict[type, int]]"]
)
def test_final_fields_are_taken(field: str) -> None:
    assert not changeable(f"@dataclass(slots=True, unsafe_hash=True)\nclass One:\n    {field}")


def test_a_field_that_is_not_final_is_found() -> None:
    assert changeable("@dataclass(slots=True, unsafe_hash=True)\nclass One:\n    data: bytes") == ["One.data"]


def test_no_value_can_change() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    assert sum("unsafe_hash=True" in text for text in sources.values()) > 5
    assert not {path.relative_to(ROOT): found for path, text in sources.items() if (found := changeable(text))}
