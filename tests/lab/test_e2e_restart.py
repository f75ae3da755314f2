# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon is killed and restarted under traffic: no packet is lost, none is clear, SAs and IKE just go on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.drops import dropped
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Outcome, Ping, ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]


def killed(daemon: XfrmdHost) -> None:
    daemon.kill()
    daemon.start()


def restarted(daemon: XfrmdHost) -> None:
    assert daemon.stop() == 0
    daemon.start()


def flood(net: topology.TwoHosts) -> Flood:
    running = Flood(net.left, Ping(net.right.v4), rate=200, seconds=170.0).start()
    running.wait_for(100)
    return running


def whole(outcome: Outcome, net: topology.TwoHosts, *daemons: XfrmdHost) -> None:
    """Nothing lost, nothing in the clear."""
    assert outcome.sent > 200
    assert not outcome.lost, (outcome.told, dropped(net.right), [daemon.log for daemon in daemons])
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_kills_and_restarts_under_traffic_lose_nothing_and_ike_goes_on(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
        before = e2e.child_spis(left), e2e.ike_spis(left), e2e.child_spis(right), e2e.ike_spis(right)
        running = flood(net)
        for again, daemon in ((killed, left), (killed, right), (restarted, left), (restarted, right), (killed, left)):
            again(daemon)
            running.wait_for(50)
        assert (e2e.child_spis(left), e2e.ike_spis(left), e2e.child_spis(right), e2e.ike_spis(right)) == before
        assert left.log.count("[adopted]") == 3, left.log
        for daemon, other in ((left, right), (right, left)):
            (child,), (ike,) = e2e.child_spis(daemon), e2e.ike_spis(daemon)
            daemon.ask("rekey", {"spi": child})
            e2e.wait_until(lambda c=child, d=daemon: c not in e2e.child_spis(d), "a new pair")  # type: ignore[misc]
            daemon.ask("rekey", {"spi": ike})
            e2e.wait_until(lambda i=ike, d=daemon: i not in e2e.ike_spis(d), "a new IKE SA")  # type: ignore[misc]
            killed(other)
        running.wait_for(50)
        whole(running.stop(), net, left, right)
        e2e.wait_until(lambda: len(e2e.child_spis(left)) == len(e2e.child_spis(right)) == 1, "one pair is left")
        (child,) = e2e.child_spis(right)
        right.ask("delete", {"spi": child})
        e2e.wait_until(lambda: not e2e.child_spis(left), "the other end hears of the deletion")


def test_the_same_without_a_policy_is_seen_in_the_clear(two_hosts: topology.TwoHosts) -> None:
    """The positive control: the same traffic, the same capture, the same restarts."""
    net = two_hosts
    with xfrmd(net.left, e2e.NOTHING, secret=e2e.SECRET, lasting=True) as left:
        running = flood(net)
        killed(left)
        running.stop().assert_none_lost()
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))


def test_a_state_that_cannot_be_used_is_refused_and_negotiated_anew(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts

    def changed(daemon: XfrmdHost) -> None:
        octets = bytearray((daemon.directory / "sas").read_bytes())
        octets[len(octets) // 2] ^= 1
        (daemon.directory / "sas").write_bytes(octets)

    def missing(daemon: XfrmdHost) -> None:
        (daemon.directory / "sas").unlink()

    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        for number, spoil in enumerate((changed, missing, XfrmdHost.forget_held), 1):
            assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
            old = e2e.child_spis(left)
            left.kill()
            spoil(left)
            left.start()
            assert left.log.count("[state-refused]") == number
            assert ping(net.left, net.right.v4, 3).lost == 0, left.log + right.log
            assert not old & e2e.child_spis(left)
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_an_interrupt_says_goodbye_and_leaves_nothing_to_adopt(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0
        assert left.process is not None
        left.process.send_signal(signal.SIGINT)
        assert left.process.wait(30) == 0
        assert right.ask("sas") == {"ike_sas": [], "child_sas": []}
        assert net.left.run("ip", "xfrm", "state").stdout == ""
        assert not (left.directory / "sas").exists()
        left.start()
        assert "[state-refused]" not in left.log
        assert ping(net.left, net.right.v4, 2).lost == 0


@pytest.mark.parametrize("again", [killed, restarted])
def test_strongswan_notices_nothing(
    two_hosts: topology.TwoHosts, strongswan: Charon, again: Callable[[XfrmdHost], None]
) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET, lasting=True) as ours,
        strongswan(net.right, e2e.charon(net.right.v4, net.left.v4)) as theirs,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, ours.log + theirs.log
        child, ike = e2e.child_spis(ours), e2e.ike_spis(ours)
        running = flood(net)
        for _ in range(2):
            again(ours)
            running.wait_for(50)
        assert (e2e.child_spis(ours), e2e.ike_spis(ours)) == (child, ike)
        theirs.rekey(child="all")
        e2e.wait_until(lambda: not child & e2e.child_spis(ours), "strongSwan has replaced the pair")
        again(ours)
        theirs.rekey(ike="peer")
        e2e.wait_until(lambda: not ike & e2e.ike_spis(ours), "strongSwan has replaced the IKE SA")
        again(ours)
        (spi,) = e2e.child_spis(ours)
        ours.ask("rekey", {"spi": spi})
        e2e.wait_until(lambda: spi not in e2e.child_spis(ours), "we have replaced the pair")
        running.wait_for(50)
        whole(running.stop(), net, ours)
