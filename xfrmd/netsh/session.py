# SPDX-License-Identifier: GPL-2.0-or-later
"""What a script's commands work on: two stores, settings of the computer, and what is to be told."""

from __future__ import annotations

from typing import Final

from xfrmd import limits
from xfrmd.model.source import Span
from xfrmd.netsh.arguments import Arguments
from xfrmd.netsh.script import Statement
from xfrmd.netsh.store import FilterAction, FilterList, Names, Policy, Store, T
from xfrmd.policy.problems import Problems, did_you_mean, quoted

LOCAL: Final = "local"
PERSISTENT: Final = "persistent"
_NAMED: Final = 100
"""Names among which a near one is looked for: with more, one mistake would cost a second."""
_KINDS: Final = {"filterlist": "filter list", "filteraction": "filter action", "policy": "policy", "rule": "rule"}


class Session:
    """One run of a script. Both stores begin empty."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.stores = {LOCAL: Store(), PERSISTENT: Store()}
        self.location = LOCAL
        self.config: dict[str, str] = {}
        """Settings of the computer, as they are written in a policy file."""
        self.first_show: Span | None = None
        """The first command that only prints."""
        self.restored: Span | None = None
        """Where the example policies were restored."""
        self._defaults_told = False
        self._comparisons = 0

    @property
    def store(self) -> Store:
        """The store that commands edit now."""
        return self.stores[self.location]

    def at(self, statement: Statement) -> Span:
        """Where a statement stands."""
        first = statement.words[0]
        return Span(self.problems.file, first.line, first.column)

    def error(self, at: Span, message: str, remedy: str) -> None:
        """Report what keeps the script from being imported."""
        self.problems.error(at, message, remedy)

    def warning(self, at: Span, message: str, remedy: str) -> None:
        """Report what is legal and yet worth a look."""
        self.problems.warning(at, message, remedy)

    def defaults(self, at: Span) -> None:
        """Methods are left to defaults, which are others than Windows': told once."""
        if not self._defaults_told:
            self._defaults_told = True
            message = "no methods are named here: those of xfrmd hold, which Windows Server 2003 does not have"
            self.warning(at, message, "name methods that both ends have, such as ESP[3DES,SHA1] and 3DES-SHA1-3")

    def close(self) -> None:
        """Tell what is told once."""
        if self.first_show is not None:
            self.warning(self.first_show, "show prints, and changes nothing: it is left out", "remove the line")

    def compare(self, number: int, at: Span) -> bool:
        """Account for filters that a deletion looks at. False (reported) when a script makes too much work."""
        self._comparisons += number
        if self._comparisons <= limits.NETSH_COMPARISONS:
            return True
        if self._comparisons - number <= limits.NETSH_COMPARISONS:
            self.error(at, "this script deletes too much of what it adds", "remove what is deleted again")
        return False

    def find(self, names: Names[T], arguments: Arguments, tag: str, kind: str = "") -> T | None:
        """The object that a tag names, None (reported) when there is none."""
        name: str = arguments[tag]
        found = names.get(name)
        if found is None:
            known = names.names() if len(names) <= _NAMED else ()
            what = kind or _KINDS[tag]
            listed = ", ".join(known[:10]) or "none"
            remedy = did_you_mean(name, known, f"add it in a line before this one (known are: {listed})")
            self.error(arguments.place(tag), f"there is no {what} {quoted(name)} at this point", remedy)
        return found

    def free(self, names: Names[T], arguments: Arguments, tag: str, kind: str, but: T | None = None) -> bool:
        """May an object take this name? Else that is reported."""
        known = names.get(arguments[tag])
        if known is None or known is but:
            return True
        message = f"{kind} {quoted(known.name)} was added in line {known.at.line} already"
        self.error(arguments.place(tag), message, "give each its own name; to change one, use set")
        return False

    def again(self, arguments: Arguments, kind: str, name: str, line: int) -> None:
        """An object is added once more, as it is: Windows refuses that and goes on, and so do we."""
        message = f"{kind} {quoted(name)} was added in line {line} already: this line changes nothing"
        self.warning(arguments.at, message, "remove the line")

    def assign(self, policy: Policy) -> None:
        """Assign a policy: in its store it is the only one."""
        if self.store.assigned is not None:
            self.store.assigned.assigned = False
        self.store.assigned = policy
        policy.assigned = True

    def filter_list(self, arguments: Arguments, tag: str = "filterlist") -> FilterList | None:
        """The filter list that a tag names."""
        return self.find(self.store.lists, arguments, tag, "filter list")

    def filter_action(self, arguments: Arguments, tag: str = "filteraction") -> FilterAction | None:
        """The filter action that a tag names."""
        return self.find(self.store.actions, arguments, tag, "filter action")

    def policy(self, arguments: Arguments, tag: str = "policy") -> Policy | None:
        """The policy that a tag names."""
        return self.find(self.store.policies, arguments, tag, "policy")
