# SPDX-License-Identifier: GPL-2.0-or-later
"""Many hosts that all start at once and all talk to all."""

from __future__ import annotations

import itertools

import pytest

from tests.conversations.network import Faults, Flow, Network, differences
from tests.conversations.plans import ALL_REQID, plan
from tests.conversations.scenes import ping
from xfrmd.ike.engine import Engine
from xfrmd.model.addresses import Address

HOSTS = 6
BAD = Faults(loss=0.15, duplication=0.15, delay=(0.001, 0.3), until=30.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_mesh_ends_in_one_pair_between_any_two(seed: int) -> None:
    network = Network(seed, BAD)
    addresses = [Address.parse(f"10.0.0.{number + 1}") for number in range(HOSTS)]
    for number, own in enumerate(addresses):
        peers = [address for address in addresses if address != own]
        network.add(f"H{number}", own, Engine(plan(own, peers), network.entropy()))
    for one, other in itertools.permutations(addresses, 2):
        network.flow(network.hosts[one], Flow(ping(one, other), ALL_REQID, 0.5, 60.0))
    network.run(90.0)
    assert differences(network.hosts.values()) == []
    for host in network.hosts.values():
        assert len(host.ike_sas()) == HOSTS - 1
        assert len(host.kernel.live(inbound=True)) == HOSTS - 1
        assert len(host.kernel.live(inbound=False)) == HOSTS - 1
    flows = [
        network.flow(network.hosts[one], Flow(ping(one, other), ALL_REQID, 0.5, 100.0))
        for one, other in itertools.permutations(addresses, 2)
    ]
    network.run(110.0)
    assert all(flow.delivered >= 20 and not flow.lost for flow in flows)
