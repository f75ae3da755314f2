# SPDX-License-Identifier: GPL-2.0-or-later
"""A NAT between two engines (RFC 7296 2.23, 2.23.1): ports, addresses, keepalives, and who one says to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.conversations.dialogue import Dialogue
from tests.conversations.network import Host, Network
from tests.conversations.plans import ALL_REQID, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, pair, ping
from xfrmd import limits
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, DatagramReceived, Endpoint, Rekey, Remapped
from xfrmd.model.addresses import Address
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId

OUTER = Address.parse("192.0.2.1")
"""The NAT's address: A is behind it."""


def translated(datagram: SendDatagram) -> SendDatagram:
    """A's datagrams come from OUTER, with ports of the NAT's choosing; what goes to OUTER goes to A."""
    if datagram.local.address == A4:
        return replace(datagram, local=Endpoint(OUTER, datagram.local.port + 10_000))
    assert datagram.remote.address == OUTER
    return replace(datagram, remote=Endpoint(A4, datagram.remote.port - 10_000))


def behind(inside: Plan | None = None, outside: Plan | None = None) -> Pair:
    """A behind the NAT, B before it: B's policy speaks of OUTER."""
    network = Network(1)
    network.translate = translated
    a = network.add("A", A4, Engine(inside or plan(A4, [B4]), network.entropy()))
    b = network.add("B", B4, Engine(outside or plan(B4, [OUTER]), network.entropy()))
    network.at(0.0, a, Acquire(ALL_REQID, ping(A4, B4)))
    network.run(5.0)
    return Pair(network, a, b)


# rfc 7296: nat-detection nat-float nat-transport
# rfc 3948: esp-header
def test_both_go_to_port_4500_and_esp_goes_in_udp() -> None:
    scene = behind()
    assert [(sent.local.port, sent.remote.port) for sent in scene.a.sent] == [(500, 500), (4500, 4500)]
    (ike,), (far,) = scene.a.ike_sas(), scene.b.ike_sas()
    assert (ike.nat, far.nat) == ("ours", "the peer's")
    assert far.remote == Endpoint(OUTER, 14_500)
    ports = [[(e.sa.inbound, e.sa.encap_ports) for e in host.kernel.sas.values()] for host in scene.hosts]
    assert sorted(ports[0]) == [(False, (4500, 4500)), (True, (4500, 4500))]
    assert sorted(ports[1]) == [(False, (4500, 14_500)), (True, (14_500, 4500))]
    assert {str(one) for child in ike.children for one in child.selectors} == {f"{A4} -> {B4} any"}
    assert {str(one) for child in far.children for one in child.selectors} == {f"{B4} -> {OUTER} any"}


# rfc 7296: nat-transport
def test_whoever_is_before_the_nat_may_rekey() -> None:
    scene = behind()
    (child,) = scene.b.ike_sas()[0].children
    scene.network.tell(scene.b, Rekey(child.spi_in.to_bytes(4)))
    scene.network.run(30.0)
    (anew,) = scene.b.ike_sas()[0].children
    assert anew.spi_in != child.spi_in
    assert anew.selectors == child.selectors
    (far,) = scene.a.ike_sas()[0].children
    assert [str(one) for one in far.selectors] == [f"{A4} -> {B4} any"]
    assert far.spi_out == anew.spi_in


# rfc 7296: nat-keepalive
# rfc 3948: keepalive-when-silent
def test_whoever_is_behind_a_nat_and_silent_keeps_its_mapping_alive() -> None:
    scene = behind()
    scene.network.run(100.0)
    times = [round(when) for when, _ in scene.a.keepalives]
    assert times == [20, 40, 60, 80, 100][: len(times)]
    assert len(times) >= 4
    assert {sent.remote for _, sent in scene.a.keepalives} == {Endpoint(B4, 4500)}
    assert not scene.b.keepalives
    scene.network.tell(scene.a, Rekey(scene.a.ike_sas()[0].children[0].spi_in.to_bytes(4)))
    scene.network.run(scene.network.now + limits.NAT_KEEPALIVE - 1)
    assert len(scene.a.keepalives) == len(times), "what goes out anyway is enough"


def test_no_keepalive_leaves_without_a_nat() -> None:
    scene = pair()
    scene.connect()
    scene.network.run(scene.network.now + 100)
    assert not scene.a.keepalives
    assert not scene.b.keepalives


def test_a_named_peer_behind_a_nat_must_be_that_one() -> None:
    named = plan(B4, [OUTER])
    entry = replace(named.pad[0], remote_id=Identity(IdType.IPV4_ADDR, B4.packed))
    scene = behind(outside=replace(named, pad=(entry,)))
    assert scene.b.codes() == ["auth-failed"]
    assert not scene.b.kernel.sas


def test_without_a_nat_an_address_that_is_not_the_peers_own_is_refused() -> None:
    ours = plan(A4, [B4])
    entry = replace(ours.pad[0], local_id=Identity(IdType.IPV4_ADDR, OUTER.packed))
    talk = Dialogue(a=lambda _: replace(ours, pad=(entry,)))
    talk.talk(talk.acquire())
    assert not talk.b.installed()
    assert "the rule expects 10.0.0.1" in talk.b.told("auth-failed").message


@pytest.mark.parametrize("who", ["a", "b", "both"])
def test_forced_encapsulation_needs_one_end_to_ask_for_it(who: str) -> None:
    scene = pair(settings=Settings(encapsulate=who != "b"), other=Settings(encapsulate=who != "a"))
    scene.connect()
    for host in scene.hosts:
        assert {entry.sa.encap_ports for entry in host.kernel.sas.values()} == {(4500, 4500)}
        assert not host.keepalives


C4 = Address.parse("10.0.0.3")
BESIDE = {A4: 10_000, C4: 20_000}
"""How far the NAT moves the ports of each host behind it."""


def beside(datagram: SendDatagram) -> SendDatagram:
    """A and C are both behind OUTER."""
    moved = BESIDE.get(datagram.local.address)
    if moved is not None:
        return replace(datagram, local=Endpoint(OUTER, datagram.local.port + moved))
    (inside,) = [one for one, moved in BESIDE.items() if datagram.remote.port - moved in (500, 4500)]
    return replace(datagram, remote=Endpoint(inside, datagram.remote.port - BESIDE[inside]))


# rfc 7296: nat-transport
# rfc 3948: two-behind-one-nat
def test_the_second_host_behind_a_nat_does_not_take_the_first_ones_packets() -> None:
    scene = behind()
    network = scene.network
    network.translate = beside
    c = network.add("C", C4, Engine(plan(C4, [B4]), network.entropy()))
    before = dict(scene.b.kernel.sas)
    network.at(network.now, c, Acquire(ALL_REQID, ping(C4, B4)))
    network.run(network.now + 5.0)
    assert scene.b.kernel.sas == before
    (notice,) = [notice for _, notice in scene.b.notices if notice.code == "behind-one-nat"]
    assert f"{C4} is behind the same NAT ({OUTER}) as {A4}" in notice.message
    assert not c.kernel.sas
    network.tell(scene.b, Rekey(scene.b.ike_sas()[0].children[0].spi_in.to_bytes(4)))
    network.run(network.now + 30.0)
    assert {sa.encap_ports for sa in scene.b.kernel.live(inbound=False)} == {(4500, 14_500)}


def test_the_same_host_may_come_again_by_another_port() -> None:
    """It has restarted, and the NAT has forgotten it."""
    scene = behind()
    network = scene.network
    moved = 30_000
    network.translate = lambda one: (
        replace(one, local=Endpoint(OUTER, one.local.port + moved))
        if one.local.address == A4
        else replace(one, remote=Endpoint(A4, one.remote.port - moved))
    )
    again = network.add("A", A4, Engine(plan(A4, [B4]), network.entropy()))
    network.at(network.now, again, Acquire(ALL_REQID, ping(A4, B4)))
    network.run(network.now + 30.0)
    assert {sa.encap_ports for sa in scene.b.kernel.live(inbound=False)} == {(4500, 34_500)}
    assert len(again.kernel.live(inbound=False)) == 1


def moved_to(port: int) -> Callable[[SendDatagram], SendDatagram]:
    """A NAT that has A's port 4500 at another place now."""

    def translate(datagram: SendDatagram) -> SendDatagram:
        if datagram.local.address == A4:
            return replace(datagram, local=Endpoint(OUTER, port))
        return replace(datagram, remote=Endpoint(A4, 4500))

    return translate


def ports_of(host: Host) -> set[tuple[bool, tuple[int, int] | None]]:
    return {(entry.sa.inbound, entry.sa.encap_ports) for entry in host.kernel.sas.values()}


# rfc 7296: nat-remapped
def test_esp_follows_the_peer_to_the_port_that_its_packets_come_from() -> None:
    scene = behind()
    (child,) = scene.b.ike_sas()[0].children
    scene.network.translate = moved_to(20_000)
    elsewhere = Remapped(child.spi_in, ProtocolId.ESP, B4, Endpoint(OUTER, 20_000))
    scene.network.tell(scene.b, elsewhere)
    assert ports_of(scene.b) == {(True, (20_000, 4500)), (False, (4500, 20_000))}
    assert scene.b.ike_sas()[0].remote == Endpoint(OUTER, 20_000)
    assert scene.b.codes()[-1] == "nat-mapping"
    scene.network.tell(scene.b, replace(elsewhere, remote=Endpoint(OUTER, 30_000)))
    assert (False, (4500, 20_000)) in ports_of(scene.b), "not twice in a second"
    assert not scene.b.kernel.mistakes
    scene.network.run(scene.network.now + limits.MAPPING_INTERVAL)
    scene.network.tell(scene.b, Rekey(child.spi_in.to_bytes(4)))
    scene.network.run(scene.network.now + 30)
    assert ports_of(scene.b) == {(True, (20_000, 4500)), (False, (4500, 20_000))}


# rfc 7296: nat-remapped
def test_ike_tells_of_another_port_too() -> None:
    scene = behind()
    scene.network.translate = moved_to(20_000)
    (child,) = scene.a.ike_sas()[0].children
    scene.network.run(scene.network.now + 10)
    scene.network.tell(scene.a, Rekey(child.spi_in.to_bytes(4)))
    scene.network.run(scene.network.now + 30)
    assert ports_of(scene.b) == {(True, (20_000, 4500)), (False, (4500, 20_000))}
    assert "nat-mapping" in scene.b.codes()


# rfc 7296: nat-remapped
def test_who_is_behind_a_nat_itself_does_not_follow() -> None:
    scene = behind()
    before = ports_of(scene.a)
    (child,) = scene.a.ike_sas()[0].children
    scene.network.tell(scene.a, Remapped(child.spi_in, ProtocolId.ESP, A4, Endpoint(B4, 4501)))
    assert ports_of(scene.a) == before
    assert scene.a.ike_sas()[0].remote == Endpoint(B4, 4500)


# rfc 7296: nat-remapped answer-to-sender
def test_one_message_that_somebody_repeats_from_another_port_leads_nobody_astray_behind_a_nat() -> None:
    """Whoever sees B's request for a rekey has a copy of it at A before it, from a port that is not B's."""
    scene = behind()
    network = scene.network
    copied: list[SendDatagram] = []

    def watched(datagram: SendDatagram) -> SendDatagram:
        if datagram.local.address == B4 and not copied:
            copied.append(datagram)
            forged = DatagramReceived(Endpoint(A4, 4500), Endpoint(B4, 4501), datagram.data)
            network.at(network.now, scene.a, forged)
        return translated(datagram)

    network.translate = watched
    network.lose = lambda datagram: datagram.remote == Endpoint(B4, 4501)
    (child,) = scene.b.ike_sas()[0].children
    network.tell(scene.b, Rekey(child.spi_in.to_bytes(4)))
    network.run(network.now + 30.0)
    assert copied
    assert Endpoint(B4, 4501) in {one.remote for one in scene.a.sent}, "the copy is answered where it came from"
    assert scene.b.ike_sas()[0].children[0].spi_in != child.spi_in
    assert ports_of(scene.a) == {(True, (4500, 4500)), (False, (4500, 4500))}
    assert scene.a.ike_sas()[0].remote == Endpoint(B4, 4500)


def test_a_peer_whose_packets_come_from_another_address_is_asked_whether_it_is_where_it_was() -> None:
    scene = behind()
    (child,) = scene.b.ike_sas()[0].children
    before, sent = ports_of(scene.b), len(scene.b.sent)
    scene.network.tell(scene.b, Remapped(child.spi_in, ProtocolId.ESP, B4, Endpoint(C4, 14_500)))
    assert [one.remote for one in scene.b.sent[sent:]] == [Endpoint(OUTER, 14_500)]
    assert ports_of(scene.b) == before
    scene.network.run(scene.network.now + 10)
    assert ports_of(scene.b) == before


def test_the_port_that_was_followed_is_saved() -> None:
    scene = behind()
    engine = scene.b.engine
    assert isinstance(engine, Engine)
    engine.forget_changes()
    (child,) = scene.b.ike_sas()[0].children
    scene.network.tell(scene.b, Remapped(child.spi_in, ProtocolId.ESP, B4, Endpoint(OUTER, 20_000)))
    names = [record.name for record in engine.changes()]
    assert f"child {child.spi_in:08x}" in names


def test_the_nat_itself_does_not_take_the_packets_of_a_host_behind_it() -> None:
    """It is a peer like any other, and sees no NAT before itself."""
    scene = behind()
    network = scene.network
    network.translate = lambda one: (
        one if OUTER in (one.local.address, one.remote.address) and one.remote.port < 10_000 else translated(one)
    )
    router = network.add("router", OUTER, Engine(plan(OUTER, [B4]), network.entropy()))
    before = dict(scene.b.kernel.sas)
    network.at(network.now, router, Acquire(ALL_REQID, ping(OUTER, B4)))
    network.run(network.now + 5.0)
    assert "behind-one-nat" in scene.b.codes()
    assert scene.b.kernel.sas == before
