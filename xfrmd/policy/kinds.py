# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of values: how a YAML node is read, and what JSON Schema says of it. A recogniser never guesses a type:
it takes the author's text as it stands, so YAML 1.1's octal and sexagesimal numbers cannot change a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from xfrmd.policy.nodes import Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted

Schema = dict[str, Any]
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_YAML_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9_:.,xobA-Fa-f]*", re.ASCII)
_STRANGE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that terminals act upon, and those that make a line read in another order than it is written in."""
TEXT_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value. `read` returns the value, or BAD once it has reported why not."""

    words: str
    """What a value looks like, for messages and the reference."""
    schema: Schema
    read: Callable[[Node, Problems], Any]


def scalar(node: Node, problems: Problems, wanted: str) -> str | None:
    """The text of a scalar as written; None (reported) when the node is a list, a mapping or has no value."""
    if isinstance(node, ScalarNode):
        if node.is_null:
            problems.error(node, "there is no value here", f"write {wanted}, or remove the key")
            return None
        return node.value
    found = "a list" if isinstance(node, SequenceNode) else "a mapping"
    problems.error(node, f"{found} stands here, expected is {wanted}", f"write {wanted}")
    return None


_FLAGS: Final = {"yes": True, "no": False, "true": True, "false": False}


def _read_flag(node: Node, problems: Problems) -> Any:
    text = scalar(node, problems, "yes or no")
    if text is None:
        return BAD
    value = _FLAGS.get(text.casefold())
    return value if value is not None else problems.error(node, f"{quoted(text)} is not yes or no", "write yes or no")


FLAG: Final = Kind("yes or no", {"enum": [True, False, "yes", "no"]}, _read_flag)


def number(text: str, node: Node, problems: Problems, wanted: str = "a decimal number") -> Any:
    """A decimal number as written, or BAD with a remedy that names what YAML would have made of it."""
    if _DECIMAL.fullmatch(text):
        return int(text)
    if not _YAML_NUMBER.fullmatch(text):
        return problems.error(node, f"{quoted(text)} is not a number", f"write {wanted}")
    if not (text.isascii() and text.isdigit()):
        remedy = "write it in decimal digits alone" + (" (YAML reads 1:30 as 90)" if ":" in text else "")
        return problems.error(node, f"{quoted(text)} is not a decimal number", remedy)
    if text[0] != "0":
        return problems.error(node, f"{quoted(text)} is too large a number", f"write {wanted}")
    octal = f"; {int(text, 8)} if octal was meant" if re.fullmatch("0[0-7]{1,18}", text) else ""
    plain, shown = (quoted(one or "0").strip("'") for one in (text.lstrip("0"), text))
    return problems.error(node, f"{shown} may be read as octal", f"write {plain}{octal}")


def integer(low: int, high: int, unit: str = "") -> Kind:
    """A decimal number in a range, both ends included."""
    words = f"a number from {low} to {high}" + (f" ({unit})" if unit else "")

    def read(node: Node, problems: Problems) -> Any:
        text = scalar(node, problems, words)
        value = BAD if text is None else number(text, node, problems, words)
        if value is not BAD and not low <= value <= high:
            return problems.error(node, f"{value} is not between {low} and {high}", f"write {words}")
        return value

    return Kind(words, {"type": "integer", "minimum": low, "maximum": high}, read)


def text(wanted: str = "text", least: int = 0, most: int = TEXT_LENGTH, *, lines: bool = False) -> Kind:
    """Text as written, of bounded length and without control characters. `lines`: it may have several."""

    def read(node: Node, problems: Problems) -> Any:
        value = scalar(node, problems, wanted)
        if value is None:
            return BAD
        if not least <= len(value) <= most:
            return problems.error(node, f"{len(value)} characters stand here", f"write {least} to {most} characters")
        if not value.isprintable():
            strange = _STRANGE.search(value)
            if strange is not None:
                message = f"there is a control character in this text: U+{ord(strange.group()):04X}"
                return problems.error(node, message, "remove it")
            if "\n" in value and not lines:
                return problems.error(node, "this text has more than one line", "write it in one line")
        return value

    return Kind(wanted, {"type": "string", "minLength": least, "maxLength": most}, read)


def word(words: Mapping[str, Any]) -> Kind:
    """One of a few words, without regard to case."""
    listed = ", ".join(words)

    def read(node: Node, problems: Problems) -> Any:
        value = scalar(node, problems, f"one of {listed}")
        if value is None:
            return BAD
        found = words.get(value.casefold(), BAD)
        if found is BAD:
            problems.error(node, f"{quoted(value)} is none of {listed}", did_you_mean(value, words, f"write {listed}"))
        return found

    return Kind(f"one of {listed}", {"enum": list(words)}, read)


def list_of(kind: Kind, what: str, *, empty: bool = False) -> Kind:
    """A list of values of one kind. What could not be read is left out; the value is a list."""

    def read(node: Node, problems: Problems) -> Any:
        if not isinstance(node, SequenceNode):
            remedy = "begin each entry with '- ', or write [a, b]"
            return problems.error(node, f"expected is a list of {what}", remedy)
        if not node.items and not empty:
            return problems.error(node, f"the list of {what} is empty", f"add {what}, or remove what needs them")
        values = [kind.read(item, problems) for item in node.items]
        return [value for value in values if value is not BAD]

    schema: Schema = {"type": "array", "items": kind.schema}
    return Kind(f"list of {what}", schema if empty else schema | {"minItems": 1}, read)


def one_of(kinds: Iterable[Kind], choose: Callable[[Node], Kind]) -> Kind:
    """A value of one of several kinds, told apart by the form of its node."""
    kinds = tuple(kinds)
    return Kind(
        ", or ".join(kind.words for kind in kinds),
        {"anyOf": [kind.schema for kind in kinds]},
        lambda node, problems: choose(node).read(node, problems),
    )
