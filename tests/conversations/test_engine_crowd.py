# SPDX-License-Identifier: GPL-2.0-or-later
"""What one host may have of us once it has proved itself is bounded, and hosts beside it keep what they have."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established
from tests.conversations.plans import responding
from tests.conversations.scenes import A4, B4, tcp
from xfrmd import limits
from xfrmd.ike import crowd, dynamic
from xfrmd.ike.context import Context
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.effects import RemoveSa
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.narrow import Agreed, Ends, Traffic, answer
from xfrmd.ike.v2 import init
from xfrmd.ike.v2.traffic import from_selectors
from xfrmd.model.addresses import Address
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.spd import Mode


def once_more(talk: Dialogue) -> None:
    """A proves itself for another IKE SA, whatever there is already, and says nothing of those that there are."""
    ctx = talk.a.engine._ctx
    ctx.out = []
    pad = ctx.index.pad(A4, B4)
    assert pad is not None
    init.initiate(ctx, pad, Endpoint(A4, 500), Endpoint(B4, 500), None)
    (first,) = datagrams(ctx.out)
    (auth, *_) = datagrams(talk.deliver(datagrams(talk.deliver(first))[0]))
    talk.deliver(auth)


def with_a(side: Side) -> list[IkeSa]:
    return [sa for sa in side.engine._ctx.store.ike_sas() if sa.remote.address == A4]


def test_a_host_that_begins_ike_sas_without_end_keeps_the_newest() -> None:
    talk = Dialogue()
    talk.connect()
    oldest = established(talk.b)
    for _ in range(limits.IKE_SAS_PER_PEER + 150):
        once_more(talk)
    assert limits.IKE_SAS_PER_PEER <= len(with_a(talk.b)) < limits.IKE_SAS_PER_PEER + 64
    assert oldest not in with_a(talk.b)
    pair = {(sa.dst, sa.spi) for sa in talk.b.installed()}
    assert {(one.dst, one.spi) for one in talk.b.effects if isinstance(one, RemoveSa)} == pair


def test_a_host_behind_the_same_nat_does_not_lose_its_own_for_it() -> None:
    talk = Dialogue()
    talk.connect()
    beside = established(talk.b)
    beside.remote_id = Identity(IdType.FQDN, b"beside.example")
    for _ in range(limits.IKE_SAS_PER_PEER + 64):
        once_more(talk)
    assert beside in with_a(talk.b)


def test_hosts_behind_one_nat_without_end_keep_the_newest() -> None:
    """Each has a name of its own, as those have that one host pretends."""
    talk = Dialogue()
    talk.connect()
    for number in range(127):
        with_a(talk.b)[-1].remote_id = Identity(IdType.FQDN, b"%d.example" % number)
        once_more(talk)
    there, ctx = with_a(talk.b), talk.b.engine._ctx
    assert crowd.surplus(ctx, there[-1]) == []
    assert crowd.surplus(ctx, there[-1], most=100) == there[:28]
    ours = there[3].lineage.term
    there[3].lineage.term = replace(ours, ours=True)
    assert crowd.surplus(ctx, there[-1], most=100) == [*there[:3], *there[4:29]]


def test_child_sas_of_one_host_are_counted_under_all_its_ike_sas() -> None:
    talk = Dialogue()
    talk.connect()
    for _ in range(3):
        once_more(talk)
    store, (first, second, third, last) = talk.b.engine._ctx.store, with_a(talk.b)
    (one,) = first.lineage.children.values()
    for number in range(1, limits.CHILDREN_PER_PEER):
        home = (first, second, third)[number % 3].lineage
        store.add_child(home, replace(one, spi_in=0x1000_0000 + number, spi_out=0x2000_0000 + number))
    assert not crowd.room(talk.b.engine._ctx, last)
    first.remote_id = Identity(IdType.FQDN, b"beside.example")
    assert crowd.room(talk.b.engine._ctx, last)


# rfc 7296: initial-contact
def test_a_host_that_has_lost_its_sas_has_none_left_here_however_many_they_were() -> None:
    """By `qmpermm: 1` each child SA has an IKE SA. What stays would carry our packets to nobody."""
    talk = Dialogue()
    talk.connect()
    for _ in range(2 * limits.LINEAGES):
        once_more(talk)
    talk.now = 1.0
    talk.a = Side(A4, plans.plan(A4, [B4]), 77, talk.wall)
    talk.talk(talk.acquire())
    assert len(with_a(talk.b)) == 1


def wanted(ctx: Context, peer: Address, port: int) -> Agreed:
    """What the default response rule makes of a peer's traffic to one port of ours."""
    traffic = Traffic(*from_selectors([tcp(B4, peer, port)]))
    found = answer(ctx.index, Ends(B4, peer, Mode.TRANSPORT), traffic)
    assert found is not None
    return found


def test_one_peer_does_not_take_the_room_of_all_filters_of_the_default_response_rule() -> None:
    ctx = Engine(responding(), random.Random(1).randbytes)._ctx
    for port in range(1, limits.DYNAMIC_PER_PEER + 1):
        one = wanted(ctx, A4, port)
        assert dynamic.room(ctx, one)
        name = (one.protect.reqid, one.selector)
        ctx.store.dynamic[name] = DynamicFilter(*name, B4, A4)
    assert not dynamic.room(ctx, wanted(ctx, A4, 8080))
    assert dynamic.room(ctx, wanted(ctx, A4, 1)), "it has this one"
    assert dynamic.room(ctx, wanted(ctx, Address.parse("10.0.0.9"), 8080))
