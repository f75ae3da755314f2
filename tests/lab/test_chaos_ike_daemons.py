# SPDX-License-Identifier: GPL-2.0-or-later
"""Another IKE daemon on the same host, under traffic: it starts and stops beside ours, before it, or flushes all.

Each scene ends with its positive control. `make faults` collects the rows in docs/faults.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.ready import NotReady
from lab.strongswan import StrongSwan
from tests.lab import chaos, e2e, leaks
from tests.lab.test_chaos import BLOCKS, assert_closed
from xfrmd.control.exits import ExitCode

Charon = Callable[..., AbstractContextManager[StrongSwan]]
FLUSHES = chaos.Fault(
    "an IKE daemon that flushes XFRM at its start, started five times",
    ("for n in 1 2 3 4 5; do ip xfrm state flush; ip xfrm policy flush; sleep 0.2; done",),
)
"""As pluto does: service managers start what ends, as it does without port 500, again and again."""


def whole(scene: chaos.Scene) -> bool:
    """Is the kernel as the policy wants it? That somebody keeps changing it is told for a minute more."""
    reasons = scene.daemon.ask("status")["kernel"]["reasons"]
    return all("keeps changing what xfrmd has in the kernel" in reason for reason in reasons)


def back(scene: chaos.Scene) -> chaos.Mended:
    """When all is ours again."""
    begun = time.monotonic()
    e2e.wait_until(lambda: whole(scene), "all is ours again")
    return chaos.Mended(time.monotonic() - begun)


def trap(scene: chaos.Scene) -> str:
    """Has charon protect all that passes between the two hosts, as soon as something does."""
    return e2e.charon(scene.sender.v4, scene.receiver.v4, child="start_action = trap")


def beside(scene: chaos.Scene, charon: Charon) -> chaos.Mended:
    """It starts without port 500, puts policies ahead of ours, and stops."""
    with charon(scene.daemon.host, trap(scene)) as stranger:
        assert "unable to bind socket: Address already in use" in stranger.log
        told = "a foreign policy stands in the way of ours: out"
        e2e.wait_until(lambda: told in str(scene.daemon.ask("status")["kernel"]["reasons"]), "the stranger is told")
        time.sleep(chaos.UNATTENDED)  # nothing is to happen
    assert told in scene.daemon.log
    return back(scene)


def ahead(scene: chaos.Scene, charon: Charon) -> chaos.Mended:
    """It starts while ours does not run, and has the port; ours comes, and goes; it stops, and ours comes again."""
    assert scene.daemon.stop() == 0
    with charon(scene.daemon.host, trap(scene)):
        with pytest.raises(NotReady) as refused:
            scene.daemon.start()
        assert refused.value.status == ExitCode.PORT_IN_USE
        assert "UDP port 500 is in use by charon-systemd (pid " in scene.daemon.log
    scene.daemon.start()
    return back(scene)


def flushed(scene: chaos.Scene) -> chaos.Mended:
    before = chaos.mends(scene.daemon)
    FLUSHES.happen(scene.daemon.host)
    chaos.whole_again(scene.daemon, before)
    assert "changed what xfrmd has in the kernel; it is put back" in scene.daemon.log
    return back(scene)


def rows(scene: chaos.Scene, charon: Charon) -> None:
    deeds = {"charon starts and stops": lambda: beside(scene, charon), FLUSHES.name: lambda: flushed(scene)}
    for fault, deed in deeds.items():
        assert_closed(scene.lived(fault, "under traffic", deed))


def test_protected_traffic(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net = two_hosts
    with leaks.daemons(net.left, net.right) as (left, right):
        flow = topology.between(net.left, net.right, "udp", port_b=7007)
        wires = ((net.left, "eth0"), (net.right, "eth0"))
        scene = chaos.Scene("protected", net, net.left, net.right, left, flow, wires)
        rows(scene, strongswan)
        taken = "charon has port 500 when xfrmd starts"
        assert_closed(scene.lived(taken, "after a stop", lambda: ahead(scene, strongswan)))
        leaks.put(e2e.NOTHING, left, right)
        assert scene.control() > 0


def test_blocked_traffic(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net = two_hosts
    with leaks.daemons(net.left, policy=BLOCKS) as (left,):
        flow = topology.between(net.left, net.right, "udp", port_b=7007)
        scene = chaos.Blocked("blocked", net, net.left, net.right, left, flow, ((net.left, "eth0"),))
        rows(scene, strongswan)
        leaks.put(e2e.NOTHING, left)
        assert scene.control() > 0
