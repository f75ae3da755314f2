# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE SAs that begin without a child SA (RFC 6023), with strongSwan: it begins so, and it wants us to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import ping
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]


def charon(net: topology.TwoHosts, word: str) -> str:
    """charon on the right, with this word for childless IKE SAs."""
    conf = e2e.charon(net.right.v4, net.left.v4, esp="aes128gcm16,aes128gcm16-x25519")
    return conf.replace("version = 2\n", f"version = 2\n    childless = {word}\n", 1)


# rfc 6023: announce ike-sa-stands
def test_charon_begins_without_a_child_sa(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net, conf = two_hosts, charon(two_hosts, "force")
    with xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        theirs.initiate("all")
        assert ping(net.left, net.right.v4, 3).lost == 0, ours.log + theirs.log
        exchanges = [line for line in theirs.log.splitlines() if "generating" in line]
        assert any("CREATE_CHILD_SA request" in line for line in exchanges), theirs.log
        assert not any("IKE_AUTH request" in line and "TSi" in line for line in exchanges), theirs.log
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


# rfc 6023: only-when-announced
@pytest.mark.parametrize("word", ["allow", "never", "force"])
def test_we_begin_with_traffic_whatever_charon_wants(
    two_hosts: topology.TwoHosts, strongswan: Charon, word: str
) -> None:
    net = two_hosts
    with xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours, strongswan(net.right, charon(net, word)) as theirs:
        assert ping(net.left, net.right.v4, 3).lost == 0, ours.log + theirs.log
        assert len(e2e.child_spis(ours)) == 1
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
