# SPDX-License-Identifier: GPL-2.0-or-later
"""Redirects (RFC 5685): a gateway sends its peers to another one, as far as their policy lets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Side, datagrams, established, forge
from tests.conversations.plans import ALL_REQID
from tests.conversations.redirecting import Redirecting
from tests.conversations.scenes import A4, B4, ping
from tests.conversations.test_engine_tunnels import A_HOST, A_NET, B_HOST, B_NET, tunnel
from xfrmd import limits
from xfrmd.ike.effects import DropHeld, Effect, MoveTunnel, SendDatagram
from xfrmd.ike.events import Acquire, Adopt, DatagramReceived, Delete, PlanChanged, TicketKeys, TimerFired
from xfrmd.ike.saved import decode
from xfrmd.ike.v2 import redirect
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NoncePayload, NotifyPayload, Payload
from xfrmd.limits import floods
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.secret import Secret

C4, STRANGE = Address.parse("10.0.0.3"), Address.parse("10.0.0.9")


class Gateways(Redirecting):
    """A, whose rule names B as the end of its tunnel and C as another gateway; its plan follows what it is told."""

    def __init__(self, *, to: Address | None = C4, back: Address | None = None, follows: bool = True) -> None:
        super().__init__()
        self.redirects = (C4,) if follows else ()
        self.ends: list[tuple[Address, Address]] = []
        self.compiles = True
        self.a = Side(A4, self.client(B4), 1, self.wall)
        self.b = Side(B4, self.gateway(B4, to), 2, self.wall)
        self.c = Side(C4, self.gateway(C4, back), 3, self.wall)

    def client(self, end: Address) -> Plan:
        plan = tunnel(A_NET, B_NET, A4, end)(plans.plan(A4, [end]))
        return replace(plan, pad=tuple(replace(one, redirects=self.redirects) for one in plan.pad))

    def gateway(self, own: Address, to: Address | None) -> Plan:
        plan = tunnel(B_NET, A_NET, own, A4)(plans.plan(own, [A4]))
        return replace(plan, pad=tuple(replace(one, redirect_to=to) for one in plan.pad))

    def ask(self) -> list[Effect]:
        """A packet from behind A wants to the network behind the gateways."""
        return self.say(self.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), self.now))

    @property
    def sides(self) -> Sequence[Side]:
        return self.a, self.b, self.c

    def moved(self, move: MoveTunnel) -> Plan | None:
        self.ends.append((move.end, move.gateway))
        return self.client(move.gateway) if self.compiles else None

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            for side in (self.a, self.b, self.c):
                self.say(side.hear(TimerFired(), self.now))


def peers(side: Side) -> list[Address]:
    return [sa.remote.address for sa in side.engine.ike_sas() if sa.state == "established"]


def sent(effects: list[Effect], exchange: ExchangeType) -> list[SendDatagram]:
    return [one for one in datagrams(effects) if one.data[18] == exchange]


def notifies(datagram: SendDatagram) -> dict[int, bytes]:
    return {one.notify: one.data for one in parse_clear(datagram.data).payloads if isinstance(one, NotifyPayload)}


# rfc 5685: announce init-redirect redirected-from
def test_a_gateway_sends_its_peer_to_another_one_and_waiting_packets_follow() -> None:
    net = Gateways()
    said = net.ask()
    first, answer, second = sent(said, ExchangeType.IKE_SA_INIT)[:3]
    assert NotifyType.REDIRECT_SUPPORTED in notifies(first)
    nonce = parse_clear(first.data).first(NoncePayload)
    assert nonce is not None
    assert notifies(answer) == {NotifyType.REDIRECT: b"\1\4" + C4.packed + nonce.data}
    assert parse_clear(answer.data).header.spi_r == bytes(8)
    assert second.remote.address == C4
    assert notifies(second)[NotifyType.REDIRECTED_FROM] == b"\1\4" + B4.packed
    assert (peers(net.a), peers(net.b), peers(net.c)) == ([C4], [], [A4])
    assert net.ends == [(B4, C4)]
    assert not [one for one in said if isinstance(one, DropHeld)]
    assert {(sa.src, sa.dst) for sa in net.a.installed()} == {(A4, C4), (C4, A4)}
    assert net.a.told("redirected").fields["gateway"] == "10.0.0.3"
    assert "redirected" in net.a.engine.ike_sas()[0].extensions


# rfc 5685: only-trusted announce
def test_by_default_nobody_goes_and_nobody_is_sent_who_did_not_say_so() -> None:
    net = Gateways(follows=False)
    first = sent(net.ask(), ExchangeType.IKE_SA_INIT)[0]
    assert NotifyType.REDIRECT_SUPPORTED not in notifies(first)
    assert (peers(net.a), net.ends) == ([B4], [])


def answered(net: Gateways, data: bytes) -> list[Effect]:
    """What follows from this REDIRECT in answer to A's IKE_SA_INIT. NONCE stands for A's."""
    (first,) = datagrams(net.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), net.now))
    header = parse_clear(first.data).header
    nonce = parse_clear(first.data).first(NoncePayload)
    assert nonce is not None
    reply = Header.of(header.spi_i, bytes(8), ExchangeType.IKE_SA_INIT, 0, initiator=False, response=True)
    payloads: list[Payload] = [NotifyPayload(NotifyType.REDIRECT, data.replace(b"NONCE", nonce.data))]
    return net.a.hear(DatagramReceived(first.local, first.remote, build_clear(reply, payloads)), net.now)


WRONG = {
    "no nonce": b"\1\4" + C4.packed,
    "another nonce": b"\1\4" + C4.packed + bytes(32),
    "a longer nonce": b"\1\4" + C4.packed + b"NONCE" + b"\0",
    "a gateway that is not named": b"\1\4" + STRANGE.packed + b"NONCE",
    "itself": b"\1\4" + B4.packed + b"NONCE",
    "a name": b"\3\x0agw.example." + b"NONCE",
    "another type": b"\x09\4" + C4.packed + b"NONCE",
    "an IPv6 address of four octets": b"\2\4" + C4.packed + b"NONCE",
    "a length beyond its end": b"\1\xff" + C4.packed,
    "nothing": b"",
    "one octet": b"\1",
}


# rfc 5685: init-redirect only-trusted
@pytest.mark.parametrize("wrong", WRONG)
def test_a_redirect_that_is_forged_strange_or_broken_leads_nowhere(wrong: str) -> None:
    net = Gateways(to=None)
    effects = answered(net, WRONG[wrong])
    assert datagrams(effects) == []
    assert not [one for one in effects if isinstance(one, MoveTunnel)]
    net.pass_time(3.0)
    assert (peers(net.a), net.ends) == ([B4], []), "the handshake goes on"


def test_what_is_forged_is_not_worth_a_word_and_what_is_refused_is() -> None:
    net = Gateways(to=None)
    answered(net, WRONG["another nonce"])
    assert net.a.notices() == []
    net = Gateways(to=None)
    answered(net, WRONG["a gateway that is not named"])
    assert "does not name 10.0.0.9" in net.a.told("redirect-refused").message
    assert "redirects" in net.a.told("redirect-refused").remedy


# rfc 5685: loops
def test_who_was_sent_here_by_the_gateway_that_it_would_be_sent_to_is_served() -> None:
    net = Gateways(to=C4, back=B4)
    net.ask()
    assert net.ends == [(B4, C4)]
    assert (peers(net.a), peers(net.c)) == ([C4], [A4])


# rfc 5685: loops
# rfc 5685: init-redirect
def test_a_ticket_does_not_keep_a_peer_at_a_gateway_that_sends_its_peers_away() -> None:
    net = Gateways(to=None)
    key = Secret(bytes(32))
    net.b.hear(TicketKeys((key,)), net.now)
    net.ask()
    kept = dict(net.a.engine._ctx.store.tickets.held)
    assert kept
    net.b = Side(B4, net.gateway(B4, C4), 22, net.wall)
    net.b.hear(TicketKeys((key,)), net.now)
    net.a.hear(Delete(None), net.now)
    net.a.engine._ctx.store.tickets.held.update(kept)
    sent = [one for one in net.ask() if isinstance(one, SendDatagram)]
    assert [one.data[18] for one in sent[:4]] == [ExchangeType.IKE_SESSION_RESUME] * 2 + [ExchangeType.IKE_SA_INIT] * 2
    assert net.ends == [(B4, C4)]
    assert not net.b.engine.ike_sas()
    assert net.c.engine.ike_sas()


def test_redirects_in_a_row_are_counted_whoever_they_come_from() -> None:
    net = Gateways(to=None)
    net.compiles = False
    found = net.a.engine._ctx.store.elsewhere
    found.hops[B4] = tuple(float(at) for at in range(limits.REDIRECTS))
    net.now = limits.REDIRECTS + 1.0
    answered(net, b"\1\4" + C4.packed + b"NONCE")
    assert net.ends == []
    assert "are enough" in net.a.told("redirect-refused").message
    later = Gateways(to=None)
    later.a.engine._ctx.store.elsewhere.hops[B4] = found.hops[B4]
    later.now = limits.REDIRECT_PERIOD + limits.REDIRECTS
    effects = answered(later, b"\1\4" + C4.packed + b"NONCE")
    assert [one for one in effects if isinstance(one, MoveTunnel)] == [MoveTunnel(B4, C4)]


# rfc 5685: active
def test_an_ike_sa_that_stands_is_sent_away_when_the_policy_says_so() -> None:
    net = Gateways(to=None)
    net.ask()
    assert peers(net.a) == [B4]
    net.say(net.b.hear(PlanChanged(net.gateway(B4, C4)), net.now))
    assert net.ends == [(B4, C4)]
    net.pass_time(1.0)
    assert peers(net.b) == []
    net.say(net.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), net.now))
    assert (peers(net.a), peers(net.c)) == ([C4], [A4])
    stays = Gateways(to=None, follows=False)
    stays.ask()
    assert datagrams(stays.b.hear(PlanChanged(stays.gateway(B4, C4)), 1.0)) == []


# rfc 5685: active only-trusted
@pytest.mark.parametrize("data", [b"\1\4" + STRANGE.packed, b"\3\x02gw", b"", b"\1\4" + B4.packed])
def test_under_an_ike_sa_too_only_named_gateways_count(data: bytes) -> None:
    net = Gateways(to=None)
    net.ask()
    asked = forge(net.b, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.REDIRECT, data)])
    net.say([asked])
    assert net.ends == []
    assert peers(net.a) == [B4]
    assert net.a.told("redirect-refused").message


def test_only_who_began_the_ike_sa_is_sent_away() -> None:
    net = Gateways(to=None)
    net.ask()
    asked = forge(net.a, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.REDIRECT, b"\1\4" + C4.packed)])
    effects = net.say([asked])
    assert not [one for one in effects if isinstance(one, MoveTunnel)]


# rfc 5685: auth-redirect
def test_a_gateway_may_prove_itself_first_and_then_send_us_away() -> None:
    net = Gateways(to=None)
    first = net.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), net.now)
    to_b = datagrams(first)
    answer = net.b.hear(DatagramReceived(to_b[0].remote, to_b[0].local, to_b[0].data), net.now)
    back = datagrams(answer)[0]
    auth = datagrams(net.a.hear(DatagramReceived(back.remote, back.local, back.data), net.now))
    response = datagrams(net.b.hear(DatagramReceived(auth[0].remote, auth[0].local, auth[0].data), net.now))[0]
    channel = established(net.b).agreed_channel
    message = established(net.a).agreed_channel.open(parse_clear(response.data))
    kept = [one for one in message.payloads if one.type in (36, 39)]  # IDr and AUTH
    away = NotifyPayload(NotifyType.REDIRECT, b"\1\4" + C4.packed)
    sealed = channel.seal(message.header._replace(next_payload=0, length=0), [*kept, away])
    net.say(net.a.hear(DatagramReceived(response.remote, response.local, sealed), net.now))
    net.pass_time(1.0)
    assert net.ends == [(B4, C4)]
    assert (peers(net.a), peers(net.c)) == ([C4], [A4])


def test_a_gateway_that_does_not_answer_gives_the_tunnel_back() -> None:
    net = Gateways()
    net.c = Side(Address.parse("10.0.0.77"), net.gateway(C4, None), 3, net.wall)
    net.ask()
    assert net.ends == [(B4, C4)]
    net.b = Side(B4, net.gateway(B4, None), 4, net.wall)
    net.pass_time(75.0)
    assert net.ends == [(B4, C4), (B4, B4)]
    assert net.a.told("redirect-over").fields["gateway"] == "10.0.0.2"
    net.pass_time(limits.RETRY_AFTER_FAILURE + 1)
    net.say(net.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), net.now))
    assert peers(net.a) == [B4]


def test_a_plan_that_does_not_follow_is_waited_for_and_then_the_first_gateway_asked_again() -> None:
    net = Gateways()
    net.compiles = False
    net.ask()
    assert (net.ends, peers(net.a)) == ([(B4, C4)], [])
    net.b = Side(B4, net.gateway(B4, None), 4, net.wall)
    net.pass_time(limits.REDIRECT_WAIT + 1)
    assert peers(net.a) == [B4]


def test_where_a_tunnel_ends_outlives_the_process() -> None:
    net = Gateways()
    net.ask()
    records = {one.name: one.content for one in net.a.engine.changes()}
    content = records["redirect 10.0.0.3 10.0.0.2"]
    assert content is not None
    saved = decode([content.reveal()])
    assert [(one.end, one.gateway, one.last) for one in saved.redirects] == [(B4, C4, B4)]
    net.a = Side(A4, net.client(C4), 9, net.wall)
    net.a.hear(Adopt(saved, {}), net.now)
    said = net.ask()
    assert notifies(sent(said, ExchangeType.IKE_SA_INIT)[0])[NotifyType.REDIRECTED_FROM] == b"\1\4" + B4.packed
    assert peers(net.a) == [C4]


def test_a_flood_that_wants_to_be_redirected_costs_no_state_and_is_soon_asked_for_cookies() -> None:
    net = Gateways()
    (first,) = datagrams(net.a.hear(Acquire(ALL_REQID, ping(A_HOST, B_HOST)), net.now))
    told = []
    for number in range(1, floods.CLEAR_ANSWERS + 51):
        data = number.to_bytes(8, "little") + first.data[8:]
        (answer,) = datagrams(net.b.hear(DatagramReceived(first.remote, first.local, data), net.now))
        told.append(parse_clear(answer.data).payloads[0])
    kinds = [one.notify for one in told if isinstance(one, NotifyPayload)]
    assert kinds == [NotifyType.REDIRECT] * floods.CLEAR_ANSWERS + [NotifyType.COOKIE] * 50
    assert net.b.engine.snapshot().half_open == 0


def test_gateways_are_named_by_addresses_of_both_ip_versions() -> None:
    six = Address.parse("fd00::3")
    for address, octets in ((C4, b"\1\4" + C4.packed), (six, b"\2\x10" + six.packed)):
        assert redirect._gateway(address) == octets
        assert redirect._read(octets + b"nonce") == (address, b"nonce")
        for cut in range(len(octets)):
            assert redirect._read(octets[:cut])[0] is None
