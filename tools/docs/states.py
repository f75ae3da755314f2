# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/states/: what may happen to IKE and child SAs and which messages there are, drawn from the engine's rows."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from tools.docs.markdown import made, mermaid, table
from xfrmd import limits
from xfrmd.ike import child_sa, ike_sa
from xfrmd.ike.lifecycle import STATES
from xfrmd.ike.v2 import cardinality, transitions
from xfrmd.ike.v2.cardinality import ANY_ERROR, Cardinality
from xfrmd.ike.v2.constants import NotifyType

BEGINNINGS = (
    (ike_sa.IkeState.CONNECTING, "traffic of ours wants an SA"),
    (ike_sa.IkeState.ESTABLISHED, "made by a rekey of either side"),
)
"""How an IKE SA begins where no message from a stranger makes it."""

_ABOUT_IKE = """\
A message that fits no row below has no consequence, but that an authentic request is answered by an error.
Arrows are the rows that change the state when all goes well, and the deadlines.
"""
_ABOUT_OURS = f"""\
One is under way at a time. It is repeated {limits.RETRANSMIT_TRIES} times at most, and then the peer counts as gone.
"""
_ABOUT_REST = """\
By a refusal, by an order of the operator, by a successor or by messages that cross.
Every other step is an error in the program, and a test tries them all.
"""
_ABOUT_CHILD = """\
A pair of SAs, one for each direction. The state says which pair sends: at every moment of a rekey at most one does.
"""
_ABOUT_FORMS = """\
`SA` stands for exactly one, `SA?` for one or none, `SA*` for any number. Notify and Vendor ID payloads may stand in
every message, payloads of unknown type are looked over unless they are critical, and the order is not judged.
Of the forms of one exchange and direction the first that fits is what a message is.
"""


def _name(state: Enum | None) -> str:
    return "[*]" if state is None else state.name


def _label(text: str) -> str:
    """Words on an arrow: mermaid takes colons and semicolons for its own."""
    return re.sub(r"[:;]", ",", text)


def _arrows(found: Iterable[tuple[Enum | None, Enum | None, str]]) -> Iterator[str]:
    for before, after, story in found:
        yield f"    {_name(before)} --> {_name(after)} : {_label(story)}"


def _steps() -> Iterator[tuple[Enum | None, Enum | None, str]]:
    """Each row that changes the state."""
    for state, story in BEGINNINGS:
        yield None, state, story
    for clear in transitions.CLEAR:
        if clear.state is not clear.next:
            yield clear.state, clear.next, clear.story
    for request in transitions.REQUESTS:
        if request.state is not request.next:
            yield request.state, request.next, request.story
    for task in transitions.TASKS:
        if task.state is not task.next:
            yield task.state, task.next, task.story
    for late in transitions.DEADLINES:
        if late.state is not late.next:
            yield late.state, late.next, f"deadline, {late.story}"
        else:
            yield late.state, None, late.story


def _shown() -> set[tuple[Enum | None, Enum | None]]:
    return {(before, after) for before, after, _ in _steps()}


def _rest(legal: Mapping[Any, set[Any]], shown: set[tuple[Enum | None, Enum | None]]) -> list[tuple[str, str]]:
    """What the setter allows beyond the rows: ends by refusals, by orders of the operator and by crossing messages."""
    return [
        (before.name, _names(state for state in after if (before, state) not in shown))
        for before, after in legal.items()
    ]


def _names(states: Iterable[Enum]) -> str:
    return ", ".join(sorted(state.name for state in states))


def _until(seconds: float | None) -> str:
    return "its lifetime, or the end of the peer's certificate" if seconds is None else f"{seconds:g} s"


def ike() -> str:
    """docs/states/ike-sa.md."""
    rows = transitions
    states = ((one.name, row.story, _until(row.seconds), rows.DEADLINE_ROWS[one].story) for one, row in STATES.items())
    begun = [
        (row.state.name if row.state else "none yet", _forms(row.forms), row.next.name, row.story) for row in rows.CLEAR
    ]
    asked = [(row.state.name, row.form.name, row.next.name, row.story) for row in rows.REQUESTS]
    tasks = [(row.state.name, row.story, row.exchange.name, _forms(row.responses), row.next.name) for row in rows.TASKS]
    others = [row for row in _rest(ike_sa.LEGAL, _shown()) if row[1]]
    return "\n".join(
        [
            made("`xfrmd/ike/v2/transitions.py`, `xfrmd/ike/lifecycle.py` and `xfrmd/ike/ike_sa.py`"),
            "# The life of an IKE SA\n",
            _ABOUT_IKE,
            mermaid(["stateDiagram-v2", *_arrows(_steps())]),
            "## States and how long one may last\n",
            table(("state", "what it means", "at most", "then"), states),
            "## Messages in the clear\n",
            table(("in state", "message", "next", "what follows"), begun),
            "## Requests of the peer\n",
            table(("in state", "request", "next", "what follows"), asked),
            "## Requests of ours\n",
            _ABOUT_OURS,
            table(("in state", "what for", "exchange", "responses that are taken", "next"), tasks),
            "## Steps beside the rows\n",
            _ABOUT_REST,
            table(("from", "also to"), others),
        ]
    )


def _forms(forms: Iterable[Cardinality]) -> str:
    return ", ".join(form.name for form in forms)


def child() -> str:
    """docs/states/child-sa.md."""
    arrows = ((before, after, "") for before, states in child_sa.LEGAL.items() for after in sorted(states, key=_name))
    lines = (line.removesuffix(" : ") for line in _arrows(arrows))
    told = _told(child_sa.ChildState)
    first, last = child_sa.ChildState.MADE, child_sa.ChildState.GONE
    return "\n".join(
        [
            made("`xfrmd/ike/child_sa.py`"),
            "# The life of a child SA\n",
            _ABOUT_CHILD,
            mermaid(["stateDiagram-v2", f"    [*] --> {first.name}", *lines, f"    {last.name} --> [*]"]),
            table(
                ("state", "sends", "what it means"),
                ((s.name, _sends(s), told.get(s.name, "")) for s in child_sa.ChildState),
            ),
        ]
    )


def _told(states: type[Enum]) -> dict[str, str]:
    """What the docstrings below the members of an enumeration say."""
    (cls,) = ast.parse(inspect.getsource(states)).body
    assert isinstance(cls, ast.ClassDef)
    found = {}
    for member, text in itertools.pairwise(cls.body):
        match member, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(story))):
                found[name] = story
    return found


def _sends(state: child_sa.ChildState) -> str:
    return "yes" if state in (child_sa.ChildState.INSTALLED, child_sa.ChildState.REKEYING) else "no"


def _often(bounds: tuple[int, int]) -> str:
    return {(1, 1): "", (0, 1): "?"}.get(bounds, "*")


def _row(form: Cardinality) -> tuple[str, ...]:
    payloads = ", ".join(f"{kind.name}{_often(bounds)}" for kind, bounds in form.payloads.items()) or "none"
    needs = "" if form.needs is None else "an error" if form.needs == ANY_ERROR else NotifyType(form.needs).name
    return form.name, "sealed" if form.sealed else "clear", payloads, needs


def messages() -> str:
    """docs/states/messages.md."""
    parts = [
        made("`xfrmd/ike/v2/cardinality.py`"),
        "# Forms of messages\n",
        _ABOUT_FORMS,
    ]
    for exchange in dict.fromkeys(form.exchange for form in cardinality.TABLE):
        forms = [form for form in cardinality.TABLE if form.exchange is exchange]
        parts += [f"## {exchange.name}\n", table(("form", "", "payloads", "needs the notification"), map(_row, forms))]
    return "\n".join(parts)


def files() -> dict[str, str]:
    """The documents, by path."""
    return {
        "docs/states/ike-sa.md": ike(),
        "docs/states/child-sa.md": child(),
        "docs/states/messages.md": messages(),
    }
