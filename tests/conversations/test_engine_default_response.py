# SPDX-License-Identifier: GPL-2.0-or-later
"""The default response rule: a host that never begins protects what a peer asks for, and its answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conversations.network import Network
from tests.conversations.plans import DEFAULT_REQID, SMB_REQID, Settings, plan, responding
from tests.conversations.scenes import A4, A6, B4, B6, Pair, ping, tcp
from tests.unit import ike_cases as case
from xfrmd import limits
from xfrmd.ike import dynamic
from xfrmd.ike.effects import AddFilter, DropHeld, InstallSa
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, Delete, Initiate, PlanChanged, Rekey, SaFailed
from xfrmd.ike.lookup import PlanIndex
from xfrmd.ike.narrow import Ends, Traffic, answer
from xfrmd.ike.v2.traffic import from_selectors
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Ports, Selector
from xfrmd.model.spd import Mode

ALL = Selector(Prefix.host(B4), Prefix.host(A4))


def scene(settings: Settings | None = None, ends: tuple[Address, Address] = (A4, B4), ours: Plan | None = None) -> Pair:
    """A protects everything with B. B has the default response rule alone."""
    network = Network(1)
    one, two = ends
    a = network.add("A", one, Engine(plan(one, [two], settings or Settings()), network.entropy()))
    b = network.add("B", two, Engine(ours or responding(), network.entropy()))
    return Pair(network, a, b)


def answered(*offered: Selector, index: PlanIndex | None = None) -> Selector | None:
    """The selector that the default response rule takes of what A offers, seen from B."""
    traffic = Traffic(*from_selectors([one.reversed for one in offered]))
    found = answer(index or PlanIndex(responding()), Ends(B4, A4, Mode.TRANSPORT), traffic)
    return found.selector if found is not None else None


@pytest.mark.parametrize("ends", [(A4, B4), (A6, B6)], ids=["ipv4", "ipv6"])
def test_a_peer_that_asks_is_answered_and_its_traffic_becomes_a_filter(ends: tuple[Address, Address]) -> None:
    both = scene(ends=ends)
    flow = both.flow(both.a, 5.0)
    both.network.run(5.0)
    assert (flow.lost, flow.delivered > 80) == ([], True)
    reqid = DEFAULT_REQID + (ends[0].family == 6)
    assert both.b.filters == {(reqid, Selector(Prefix.host(ends[1]), Prefix.host(ends[0]))): None}
    assert both.a.filters == {}
    assert "default-response" in both.b.codes()


def test_the_filter_stands_before_its_sas() -> None:
    both = scene()
    order: list[str] = []
    carry = both.network._carry_out

    def watch(host: object, effect: object) -> None:
        if host is both.b and isinstance(effect, AddFilter | InstallSa):
            order.append(type(effect).__name__)
        carry(host, effect)  # type: ignore[arg-type]

    both.network._carry_out = watch  # type: ignore[method-assign]
    both.acquire(both.a)
    both.network.settle()
    assert order == ["AddFilter", "InstallSa", "InstallSa"]


def test_the_rule_never_begins() -> None:
    both = scene()
    packet = ping(B4, A4)
    (dropped,) = both.network.tell(both.b, Acquire(DEFAULT_REQID, packet))
    assert dropped == DropHeld(DEFAULT_REQID, packet)
    assert both.network.tell(both.b, Initiate(DEFAULT_REQID, B4, A4)) == []
    assert both.b.sent == []


def test_a_filter_of_the_policy_goes_first() -> None:
    mixed = responding()
    own = plan(B4, [A4], Settings(smb=True))
    smb = [one for one in own.protect if one.reqid == SMB_REQID]
    both = scene(Settings(smb=True), ours=replace(mixed, protect=(*smb, *mixed.protect), pad=(*own.pad, *mixed.pad)))
    both.acquire(both.a, 0.0, SMB_REQID, tcp(A4, B4, 445))
    both.network.settle()
    assert both.b.filters == {}
    assert both.child(both.b, SMB_REQID).reqid == SMB_REQID
    both.acquire(both.a, both.network.now)
    both.network.settle()
    assert both.b.filters == {(DEFAULT_REQID, ALL): None}


def test_rekeys_keep_the_filter() -> None:
    both = scene(Settings(child_seconds=100))
    flow = both.flow(both.a, 500.0, interval=0.5)
    both.network.run(500.0)
    assert flow.lost == []
    assert both.b.codes().count("default-response") == 1
    assert list(both.b.filters) == [(DEFAULT_REQID, ALL)]
    child = both.child(both.b, DEFAULT_REQID)
    both.network.tell(both.b, Rekey(child.spi_in.to_bytes(4)))
    both.network.run(510.0)
    assert both.child(both.b, DEFAULT_REQID).spi_in != child.spi_in
    assert list(both.b.filters) == [(DEFAULT_REQID, ALL)]


def test_the_filter_outlives_its_sas_for_two_hours_and_negotiates_meanwhile() -> None:
    both = scene()
    both.acquire(both.a)
    both.network.settle()
    both.network.tell(both.a, Delete(None))
    both.network.run(both.network.now + 10.0)
    assert both.b.ike_sas() == ()
    assert list(both.b.filters) == [(DEFAULT_REQID, ALL)]
    both.network.tell(both.b, Acquire(DEFAULT_REQID, ping(B4, A4)))
    both.network.settle()
    assert both.child(both.b, DEFAULT_REQID).selectors == (ALL,)
    both.network.tell(both.a, Delete(None))
    gone = both.network.now
    both.network.run(gone + limits.DYNAMIC_IDLE - 5.0)
    assert list(both.b.filters) == [(DEFAULT_REQID, ALL)]
    both.network.run(gone + limits.DYNAMIC_IDLE + 5.0)
    assert both.b.filters == {}


def changes() -> dict[str, tuple[Plan, Sequence[tuple[int, Selector]]]]:
    ours = responding()
    same = [(DEFAULT_REQID, ALL)]
    return {
        "the same": (ours, same),
        "rule gone": (replace(ours, protect=(), pad=()), []),
        "a filter for the traffic": (plan(B4, [A4]), []),
        "a filter for some of it": (
            replace(
                ours,
                protect=(
                    *(p for p in plan(B4, [A4], Settings(smb=True)).protect if p.reqid == SMB_REQID),
                    *ours.protect,
                ),
            ),
            same,
        ),
    }


@pytest.mark.parametrize("change", list(changes()))
def test_a_new_plan_keeps_what_it_would_make_too(change: str) -> None:
    new, kept = changes()[change]
    both = scene()
    both.acquire(both.a)
    both.network.settle()
    both.network.tell(both.b, PlanChanged(new))
    both.network.run(both.network.now + 10.0)
    assert list(both.b.filters) == list(kept)
    children = [child.reqid for sa in both.b.ike_sas() for child in sa.children]
    assert [reqid for reqid in children if reqid == DEFAULT_REQID] == [reqid for reqid, _ in kept]


def test_the_end_of_the_daemon_removes_filters_and_a_kernel_that_refuses_one_gets_no_sa() -> None:
    both = scene()
    both.acquire(both.a)
    both.network.settle()
    both.network.tell(both.b, SaFailed(both.child(both.b, DEFAULT_REQID).spi_in, 3, B4, "its filter was refused"))  # type: ignore[arg-type]
    both.network.settle()
    assert both.b.kernel.sas == {}
    both.network.tell(both.b, Delete(None))
    assert both.b.filters == {}


def test_what_fits_a_filter_between_two_hosts() -> None:
    whole = Selector(Prefix.host(A4), Prefix.host(B4))
    assert answered(whole) == whole.reversed
    assert answered(Selector(Prefix.any(4), Prefix.any(4))) == whole.reversed
    assert answered(Selector(Prefix.parse("10.0.0.0/8"), Prefix.parse("10.0.0.0/24"))) == whole.reversed
    smb = case.selector("10.0.0.1", "10.0.0.2", "tcp", "any", "445")
    assert answered(smb) == smb.reversed
    assert answered(tcp(A4, B4, 445), smb) == smb.reversed
    assert answered(case.selector("10.0.0.1", "10.0.0.2", "icmp")) == case.selector("10.0.0.2", "10.0.0.1", "icmp")
    assert answered(case.selector("10.0.0.3", "10.0.0.2")) is None, "another host's traffic"


def test_port_ranges_are_cut_to_the_packet_that_asked_or_refused() -> None:
    range_ = case.selector("10.0.0.1", "10.0.0.2", "tcp", "any", "440-450")
    assert answered(range_) is None
    cut = case.selector("10.0.0.1", "10.0.0.2", "tcp", "any", "445")
    assert answered(tcp(A4, B4, 445), range_) == cut.reversed
    types = case.selector("10.0.0.1", "10.0.0.2", "icmp")._replace(sport=Ports(8, 8))
    assert answered(types) is None
    assert answered(ping(A4, B4), types) == ping(B4, A4)._replace(sport=Ports(8, 8))


def test_the_number_of_filters_is_bounded() -> None:
    engine = Engine(responding(), random.Random(1).randbytes)
    ctx = engine._ctx
    found = answer(ctx.index, Ends(B4, A4, Mode.TRANSPORT), Traffic(*from_selectors([ALL])))
    assert found is not None
    assert dynamic.room(ctx, found)
    ctx.store.dynamic.update({(n, ALL): None for n in range(limits.DYNAMIC_FILTERS)})  # type: ignore[misc]
    assert not dynamic.room(ctx, found)
