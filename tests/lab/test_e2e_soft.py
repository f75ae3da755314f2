# SPDX-License-Identifier: GPL-2.0-or-later
"""Falling back to clear traffic where the policy says so, and nowhere else; and the default response rule."""

from __future__ import annotations

import pytest

from lab import topology
from lab.traffic import ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

SOFT = e2e.policy(action="action: negotiate\n    inpass: no\n    soft: yes")
RESPONDER = """\
version: 1
policies:
  - name: lab
    assign: yes
    activatedefaultrule: yes
    mmsecmethods: ["AES128GCM-SHA256-X25519"]
    defaultrule:
      psk: {file: "{psk}"}
      qmsecmethods: ["ESP[AES128-GCM]"]
    rules: []
"""


def explained(daemon: XfrmdHost, here: str, there: str) -> tuple[str, str]:
    """What becomes of a packet of ours now, and what is said beside it."""
    words = f"direction=out src={here} dst={there} protocol=tcp dport=80"
    answer = daemon.ask("explain", {"packet": words})
    return answer["verdict"], " ".join(answer["notes"])


def protects(daemon: XfrmdHost) -> bool:
    """Is there a child SA?"""
    return bool(e2e.child_spis(daemon))


@pytest.mark.parametrize("version", [4, 6])
def test_a_peer_without_ike_is_spoken_to_in_the_clear_until_it_has_one(
    two_hosts: topology.TwoHosts, version: int
) -> None:
    net, there = two_hosts, two_hosts.right.address(version)
    flow = topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6")
    with xfrmd(net.left, SOFT, secret=e2e.SECRET) as left:
        found = ping(net.left, there, 30, wait=1.0)
        assert found.received >= 3, left.log
        net.capture.assert_seen_clear(flow)
        assert "[soft-opened]" in left.log, left.log
        assert there in left.log
        verdict, notes = explained(left, net.left.address(version), there)
        assert (verdict, "a soft SA is open now" in notes) == ("permit", True), notes
        with xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right:
            right.ctl("initiate", net.left.address(version), "--wait", "20")
            e2e.wait_until(lambda: protects(left), "the clear traffic is protected now")
            assert explained(left, net.left.address(version), there)[0] == "negotiate"
            net.capture.clear()
            assert ping(net.left, there, 5).lost == 0, left.log + right.log
            net.capture.assert_protected(flow)


def test_a_peer_that_answers_ike_never_gets_clear_packets(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, SOFT, secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(mm="AES256-SHA384-ECP384"), secret=e2e.SECRET),
    ):
        assert ping(net.left, net.right.v4, 30, wait=1.0).received == 0
        assert "[soft-opened]" not in left.log
        assert "no-proposal" in left.log
    net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))


def test_a_soft_sa_ends_and_the_peer_is_asked_again(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    policy = SOFT.replace("    assign: yes\n", "    assign: yes\n    softsaexpirationtime: 10\n")
    with xfrmd(net.left, policy, secret=e2e.SECRET) as left:
        assert ping(net.left, net.right.v4, 30, wait=1.0).received >= 1
        e2e.wait_until(lambda: "[soft-closed]" in left.log, "it has ended", timeout=30.0)


def test_the_default_response_rule_answers_whoever_requires_protection(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.right, RESPONDER, secret=e2e.SECRET) as right,
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
    ):
        assert ping(net.left, net.right.v4, 5).lost == 0, left.log + right.log
        assert protects(right)
        verdict, notes = explained(right, net.right.v4, net.left.v4)
        assert (verdict, "has asked for protection" in notes) == ("negotiate", True), notes
        assert explained(right, net.right.v4, "10.1.0.77")[0] == "pass"
        assert right.ask("status")["state"] == "running", right.ask("status")
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
