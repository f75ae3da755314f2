# SPDX-License-Identifier: GPL-2.0-or-later
"""Several tunnels that are redirected to one gateway (RFC 5685): they share its IKE SA, and go on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Side
from tests.conversations.plans import ALL_REQID, SMB_REQID
from tests.conversations.redirecting import Redirecting
from tests.conversations.scenes import A4, B4, ping
from tests.conversations.test_engine_redirect import C4, notifies, sent
from tests.conversations.test_engine_tunnels import A_HOST, A_NET, B_HOST, B_NET, tunnel
from xfrmd.ike.effects import Effect, MoveTunnel
from xfrmd.ike.events import Acquire, Adopt, PlanChanged, Rekey, TimerFired
from xfrmd.ike.saved import decode
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan

D4, E4 = Address.parse("10.0.0.4"), Address.parse("10.0.0.5")
D_NET, D_HOST = Prefix.parse("10.4.0.0/16"), Address.parse("10.4.0.7")
GATEWAYS = (C4, E4)


def merged(first: Plan, second: Plan) -> Plan:
    """The tunnels of both, the second under another reqid."""
    protects = tuple(replace(one, reqid=SMB_REQID) for one in second.protect)
    pad = dict.fromkeys((one.local, one.remote) for one in (*first.pad, *second.pad))
    entries = tuple(next(one for one in (*first.pad, *second.pad) if (one.local, one.remote) == key) for key in pad)
    return replace(first, protect=(*first.protect, *protects), pad=entries)


class TwoTunnels(Redirecting):
    """A has a tunnel to B and one to D, which both send their peers to C. Its plan follows what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = {B4: B4, D4: D4}
        self.moves: list[tuple[Address, Address]] = []
        self.a = Side(A4, self.client(), 1, self.wall)
        self.others = [Side(own, self.gateway(own, C4), n, self.wall) for n, own in ((2, B4), (4, D4))]
        self.others += [Side(own, self.gateway(own, None), n, self.wall) for n, own in ((3, C4), (5, E4))]

    def client(self) -> Plan:
        made = [
            tunnel(A_NET, net, A4, self.ends[end])(plans.plan(A4, [self.ends[end]]))
            for end, net in ((B4, B_NET), (D4, D_NET))
        ]
        both = merged(*made)
        return replace(both, pad=tuple(replace(one, redirects=GATEWAYS) for one in both.pad))

    def gateway(self, own: Address, to: Address | None) -> Plan:
        both = merged(*(tunnel(net, A_NET, own, A4)(plans.plan(own, [A4])) for net in (B_NET, D_NET)))
        return replace(both, pad=tuple(replace(one, redirect_to=to) for one in both.pad))

    def side(self, own: Address) -> Side:
        return next(side for side in self.others if side.own == own)

    def ask(self) -> list[Effect]:
        """Packets want to both networks."""
        said = self.say(self.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), self.now))
        return said + self.say(self.a.hear(Acquire(SMB_REQID, ping(A_HOST, D_HOST)), self.now))

    @property
    def sides(self) -> Sequence[Side]:
        return self.a, *self.others

    def moved(self, move: MoveTunnel) -> Plan:
        self.moves.append((move.end, move.gateway))
        self.ends[move.end] = move.gateway
        return self.client()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            for side in (self.a, *self.others):
                self.say(side.hear(TimerFired(), self.now))

    def carried(self) -> set[Address]:
        """Where A's child SAs go to."""
        return {one.remote for one in self.a.engine._ctx.store.all_children() if one.sends}


def both_at_c() -> TwoTunnels:
    net = TwoTunnels()
    net.ask()
    assert net.moves == [(B4, C4), (D4, C4)]
    assert net.carried() == {C4}
    assert {sa.reqid for sa in net.a.installed()} == {ALL_REQID, SMB_REQID}
    return net


@pytest.mark.parametrize("restarted", [False, True])
def test_a_gateway_that_is_lost_gives_all_tunnels_back(restarted: bool) -> None:
    net = both_at_c()
    if restarted:
        records = [one.content.reveal() for one in net.a.engine.changes() if one.content is not None]
        net.a = Side(A4, net.client(), 9, net.wall)
        net.a.hear(Adopt(decode(records), {}), net.now)
        net.moves.clear()
    net.others = [Side(own, net.gateway(own, None), 7, net.wall) for own in (B4, D4)]
    sa = net.a.engine._ctx.store.lineages(A4, C4)[0].current
    assert sa is not None
    net.say(net.a.hear(Rekey(sa.spi), net.now))
    net.pass_time(75.0)
    assert net.moves[-2:] == [(B4, B4), (D4, D4)]
    net.pass_time(11.0)
    net.ask()
    assert net.carried() == {B4, D4}


# rfc 5685: active
def test_where_it_sends_us_on_all_tunnels_go() -> None:
    net = both_at_c()
    said = net.say(net.side(C4).hear(PlanChanged(net.gateway(C4, E4)), net.now))
    assert net.moves[2:] == [(B4, E4), (D4, E4)]
    said += net.ask()
    assert net.carried() == {E4}
    assert notifies(sent(said, ExchangeType.IKE_SA_INIT)[0])[NotifyType.REDIRECTED_FROM] == b"\1\4" + C4.packed
