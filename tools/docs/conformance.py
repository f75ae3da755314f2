# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/conformance.md: the cases that other implementations test themselves with, and what shows them here.

The cases stand in docs/conformance.yaml; each test that is named there must exist.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.docs.markdown import made, table
from tools.docs.marks import MarkError

_ABOUT = """\
Black-box cases, in our words, with the scenarios of strongSwan and libreswan that they are like. A case counts as shown
when the tests beside it pass, which they do in every full run (`make test`). "With" says who is at the other end:
strongSwan or libreswan as Debian has them, two of us, or the engine alone against scripted messages.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One case."""

    what: str
    like: str
    tests: tuple[str, ...]
    peer: str
    begins: str
    ip: str
    missing: str

    @property
    def state(self) -> str:
        """Where it stands."""
        if not self.missing:
            return "shown"
        return f"in part: {self.missing}" if self.tests else f"missing: {self.missing}"


def _case(row: dict[str, Any]) -> Case:
    case = Case(
        row["case"],
        row["like"],
        tuple(row.get("tests", ())),
        row.get("with", ""),
        row.get("begins", ""),
        str(row.get("ip", "")),
        row.get("missing", ""),
    )
    if not case.tests and not case.missing:
        raise MarkError(f"{case.what}: neither a test nor a reason")
    if case.tests and not (case.peer and case.begins and case.ip):
        raise MarkError(f"{case.what}: with whom, who begins, over which IP?")
    return case


@cache
def _functions(path: Path) -> frozenset[str]:
    return frozenset(n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef))


def check(root: Path, case: Case) -> None:
    """Each test that is named exists. MarkError otherwise."""
    for test in case.tests:
        file, _, name = test.partition("::")
        if not (root / file).exists() or name not in _functions(root / file):
            raise MarkError(f"{case.what}: there is no {test}")


def read(root: Path) -> dict[str, list[Case]]:
    """The cases by group. MarkError for what does not hold together."""
    groups = yaml.safe_load((root / "docs" / "conformance.yaml").read_text())
    found = {group["group"]: [_case(row) for row in group["cases"]] for group in groups}
    for case in (one for cases in found.values() for one in cases):
        check(root, case)
    return found


def _row(case: Case) -> tuple[str, ...]:
    tests = ", ".join(f"`{test.partition('::')[2]}`" for test in case.tests)
    return case.what, case.like, case.peer, case.begins, case.ip, tests, case.state


def document(groups: dict[str, list[Case]]) -> str:
    """docs/conformance.md."""
    cases = [case for group in groups.values() for case in group]
    states = Counter(case.state.partition(":")[0] for case in cases)
    head = ("case", "like", "with", "begins", "IP", "shown by", "state")
    parts = [made("`docs/conformance.yaml`"), "# Conformance: which case is which test\n", _ABOUT]
    parts.append(f"{len(cases)} cases: {', '.join(f'{count} {state}' for state, count in states.most_common())}.\n")
    for group, rows in groups.items():
        parts += [f"## {group}\n", table(head, map(_row, rows))]
    files = sorted({test.partition("::")[0] for case in cases for test in case.tests})
    return "\n".join([*parts, "## Where the tests stand\n", *(f"- `{file}`" for file in files), ""])


def files(root: Path) -> dict[str, str]:
    """The document, by its path."""
    return {"docs/conformance.md": document(read(root))}
