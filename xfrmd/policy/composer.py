# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML text to nodes with places. What YAML allows and a policy does not (anchors, tags, depth) is refused here."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from xfrmd import limits
from xfrmd.model.source import Span
from xfrmd.policy.nodes import MappingNode, Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import Problems

# What YAML 1.1 does not allow in a stream (its "printable" characters, the other way round).
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]")
_BRACKET: Final = re.compile(r"[\[\]{}]")

_SYNTAX_REMEDIES: Final = (
    ("mapping values are not allowed", "quote a value that contains ': ', and check the indentation of this line"),
    ("expected ',' or", "inside [ ] and { } quote each value that contains [ ] { } or a comma; close each bracket"),
    ("expected <block end>", "give the keys of one object the same indentation"),
    ("could not find expected ':'", "write 'key: value', with a space behind the colon"),
    ("found unexpected ':'", "quote an IPv6 address that stands inside [ ] or { }"),
    ("scanning a quoted scalar", "close the quotation mark"),
)
_SECOND_DOCUMENT: Final = (
    "a second document begins here, expected is a single document",
    "keep one document in a file: remove the line '---' and what follows, or make it a file",
)
_WORDS: Final = 4096
"""Different words that are remembered; the rest, such as addresses, seldom comes again."""
_TOO_DEEP: Final = (f"nested deeper than {limits.POLICY_DEPTH} levels", "a policy needs 8 levels")
_SYNTAX_REMEDY: Final = "check indentation, brackets and quotation marks here and in the line before"


def compose(source: str | bytes, problems: Problems) -> Node | None:
    """The root node of a YAML document. None when the document is empty or was refused: then `problems` tell why."""
    text = _decode(source, problems)
    if text is None:
        return None
    if (strange := _UNPRINTABLE.search(text)) is not None:
        at, code = _span_of(problems.file, text, strange.start()), ord(strange.group())
        if 0xDC80 <= code <= 0xDCFF:  # how Python passes on an octet that it could not decode
            problems.error(at, f"octet 0x{code - 0xDC00:02X} is not UTF-8", "save the file in UTF-8 encoding")
            return None
        problems.error(at, f"character U+{code:04X} is not allowed in YAML", "remove it")
        return None
    try:
        return _Builder(problems).build(text)
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, problems)
    except yaml.YAMLError as error:
        problems.error(Span(problems.file, 1, 1), f"this is no YAML: {error}", _SYNTAX_REMEDY)
    return None


def _decode(source: str | bytes, problems: Problems) -> str | None:
    start = Span(problems.file, 1, 1)
    if len(source) > limits.POLICY_FILE_SIZE:
        remedy = "split the policy, or write subnets instead of many single addresses"
        problems.error(start, f"the file is larger than {limits.POLICY_FILE_SIZE // 1024 // 1024} MiB", remedy)
        return None
    if isinstance(source, str):
        return source
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8")
        at = _span_of(problems.file, before, len(before))
        problems.error(at, f"octet 0x{source[error.start]:02X} is not UTF-8", "save the file in UTF-8 encoding")
        return None


def _span_of(file: str, text: str, offset: int) -> Span:
    return Span(file, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


class _Builder:
    """Nodes of a document from libyaml's events: without recursion, and with nothing of YAML that a policy may not use.

    yaml.compose would take five times as long and three times the memory, and recurses in C without a bound.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._open: list[tuple[Any, list[Node]]] = []
        """Collections that are not closed yet, each with the nodes that stood before it in the one around it."""
        self._nodes: list[Node] = []
        self._words: dict[str, str] = {}
        """Words met before, so that `srcaddr` is kept once and not a hundred thousand times."""

    def build(self, text: str) -> Node | None:
        """The root node, None (reported) for what is not allowed. Raises yaml.YAMLError."""
        before, line = self._problems.errors, 0
        event: Any
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            kind = type(event)
            if kind is ScalarEvent:
                if event.anchor is not None or event.tag is not None:
                    self._refuse(event)
                mark = event.start_mark
                if mark.line + 1 != line:  # else the same number serves: these numbers are a third of all memory
                    line = mark.line + 1
                word = self._word(event.value)
                self._nodes.append(ScalarNode(line, mark.column + 1, word, plain=event.implicit[0]))
            elif not self._structure(kind, event):
                return None
        return None if self._problems.errors != before or not self._nodes else self._nodes[0]

    def _word(self, word: str) -> str:
        known = self._words.get(word)
        if known is None and len(self._words) < _WORDS:
            self._words[word] = word
        return known or word

    def _structure(self, kind: type, event: Any) -> bool:
        """Take an event that is no scalar. False: look no further."""
        if kind in (MappingEndEvent, SequenceEndEvent):
            self._close()
        elif kind in (MappingStartEvent, SequenceStartEvent):
            if event.anchor is not None or event.tag is not None:
                self._refuse(event)
            self._open.append((event, self._nodes))
            self._nodes = []
            if len(self._open) > limits.POLICY_DEPTH:
                self._problems.error(self._span(event), *_TOO_DEEP)
                return False
        elif kind is AliasEvent:
            message = f"alias *{event.anchor} is not allowed"
            self._problems.error(self._span(event), message, "write the value out in full")
            self._nodes.append(self._scalar(event))
        elif kind is DocumentStartEvent and self._nodes:
            self._problems.error(self._span(event), *_SECOND_DOCUMENT)
            return False
        return True

    def _close(self) -> None:
        event, around = self._open.pop()
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        inside, self._nodes = self._nodes, around
        if type(event) is MappingStartEvent:
            around.append(MappingNode(line, column, list(zip(inside[::2], inside[1::2], strict=True))))
        else:
            around.append(SequenceNode(line, column, inside))

    def _scalar(self, event: Any) -> ScalarNode:
        return ScalarNode(event.start_mark.line + 1, event.start_mark.column + 1, "", plain=True)

    def _span(self, event: Any) -> Span:
        return Span(self._problems.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: Any) -> None:
        """Tell of an anchor or tag."""
        if event.anchor is not None:
            message = f"anchor &{event.anchor} is not allowed"
            self._problems.error(self._span(event), message, "remove it; lists are shared by their names")
        if event.tag is not None:
            message = f"tag {event.tag} is not allowed"
            self._problems.error(self._span(event), message, "remove it; quote a value that begins with '!'")


def _deep_bracket(text: str) -> int:
    """Offset of the first bracket that is nested too deep (those inside quotes count as well)."""
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += 1 if found.group() in "[{" else -1
        if depth > limits.POLICY_DEPTH:
            return found.start()
    return 0


def _report_syntax(error: yaml.MarkedYAMLError, text: str, problems: Problems) -> None:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        problems.error(Span(problems.file, 1, 1), f"this is no YAML: {error}", _SYNTAX_REMEDY)
        return
    line, column = mark.line, mark.column
    story = f"{error.context or ''} {error.problem or ''}".strip()
    if "nesting depth" in story:  # libyaml's own bound, which its scanner meets ahead of our count
        problems.error(_span_of(problems.file, text, _deep_bracket(text)), *_TOO_DEEP)
        return
    lines = text.split("\n", line + 1)
    rest = lines[line][column:] if line < len(lines) else ""
    if rest.startswith("\t"):
        remedy = "YAML forbids tabs in indentation: use spaces"
    elif rest[:1] in ("@", "`", "%"):
        remedy = f"quote a value that begins with {rest[0]!r}"
    else:
        remedy = next((cure for sign, cure in _SYNTAX_REMEDIES if sign in story), _SYNTAX_REMEDY)
    problems.error(Span(problems.file, line + 1, column + 1), f"this is no YAML: {story}", remedy)
