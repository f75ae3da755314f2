# SPDX-License-Identifier: GPL-2.0-or-later
"""Reauthentication and childless IKE SAs with strongSwan in both roles, and between two of us; outage in packets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping, ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
RATE = 100
FEW = RATE // 4
"""What charon may lose where it makes first: what it sends by the new child SA until its answer has come to us and both
have gone into the kernel, on a busy machine. Between two of us nothing is lost.
"""
MINUTE = e2e.policy().replace("    assign: yes\n", "    assign: yes\n    mmauthlifetime: 1\n")


def charon(net: topology.TwoHosts, words: str) -> str:
    """charon on the right, with these words for its connection."""
    return e2e.charon(net.right.v4, net.left.v4).replace("version = 2\n", f"version = 2\n    {words}\n", 1)


def anew(ours: XfrmdHost, before: set[str], timeout: float) -> None:
    """Wait for other IKE SAs than those before, with a child SA. Where both ends begin anew there may be two."""

    def replaced() -> bool:
        now = e2e.ike_spis(ours)
        return bool(now) and not now & before and bool(e2e.child_spis(ours))

    e2e.wait_until(replaced, f"another IKE SA has taken over: {ours.log}", timeout)


# rfc 4478: new-ike-sa
def test_two_of_us_authenticate_anew_and_no_packet_is_lost(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, MINUTE, secret=e2e.SECRET) as left,
        xfrmd(net.right, MINUTE, secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
        before = e2e.ike_spis(left)
        flood = Flood(net.left, Ping(net.right.v4), rate=RATE).start()
        anew(left, before, 70.0)
        flood.wait_for(RATE)
        flood.stop().assert_none_lost()
        assert left.log.count("[ike-reauthentication]") == 1
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


# rfc 4478: sent-by-responder initiator-repeats
@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_charon_and_we_by_our_policy(two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str) -> None:
    """We begin again, or charon does, which our AUTH_LIFETIME tells to."""
    net = two_hosts
    words = "over_time = 10s\n    rekey_time = 3600s"
    settings = "make_before_break = yes"
    with (
        xfrmd(net.left, MINUTE, secret=e2e.SECRET) as ours,
        strongswan(net.right, charon(net, words), settings=settings) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, net.right.v4, 2).lost == 0, ours.log + theirs.log
        before = e2e.ike_spis(ours)
        flood = Flood(net.left, Ping(net.right.v4), rate=RATE).start()
        anew(ours, before, 70.0)
        flood.wait_for(RATE)
        outcome = flood.stop()
        print(f"{initiator}: {len(outcome.lost)} of {outcome.sent} lost")
        assert ("received AUTH_LIFETIME of" in theirs.log) == (initiator == "charon")
        (ike,) = e2e.sas(ours)["ike_sas"]
        assert ike["initiator"] == (initiator == "xfrmd"), ours.log + theirs.log
        assert len(outcome.lost) <= FEW, "charon is not seamless: see below"
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
@pytest.mark.parametrize("first", ["make", "break"])
def test_charon_by_its_own_policy(two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str, first: str) -> None:
    """charon's reauth_time: it begins in either role, makes before it breaks, or breaks first. Nothing is clear.

    Few packets may be lost: as responder charon sends by a new child SA before its answer has come to us, and it takes
    none by an old one once that is deleted.
    """
    net = two_hosts
    words = "reauth_time = 15s\n    over_time = 10s\n    rand_time = 0s"
    settings = f"make_before_break = {'yes' if first == 'make' else 'no'}"
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours,
        strongswan(net.right, charon(net, words), settings=settings) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, net.right.v4, 2).lost == 0, ours.log + theirs.log
        before = e2e.ike_spis(ours)
        flood = Flood(net.left, Ping(net.right.v4), rate=RATE).start()
        anew(ours, before, 30.0)
        try:
            flood.wait_for(RATE // 2)
        except TimeoutError as error:
            pytest.fail(f"{error}\n{ours.log}\n{theirs.log}")
        outcome = flood.stop()
        print(f"{initiator}, {first} first: {len(outcome.lost)} of {outcome.sent} lost")
        assert len(outcome.lost) <= (FEW if first == "make" else RATE)
        flow = topology.between(net.left, net.right, "icmp")
        net.capture.assert_seen_esp(flow)
        # charon that breaks first has no policy for a moment: an answer of its host to what has just come may be clear.
        clear = net.capture.clear_packets(flow)
        ours_alone = [str(seen) for seen in clear if first == "make" or str(seen.packet.source) == net.left.v4]
        assert not ours_alone, ours_alone[:10]
