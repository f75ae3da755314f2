# SPDX-License-Identifier: GPL-2.0-or-later
"""Several files that make one policy: which they are, and their objects together."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.model.source import Span
from xfrmd.policy.composer import compose
from xfrmd.policy.kinds import list_of, text
from xfrmd.policy.nodes import MappingNode, Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, quoted
from xfrmd.policy.sources import Reader
from xfrmd.policy.variables import VARIABLES, Definition

STANDARD_INPUT: Final = "-"
INCLUDE: Final = list_of(text("a path, relative to this file", 1), "files")


class Document(NamedTuple):
    """One file: its root, without the keys that were looked at here, and its own collector of problems."""

    root: Node
    problems: Problems
    variables: dict[str, Definition]
    may_refer: bool
    """Does the file have `${` at all? Few have, and only those are looked through."""


class Included(NamedTuple):
    """A file that is named in another."""

    file: str
    at: Span
    problems: Problems
    path: tuple[str, ...]
    """The files that led here, the main one first."""


class _Gatherer:
    """Reads a file and all that it includes, each once, the main one first."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._size = 0
        self._seen: set[str] = set()
        self.texts: dict[str, str | bytes] = {}
        """The included files as they were read."""
        self.documents: list[Document] = []

    def main(self, source: str | bytes, problems: Problems) -> None:
        """Begin with a file whose content is at hand."""
        self._seen.add(_normal(problems.file))
        self._size = len(source)
        waiting = self._take(source, problems, (_normal(problems.file),))
        while waiting:
            one = waiting.pop(0)
            # In the order of the files: what an included file includes comes ahead of its next sibling.
            waiting = [*self._include(one), *waiting]

    def _include(self, one: Included) -> list[Included]:
        if one.file in one.path:
            chain = " -> ".join((*one.path[one.path.index(one.file) :], one.file))
            one.problems.error(one.at, f"this file includes itself: {chain}", "remove one of these includes")
        elif one.file not in self._seen:
            source = self._content(one)
            if source is not None:
                return self._take(source, one.problems.beside(one.file), (*one.path, one.file))
        return []

    def _content(self, one: Included) -> str | bytes | None:
        name = quoted(one.file, 240)
        if len(one.path) > limits.INCLUDE_DEPTH:
            remedy = "include it from a file nearer to the first"
            one.problems.error(one.at, f"files include one another more than {limits.INCLUDE_DEPTH} deep", remedy)
            return None
        if len(self._seen) > limits.INCLUDE_FILES:
            one.problems.error(one.at, f"more than {limits.INCLUDE_FILES} files are included", "put objects together")
            return None
        self._seen.add(one.file)
        try:
            source = self._read(one.file)
        except PolicyError as error:
            remedy = "correct the path, which is relative to this file, or make the file readable"
            one.problems.error(one.at, f"{name} cannot be included: {error}", remedy)
            return None
        self._size += len(source)
        if self._size > limits.POLICY_FILE_SIZE:
            message = f"with {name} the policy is larger than {limits.POLICY_FILE_SIZE // 1024 // 1024} MiB"
            one.problems.error(one.at, message, "write subnets in place of many single addresses")
            return None
        self.texts[one.file] = source
        return source

    def _take(self, source: str | bytes, problems: Problems, path: tuple[str, ...]) -> list[Included]:
        errors = problems.errors
        root = compose(source, problems)
        if root is None:
            if problems.errors == errors:
                start = Span(problems.file, 1, 1)
                problems.error(start, "the file is empty", "see config/ for examples to begin with")
            return []
        files, variables = _split_off(root, problems)
        self.documents.append(Document(root, problems, variables, _has(source, "${")))
        return [Included(_joined(problems.file, name), problems.span(node), problems, path) for name, node in files]


def _split_off(root: Node, problems: Problems) -> tuple[list[tuple[str, Node]], dict[str, Definition]]:
    """The files and variables that a document names. Its keys for them are taken away: they have been read."""
    files: list[tuple[str, Node]] = []
    variables: dict[str, Definition] = {}
    if not isinstance(root, MappingNode):
        return files, variables
    first: dict[str, Node] = {}
    for key, value in root.pairs:
        name = key.value if isinstance(key, ScalarNode) else ""
        if name not in ("include", "variables"):
            continue
        if name in first:
            problems.error(key, f"{name} stands twice here, first in line {first[name].line}", "remove one of the two")
        elif name == "include":
            files = _files(value, problems)
        else:
            found = VARIABLES.read(value, problems)
            variables = {} if found is BAD else found
        first.setdefault(name, key)
    root.pairs = [(key, value) for key, value in root.pairs if not _is(key, first)]
    return files, variables


def _is(key: Node, names: Iterable[str]) -> bool:
    return isinstance(key, ScalarNode) and key.value in names


def _files(value: Node, problems: Problems) -> list[tuple[str, Node]]:
    names: Any = INCLUDE.read(value, problems)
    if names is BAD or not isinstance(value, SequenceNode) or len(names) < len(value.items):
        return []
    found = []
    for name, node in zip(names, value.items, strict=True):
        if "${" in name:
            problems.error(node, "variables cannot stand in include", "write the path out")
        elif name == STANDARD_INPUT or "\0" in name or "\n" in name:
            problems.error(node, f"{quoted(name)} is no path of a file", "write a path, relative to this file")
        else:
            found.append((name, node))
    return found


def _has(source: str | bytes, word: str) -> bool:
    return word.encode() in source if isinstance(source, bytes) else word in source


def _normal(file: str) -> str:
    return posixpath.normpath(file)


def _joined(file: str, name: str) -> str:
    """The path of a file that another one names."""
    return _normal(posixpath.join(posixpath.dirname(file), name))


def gather(source: str | bytes, problems: Problems, read: Reader) -> list[Document]:
    """The documents of a file and of all that it includes, the main one first. Problems are collected."""
    gatherer = _Gatherer(read)
    gatherer.main(source, problems)
    return gatherer.documents


def included(source: str | bytes, file: str, read: Reader) -> dict[str, str | bytes]:
    """The content of every file that a policy file includes, by name. Raises PolicyErrors when one cannot be had."""
    if not _has(source, "include"):
        return {}
    problems, gatherer = Problems(file), _Gatherer(read)
    gatherer.main(source, problems)
    problems.check()
    return gatherer.texts
