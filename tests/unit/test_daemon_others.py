# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon, and how often, what other programs change is put back."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.daemon.others import Pace


def pauses(count: int, cost: float, *, equal: bool = True) -> list[float]:
    """The pauses between mending so many times in a row, each of which takes `cost` seconds."""
    pace, now, found = Pace(), 1000.0, []
    for _ in range(count):
        pace.mended(now, now + cost, equal=equal)
        found.append(pace.not_before - now - cost)
        now = pace.not_before
    return [round(one, 6) for one in found]


def test_a_fight_is_followed_at_growing_pauses_that_stay_below_a_second() -> None:
    assert pauses(6, 0.001) == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_large_policy_is_put_back_in_a_fifth_of_the_time() -> None:
    assert pauses(3, 2.0) == [8.0, 8.0, 8.0]


def test_what_does_not_help_is_tried_ever_less() -> None:
    assert pauses(12, 0.001, equal=False)[-1] == 32.0


def test_after_a_quiet_while_the_next_change_is_put_back_at_once() -> None:
    pace = Pace()
    for _ in range(5):
        pace.mended(pace.not_before, pace.not_before, equal=True)
    later = pace.not_before + limits.MEND_QUIET + 1
    assert pace.not_before < later, "nothing to wait for"
    pace.mended(later, later, equal=True)
    assert round(pace.not_before - later, 6) == limits.MEND_PAUSE[0]
