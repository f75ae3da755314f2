# SPDX-License-Identifier: GPL-2.0-or-later
"""Each step between daemon and kernel fails, once or more often, in each exchange and at either end: the hosts come to
one IKE SA and one pair of child SAs again, kernel and engine agree, no packet passes in the clear, the operator knows.

`python -m tests.conversations.faults` counts them.
"""

from __future__ import annotations

import pytest

from tests.conversations.fault_plays import MORE, SCENARIOS, Scenario
from tests.conversations.faults import TIMES, Run, runs, steps_of
from tests.conversations.faulty import Hands
from tests.conversations.kernel_wire import Trouble

TWICE = (2,)
"""What one repetition does not make good: where the exchanges are those of other scenarios, and time is short."""
CASES = [(one, who, TIMES) for one in SCENARIOS for who in one.who] + [
    (one, who, TWICE) for one in MORE for who in one.who
]


@pytest.mark.parametrize(
    ("scenario", "who", "times"), CASES, ids=[f"{one.name}, {who}".replace(",", "") for one, who, _ in CASES]
)
def test_a_step_that_fails_in_any_way_leaves_nothing_behind(
    scenario: Scenario, who: str, times: tuple[int, ...]
) -> None:
    assert steps_of(scenario, who)
    for run in runs(scenario, who, times):
        run.judge()


def _looks_away(hands: Hands) -> None:
    hands.watch._remove_strangers = lambda *_: None  # type: ignore[method-assign]  # what the daemon did before


def test_a_watch_that_looks_away_is_found_out() -> None:
    """The positive control: an SA that was not removed stays."""
    (scenario,) = (one for one in SCENARIOS if one.name == "delete child")
    run = Run(scenario, "A", 0, Trouble.UNHEARD, 2, prepare=_looks_away)
    with pytest.raises(AssertionError, match="delete child, step 0 at A DELSA: not done, and no answer"):
        run.judge()
