# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents that are made of tables and marks: in the tree, and in step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.docs import RENEW, ROOT, conformance, files
from tools.docs.conformance import Case
from tools.docs.markdown import table
from tools.docs.marks import Mark, MarkError, marks
from tools.docs.rfc import Requirement, Rfc, document, judge
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
    made = {str(path.relative_to(ROOT)) for kind in ("states", "rfc") for path in (ROOT / "docs" / kind).glob("*.md")}
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


CODE, SHOWN = (Mark(1, "a", file, "f") for file in ("xfrmd/ike/x.py", "tests/unit/test_x.py"))


@pytest.mark.parametrize(
    ("requirement", "found", "state"),
    [
        (Requirement("1", "a", "do it"), [CODE, SHOWN], "shown"),
        (Requirement("1", "a", "do it"), [SHOWN], "shown"),
        (Requirement("1", "a", "do it"), [CODE], "not shown"),
        (Requirement("1", "a", "do it"), [], "missing"),
        (Requirement("1", "a", "do it", missing="half of it"), [CODE, SHOWN], "in part"),
        (Requirement("1", "a", "do it", missing="all of it"), [], "missing"),
        (Requirement("1", "a", "do it", not_here="no"), [], "not applicable"),
    ],
)
def test_where_a_demand_stands(requirement: Requirement, found: list[Mark], state: str) -> None:
    assert judge(requirement, found) == state


def test_marks_that_contradict_the_list_are_errors() -> None:
    with pytest.raises(MarkError, match="does not apply"):
        judge(Requirement("1", "a", "do it", not_here="no"), [CODE])
    with pytest.raises(MarkError, match="no demand named a"):
        document(Rfc(1, "Title", ()), [CODE])


def test_a_mark_belongs_to_the_function_below_it(tmp_path: Path) -> None:
    (tmp_path / "xfrmd").mkdir()
    (tmp_path / "tests").mkdir()
    code = tmp_path / "xfrmd" / "one.py"
    code.write_text("class A:\n    # rfc 1: a b\n    # rfc 2: c\n    @staticmethod\n    def f(): ...\n")
    assert [(m.rfc, m.requirement, m.name) for m in marks(tmp_path)] == [(1, "a", "f"), (1, "b", "f"), (2, "c", "f")]
    code.write_text("# rfc 1: a\n\n\ndef f(): ...\n")
    with pytest.raises(MarkError, match=r"xfrmd/one.py:1: .* directly above"):
        marks(tmp_path)


def case(*tests: str, missing: str = "") -> Case:
    return Case("a case", "like one", tests, "strongSwan", "both", "4", missing)


def test_where_a_case_stands() -> None:
    assert case("tests/x.py::test_x").state == "shown"
    assert case("tests/x.py::test_x", missing="half").state == "in part: half"
    assert case(missing="all").state == "missing: all"


def test_a_test_that_a_case_names_must_exist() -> None:
    here = "tests/unit/test_docs_generated.py"
    conformance.check(ROOT, case(f"{here}::test_where_a_case_stands"))
    for wrong in (f"{here}::test_that_nobody_wrote", "tests/unit/test_nowhere.py::test_x"):
        with pytest.raises(MarkError, match="there is no"):
            conformance.check(ROOT, case(wrong))
