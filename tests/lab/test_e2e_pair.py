# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts with xfrmd: one policy file protects real traffic, from before the first packet to after the stop."""

from __future__ import annotations

from lab import topology
from lab.traffic import Flood, Ping, Udp, ping, tcp_echo, udp_echo
from lab.xfrmd_host import xfrmd
from tests.lab import e2e


def test_first_ping_is_held_and_protected_and_a_stop_keeps_enforcing(
    two_hosts: topology.TwoHosts, version: int
) -> None:
    net = two_hosts
    there = net.right.address(version)
    flow = topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6")
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, there, 1).lost == 0, left.log + right.log
        assert ping(net.left, there, 5).lost == 0
        net.capture.assert_protected(flow)
        (child,) = e2e.sas(left)["child_sas"]
        assert (child["rule"], child["mode"], child["state"]) == ("protect", "transport", "installed")
        assert child["packets_out"] == 6
        for one in ({"remote": there}, {"spi": child["spi_in"]}, {"spi": child["spi_out"]}):
            assert [each["packets_out"] for each in left.ask("sas", one)["child_sas"]] == [6], one
        assert left.stop() == 0
        assert ping(net.left, there, 2, wait=1.0).received == 0
        assert ping(net.right, net.left.address(version), 1, wait=1.0).received == 0
        net.capture.assert_protected(flow)


def test_the_same_flow_without_a_policy_is_seen_in_the_clear(two_hosts: topology.TwoHosts, version: int) -> None:
    """The positive control of the test above: the same capture, the same flow, the policy off."""
    net = two_hosts
    flow = topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6")
    with xfrmd(net.left, e2e.NOTHING, secret=e2e.SECRET), xfrmd(net.right, e2e.NOTHING, secret=e2e.SECRET):
        assert ping(net.left, net.right.address(version), 5).lost == 0
    net.capture.assert_seen_clear(flow)


def test_unreachable_peer_queued_first_does_not_hold_up_a_reachable_one(
    two_hosts: topology.TwoHosts, version: int
) -> None:
    net = two_hosts
    nobody = "10.9.9.9" if version == 4 else "fd00:9::9"
    net.left.run("ip", f"-{version}", "route", "add", nobody, "via", net.right.address(version))
    # No ICMP errors about it: the right host would ask for an SA of its own to send them by, beside ours.
    net.right.run("ip", f"-{version}", "route", "add", "blackhole", nobody)
    flow = topology.between(net.left, net.right)
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        lost = Flood(net.left, Udp(nobody), rate=50, count=20).start()
        e2e.wait_until(lambda: left.ask("status")["held"].get("held", 0) > 0, "a packet to nobody is held")
        assert ping(net.left, net.right.address(version), 3).lost == 0, left.log + right.log
        lost.stop()
    net.capture.assert_nothing_clear(flow)


def test_blocked_port_and_permitted_port_beside_a_wide_negotiate_filter(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    text = e2e.policy(
        more_lists=(
            "  - name: telnet\n    filters: [{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 23}]\n"
            "  - name: web\n    filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 80}, "
            "{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 80}]\n"
        ),
        more_rules=(
            "      - {name: no telnet, filterlist: telnet, filteraction: block}\n"
            "      - {name: web in clear, filterlist: web, filteraction: permit}\n"
        ),
    )
    address = net.right.v4
    with (
        xfrmd(net.left, text, secret=e2e.SECRET),
        xfrmd(net.right, text, secret=e2e.SECRET) as right,
        tcp_echo(net.right, address, 23),
        tcp_echo(net.right, address, 80),
        udp_echo(net.right, address, 7007),
    ):
        done = net.left.run("ncat", "-w", "2", "--recv-only", address, "23", check=False)
        assert done.returncode != 0
        net.left.run("ncat", "-w", "2", address, "80", stdin="hello")
        assert Flood(net.left, Udp(address), rate=100, count=20).start().finish().lost == ()
        net.capture.assert_seen_clear(topology.between(net.left, net.right, "tcp", port_b=80))
        net.capture.assert_protected(topology.between(net.left, net.right, "udp", port_b=7007))
        assert not [
            sa
            for sa in e2e.sas(right)["child_sas"]
            if any(":23 " in text or ":80 " in text for text in sa["selectors"])
        ]
        answer = right.ctl(
            "explain", "direction=in", f"src={net.left.v4}", "sport=40000", f"dst={address}", "dport=23", "protocol=tcp"
        )
        assert (answer["verdict"], answer["rule"]) == ("block", "no telnet")


def test_rekeys_of_child_and_ike_sa_from_both_sides_lose_no_packet(two_hosts: topology.TwoHosts, version: int) -> None:
    net = two_hosts
    there = net.right.address(version)
    flow = topology.between(net.left, net.right)
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, there, 1).lost == 0, left.log + right.log
        flood = Flood(net.left, Ping(there), rate=300).start()
        flood.wait_for(30)
        for daemon in (left, right, left, right):
            before = e2e.child_spis(daemon)
            daemon.ctl("rekey", "--wait", "20", *before)
            flood.wait_for(60)
            assert not before & e2e.child_spis(daemon)
        for daemon in (left, right):
            before = e2e.ike_spis(daemon)
            daemon.ctl("rekey", "--wait", "20", *before)
            flood.wait_for(60)
            assert not before & e2e.ike_spis(daemon)
        outcome = flood.stop()
        outcome.assert_none_lost()
        for daemon in (left, right):
            found = e2e.sas(daemon)
            assert (len(found["ike_sas"]), len(found["child_sas"])) == (1, 1)
    net.capture.assert_protected(flow)


def test_soft_expiry_by_volume_rekeys_without_loss(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    there = net.right.v4
    with (
        xfrmd(net.left, e2e.policy(qm="ESP[AES128-GCM]:20480k/300s"), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(qm="ESP[AES128-GCM]:20480k/300s"), secret=e2e.SECRET),
        udp_echo(net.right, there),
    ):
        assert ping(net.left, there, 1).lost == 0
        before = e2e.child_spis(left)
        # 16,000 datagrams of 1,400 octets there and back are 22 MB each way: past the soft limit, far from twice the
        # hard one. No pings: the kernel's socket for echo replies runs out of room while the capture holds copies.
        outcome = Flood(net.left, Udp(there, size=1400), rate=1500, count=16_000, seconds=60).start().finish()
        assert not before & e2e.child_spis(left), "no rekey happened"
        outcome.assert_none_lost()
