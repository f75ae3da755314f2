# SPDX-License-Identifier: GPL-2.0-or-later
"""A script while it is written: commands with their tags, and what is to be told about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from xfrmd import limits
from xfrmd.model.source import Span
from xfrmd.netsh import sayable
from xfrmd.netsh.values import BadValue
from xfrmd.policy.problems import Problems

P = ParamSpec("P")


class Outgoing:
    """Lines of a script of `netsh -f`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.lines: list[str] = []
        self._told: set[str] = set()

    def command(self, words: str, at: Span, **tags: str) -> None:
        """A command with its tags; those without a value are left out."""
        said = [f"{tag}={value}" for tag, value in tags.items() if value]
        if len(self.lines) < limits.NETSH_LINES:
            self.lines.append(" ".join((words, *said)))
        else:
            message = f"the script would have more than {limits.NETSH_LINES} lines"
            self.once(self.problems.error, at, message, "write subnets, and fewer lists of ports")

    def said(self, at: Span, say: Callable[P, str], *values: P.args, **more: P.kwargs) -> str:
        """A value as a tag says it; "" (reported) when none can."""
        try:
            return say(*values, **more)
        except BadValue as error:
            self.problems.error(at, error.message, error.remedy)
            return ""

    def text(self, at: Span, value: str, what: str) -> str:
        """Text as a tag says it; "" for none."""
        return self.said(at, sayable.text, value, what) if value else ""

    def once(self, tell: Callable[[Span, str, str], object], at: Span, message: str, remedy: str) -> None:
        """Tell what holds for much of the script where it is met first."""
        if message not in self._told:
            self._told.add(message)
            tell(at, message, remedy)


def flag(value: bool) -> str:
    """A flag that is no when it is not said."""
    return "yes" if value else ""
