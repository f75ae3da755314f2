# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/rfc/: what an RFC demands, where the code does it, which test shows it, and what is missing.

The demands stand in docs/rfc/NUMBER.yaml, in words of our own. Where and by which test comes from the marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.docs.markdown import made, table
from tools.docs.marks import Mark, MarkError, marks

_ABOUT = """\
The demands are in words of our own, as read for this program; the RFC is what counts. Code and tests carry marks
(`# rfc {number}: name` above a function), and this table is made of them. "Missing" is said where it is so.
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand of an RFC."""

    at: str
    """Section."""
    name: str
    says: str
    not_here: str = ""
    """Why it does not apply."""
    missing: str = ""
    """What is left to do, or why it is not done."""


@dataclass(frozen=True, slots=True)
class Rfc:
    """The demands of one RFC."""

    number: int
    title: str
    requirements: tuple[Requirement, ...]


def read(path: Path) -> Rfc:
    """The data file of an RFC. MarkError when a name comes twice or a reason is given for both."""
    data = yaml.safe_load(path.read_text())
    requirements = tuple(Requirement(**row) for row in data["requirements"])
    for name, count in Counter(one.name for one in requirements).items():
        if count > 1:
            raise MarkError(f"{path}: {name} stands there {count} times")
    return Rfc(int(path.stem), data["title"], requirements)


def judge(requirement: Requirement, found: Sequence[Mark]) -> str:
    """Where a demand stands: shown, not shown, in part, not applicable or missing."""
    if requirement.not_here:
        if found:
            raise MarkError(f"{requirement.name} does not apply, but {found[0].file} says that it does it")
        return "not applicable"
    if requirement.missing:
        return "in part" if found else "missing"
    if any(mark.shows for mark in found):
        return "shown"
    return "not shown" if found else "missing"


def _row(requirement: Requirement, found: Sequence[Mark]) -> tuple[str, ...]:
    code = ", ".join(dict.fromkeys(str(mark) for mark in found if not mark.shows))
    tests = ", ".join(dict.fromkeys(f"`{mark.name}`" for mark in found if mark.shows))
    reason = requirement.not_here or requirement.missing
    state = judge(requirement, found)
    return requirement.at, requirement.says, code, tests, f"{state}: {reason}" if reason else state


def document(rfc: Rfc, found: Sequence[Mark]) -> str:
    """docs/rfc/NUMBER.md."""
    by_name: dict[str, list[Mark]] = {one.name: [] for one in rfc.requirements}
    for mark in found:
        if mark.requirement not in by_name:
            raise MarkError(f"{mark.file}: {mark.name}: RFC {rfc.number} has no demand named {mark.requirement}")
        by_name[mark.requirement].append(mark)
    states = Counter(judge(one, by_name[one.name]) for one in rfc.requirements)
    return "\n".join(
        [
            made(f"`docs/rfc/{rfc.number}.yaml` and the marks in code and tests"),
            f"# RFC {rfc.number}: {rfc.title}\n",
            _ABOUT.format(number=rfc.number),
            f"{len(rfc.requirements)} demands: {', '.join(f'{n} {state}' for state, n in states.most_common())}.\n",
            table(
                ("section", "demand", "code", "shown by", "state"),
                (_row(one, by_name[one.name]) for one in rfc.requirements),
            ),
            *_places(found),
        ]
    )


def _places(found: Sequence[Mark]) -> list[str]:
    """Where the tests stand: their names are long, and so are the table's rows."""
    files = sorted({(mark.file, mark.name) for mark in found if mark.shows})
    by_file: dict[str, list[str]] = {}
    for file, name in files:
        by_file.setdefault(file, []).append(f"`{name}`")
    return ["## Where the tests stand\n", *(f"- `{file}`: {', '.join(names)}" for file, names in by_file.items()), ""]


def files(root: Path) -> dict[str, str]:
    """The documents, by path. MarkError for a mark of an RFC without a data file."""
    rfcs = {rfc.number: rfc for rfc in map(read, sorted((root / "docs" / "rfc").glob("*.yaml")))}
    found = marks(root)
    for mark in found:
        if mark.rfc not in rfcs:
            raise MarkError(f"{mark.file}: {mark.name}: there is no docs/rfc/{mark.rfc}.yaml")
    return {f"docs/rfc/{n}.md": document(rfc, [m for m in found if m.rfc == n]) for n, rfc in rfcs.items()}
