# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever DNS answers and whenever: names are asked for again in time, and a failure never takes an address away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xfrmd import limits
from xfrmd.adapters.names.table import Answered, Failed, Half, NameTable
from xfrmd.model.addresses import Address, is_nobody

NAMES = [f"n{number}.example" for number in range(limits.NAME_LOOKUPS + 4)]
LATEST = limits.NAME_TTL[1]
V4 = ["10.1.0.1", "10.1.0.2", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
V6 = ["fd00::1", "fd00::2", "::", "::1", "ff02::1", "::ffff:10.1.0.1"]
failed = st.sampled_from([Failed("late"), Failed("refused")])


def halves(texts: list[str]) -> st.SearchStrategy[Half]:
    some = st.lists(st.sampled_from(texts), max_size=3).map(lambda found: tuple(map(Address.parse, found)))
    return failed | st.builds(Answered, some, st.sampled_from([0.0, 1.0, 30.0, 1e9, float("inf")]))


answers = st.tuples(halves(V4), halves(V6))
steps = st.one_of(
    st.tuples(st.just("answer"), st.integers(0, 40), answers),
    st.tuples(st.just("pass"), st.floats(0, 5000), st.none()),
    st.tuples(st.just("want"), st.sets(st.sampled_from(NAMES), min_size=1), st.none()),
    st.tuples(st.just("again"), st.booleans(), st.none()),
)


@given(st.lists(steps, max_size=60), st.booleans())
def test_names_are_asked_for_in_time_and_only_answers_change_them(script: list[tuple], strict: bool) -> None:  # type: ignore[type-arg] # rows of three kinds
    table, now = NameTable(lambda: 0.5), 0.0
    table.want(NAMES, {}, now, strict=strict)
    asking: list[str] = []
    for kind, first, second in script:
        before = dict(table.addresses())
        if kind == "pass":
            now += first
        elif kind == "again":
            table.again(now, failed_only=first)
        elif kind == "want":
            table.want(first, {}, now, strict=strict)
            asking = [name for name in asking if name in first]
        elif asking:
            name = asking.pop(first % len(asking))
            outcome = table.answer(name, second, now)
            after = dict(table.addresses())
            assert outcome.changed == (set(after.get(name, ())) != set(before.get(name, ())))
            assert {**after, name: ()} == {**before, name: ()}, "no other name is touched"
            if not any(isinstance(half, Answered) for half in second) and not strict:
                assert after == before
        asking += table.due(now)
        assert len(asking) == len(set(asking)) <= limits.NAME_LOOKUPS
        following = table.next()
        if len(asking) < min(limits.NAME_LOOKUPS, len(table.entries)):
            assert following is not None
            assert now < following <= now + LATEST
        for addresses in dict(table.addresses()).values():
            assert addresses
            assert not any(map(is_nobody, addresses))
