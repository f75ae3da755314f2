# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine hears of SAs that carried something, of both directions: silence is asked about because we sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from xfrmd import limits
from xfrmd.daemon.house import House
from xfrmd.daemon.service import UseWatch
from xfrmd.ike.events import SaUsed
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId

OURS, PEERS = Address.parse("10.1.0.1"), Address.parse("10.1.0.2")


def sa(src: Address, dst: Address, spi: int, octets: int) -> SimpleNamespace:
    return SimpleNamespace(src=src, dst=dst, protocol=ProtocolId.ESP, spi=spi, octets=octets)


def test_sas_of_both_directions_are_told_when_they_carried_something() -> None:
    told: list[SaUsed] = []
    seen = [sa(PEERS, OURS, 1, 100), sa(OURS, PEERS, 2, 100), sa(OURS, PEERS, 3, 100)]
    known = {
        (dst, ProtocolId.ESP, spi): SimpleNamespace(sa=SimpleNamespace(inbound=dst == OURS))
        for dst, spi in ((OURS, 1), (PEERS, 2))
    }
    house = SimpleNamespace(
        ledger=SimpleNamespace(sas=known),
        sas=SimpleNamespace(sas=lambda: tuple(seen)),
        core=SimpleNamespace(post=told.append),
    )
    watch = UseWatch(cast("House", house))
    assert watch.look() == limits.SA_USE_INTERVAL[1], "what left was answered"
    assert {(event.dst, event.spi) for event in told} == {(OURS, 1), (PEERS, 2)}, "not that of somebody else"
    told.clear()
    seen[1] = sa(OURS, PEERS, 2, 200)
    assert watch.look() == limits.SA_USE_INTERVAL[0], "something left and nothing came back"
    assert [(event.dst, event.spi, event.octets) for event in told] == [(PEERS, 2, 200)]
    told.clear()
    assert watch.look() == limits.SA_USE_INTERVAL[1], "nothing was carried"
    assert told == []
