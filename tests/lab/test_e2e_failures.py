# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong is told to the operators of both ends, and never leaves in the clear."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Udp, ping, udp_echo
from lab.xfrmd_host import xfrmd
from tests.lab import e2e, leaks

Charon = Callable[..., AbstractContextManager[StrongSwan]]


def failure_of(daemon_status: dict[str, object], peer: str) -> dict[str, object]:
    """The last failure with a peer, as `status` has it."""
    peers = daemon_status["peers"]
    assert isinstance(peers, list)
    found: list[dict[str, object]] = [one for one in peers if one["peer"] == peer and one["code"]]
    assert found, daemon_status
    return found[0]


# rfc 7296: auth-failed
def test_wrong_psk_is_told_at_both_ends(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret="another secret, by mistake") as right,
    ):
        assert ping(net.left, net.right.v4, 1, wait=2.0).received == 0
        for daemon, peer in ((left, net.right.v4), (right, net.left.v4)):
            e2e.wait_until(
                lambda d=daemon, p=peer: any(x["code"] for x in d.ask("status")["peers"] if x["peer"] == p),  # type: ignore[misc] # the defaults bind the loop's values
                "the failure is in status",
            )
            told = failure_of(daemon.ask("status"), peer)
            assert told["code"] == "auth-failed", told
            assert told["remedy"]
            assert e2e.SECRET not in daemon.log
            assert "auth-failed" in daemon.log or "AUTHENTICATION_FAILED" in daemon.log
        text = left.ctl_text("status").stdout
        assert net.right.v4 in text
    net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))


def test_no_common_proposal_shows_both_offers_at_both_ends(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(mm="AES128GCM-SHA256-X25519"), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(mm="AES256-SHA384-ECP384"), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, net.right.v4, 1, wait=2.0).received == 0
        told = failure_of(right.ask("status"), net.left.v4)
        assert told["code"] == "no-proposal", told
        both = str(told).upper()
        assert "X25519" in both
        assert "ECP384" in both
        e2e.wait_until(lambda: any(x["code"] for x in left.ask("status")["peers"]), "the initiator is told", 90)
        assert failure_of(left.ask("status"), net.right.v4)["code"] == "no-proposal"
        for daemon in (left, right):
            shown = daemon.ctl_text("status").stdout
            assert "first difference: encryption: ours AES" in shown, shown
    net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))


def test_no_common_proposal_for_the_child_with_strongswan(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net = two_hosts
    conf = e2e.charon(net.right.v4, net.left.v4, esp="aes256-sha512")
    with xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours, strongswan(net.right, conf):
        assert ping(net.left, net.right.v4, 1, wait=3.0).received == 0
        told = failure_of(ours.ask("status"), net.right.v4)
        assert told["code"] == "no-proposal", told
        assert not e2e.sas(ours)["child_sas"]
        # Before charon ends: our answer to its last delete may find its port closed, and its kernel says so by ICMP.
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))


def test_bad_policy_never_replaces_a_good_one(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET),
    ):
        assert ping(net.left, net.right.v4, 1).lost == 0
        bad = left.directory / "bad.yaml"
        bad.write_text(e2e.policy().replace("negotiate", "negotiat").replace("srcaddr: me", "srcaddr: 10.0.0.1/8"))
        done = left.ctl_text("apply", bad)
        assert done.returncode == 1
        assert "bad.yaml:5:" in done.stderr
        assert "negotiat" in done.stderr
        assert left.ask("status")["policy"]["name"] == "lab"
        assert ping(net.left, net.right.v4, 2).lost == 0
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_a_crash_leaves_the_fence_and_a_restart_protects_again(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET),
        udp_echo(net.right, net.right.v4),
    ):
        assert ping(net.left, net.right.v4, 1).lost == 0
        flood = Flood(net.left, Udp(net.right.v4), rate=100).start()
        flood.wait_for(20)
        left.kill()
        left.start()
        flood.wait_for(20)
        flood.stop()
    net.capture.assert_protected(topology.between(net.left, net.right, "udp", port_b=7007))


def test_flushing_xfrm_under_traffic_leaves_the_fence(two_hosts: topology.TwoHosts) -> None:
    """Somebody else's `ip xfrm policy flush`: the second fence, in nftables, lets nothing out in the clear."""
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET),
    ):
        assert ping(net.left, net.right.v4, 1).lost == 0
        with leaks.frozen(left):  # or it would put back what is missing
            net.left.run("ip", "xfrm", "policy", "flush")
            net.left.run("ip", "xfrm", "state", "flush")
            assert ping(net.left, net.right.v4, 3, wait=1.0).received == 0
            assert ping(net.right, net.left.v4, 3, wait=1.0).received == 0
        e2e.wait_until(lambda: ping(net.left, net.right.v4, 1).lost == 0, "protected anew")
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
