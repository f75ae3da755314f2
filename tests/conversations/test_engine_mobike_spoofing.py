# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that has proved who it is says to be where another one is (RFC 4555 5.2): it gets nothing of that one's.

M and X are hosts of one rule of B's. M sends with the address of X as its source, and hears nothing of what B answers.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.dialogue import Side, established
from tests.conversations.network import Flow, Network
from tests.conversations.plans import ALL_REQID, plan
from tests.conversations.scenes import A4, B4, ping, tcp
from tests.conversations.test_engine_certificates import CA, by, host
from tests.conversations.test_engine_mobike import A2, ANYWHERE, update
from tests.unit.pki import NOW, method
from xfrmd import limits
from xfrmd.ike import select
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import Acquire, DatagramReceived, Endpoint, Rekey
from xfrmd.ike.ike_sa import IkeSa, TaskKind
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.payloads import NoncePayload, NotifyPayload, Payload, SaPayload, TsiPayload, TsrPayload
from xfrmd.ike.v2.traffic import from_selectors
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector

X4 = A2
INFORMATIONAL = ExchangeType.INFORMATIONAL
GIVE_UP = 80.0
"""B has asked X for M's answer often enough by then."""


def certified(name: str, own: Address, remote: Address, seed: int) -> Side:
    return Side(own, plan(own, [remote], by(method(CA, [host(name)]))), seed, NOW.timestamp)


def welcoming(plan: Plan) -> Plan:
    """Whoever has a certificate, from anywhere."""
    protect = tuple(replace(one, selectors=(Selector(Prefix.host(B4), ANYWHERE),)) for one in plan.protect)
    return replace(plan, protect=protect, pad=tuple(replace(one, remote=ANYWHERE) for one in plan.pad))


class Spoofing:
    """M is connected with B; `connected`: so is X."""

    def __init__(self, *, connected: bool) -> None:
        self.network = Network(1)
        self.m, x = certified("m", A4, B4, 1), certified("x", X4, B4, 2)
        self.b_side = b = Side(B4, welcoming(plan(B4, [A4], by(method(CA, [host("b")])))), 3, NOW.timestamp)
        self.b = self.network.add("B", B4, b.engine)
        self.x = self.network.add("X", X4, x.engine)
        self.m_host = self.network.add("M", A4, self.m.engine)
        self.network.tell(self.m_host, Acquire(ALL_REQID, ping(A4, B4)))
        if connected:
            self.network.tell(self.x, Acquire(ALL_REQID, ping(X4, B4)))
        self.network.run(10.0)

    def spoof(self, datagram: SendDatagram) -> None:
        self.network.tell(self.b, DatagramReceived(datagram.remote, Endpoint(X4, 500), datagram.data))

    def seal(self, sa: IkeSa, exchange: int, payloads: list[Payload], number: int) -> SendDatagram:
        """A request of M's."""
        header = Header.of(sa.spi_i, sa.spi_r, exchange, number, initiator=sa.initiator, response=False)
        return SendDatagram(sa.local, sa.remote, sa.agreed_channel.seal(header, payloads))

    def move(self, sa: IkeSa) -> None:
        """M says that it is where X is, in the place of what it would have said next."""
        number = sa.window.next_id - sa.window.busy
        self.spoof(self.seal(sa, ExchangeType.INFORMATIONAL, update(), number))

    def ask_for(self, sa: IkeSa, traffic: Selector, number: int) -> None:
        """M wants a child SA for traffic of X with B."""
        proposals = tuple(one for policy in plan(A4, [B4]).protect for one in policy.proposals)
        local, remote = from_selectors((traffic,))
        payloads: list[Payload] = [
            NotifyPayload(NotifyType.USE_TRANSPORT_MODE),
            SaPayload(select.offer(proposals, bytes.fromhex("0badcafe"))),
            NoncePayload(bytes(limits.NONCE_SIZES[0])),
            TsiPayload(local),
            TsrPayload(remote),
        ]
        self.spoof(self.seal(sa, ExchangeType.CREATE_CHILD_SA, payloads, number))


# rfc 4555: cookie2
@pytest.mark.parametrize("rekeyed", [False, True])
def test_no_child_sa_is_made_where_the_peer_has_not_proved_to_be(rekeyed: bool) -> None:
    """`rekeyed`: M says it by an IKE SA that it has replaced and not deleted, and asks by the new one."""
    scene = Spoofing(connected=True)
    theirs = tcp(X4, B4, 22)
    flows = [
        scene.network.flow(scene.b, Flow(packet, ALL_REQID, 1.0, GIVE_UP)) for packet in (theirs.reversed, ping(B4, X4))
    ]
    said = asking = established(scene.m)
    if rekeyed:
        scene.network.lose = lambda datagram: datagram.local.address == A4 and datagram.data[18] == INFORMATIONAL
        scene.network.tell(scene.m_host, Rekey(said.spi))
        scene.network.run(11.0)
        asking = next(sa for sa in scene.m.engine._ctx.store.ike_sas() if sa is not said)
    scene.move(said)
    scene.ask_for(asking, theirs, 0 if rekeyed else asking.window.next_id + 1)
    scene.network.run(GIVE_UP + 20.0)
    assert [(flow.lost, flow.waiting) for flow in flows] == [([], 0)] * 2
    assert [str(sa.remote_id) for sa in scene.b.ike_sas() if sa.state == "established"] == ["x.example"]


# rfc 4555: cookie2
def test_what_goes_to_the_host_that_is_there_is_negotiated_with_that_one() -> None:
    scene = Spoofing(connected=False)
    scene.move(established(scene.m))
    flow = scene.network.flow(scene.b, Flow(ping(B4, X4), ALL_REQID, 1.0, 40.0))
    scene.network.run(40.0)
    assert (flow.delivered > 25, flow.lost) == (True, [])


def test_a_peer_that_moves_all_the_time_makes_no_heap_of_questions() -> None:
    scene = Spoofing(connected=False)
    sa = established(scene.m)
    scene.network.lose = lambda datagram: datagram.remote.address in (A4, X4)
    for number in range(20):
        datagram = scene.seal(sa, ExchangeType.INFORMATIONAL, update(), sa.window.next_id + number)
        there = Endpoint(A4 if number % 2 else X4, 500)
        scene.network.tell(scene.b, DatagramReceived(datagram.remote, there, datagram.data))
    (asking,) = [one for one in scene.b_side.engine._ctx.store.ike_sas() if one.task is not None]
    assert [task.kind for task in (asking.task, *asking.tasks) if task is not None].count(TaskKind.ROUTABLE) == 2
    assert scene.b.ike_sas()[0].remote.address == A4
