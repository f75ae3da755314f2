# SPDX-License-Identifier: GPL-2.0-or-later
"""When names are asked for, and what their answers mean: no sockets, a clock in hand."""

from __future__ import annotations

import pytest

from xfrmd import limits
from xfrmd.adapters.names.table import Answered, Failed, Half, Last, NameTable, Outcome
from xfrmd.model.addresses import Address

FILES = "files.corp.example"
NONE = Answered((), 60)
DOWN = Failed("the name servers do not answer")


def answered(*texts: str, ttl: float = 60) -> Answered:
    return Answered(tuple(map(Address.parse, texts)), ttl)


def table(*names: str, known: dict[str, tuple[Last, str]] | None = None, strict: bool = False) -> NameTable:
    made = NameTable(lambda: 0.0)
    made.want(names or (FILES,), known or {}, 0.0, strict=strict)
    return made


def hear(made: NameTable, v4: Half, v6: Half, now: float = 0.0, name: str = FILES) -> Outcome:
    assert name in made.due(now)
    return made.answer(name, (v4, v6), now)


def shown(made: NameTable) -> list[str]:
    return [str(one) for _, addresses in made.addresses() for one in addresses]


def codes(outcome: Outcome) -> list[str]:
    return [notice.code for notice in outcome.notices]


def test_a_name_is_asked_for_at_once_and_again_when_its_ttl_ends() -> None:
    made = table()
    assert hear(made, answered("10.1.0.9", ttl=60), answered("fd00::9", ttl=40)) == Outcome(changed=True)
    assert shown(made) == ["10.1.0.9", "fd00::9"]
    assert made.next() == 40
    assert made.due(39.9) == []
    assert made.due(40) == [FILES]
    assert made.due(40) == [], "it is being asked for"


@pytest.mark.parametrize(("ttl", "taken"), [(0, 5), (5, 5), (300, 300), (604800, 3600), (float("inf"), 3600)])
def test_ttls_are_bounded(ttl: float, taken: float) -> None:
    made = table()
    hear(made, answered("10.1.0.9", ttl=ttl), NONE)
    assert made.next() == taken


def test_the_same_addresses_in_another_order_are_no_change() -> None:
    made = table()
    hear(made, answered("10.1.0.9", "10.1.0.8"), NONE)
    assert not hear(made, answered("10.1.0.8", "10.1.0.9"), NONE, 60).changed


def test_a_name_that_lost_an_ip_version_has_the_other_alone() -> None:
    made = table()
    hear(made, answered("10.1.0.9"), answered("fd00::9"))
    assert hear(made, answered("10.1.0.9"), NONE, 60).changed
    assert shown(made) == ["10.1.0.9"]


@pytest.mark.parametrize(
    ("v4", "v6"),
    [(NONE, NONE), (DOWN, DOWN), (NONE, DOWN), (answered("127.0.0.1"), NONE), (answered("224.0.0.1"), DOWN)],
    ids=["no such name", "no server", "half of it", "loopback", "multicast"],
)
def test_without_a_usable_answer_the_last_one_stays(v4: Half, v6: Half) -> None:
    made = table()
    hear(made, answered("10.1.0.9"), answered("fd00::9"))
    outcome = hear(made, v4, v6, 60)
    assert not outcome.changed
    assert shown(made) == ["10.1.0.9", "fd00::9"]
    assert "name-unanswered" in codes(outcome)
    assert "10.1.0.9" in outcome.notices[-1].message


def test_where_one_half_fails_its_last_answer_stays_beside_the_other() -> None:
    made = table()
    hear(made, answered("10.1.0.9"), answered("fd00::9"))
    assert hear(made, answered("10.1.0.10"), DOWN, 60).changed
    assert shown(made) == ["10.1.0.10", "fd00::9"]
    assert made.next() == 61, "asked for again soon"


def test_a_name_whose_other_half_was_never_answered_is_used_but_not_where_unresolved_names_block() -> None:
    for strict in (False, True):
        made = table(strict=strict)
        hear(made, answered("10.1.0.9"), DOWN)
        assert shown(made) == ([] if strict else ["10.1.0.9"])
        assert hear(made, answered("10.1.0.9"), NONE, 1).changed is strict, "now it is resolved"
        assert shown(made) == ["10.1.0.9"]


def test_where_unresolved_names_block_an_outage_is_bridged_for_a_moment_only() -> None:
    made, now = table(strict=True), 60.0
    hear(made, answered("10.1.0.9"), NONE)
    first = hear(made, DOWN, DOWN, now)
    assert codes(first) == ["name-unanswered"]
    assert "stay for 30 s: 10.1.0.9" in first.notices[0].message
    outcome = first
    while not outcome.changed:
        assert shown(made) == ["10.1.0.9"]
        now = made.next() or now
        outcome = hear(made, DOWN, DOWN, now)
    assert now == 60 + limits.NAME_STALE
    assert shown(made) == []
    assert "its filters block" in outcome.notices[0].message
    assert codes(hear(made, DOWN, DOWN, made.next() or 0)) == []
    assert hear(made, answered("10.1.0.9"), NONE, made.next() or 0).changed
    assert shown(made) == ["10.1.0.9"]


def test_where_unresolved_names_block_no_address_is_none_at_once() -> None:
    made = table(strict=True)
    hear(made, answered("10.1.0.9"), NONE)
    assert hear(made, NONE, NONE, 60).changed
    assert shown(made) == []


def test_a_policy_that_keeps_has_the_last_answer_that_a_blocking_one_had_not() -> None:
    made = table(strict=True)
    hear(made, answered("10.1.0.9"), NONE)
    hear(made, NONE, NONE, 60)
    made.want([FILES], {}, 61)
    assert shown(made) == ["10.1.0.9"]


def test_a_name_that_never_had_an_address_has_none() -> None:
    made = table()
    outcome = hear(made, NONE, NONE)
    assert shown(made) == []
    assert "its filters mean nothing" in outcome.notices[0].message
    assert made.is_settled


def test_failures_are_told_once_and_their_end() -> None:
    made = table()
    assert codes(hear(made, DOWN, DOWN, 0)) == ["name-unanswered"]
    assert codes(hear(made, DOWN, DOWN, 1)) == []
    assert codes(hear(made, answered("10.1.0.9"), NONE, 3)) == ["name-answered"]


def test_after_failures_a_name_is_asked_for_later_each_time_up_to_a_minute() -> None:
    made, now, pauses = table(), 0.0, []
    for _ in range(9):
        hear(made, DOWN, DOWN, now)
        following = made.next()
        assert following is not None
        pauses.append(following - now)
        now = following
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_addresses_that_no_peer_can_have_are_left_out_and_told() -> None:
    made = table()
    outcome = hear(made, answered("0.0.0.0", "10.1.0.9"), answered("::1", "::ffff:10.1.0.9", "ff02::1"))
    assert codes(outcome) == ["name-refused", "name-unanswered"]
    assert shown(made) == ["10.1.0.9"]


def test_a_longer_answer_than_can_be_followed_is_a_failure_never_a_part() -> None:
    made = table()
    many = answered(*(f"10.1.1.{n}" for n in range(limits.NAME_ADDRESSES + 1)))
    assert "more than 64" in hear(made, many, NONE).notices[0].message
    assert shown(made) == []


def test_as_many_names_as_may_be_are_asked_for_at_once() -> None:
    names = [f"n{number}.example" for number in range(limits.NAME_LOOKUPS + 3)]
    made = table(*names)
    first = made.due(0)
    assert len(first) == limits.NAME_LOOKUPS
    assert made.due(0) == []
    assert made.next() is None
    made.answer(first[0], (DOWN, DOWN), 0)
    assert len(made.due(0)) == 1


def test_many_names_of_a_short_ttl_do_not_take_all_the_time() -> None:
    names = [f"n{number}.example" for number in range(limits.NAMES)]
    made = table(*names)
    name = made.due(0)[0]
    made.answer(name, (answered("10.1.0.9", ttl=0), NONE), 0)
    assert made.entries[name].due == limits.NAMES * limits.NAME_PACE


def test_last_answers_of_an_earlier_run_count_until_there_is_a_better_one() -> None:
    known = {FILES: (Last((Address.parse("10.1.0.9"),), ()), "an earlier run")}
    strict = table(known=known, strict=True)
    assert not strict.is_settled
    assert shown(strict) == []
    made = table(known=known)
    assert made.is_settled
    assert shown(made) == ["10.1.0.9"]
    hear(made, DOWN, DOWN)
    assert shown(made) == ["10.1.0.9"]
    hear(made, answered("10.1.0.10"), NONE, 1)
    assert shown(made) == ["10.1.0.10"]


def test_names_that_stay_keep_what_is_known_of_them() -> None:
    made = table()
    hear(made, answered("10.1.0.9"), NONE)
    made.want([FILES, "other.example"], {}, 1.0)
    assert made.due(1) == ["other.example"]
    assert shown(made) == ["10.1.0.9"]
    made.want([], {}, 1.0)
    assert made.answer("other.example", (DOWN, DOWN), 2.0) == Outcome()


def test_other_servers_are_asked_at_once_but_not_without_end() -> None:
    made = table()
    hear(made, answered("10.1.0.9"), NONE)
    made.again(30)
    assert made.next() == 30
    hear(made, answered("10.1.0.9"), NONE, 30)
    made.again(30.2)
    assert made.next() == 31


def test_a_new_network_is_a_reason_to_ask_for_what_failed_only() -> None:
    made = table("a.example", "b.example")
    made.due(0)
    made.answer("a.example", (answered("10.1.0.9"), NONE), 0)
    made.answer("b.example", (DOWN, DOWN), 0)
    made.answer("b.example", (DOWN, DOWN), 100)
    made.again(50, failed_only=True)
    assert made.due(50) == ["b.example"]
