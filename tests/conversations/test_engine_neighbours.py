# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts behind one NAT that say to be the same: neither ends the other, and a host that starts anew is not held up.

A is at port 14500 of the NAT, C at port 24500; B, before it, sees one address and one identity.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.dialogue import Change
from tests.conversations.network import Host, Network
from tests.conversations.plans import ALL_REQID, plan
from tests.conversations.scenes import A4, B4, Pair, ping
from tests.conversations.test_engine_nat import C4, OUTER, beside
from tests.conversations.test_engine_tunnels import tunnel
from xfrmd import limits
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, Delete, Endpoint
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.plan import Plan

ONE_NAME = Identity(IdType.FQDN, b"branch.example.org")
BEYOND = Prefix.parse("10.9.0.0/16")
NETS = {A4: Prefix.parse("10.66.1.0/24"), C4: Prefix.parse("10.66.2.0/24")}
ALL_NETS = Prefix.parse("10.66.0.0/16")
FAR, AT_A, AT_C = Address.parse("10.9.0.1"), Address.parse("10.66.1.7"), Address.parse("10.66.2.7")


def named(plan: Plan, identity: Identity = ONE_NAME) -> Plan:
    """A host that says to be branch.example.org."""
    return replace(plan, pad=(replace(plan.pad[0], local_id=identity),))


def expecting(plan: Plan) -> Plan:
    return replace(plan, pad=(replace(plan.pad[0], remote_id=ONE_NAME),))


class Branch:
    """A and C behind the NAT, B before it; `tunnels`: for a network of its own each, else transport mode."""

    def __init__(self, *, tunnels: bool = False) -> None:
        self.tunnels = tunnels
        self.network = Network(1)
        self.network.translate = beside
        outside: Change = tunnel(BEYOND, ALL_NETS, B4, OUTER) if tunnels else lambda plan: plan
        self.b = self.network.add("B", B4, self._engine(expecting(outside(plan(B4, [OUTER])))))
        self.a, self.c = self.host("A", A4), self.host("C", C4)

    def host(self, name: str, own: Address) -> Host:
        """It has just started, and knows of nothing."""
        inside: Change = tunnel(NETS[own], BEYOND, own, B4) if self.tunnels else lambda plan: plan
        return self.network.add(name, own, self._engine(named(inside(plan(own, [B4])))))

    def _engine(self, plan: Plan) -> Engine:
        return Engine(plan, self.network.entropy())

    def ask(self, host: Host, seconds: float = 3.0) -> None:
        """Traffic of a host behind the NAT asks for an SA."""
        packet = ping(AT_A if host.address == A4 else AT_C, FAR) if self.tunnels else ping(host.address, B4)
        self.network.tell(host, Acquire(ALL_REQID, packet))
        self.network.run(self.network.now + seconds)

    def pass_time(self, seconds: float) -> None:
        self.network.run(self.network.now + seconds)

    def ports(self) -> set[int]:
        """Ports of the NAT that B sends ESP to."""
        return {sa.encap_ports[1] for sa in self.b.kernel.live(inbound=False) if sa.encap_ports}


# rfc 7296: initial-contact
# rfc 3948: two-behind-one-nat
def test_two_tunnels_of_hosts_with_one_name_stand_side_by_side() -> None:
    """Each says INITIAL_CONTACT: it has no other IKE SA. Who was there before is asked, answers, and stays."""
    scene = Branch(tunnels=True)
    scene.ask(scene.a)
    scene.ask(scene.c)
    scene.pass_time(100.0)
    for host in (scene.a, scene.c):
        assert [sa.state for sa in host.ike_sas()] == ["established"]
        assert len(host.kernel.live(inbound=False)) == 1
    assert scene.ports() == {14_500, 24_500}
    assert sorted(str(child.selectors[0]) for sa in scene.b.ike_sas() for child in sa.children) == [
        f"{BEYOND} -> {NETS[A4]} any",
        f"{BEYOND} -> {NETS[C4]} any",
    ]
    assert not scene.b.kernel.mistakes


# rfc 3948: two-behind-one-nat
def test_in_transport_mode_the_second_host_with_that_name_takes_nothing_from_the_first() -> None:
    scene = Branch()
    scene.ask(scene.a)
    before = dict(scene.b.kernel.sas)
    scene.ask(scene.c, 100.0)
    assert scene.b.kernel.sas == before
    assert [sa.state for sa in scene.a.ike_sas()] == ["established"]
    assert not scene.c.kernel.sas
    (notice,) = [notice for _, notice in scene.b.notices if notice.code == "behind-one-nat"]
    assert "branch.example.org at port 24500" in notice.message
    assert "another one of that name at port 14500" in notice.message


# rfc 3948: two-behind-one-nat
def test_neither_do_tunnels_whose_networks_overlap() -> None:
    scene = Branch(tunnels=True)
    scene.ask(scene.a)
    before = dict(scene.b.kernel.sas)
    wide = tunnel(ALL_NETS, BEYOND, C4, B4)(plan(C4, [B4]))
    scene.c = scene.network.add("C", C4, Engine(named(wide), scene.network.entropy()))
    scene.ask(scene.c, 100.0)
    assert scene.b.kernel.sas == before
    assert "behind-one-nat" in scene.b.codes()


# rfc 7296: initial-contact
@pytest.mark.parametrize("tunnels", [False, True])
def test_a_host_that_has_started_anew_by_another_port_is_taken_when_the_old_one_does_not_answer(
    tunnels: bool,
) -> None:
    scene = Branch(tunnels=tunnels)
    scene.ask(scene.a)
    again = scene.host("A", A4)
    scene.network.translate = lambda one: (
        replace(one, local=Endpoint(OUTER, one.local.port + 30_000))
        if one.local.address == A4
        else replace(one, remote=Endpoint(A4 if one.remote.port > 30_000 else C4, one.remote.port % 10_000))
    )
    scene.ask(again, limits.CONTACT_WAIT + 2 * limits.BUSY_RETRY + 1.0)
    assert scene.ports() == {34_500}
    assert len(again.kernel.live(inbound=False)) == 1
    assert len(scene.b.ike_sas()) == 1


# rfc 7296: initial-contact
def test_by_the_same_port_it_is_the_same_host_and_what_was_is_forgotten_at_once() -> None:
    scene = Branch()
    scene.ask(scene.a)
    scene.ask(scene.host("A", A4), 1.0)
    assert len(scene.b.ike_sas()) == 1
    assert len(scene.b.kernel.sas) == 2


def test_whoever_is_asked_for_new_sas_is_the_host_that_had_the_traffic() -> None:
    """B has lost the child SAs of both; its packets ask for them again."""
    scene = Branch(tunnels=True)
    scene.ask(scene.a)
    scene.ask(scene.c)
    for sa in scene.b.ike_sas():
        scene.network.tell(scene.b, Delete(sa.children[0].spi_in.to_bytes(4)))
    scene.pass_time(10.0)
    assert not scene.ports()
    for there, port in ((AT_A, 14_500), (AT_C, 24_500)):
        scene.network.tell(scene.b, Acquire(ALL_REQID, ping(FAR, there)))
        scene.pass_time(5.0)
        assert port in scene.ports()
    found = {sa.remote.port: str(sa.children[0].selectors[0].dst) for sa in scene.b.ike_sas()}
    assert found == {14_500: str(NETS[A4]), 24_500: str(NETS[C4])}


# rfc 7296: initial-contact
def test_without_a_nat_the_same_address_and_identity_are_the_same_host() -> None:
    network = Network(1)
    b = network.add("B", B4, Engine(plan(B4, [A4]), network.entropy()))
    for _ in range(2):
        a = network.add("A", A4, Engine(plan(A4, [B4]), network.entropy()))
        network.tell(a, Acquire(ALL_REQID, ping(A4, B4)))
        network.run(network.now + 1.0)
    assert len(b.ike_sas()) == 1
    Pair(network, a, b).agree()
