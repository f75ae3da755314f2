# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML text to nodes with places. What YAML allows and a policy does not (anchors, tags, depth) is refused here."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent
from yaml.nodes import Node

from xfrmd import limits
from xfrmd.model.source import Span
from xfrmd.policy.problems import Problems

# What YAML 1.1 does not allow in a stream (its "printable" characters, the other way round).
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]")
# Where an anchor, alias or tag can begin. Few policies match, and only those pay for looking closely.
_MARKS: Final = re.compile(r"(?:^|[\s\[{,:\-?])[&*!]")
# Block nesting takes a column or a dash for each level.
_INDENT: Final = re.compile(rf"^[ \-?:]{{{4 * limits.POLICY_DEPTH}}}", re.MULTILINE)
_BRACKET: Final = re.compile(r"[\[\]{}]")
_NOT_BRACKETS: Final = re.compile(r"[^\[\]{}]+")

_SYNTAX_REMEDIES: Final = (
    ("single document", "keep one document in a file: remove the line '---' and what follows, or make it a file"),
    ("mapping values are not allowed", "quote a value that contains ': ', and check the indentation of this line"),
    ("expected ',' or", "inside [ ] and { } quote each value that contains [ ] { } or a comma; close each bracket"),
    ("expected <block end>", "give the keys of one object the same indentation"),
    ("could not find expected ':'", "write 'key: value', with a space behind the colon"),
    ("found unexpected ':'", "quote an IPv6 address that stands inside [ ] or { }"),
    ("scanning a quoted scalar", "close the quotation mark"),
)
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
        if _suspicious(text) and not _inspect(text, problems):
            return None
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, problems)
        return None
    except yaml.YAMLError as error:
        problems.error(Span(problems.file, 1, 1), f"this is no YAML: {error}", _SYNTAX_REMEDY)
        return None
    return root if isinstance(root, Node) else None


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


def _suspicious(text: str) -> bool:
    """Could there be an anchor, alias, tag or too deep a nesting? Quick, and wrong only on the careful side.

    libyaml's composer recurses in C without a bound: a file of a hundred thousand brackets would end the process.
    """
    if _MARKS.search(text) or _INDENT.search(text):
        return True
    brackets = _NOT_BRACKETS.sub("", text)
    for _ in range(limits.POLICY_DEPTH // 2):
        brackets = brackets.replace("[]", "").replace("{}", "")
    return bool(brackets)


def _inspect(text: str, problems: Problems) -> bool:
    """Look at each event of the document, without recursion. True when all of them are allowed."""
    depth, before = 0, problems.errors
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, CollectionEndEvent):
            depth -= 1
        if not isinstance(event, NodeEvent):
            continue
        mark: Any = event.start_mark
        at = Span(problems.file, mark.line + 1, mark.column + 1)
        if isinstance(event, AliasEvent):
            problems.error(at, f"alias *{event.anchor} is not allowed", "write the value out in full")
        elif event.anchor is not None:
            problems.error(at, f"anchor &{event.anchor} is not allowed", "remove it; lists are shared by their names")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            problems.error(at, f"tag {event.tag} is not allowed", "remove it; quote a value that begins with '!'")
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > limits.POLICY_DEPTH:
                problems.error(at, *_TOO_DEEP)
                return False
    return problems.errors == before


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
