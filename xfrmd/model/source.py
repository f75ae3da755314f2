# SPDX-License-Identifier: GPL-2.0-or-later
"""Places in files and what is wrong there."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from xfrmd.errors import PolicyError


class Span(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Severity(enum.Enum):
    """An error keeps the policy from being used; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One thing wrong with the operator's input: where, what, and how to mend it."""

    severity: Severity
    at: Span
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.at}: {self.severity.value}: {self.message}\n    remedy: {self.remedy}"


class PolicyErrors(PolicyError):  # noqa: N818 (several PolicyErrors, which is what it holds)
    """All problems of an input, warnings included, in the order of the file. At least one is an error."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
