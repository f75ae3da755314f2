# SPDX-License-Identifier: GPL-2.0-or-later
"""Variables: `${name}` in a value stands for text, or as a whole value for a list. `$${` is `${` itself.

Substitution works on nodes before anything is recognised, so that a value from a variable is held to the same rules,
at the place where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.model.source import Severity, Span
from xfrmd.policy.kinds import Kind, Schema, scalar
from xfrmd.policy.nodes import FromVariable, MappingNode, Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.sources import Value

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_USE: Final = re.compile(r"(\$?)\$\{([^{}]*)\}?")
_FORM: Final = "${name}, or $${ for the two characters themselves"
REFERENCE: Final[Schema] = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", "description": "A variable."}
"""A reference, in a JSON Schema, where the value itself would be no text."""


class Definition(NamedTuple):
    """A variable as it was written; `at` is the place of its value, None where the command line gave it."""

    value: Value
    at: Span | None


def _read_value(node: Node, problems: Problems) -> Any:
    if not isinstance(node, SequenceNode):
        value = scalar(node, problems, "a text or a list of texts")
        return BAD if value is None else value
    if not node.items:
        return problems.error(node, "the list is empty", "add values: an empty list would take away what uses it")
    found = [scalar(item, problems, "a text") for item in node.items]
    return BAD if None in found else tuple(found)


def _read_variables(node: Node, problems: Problems) -> Any:
    if not isinstance(node, MappingNode):
        return problems.error(node, "expected is a mapping of names to values", "write 'variables: {net: 10.1.0.0/16}'")
    found: dict[str, Definition] = {}
    for key, value in node.pairs:
        name = key.value if isinstance(key, ScalarNode) else ""
        if not NAME.fullmatch(name):
            problems.error(key, f"{quoted(name)} is no name of a variable", "write letters, digits and _, 64 at most")
        elif name in found:
            problems.error(key, f"variable {name} stands twice, first at {found[name].at}", "remove one of the two")
        elif (read := _read_value(value, problems)) is not BAD:
            found[name] = Definition(read, problems.span(value))
    return found


_TEXTS: Final[Schema] = {"type": ["string", "number", "boolean"]}
VARIABLES: Final = Kind(
    "a mapping of names to texts or lists of texts",
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {"anyOf": [_TEXTS, {"type": "array", "items": _TEXTS, "minItems": 1}]},
    },
    _read_variables,
)


class Variables:
    """All variables of a policy and its included files; `given` replaces values (`--var`)."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = given
        self._known: dict[str, Definition] = {name: Definition(value, None) for name, value in given.items()}
        self._declared: dict[str, Definition] = {}
        self._texts: dict[str, Value | None] = {}
        """Values with their own references replaced; None for those that cannot be."""
        self._used: set[str] = set()
        self._made = 0
        """Nodes that came of lists."""

    def declare(self, found: Mapping[str, Definition], problems: Problems) -> None:
        """Take the variables of one file."""
        for name, one in found.items():
            first = self._declared.setdefault(name, one)
            if first is not one and one.at is not None:
                message = f"variable {name} has a value already, at {first.at}"
                problems.error(one.at, message, "give it in one file alone, or by --var")
            self._known.setdefault(name, one)

    def check_given(self, at: Span, problems: Problems, unused: Severity) -> None:
        """Report values from outside that no file asks for: a name mistyped there would change nothing, in silence;
        and those that are larger than any that a file may make.
        """
        for name, value in self._given.items():
            if name not in self._declared and name not in self._used:
                remedy = did_you_mean(name, self._declared, "remove it, or use it in the policy")
                problems.tell(unused, at, f"a value is given for {quoted(name)}, which the policy does not use", remedy)
            texts = (value,) if isinstance(value, str) else value
            if len(texts) > limits.VARIABLE_ITEMS:
                message = f"more than {limits.VARIABLE_ITEMS} values are given for variable {name}"
                problems.error(at, message, "write subnets and ranges in place of long lists")
            if (longest := max(map(len, texts), default=0)) > limits.VARIABLE_TEXT:
                message = f"the value given for variable {name} has {longest} characters"
                problems.error(at, message, f"write {limits.VARIABLE_TEXT} at most")

    def put_in(self, node: Node, problems: Problems) -> Node:
        """The node with all references replaced."""
        if isinstance(node, ScalarNode):
            return self._scalar(node, problems)
        if isinstance(node, SequenceNode):
            node.items = [made for item in node.items for made in self._items(item, problems)]
        elif isinstance(node, MappingNode):
            node.pairs = [(key, self.put_in(value, problems)) for key, value in node.pairs]
        return node

    def _items(self, item: Node, problems: Problems) -> Iterable[Node]:
        """What stands in a list in place of an item: a list from a variable is spliced in."""
        made = self.put_in(item, problems)
        return made.items if isinstance(item, ScalarNode) and isinstance(made, SequenceNode) else (made,)

    def _scalar(self, node: ScalarNode, problems: Problems) -> Node:
        if "${" not in node.value:
            return node
        value = self._replaced(node.value, node, problems, ())
        name = _only_name(node.value) or "..."
        if value is None:
            problems.settle(node)
            return FromVariable(node.line, node.column, "", name, plain=False)
        if isinstance(value, str):
            return FromVariable(node.line, node.column, value, name, plain=node.plain)
        self._made += len(value)
        if self._made > limits.VARIABLE_ITEMS:
            message = f"lists of variables make more than {limits.VARIABLE_ITEMS} values here"
            problems.error(node, message, "write subnets and ranges in place of long lists")
            return SequenceNode(node.line, node.column, [])
        items: list[Node] = [FromVariable(node.line, node.column, one, name, plain=node.plain) for one in value]
        return SequenceNode(node.line, node.column, items)

    def _replaced(self, text: str, where: Node | Span, problems: Problems, path: tuple[str, ...]) -> Value | None:
        """A text with its references replaced, None (reported) when that cannot be. `path` are the variables that are
        being replaced.
        """
        whole = _only_name(text)
        if whole is not None:
            return self._value(whole, where, problems, path)
        parts: list[str] = []
        end = 0
        for use in _USE.finditer(text):
            parts.append(text[end : use.start()])
            end = use.end()
            if use[1]:
                parts.append(use[0][1:])
                continue
            value = self._part(use, where, problems, path)
            if value is None:
                return None
            parts.append(value)
        found = "".join((*parts, text[end:]))
        if len(found) > limits.VARIABLE_TEXT:
            problems.error(where, f"variables make a text of {len(found)} characters here", "write shorter values")
            return None
        return found

    def _part(self, use: re.Match[str], where: Node | Span, problems: Problems, path: tuple[str, ...]) -> str | None:
        """The text of one reference among other text."""
        if not use[0].endswith("}"):
            problems.error(where, "'${' is not closed", f"write {_FORM}")
            return None
        value = self._value(use[2], where, problems, path)
        if isinstance(value, tuple):
            message = f"variable {use[2]} is a list, which cannot stand inside a text"
            problems.error(where, message, f"write ${{{use[2]}}} as a value by itself")
            return None
        return value

    def _value(self, name: str, where: Node | Span, problems: Problems, path: tuple[str, ...]) -> Value | None:
        if not NAME.fullmatch(name):
            problems.error(where, f"{quoted(name)} is no name of a variable", f"write {_FORM}")
            return None
        self._used.add(name)
        if name in path:
            message = f"variable {name} stands for itself: {' -> '.join((*path[path.index(name) :], name))}"
            problems.error(where, message, "write its value out")
            return None
        definition = self._known.get(name)
        if definition is None:
            remedy = did_you_mean(name, self._known, f"add it under variables, or give --var {name}=...")
            problems.error(where, f"there is no variable {name}", remedy)
            return None
        if name not in self._texts:
            self._texts[name] = self._defined(name, definition, where, problems, path)
        return self._texts[name]

    def _defined(
        self, name: str, definition: Definition, where: Node | Span, problems: Problems, path: tuple[str, ...]
    ) -> Value | None:
        """The value of a variable, told once at its own place when it cannot be had."""
        if definition.at is None:  # from outside: taken as it is
            return definition.value
        if len(path) >= limits.VARIABLE_DEPTH:
            problems.error(where, f"variables stand for one another {len(path)} deep", "write values out")
            return None
        path = (*path, name)
        if isinstance(definition.value, str):
            return self._replaced(definition.value, definition.at, problems, path)
        found: list[str] = []
        for item in definition.value:
            value = self._replaced(item, definition.at, problems, path)
            if value is None:
                return None
            found += [value] if isinstance(value, str) else value
            if len(found) > limits.VARIABLE_ITEMS:
                message = f"variable {name} has more than {limits.VARIABLE_ITEMS} values"
                problems.error(definition.at, message, "write subnets and ranges in place of long lists")
                return None
        return tuple(found)


def _only_name(text: str) -> str | None:
    """The name when a text is one reference and nothing else."""
    use = _USE.fullmatch(text)
    return use[2] if use and not use[1] and text.endswith("}") else None
