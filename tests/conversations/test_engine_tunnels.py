# SPDX-License-Identifier: GPL-2.0-or-later
"""Two gateways, from packets of the networks behind them to one SA pair between the gateways."""

from __future__ import annotations

from dataclasses import replace

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, datagrams, kinds
from tests.conversations.plans import ALL_REQID
from tests.conversations.scenes import A4, B4, ping, tcp
from xfrmd.ike.effects import DropHeld, RemoveSa
from xfrmd.ike.events import Acquire, PlanChanged
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode

A_NET, B_NET = Prefix.parse("10.2.0.0/16"), Prefix.parse("10.3.0.0/16")
A_HOST, B_HOST, ANOTHER = (Address.parse(text) for text in ("10.2.0.7", "10.3.0.7", "10.2.0.8"))


def tunnel(ours: Prefix, theirs: Prefix, local: Address, remote: Address) -> Change:
    """All traffic between two networks goes through a tunnel between two gateways."""

    def change(plan: Plan) -> Plan:
        (protect,) = plan.protect
        made = replace(protect, mode=Mode.TUNNEL, tunnel=(local, remote), selectors=(Selector(ours, theirs),))
        return replace(plan, protect=(made,))

    return change


def gateways() -> Dialogue:
    return Dialogue(a=tunnel(A_NET, B_NET, A4, B4), b=tunnel(B_NET, A_NET, B4, A4))


def test_a_packet_from_behind_makes_one_tunnel_for_both_networks() -> None:
    talk = gateways()
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 0.0))
    for side, near, far in ((talk.a, A_NET, B_NET), (talk.b, B_NET, A_NET)):
        entries = {sa.inbound: sa for sa in side.installed()}
        assert {sa.mode for sa in entries.values()} == {Mode.TUNNEL}
        peer = talk.other(side).own
        assert (entries[False].src, entries[False].dst, entries[False].selector) == (
            side.own,
            peer,
            Selector(near, far),
        )
        assert (entries[True].src, entries[True].dst, entries[True].selector) == (peer, side.own, Selector(far, near))
    for host in (A_HOST, ANOTHER):
        assert kinds(talk.a.hear(Acquire(ALL_REQID, tcp(host, B_HOST, 80)), 1.0)) == ["ReleaseHeld"]
    assert kinds(talk.b.hear(Acquire(ALL_REQID, ping(B_HOST, ANOTHER)), 1.0)) == ["ReleaseHeld"]


def test_packets_of_many_hosts_wait_for_the_same_negotiation() -> None:
    talk = gateways()
    first = talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 0.0)
    assert talk.a.hear(Acquire(ALL_REQID, ping(ANOTHER, B_HOST)), 0.0) == []
    talk.talk(first)
    assert len(talk.a.installed()) == 2


def test_a_tunnel_whose_far_end_moves_ends_its_sas() -> None:
    talk = gateways()
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 0.0))
    elsewhere = Address.parse("10.0.0.3")
    moved = tunnel(A_NET, B_NET, A4, elsewhere)(plans.plan(A4, [B4, elsewhere]))
    effects = talk.a.hear(PlanChanged(moved), 1.0)
    gone = {(effect.dst, effect.spi) for effect in effects if isinstance(effect, RemoveSa)}
    assert gone & {(sa.dst, sa.spi) for sa in talk.a.installed() if not sa.inbound}
    talk.talk(effects)
    assert [sa.children for sa in talk.b.engine.ike_sas()] == [()]
    again = talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 2.0)
    assert [datagram.remote.address for datagram in datagrams(again)] == [elsewhere]


def test_packets_that_wait_for_a_dead_gateway_wait_for_the_other_one_when_the_tunnel_moves() -> None:
    """Also where another rule still speaks of the dead one."""
    talk = gateways()
    talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 0.0)
    elsewhere = Address.parse("10.0.0.3")
    moved = tunnel(A_NET, B_NET, A4, elsewhere)(plans.plan(A4, [B4, elsewhere]))
    effects = talk.a.hear(PlanChanged(moved), 1.0)
    assert not [effect for effect in effects if isinstance(effect, DropHeld)]
    assert elsewhere in [datagram.remote.address for datagram in datagrams(effects)]
    assert talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 2.0) == []
    assert talk.a.engine.snapshot().negotiating == 1
    other = replace(moved.protect[0], selectors=(Selector(Prefix.host(ANOTHER), B_NET),))
    effects = talk.a.hear(PlanChanged(replace(moved, protect=(replace(other, tunnel=(A4, B4)),))), 3.0)
    assert [effect.reqid for effect in effects if isinstance(effect, DropHeld)] == [ALL_REQID]


def test_a_network_that_only_one_gateway_tunnels_is_narrowed_to_what_both_do() -> None:
    wide = Prefix.parse("10.0.0.0/8")
    talk = Dialogue(a=tunnel(A_NET, wide, A4, B4), b=tunnel(B_NET, A_NET, B4, A4))
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), 0.0))
    outbound = [sa.selector for sa in talk.a.installed() if not sa.inbound]
    assert outbound == [Selector(A_NET, B_NET)]
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A_HOST, Address.parse("10.9.0.1"))), 1.0))
    assert [sa.selector for sa in talk.a.installed() if not sa.inbound] == outbound, "the far gateway has none for it"
