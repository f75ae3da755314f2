# SPDX-License-Identifier: GPL-2.0-or-later
"""What a YAML document is made of, each piece with its place: scalars, sequences, mappings, and nothing else."""

from __future__ import annotations

from typing import Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


class Node:
    """One piece of a document. Line and column count from 1. Light, for there are nine of them in a filter."""

    __slots__ = ("column", "line")

    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column


class ScalarNode(Node):
    """A piece of text as written. `plain`: without quotation marks."""

    __slots__ = ("plain", "value")

    def __init__(self, line: int, column: int, value: str, *, plain: bool) -> None:
        self.line, self.column, self.value, self.plain = line, column, value, plain

    @property
    def is_null(self) -> bool:
        """Does it stand for no value at all?"""
        return self.plain and self.value in _NULLS


class FromVariable(ScalarNode):
    """Text that a variable gave, at the place where it is used. `variable` is "..." for a text with several parts."""

    __slots__ = ("variable",)

    def __init__(self, line: int, column: int, value: str, variable: str, *, plain: bool) -> None:
        super().__init__(line, column, value, plain=plain)
        self.variable = variable


class SequenceNode(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, line: int, column: int, items: list[Node]) -> None:
        self.line, self.column, self.items = line, column, items


class MappingNode(Node):
    """Keys with values, in the order of the file. A key may be any node, and may come twice."""

    __slots__ = ("pairs",)

    def __init__(self, line: int, column: int, pairs: list[tuple[Node, Node]]) -> None:
        self.line, self.column, self.pairs = line, column, pairs
