# SPDX-License-Identifier: GPL-2.0-or-later
"""Field tables: a row per key of a mapping. The recogniser, the JSON Schema and the reference are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from xfrmd.model.source import Span
from xfrmd.policy.kinds import Kind, Schema
from xfrmd.policy.nodes import MappingNode, Node, ScalarNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted

DEFINITIONS: Final = "#/$defs/"
VARIABLE: Final[Schema] = {"$ref": f"{DEFINITIONS}variable"}
"""A reference to a variable, where the value itself would be no text."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key. `default` is the value when the key is absent; `shown` is how the reference prints that default."""

    name: str
    kind: Kind
    help: str
    required: bool = False
    default: Any = None
    shown: str = ""
    netsh: str = ""
    """netsh's word, where it has one."""


@dataclass(frozen=True, slots=True)
class Later:
    """A key of the Windows model that this version does not know yet: refused by name, never ignored."""

    name: str
    what: str
    remedy: str


class Read:
    """A mapping as read: values (BAD for what was bad, the default for what was absent) and where they stood."""

    __slots__ = ("_nodes", "_problems", "at", "values", "whole")

    def __init__(self, at: Span, problems: Problems) -> None:
        self.at = at
        self.values: dict[str, Any] = {}
        self.whole = True
        self._nodes: dict[str, Node] = {}
        self._problems = problems

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def put(self, name: str, value: Any, node: Node) -> None:
        """Keep a value that was given."""
        self.values[name] = value
        self._nodes[name] = node
        if value is BAD:
            self.whole = False

    def given(self, name: str) -> bool:
        """Does the key stand in the file?"""
        return name in self._nodes

    def names(self) -> tuple[str, ...]:
        """The keys that stand in the file, in its order."""
        return tuple(self._nodes)

    def good(self, *names: str) -> bool:
        """Could all of these be read?"""
        return self.whole or all(self.values[name] is not BAD for name in names)

    def place(self, name: str) -> Span:
        """Where the key's value stands; the whole mapping's place when the key is absent."""
        node = self._nodes.get(name)
        return self.at if node is None else self._problems.span(node)


def _or_variable(schema: Schema) -> Schema:
    """The schema of a value that a variable may stand for. Objects are never variables, and text may be anything."""
    kind = schema.get("type")
    if "$ref" in schema or "const" in schema or kind == "object" or (kind == "string" and "pattern" not in schema):
        return schema
    if kind == "array" and "$ref" in schema["items"]:
        return schema
    return {"anyOf": [*map(_or_items, schema.get("anyOf", [schema])), VARIABLE]}


def _or_items(schema: Schema) -> Schema:
    return schema | {"items": _or_variable(schema["items"])} if schema.get("type") == "array" else schema


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys. `build` makes its value of what was read, and checks what several keys say together;
    without it the value is the Read.
    """

    title: str
    help: str
    fields: tuple[Field, ...]
    later: tuple[Later, ...] = ()
    build: Callable[[Read, Problems], Any] | None = None
    exactly_one: bool = False
    """Of these keys exactly one must stand there (for the schema; `build` checks it)."""

    @property
    def definition(self) -> Schema:
        """JSON Schema of the mapping itself."""
        properties = {}
        for field in self.fields:
            about: Schema = {"description": field.help}
            if field.shown and "\n" not in field.shown:
                about["description"] += f" Default: {field.shown}."
            properties[field.name] = about | _or_variable(field.kind.schema)
        required = [field.name for field in self.fields if field.required]
        found: Schema = {"type": "object", "description": self.help, "properties": properties}
        if required:
            found["required"] = required
        if self.exactly_one:
            found |= {"minProperties": 1, "maxProperties": 1}
        return found | {"additionalProperties": False}

    def kind(self) -> Kind:
        """The record as a kind of value, for a field or a list."""
        by_name = {field.name: field for field in self.fields}
        later = {row.name: row for row in self.later}
        required = tuple(field for field in self.fields if field.required)
        defaults = {field.name: field.default for field in self.fields}

        def read(node: Node, problems: Problems) -> Any:
            if not isinstance(node, MappingNode):
                remedy = f"write 'key: value' lines with {', '.join(f.name for f in required or self.fields)}"
                return problems.error(node, f"expected is a mapping for a {self.title}", remedy)
            found = Read(problems.span(node), problems)
            for key, value in node.pairs:
                if (name := _new_key(key, found, problems)) is None:
                    continue
                field = by_name.get(name)
                if field is None:
                    found.whole = False
                    problems.error(key, *_unknown(name, self.title, later, by_name))
                else:
                    found.put(name, field.kind.read(value, problems), value)
            for field in required:
                if field.name not in found.values:
                    problems.error(found.at, f"{self.title} has no {field.name}", f"add {field.name}: {field.help}")
                    found.values[field.name] = BAD
                    found.whole = False
            found.values = defaults | found.values
            return found if self.build is None else self.build(found, problems)

        return Kind(self.title, {"$ref": DEFINITIONS + self.title.replace(" ", "-")}, read)


def _new_key(key: Node, found: Read, problems: Problems) -> str | None:
    """The name of a key that has not stood in this mapping before, else None (reported)."""
    if not isinstance(key, ScalarNode):
        problems.error(key, "a key must be a plain word", "remove the brackets around the key")
        found.whole = False
        return None
    name = key.value
    if name in found.values:
        first = found.place(name)
        problems.error(key, f"{name} stands twice here, first in line {first.line}", "remove one of the two")
        found.whole = False
        return None
    return name


def _unknown(name: str, title: str, later: dict[str, Later], known: dict[str, Field]) -> tuple[str, str]:
    """Message and remedy for a key that a mapping does not have."""
    row = later.get(name.casefold())
    if row is not None:
        return f"{row.name}: {row.what} is not built yet", row.remedy
    return f"{title} knows no key {quoted(name)}", did_you_mean(name, known, f"known here are {', '.join(known)}")
