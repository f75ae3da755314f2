# SPDX-License-Identifier: GPL-2.0-or-later
"""Demands of traffic, back-off after failures, and what is remembered of failures: all of it bounded."""

from __future__ import annotations

from tests.unit import ike_cases as case
from xfrmd import limits
from xfrmd.ike.demand import Demand, WantKey
from xfrmd.ike.journal import Journal
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice

HERE, THERE, ELSEWHERE = (Address.parse(f"10.0.0.{n}") for n in (1, 2, 3))
REGION = case.selector("10.0.0.1", "10.0.0.2")
KEY = WantKey(7, HERE, THERE, REGION)
PACKET = case.selector("10.0.0.1", "10.0.0.2", "tcp", "40000", "445")


def test_the_same_demand_is_made_once() -> None:
    demand = Demand()
    want = demand.add(KEY, PACKET, 1.0)
    assert want is not None
    assert demand.find(WantKey(7, HERE, THERE, REGION)) is want
    demand.join(want, PACKET)
    assert want.packets == {}
    for port in range(1000, 1000 + 2 * limits.WAITING_PACKETS):
        demand.join(want, case.selector("10.0.0.1", "10.0.0.2", "tcp", str(port), "445"))
    assert len(want.packets) == limits.WAITING_PACKETS
    assert demand.done(want)
    assert not demand.done(want)
    assert demand.find(KEY) is None


def test_a_failure_bars_its_filter_or_its_peer_for_a_while() -> None:
    demand, wait = Demand(), limits.RETRY_AFTER_FAILURE
    demand.bar(KEY, 100.0, whole_peer=False)
    assert demand.add(KEY, PACKET, 100.0 + wait - 0.1) is None
    assert demand.add(KEY._replace(reqid=8), PACKET, 100.0) is not None
    assert demand.add(KEY, PACKET, 100.0 + wait) is not None
    demand.bar(KEY, 200.0, whole_peer=True)
    assert demand.barred(KEY._replace(reqid=9), 200.0)
    assert not demand.barred(KEY._replace(remote=ELSEWHERE), 200.0)
    demand.forgive(HERE, THERE)
    assert not demand.barred(KEY._replace(reqid=9), 200.0)


def test_demands_and_bars_are_bounded() -> None:
    demand = Demand()
    for number in range(limits.NEGOTIATIONS):
        assert demand.add(KEY._replace(reqid=number), PACKET, 0.0) is not None
    assert demand.add(KEY._replace(reqid=limits.NEGOTIATIONS), PACKET, 0.0) is None
    for number in range(3 * limits.NEGOTIATIONS):
        demand.bar(KEY._replace(reqid=number), float(number), whole_peer=False)
    assert len(demand._barred) <= limits.NEGOTIATIONS + 1


def notice(code: str) -> Notice:
    return Notice(Level.WARNING, code, code)


def test_the_last_failure_of_each_peer_is_kept_until_it_works() -> None:
    journal = Journal()
    journal.failed(THERE, notice("one"), 1.0)
    journal.failed(ELSEWHERE, notice("two"), 2.0)
    journal.failed(THERE, notice("three"), 3.0)
    assert [(f.peer, f.notice.code) for f in journal.failures()] == [(ELSEWHERE, "two"), (THERE, "three")]
    journal.healed(THERE)
    assert [f.peer for f in journal.failures()] == [ELSEWHERE]
    for number in range(2 * limits.REPORTED_PEERS):
        journal.failed(Address(4, number), notice("flood"), 4.0)
    assert len(journal.failures()) == limits.REPORTED_PEERS
    assert journal.failures()[-1].peer == Address(4, 2 * limits.REPORTED_PEERS - 1)


def test_strangers_are_told_of_once_in_a_while() -> None:
    journal = Journal()
    assert journal.may_whisper("no-rule", THERE, 0.0)
    assert not journal.may_whisper("no-rule", THERE, limits.WHISPER_INTERVAL - 1)
    assert journal.may_whisper("no-rule", ELSEWHERE, 1.0)
    assert journal.may_whisper("no-proposal", THERE, 1.0)
    assert journal.may_whisper("no-rule", THERE, limits.WHISPER_INTERVAL + 1)
    for number in range(5 * limits.REPORTED_PEERS):
        journal.may_whisper("no-rule", Address(4, number), 100.0)
    assert len(journal._whispers) <= limits.REPORTED_PEERS
