# SPDX-License-Identifier: GPL-2.0-or-later
"""AH with strongSwan and between two of us: transport and tunnel mode, both IPs, either side first; nothing bare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.packets import Flow, Kind
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping, ping, tcp_echo
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e, leaks, test_e2e_tunnel

Charon = Callable[..., AbstractContextManager[StrongSwan]]
QM = "AH[SHA256]"
MANY = 3000
"""Octets of a ping that goes in fragments."""


@pytest.fixture
def pair(
    two_hosts: topology.TwoHosts, strongswan: Charon, version: int
) -> Iterator[tuple[XfrmdHost, StrongSwan, topology.TwoHosts]]:
    """xfrmd on the left, charon on the right, both with AH alone."""
    net = two_hosts
    conf = e2e.charon(net.right.address(version), net.left.address(version), ah="sha256")
    with xfrmd(net.left, e2e.policy(qm=QM), secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        yield ours, theirs, net


def icmp(net: topology.TwoHosts, version: int) -> Flow:
    """The pings."""
    return topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6")


@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_transport_mode_lives_through_rekeys_and_deletion(
    pair: tuple[XfrmdHost, StrongSwan, topology.TwoHosts], version: int, initiator: str
) -> None:
    ours, theirs, net = pair
    there = net.right.address(version)
    if initiator == "charon":
        theirs.initiate("all")
    assert ping(net.left, there, 3).lost == 0, ours.log + theirs.log
    assert net.left.run("ping", "-c", "3", "-s", str(MANY), there).returncode == 0
    (child,) = theirs.children("all")
    assert (child.mode, child.protocol, child.integrity) == ("TRANSPORT", "AH", "HMAC_SHA2_256_128")
    (shown,) = e2e.sas(ours)["child_sas"]
    assert shown["protocol"] == "ah"
    flood = Flood(net.left, Ping(there), rate=100).start()
    flood.wait_for(20)
    before = e2e.child_spis(ours)
    if initiator == "xfrmd":
        ours.ctl("rekey", "--wait", "20", *before)
    else:
        theirs.rekey(child="all")
    e2e.wait_until(lambda: not before & e2e.child_spis(ours), f"rekeyed by {initiator}")
    flood.wait_for(100)
    flood.stop().assert_none_lost()
    if initiator == "charon":
        theirs.terminate(child="all")
        e2e.wait_until(lambda: not e2e.child_spis(ours), "charon's deletion of AH is followed")
    else:
        ours.ctl("delete", *e2e.child_spis(ours))
        theirs.wait_for(lambda sas: not any(sa.children for sa in sas))
    net.capture.assert_authenticated(icmp(net, version))


def test_without_the_policy_the_same_pings_are_seen_bare(two_hosts: topology.TwoHosts, version: int) -> None:
    net = two_hosts
    with xfrmd(net.left, e2e.NOTHING, secret=e2e.SECRET):
        assert ping(net.left, net.right.address(version), 3).lost == 0
    net.capture.assert_seen_clear(icmp(net, version))


def test_two_networks_in_a_tunnel_of_ah(version: int) -> None:
    with topology.two_gateways() as net:
        left, right = (text.replace(e2e.QM, QM) for text in test_e2e_tunnel.policies(net, version))
        there = net.right_host.address(version)
        with xfrmd(net.left, left, secret=e2e.SECRET) as ours, xfrmd(net.right, right, secret=e2e.SECRET) as theirs:
            assert ping(net.left_host, there, 1).lost == 0, ours.log + theirs.log
            assert ping(net.right_host, net.left_host.address(version), 3).lost == 0
            (child,) = e2e.sas(ours)["child_sas"]
            assert (child["mode"], child["protocol"]) == ("tunnel", "ah")
        assert test_e2e_tunnel.clear_on_the_wire(net) == []
        assert [each for each in test_e2e_tunnel.on_the_wire(net) if each.packet.kind is Kind.AH]


def test_a_peer_with_esp_alone_gets_nothing(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net = two_hosts
    conf = e2e.charon(net.right.v4, net.left.v4, esp="aes128-sha256")
    with xfrmd(net.left, e2e.policy(qm=QM), secret=e2e.SECRET) as ours, strongswan(net.right, conf):
        assert ping(net.left, net.right.v4, 2).lost == 2
        assert "no-proposal" in ours.log
        net.capture.assert_nothing_clear(icmp(net, 4))  # a host whose IKE has ended says so in the clear


def test_a_daemon_that_is_killed_adopts_its_ah(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(qm=QM), secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, e2e.policy(qm=QM), secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, net.right.v6, 2).lost == 0, left.log + right.log
        before = e2e.child_spis(left)
        flood = Flood(net.left, Ping(net.right.v6), rate=100).start()
        flood.wait_for(50)
        left.kill()
        left.start()
        flood.wait_for(50)
        assert e2e.child_spis(left) == before
        left.ask("rekey", {"spi": min(before)})
        e2e.wait_until(lambda: not before & e2e.child_spis(right) and not before & e2e.child_spis(left), "a new pair")
        flood.wait_for(50)
        flood.stop().assert_none_lost()
    net.capture.assert_authenticated(icmp(net, 6))


def test_a_router_may_say_that_ah_is_too_big(version: int) -> None:
    """A link on the way is narrow; TCP has to learn it by a message that quotes AH."""
    with topology.two_gateways() as net:
        here, there = net.left_host, net.right_host.address(version)
        for gateway in (net.left, net.right):
            gateway.run("ip", "link", "set", "eth0", "mtu", "1300")
        with leaks.daemons(here, net.right_host, policy=e2e.policy(qm=QM)), tcp_echo(net.right_host, there):
            sent = "0123456789abcdef" * 1000
            assert here.run("ncat", "-w", "5", there, "7007", stdin=sent).stdout == sent
        net.capture.assert_authenticated(topology.between(here, net.right_host))
