# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents that are made of tables and marks: in the tree, and in step."""

from __future__ import annotations

import re

import pytest

from tools.docs import RENEW, ROOT, files
from tools.docs.markdown import table
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.ike_sa import IkeState, TaskKind
from xfrmd.ike.v2 import cardinality, transitions

FILES = files(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_in_step(name: str) -> None:
    path = ROOT / name
    assert path.exists(), f"run: {RENEW}"
    assert path.read_text() == FILES[name], f"run: {RENEW}"


def test_nothing_that_is_made_no_longer_lies_about() -> None:
    made = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "states").rglob("*.md")}
    assert made <= set(FILES)


def test_every_state_row_and_form_is_drawn() -> None:
    drawn = FILES["docs/states/ike-sa.md"]
    for state in IkeState:
        assert re.search(rf"--> {state.name} :", drawn), state
    for row in transitions.REQUESTS:
        assert f"| {row.state.name} | {row.form.name} | {row.next.name} | {row.story} |" in drawn
    assert drawn.count("| AUTHENTICATING |") + drawn.count("| ESTABLISHED |") + drawn.count("| DELETING |") >= len(
        TaskKind
    )
    assert all(f"| {form.name} |" in FILES["docs/states/messages.md"] for form in cardinality.TABLE)
    assert all(f"| {state.name} |" in FILES["docs/states/child-sa.md"] for state in ChildState)


def test_labels_hold_nothing_that_mermaid_takes_for_its_own() -> None:
    for line in re.findall(r"^    \S+ --> \S+ : (.*)$", FILES["docs/states/ike-sa.md"], re.MULTILINE):
        assert line
        assert not set(line) & set(":;#{}"), line


def test_a_bar_does_not_break_a_table() -> None:
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"
