# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the engine as a whole: nothing unreachable, nothing without an end, nothing that the setters forbid."""

from __future__ import annotations

import pytest

from xfrmd.errors import LocalProtocolError
from xfrmd.ike.child_sa import LEGAL as CHILD_LEGAL
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.ike_sa import LEGAL, IkeSa, IkeState, TaskKind
from xfrmd.ike.lifecycle import STATES
from xfrmd.ike.v2 import transitions as rows
from xfrmd.ike.v2.cardinality import TABLE


def steps() -> set[tuple[IkeState | None, IkeState]]:
    """Every step that a row can take."""
    found: set[tuple[IkeState | None, IkeState]] = {(row.state, row.next) for row in rows.CLEAR}
    found |= {(row.state, row.next) for row in rows.REQUESTS}
    found |= {(row.state, row.next) for row in rows.TASKS}
    found |= {(row.state, row.next) for row in rows.DEADLINES}
    return found


def test_every_state_is_reached_by_a_row() -> None:
    reached: set[IkeState | None] = {None, IkeState.CONNECTING}  # the beginnings: somebody asks us, or we ask
    while new := {after for before, after in steps() if before in reached} - reached:
        reached |= new
    assert reached == {None, *IkeState}


def test_every_state_has_a_deadline_and_what_follows_from_it() -> None:
    assert set(STATES) == set(IkeState)
    assert set(rows.DEADLINE_ROWS) == set(IkeState)
    for state, row in STATES.items():
        assert row.seconds is None or 0 < row.seconds <= 120, state
        assert row.story
    without_number = [state for state, row in STATES.items() if row.seconds is None]
    assert without_number == [IkeState.ESTABLISHED], "its lifetime is agreed"


def test_deadlines_lead_to_the_end() -> None:
    for state in IkeState:
        seen = set()
        while state is not IkeState.CLOSED:
            assert state not in seen
            seen.add(state)
            state = rows.DEADLINE_ROWS[state].next  # noqa: PLW2901 (following the rows is the test)


def test_no_row_takes_a_step_that_the_setter_forbids() -> None:
    for before, after in steps():
        assert before is None or before is after or after in LEGAL[before], (before, after)


def test_the_setter_forbids_all_else() -> None:
    def an_ike_sa(state: IkeState) -> IkeSa:
        sa = IkeSa.__new__(IkeSa)
        sa.begin(state)
        return sa

    for before in IkeState:
        for after in set(IkeState) - LEGAL[before]:
            with pytest.raises(LocalProtocolError):
                an_ike_sa(before).enter(after)
        for after in LEGAL[before]:
            sa = an_ike_sa(before)
            sa.enter(after)
            assert sa.state is after


def test_each_kind_of_task_has_one_row_and_each_row_a_story() -> None:
    assert [row.kind for row in rows.TASKS] == [row.kind for row in rows.TASK_ROWS.values()]
    assert set(rows.TASK_ROWS) == set(TaskKind)
    assert len(rows.REQUEST_ROWS) == len(rows.REQUESTS)
    for row in (*rows.CLEAR, *rows.REQUESTS, *rows.TASKS, *rows.DEADLINES):
        assert row.story


def test_forms_in_rows_are_of_the_right_direction_and_sealed() -> None:
    assert all(not row.form.response and row.form.sealed for row in rows.REQUESTS)
    for row in rows.TASKS:
        assert all(form.response and form.sealed and form.exchange == row.exchange for form in row.responses)
    assert all(not form.sealed for row in rows.CLEAR for form in row.forms)
    assert all(form in TABLE for row in rows.REQUESTS for form in (row.form,))


def test_no_child_sa_rises_again() -> None:
    assert set(CHILD_LEGAL) == set(ChildState)
    assert CHILD_LEGAL[ChildState.GONE] == set()
    for state in (ChildState.DELETING, ChildState.LINGERING):
        assert ChildState.INSTALLED not in CHILD_LEGAL[state]
