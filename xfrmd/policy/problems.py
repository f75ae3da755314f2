# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that is wrong with an input, collected before anyone is told."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from typing import Final, Literal

from xfrmd import limits
from xfrmd.model.source import PolicyErrors, Problem, Severity, Span
from xfrmd.policy.nodes import FromVariable, Node


class Bad(enum.Enum):
    """The value of something that could not be read; its problem has been reported."""

    BAD = enum.auto()


BAD: Final = Bad.BAD


class _Found:
    """The problems of all files, of each severity no more than can be told."""

    __slots__ = ("errors", "settled", "told", "untold")

    def __init__(self) -> None:
        self.told: dict[Severity, list[Problem]] = {severity: [] for severity in Severity}
        self.untold: dict[Severity, tuple[Span, int]] = {}
        """Where those begin that are only counted, and how many they are."""
        self.errors = 0
        self.settled: set[Span] = set()
        """Places of which all has been told."""

    def add(self, problem: Problem) -> None:
        """Keep a problem, or count it."""
        told = self.told[problem.severity]
        if len(told) < limits.PROBLEMS_TOLD:
            told.append(problem)
        else:
            at, count = self.untold.get(problem.severity, (problem.at, 0))
            self.untold[problem.severity] = (at, count + 1)

    def every(self) -> list[Problem]:
        """All that is kept, and how many are not."""
        found = [problem for told in self.told.values() for problem in told]
        for severity, (at, count) in self.untold.items():
            plural = "" if count == 1 else "s"
            message = f"{count} more {severity.value}{plural} from here on, which are not listed"
            found.append(Problem(severity, at, message, "mend those that are listed, and check again"))
        return found


class Problems:
    """Collects what is wrong with one file, and together with others what is wrong with all files of a policy."""

    def __init__(self, file: str, found: _Found | None = None) -> None:
        self.file = file
        self._found = _Found() if found is None else found

    def beside(self, file: str) -> Problems:
        """For another file, whose problems are told together with those of this one."""
        return Problems(file, self._found)

    @property
    def errors(self) -> int:
        """How many errors were reported so far, in all files."""
        return self._found.errors

    def span(self, node: Node) -> Span:
        """The place where a node begins."""
        return Span(self.file, node.line, node.column)

    def error(self, where: Node | Span, message: str, remedy: str) -> Literal[Bad.BAD]:
        """Report what keeps the file from being used. Returns BAD, so that a recogniser can return it."""
        self._found.errors += 1
        self._add(Severity.ERROR, where, message, remedy)
        return BAD

    def warning(self, where: Node | Span, message: str, remedy: str) -> None:
        """Report what is legal and yet worth a look."""
        self._add(Severity.WARNING, where, message, remedy)

    def settle(self, node: Node) -> None:
        """A node has no value, for a reason that was reported: whatever else is said of its place comes of that."""
        self._found.settled.add(self.span(node))

    def tell(self, severity: Severity, where: Node | Span, message: str, remedy: str) -> None:
        """Report something whose severity others decide."""
        self._found.errors += severity is Severity.ERROR
        self._add(severity, where, message, remedy)

    def _add(self, severity: Severity, where: Node | Span, message: str, remedy: str) -> None:
        at = where if isinstance(where, Span) else self.span(where)
        if at in self._found.settled:
            return
        if isinstance(where, FromVariable):
            message += f" (from {'variables' if where.variable == '...' else f'variable {where.variable}'})"
        self._found.add(Problem(severity, at, message, remedy))

    def sorted(self) -> tuple[Problem, ...]:
        """All problems, file by file in the order of the places."""
        return tuple(sorted(self._found.every(), key=lambda problem: problem.at))

    def check(self) -> None:
        """Raise PolicyErrors when an error was reported."""
        if self.errors:
            raise PolicyErrors(self.sorted())


def quoted(text: str, longest: int = 60) -> str:
    """A piece of the input as it may stand in a message: quoted, escaped and of bounded length."""
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy for a word that is not known: the nearest known one, else `otherwise`."""
    by_fold = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word[:60].casefold(), by_fold, n=1, cutoff=0.6)
    return f"did you mean {by_fold[near[0]]!r}?" if near else otherwise
