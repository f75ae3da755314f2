# SPDX-License-Identifier: GPL-2.0-or-later
"""NATs on the way, and ESP in UDP without one: both modes, both roles, and what restarts do to such a flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.packets import Kind, flow
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping, ping, tcp_echo
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from tests.lab.test_e2e_restart import killed, restarted
from tests.lab.test_e2e_tunnel import tunnel

Charon = Callable[..., AbstractContextManager[StrongSwan]]

NEAR, FAR = "10.66.1.1", "10.66.2.1"
"""What is behind the two ends of a tunnel: an address of each."""
NETS = ("10.66.1.0/24", "10.66.2.0/24")


@pytest.fixture
def net() -> Iterator[topology.Nat]:
    """A host behind a NAT and one before it, captured."""
    with topology.host_nat_host() as made:
        yield made


def outer(net: topology.Nat) -> str:
    """The address by which the outside knows the inside."""
    return str(net.nat.links[1].v4.ip)


def echoed(net: topology.Nat, address: str) -> None:
    """TCP's checksums are right, whichever addresses they were made over."""
    with tcp_echo(net.outside, address):
        text = "0123456789abcdef" * 4_096
        assert net.inside.run("ncat", "-w", "5", address, "7007", stdin=text).stdout == text


def assert_in_udp(net: topology.Nat, protocol: str = "icmp") -> None:
    """What the two sent each other was ESP in UDP on both links, and nothing else."""
    for one, other in ((net.inside, net.outside), (net.nat, net.outside)):
        net.capture.assert_nothing_clear(topology.between(one, other, protocol))
    assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}


# rfc 7296: nat-detection nat-float nat-transport
# rfc 3948: transport-checksums
def test_transport_mode_from_behind_a_nat(net: topology.Nat) -> None:
    with (
        xfrmd(net.inside, e2e.policy(), secret=e2e.SECRET) as inside,
        xfrmd(net.outside, e2e.policy(), secret=e2e.SECRET) as outside,
    ):
        assert ping(net.inside, net.outside.v4, 3).lost == 0, inside.log + outside.log
        echoed(net, net.outside.v4)
        (ike,), (far,) = e2e.sas(inside)["ike_sas"], e2e.sas(outside)["ike_sas"]
        assert (ike["nat"], far["nat"]) == ("ours", "the peer's")
        assert ike["local"] == f"{net.inside.v4}:4500"
        assert ike["remote"] == f"{net.outside.v4}:4500"
        running = Flood(net.inside, Ping(net.outside.v4), rate=100).start()
        running.wait_for(20)
        for daemon in (inside, outside):
            for found, kind in ((e2e.child_spis, "child"), (e2e.ike_spis, "IKE")):
                (spi,) = found(daemon)
                daemon.ask("rekey", {"spi": spi})
                e2e.wait_until(lambda f=found, s=spi, d=daemon: s not in f(d), f"a new {kind} SA")  # type: ignore[misc]
        running.wait_for(20)
        running.stop().assert_none_lost()
    assert_in_udp(net)
    assert_in_udp(net, "tcp")


def test_the_same_without_a_policy_is_seen_in_the_clear(net: topology.Nat) -> None:
    """The positive control."""
    assert ping(net.inside, net.outside.v4, 2).lost == 0
    for one in (net.inside, net.nat):
        net.capture.assert_seen_clear(topology.between(one, net.outside, "icmp"))


def behind(net: topology.Nat) -> None:
    """Give each end an address to tunnel for, and the route to the other's."""
    net.inside.run("ip", "address", "add", f"{NEAR}/32", "dev", "lo")
    net.outside.run("ip", "address", "add", f"{FAR}/32", "dev", "lo")
    net.inside.run("ip", "route", "add", NETS[1], "via", str(net.nat.links[0].v4.ip), "src", NEAR)
    net.outside.run("ip", "route", "add", NETS[0], "via", outer(net), "src", FAR)


def tunnelled(net: topology.Nat, log: Callable[[], str]) -> None:
    """The two networks reach each other, from the first packet on."""
    assert ping(net.inside, FAR, 1).lost == 0, log()
    assert ping(net.inside, FAR, 3).lost == 0, log()
    assert ping(net.outside, NEAR, 3).lost == 0, log()


def tunnelled_beside(net: topology.SharedNat) -> tuple[str, str, str]:
    """What the two hosts behind the nat have to tunnel for, the second with a network of its own; their policies."""
    behind(net)
    net.beside.run("ip", "address", "add", "10.66.3.1/32", "dev", "lo")
    net.beside.run("ip", "route", "add", NETS[1], "via", str(net.nat.links[2].v4.ip), "src", "10.66.3.1")
    net.outside.run("ip", "route", "add", "10.66.3.0/24", "via", outer(net), "src", FAR)
    return (
        tunnel(*NETS, net.inside.v4, net.outside.v4),
        tunnel("10.66.3.0/24", NETS[1], net.beside.v4, net.outside.v4),
        tunnel(NETS[1], "10.66.0.0/16", net.outside.v4, outer(net)),
    )


# rfc 7296: nat-float
# rfc 3948: two-behind-one-nat
@pytest.mark.parametrize("name", ["", "keyid:branch"], ids=["own addresses", "one name"])
def test_two_hosts_behind_one_nat_have_tunnels_side_by_side(name: str) -> None:
    """Also when both say to be the same: the second one's INITIAL_CONTACT does not end the first."""
    with topology.two_behind_nat() as net:
        ours, theirs, far = tunnelled_beside(net)
        if name:
            ours, theirs = (one.replace("psk:", f'local_id: "{name}", psk:') for one in (ours, theirs))
            far = far.replace("psk:", f'remote_id: "{name}", psk:')
        with (
            xfrmd(net.inside, ours, secret=e2e.SECRET) as inside,
            xfrmd(net.beside, theirs, secret=e2e.SECRET) as beside,
            xfrmd(net.outside, far, secret=e2e.SECRET) as outside,
        ):
            for host in (net.inside, net.beside, net.inside):
                assert ping(host, FAR, 2).lost == 0, inside.log + beside.log + outside.log
            for address in (NEAR, "10.66.3.1", NEAR):
                assert ping(net.outside, address, 2).lost == 0, outside.log
            assert len({ike["remote"] for ike in e2e.sas(outside)["ike_sas"]}) == 2
        net.capture.assert_nothing_clear(flow(["10.66.0.0/16"], [NETS[1]]))


# rfc 7296: nat-transport
def test_the_second_host_behind_a_nat_takes_nothing_from_the_first_in_transport_mode() -> None:
    with topology.two_behind_nat() as net:
        with (
            xfrmd(net.inside, e2e.policy(), secret=e2e.SECRET) as inside,
            xfrmd(net.beside, e2e.policy(), secret=e2e.SECRET),
            xfrmd(net.outside, e2e.policy(), secret=e2e.SECRET) as outside,
        ):
            assert ping(net.inside, net.outside.v4, 2).lost == 0, inside.log + outside.log
            running = Flood(net.inside, Ping(net.outside.v4), rate=50).start()
            running.wait_for(10)
            assert ping(net.beside, net.outside.v4, 2).lost == 2
            e2e.wait_until(lambda: "behind the same NAT" in outside.log, "why the second one is refused")
            running.wait_for(10)
            running.stop().assert_none_lost()
        net.capture.assert_nothing_clear(topology.between((net.inside, net.beside), net.outside, "icmp"))


def anybody(conf: str, net: topology.Nat) -> str:
    """A configuration of charon's that takes whatever identity the inside says to have."""
    return conf.replace(f"id = {outer(net)}", "id = %any")


# rfc 3948: esp-header
@pytest.mark.parametrize("peer", ["xfrmd", "charon inside", "charon outside"])
def test_tunnels_from_behind_a_nat(net: topology.Nat, strongswan: Charon, peer: str) -> None:
    behind(net)
    ours = tunnel(*NETS, net.inside.v4, net.outside.v4)
    theirs = tunnel(NETS[1], NETS[0], net.outside.v4, outer(net))
    daemon = xfrmd(net.outside, theirs, secret=e2e.SECRET)
    if peer == "xfrmd":
        with xfrmd(net.inside, ours, secret=e2e.SECRET) as inside, daemon as outside:
            tunnelled(net, lambda: inside.log + outside.log)
    elif peer == "charon inside":
        conf = e2e.charon(net.inside.v4, net.outside.v4, nets=NETS)
        with daemon as outside, strongswan(net.inside, conf) as charon:
            charon.initiate("all")
            tunnelled(net, lambda: charon.log + outside.log)
    else:
        conf = anybody(e2e.charon(net.outside.v4, outer(net), nets=(NETS[1], NETS[0])), net)
        with xfrmd(net.inside, ours, secret=e2e.SECRET) as inside, strongswan(net.outside, conf) as charon:
            tunnelled(net, lambda: inside.log + charon.log)
    net.capture.assert_nothing_clear(flow([NETS[0]], [NETS[1]]))
    assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}


@pytest.mark.parametrize("inside", ["xfrmd", "charon"])
def test_transport_mode_through_a_nat_with_strongswan(net: topology.Nat, strongswan: Charon, inside: str) -> None:
    there = net.outside.v4
    if inside == "xfrmd":
        conf = anybody(e2e.charon(there, outer(net)), net)
        ours, theirs = xfrmd(net.inside, e2e.policy(), secret=e2e.SECRET), strongswan(net.outside, conf)
    else:
        conf = e2e.charon(net.inside.v4, there)
        ours, theirs = xfrmd(net.outside, e2e.policy(), secret=e2e.SECRET), strongswan(net.inside, conf)
    with ours as daemon, theirs as charon:
        if inside == "charon":
            charon.initiate("all")
        assert ping(net.inside, there, 3).lost == 0, daemon.log + charon.log
        echoed(net, there)
        (child,) = charon.children("all")
        assert (child.mode, child.encapsulated) == ("TRANSPORT", True)
        assert_in_udp(net)  # a charon that has ended answers late messages with ICMP in the clear


_MOVING = """
flush chain inet lab_nat postrouting
add rule inet lab_nat postrouting oifname "eth1" meta l4proto udp masquerade to :20000-20099
add chain inet lab_nat input { type filter hook input priority 0; }
add rule inet lab_nat input udp dport 4500 drop
"""
"""What comes to a port that it has forgotten it drops without a word."""


def remapped(net: topology.Nat) -> None:
    """The NAT forgets all its mappings, as it does when its address goes, and gives other ports from now on."""
    net.nat.run("nft", "-f", "-", stdin=_MOVING)
    address, link = str(net.nat.links[1].v4), net.nat.links[1].name
    net.nat.run("ip", "address", "del", address, "dev", link)
    net.nat.run("ip", "address", "add", address, "dev", link)


# rfc 7296: nat-remapped
def test_a_flow_follows_a_nat_that_forgets_and_gives_another_port(net: topology.Nat) -> None:
    with (
        xfrmd(net.inside, e2e.policy(), secret=e2e.SECRET) as inside,
        xfrmd(net.outside, e2e.policy(), secret=e2e.SECRET, lasting=True) as outside,
    ):
        assert ping(net.inside, net.outside.v4, 3).lost == 0, inside.log + outside.log
        before = e2e.child_spis(inside), e2e.child_spis(outside)
        remapped(net)
        assert ping(net.inside, net.outside.v4, 10).lost <= 2, outside.log
        assert ping(net.outside, outer(net), 3).lost == 0, outside.log
        (far,) = e2e.sas(outside)["ike_sas"]
        assert 20_000 <= int(far["remote"].rpartition(":")[2]) < 20_100
        killed(outside)
        assert ping(net.inside, net.outside.v4, 3).lost == 0, outside.log
        assert (e2e.child_spis(inside), e2e.child_spis(outside)) == before
    assert_in_udp(net)


# rfc 7296: nat-transport
def test_transport_mode_with_a_nat_at_both_ends() -> None:
    with topology.two_gateways() as net:
        near, far = (str(gateway.links[0].v4.ip) for gateway in (net.left, net.right))
        masquerade = "add chain ip lab_nat out { type nat hook postrouting priority srcnat; }\n"
        masquerade += 'add rule ip lab_nat out oifname "eth0" masquerade\n'
        net.left.run("nft", "-f", "-", stdin="add table ip lab_nat\n" + masquerade)
        forward = "add chain ip lab_nat into { type nat hook prerouting priority dstnat; }\n"
        forward += f"add rule ip lab_nat into udp dport {{ 500, 4500 }} dnat to {net.right_host.v4}\n"
        net.right.run("nft", "-f", "-", stdin="add table ip lab_nat\n" + masquerade + forward)
        with (
            xfrmd(net.left_host, e2e.policy(), secret=e2e.SECRET) as left,
            xfrmd(net.right_host, e2e.policy(), secret=e2e.SECRET) as right,
        ):
            assert ping(net.left_host, far, 3).lost == 0, left.log + right.log
            assert ping(net.right_host, near, 3).lost == 0, left.log + right.log
            found = {ike["nat"] for daemon in (left, right) for ike in e2e.sas(daemon)["ike_sas"]}
            assert found == {"ours and the peer's"}
        everybody = (net.left_host, net.left, net.right, net.right_host)
        net.capture.assert_nothing_clear(topology.between(everybody, everybody, "icmp"))


FORCED = e2e.policy().replace("    assign: yes\n", "    assign: yes\n    forceencapsulation: yes\n")


def test_a_flow_in_udp_outlives_kills_restarts_and_a_stop(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, FORCED, secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
        before = e2e.child_spis(left), e2e.child_spis(right)
        running = Flood(net.left, Ping(net.right.v4), rate=200).start()
        running.wait_for(50)
        steps: tuple[tuple[Callable[[XfrmdHost], None], XfrmdHost], ...] = (
            (killed, left), (killed, right), (restarted, left), (restarted, right),
        )  # fmt: skip
        for again, daemon in steps:
            again(daemon)
            running.wait_for(50)
        assert left.stop() == 0
        running.wait_for(100)
        left.start()
        assert (e2e.child_spis(left), e2e.child_spis(right)) == before
        for daemon in (left, right):
            (child,) = e2e.child_spis(daemon)
            daemon.ask("rekey", {"spi": child})
            e2e.wait_until(lambda c=child, d=daemon: c not in e2e.child_spis(d), "a new pair")  # type: ignore[misc]
        running.wait_for(50)
        running.stop().assert_none_lost()
        assert [child["udp"] for child in e2e.sas(right)["child_sas"]] == [True]
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
    assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}


# rfc 7296: nat-encapsulated
def test_forced_encapsulation_is_understood_by_strongswan(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net = two_hosts
    conf = e2e.charon(net.right.v4, net.left.v4)
    with xfrmd(net.left, FORCED, secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        theirs.initiate("all")
        assert ping(net.left, net.right.v4, 3).lost == 0, ours.log + theirs.log
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
    assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}
