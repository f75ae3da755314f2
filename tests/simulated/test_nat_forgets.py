# SPDX-License-Identifier: GPL-2.0-or-later
"""A NAT forgets mappings that nobody uses: keepalives hold them, for hours without a word (RFC 3948 4)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import topology
from lab.packets import Kind
from lab.xfrmd_host import xfrmd
from tests.lab import e2e
from tests.simulated.test_lifetimes import answered
from xfrmd import limits

IDLE = 600.0
COUNT = 5


@pytest.fixture
def net() -> Iterator[topology.Nat]:
    """A host behind a NAT and one before it, captured."""
    with topology.host_nat_host() as made:
        yield made


def forgets(net: topology.Nat, seconds: int) -> None:
    """From now on the NAT's new mappings live for so long after their last packet."""
    net.nat.sysctl(netfilter__nf_conntrack_udp_timeout=seconds, netfilter__nf_conntrack_udp_timeout_stream=seconds)


@pytest.mark.parametrize("version", [4, 6])
def test_the_one_before_a_nat_still_reaches_the_one_behind_it(net: topology.Nat, version: int) -> None:
    forgets(net, 30)
    seen = str((net.nat.links[1].v4 if version == 4 else net.nat.links[1].v6).ip)
    with (
        xfrmd(net.inside, e2e.policy(), secret=e2e.SECRET) as inside,
        xfrmd(net.outside, e2e.policy(), secret=e2e.SECRET) as outside,
    ):
        assert answered(net.inside, net.outside.address(version), COUNT) == COUNT, inside.log + outside.log
        before = e2e.child_spis(inside)
        time.sleep(IDLE)  # idle is what this is about, and simulated
        assert answered(net.outside, seen, COUNT) == COUNT, inside.log + outside.log
        assert e2e.child_spis(inside) == before
        net.capture.assert_nothing_clear(topology.between(net.nat, net.outside, "icmp"))

        # The positive control: a mapping that lives for less than the interval of keepalives is gone before the next.
        forgets(net, 3)
        assert answered(net.outside, seen, COUNT) == COUNT
        time.sleep(limits.NAT_KEEPALIVE / 2)
        assert answered(net.outside, seen, COUNT) < COUNT
    # Without a mapping the NAT itself says in the clear that nobody is there.
    net.capture.assert_nothing_clear(topology.between(net.inside, net.outside, "icmp"))
    assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}
