# SPDX-License-Identifier: GPL-2.0-or-later
"""A map is made with room to grow; what no longer fits moves to a larger one, in one transaction, unasked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from lab.netns import Host, namespaces
from tests.unit.compiler_cases import HOST, one, policy, rule
from xfrmd import limits
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation
from xfrmd.compiler.counting import tally_json
from xfrmd.compiler.expand import Generic
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.nft import MAP_ROOM, Counted

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]


class Running:
    """A policy of one permit filter on a host, that grows."""

    def __init__(self, host: Host) -> None:
        self.nft = host.inside(NftLoader)
        host.inside(self.nft.observe)  # its thread is made here, and stays in the namespace
        self.spd = host.inside(Spd)
        self.reconciler = Reconciler(self.spd, self.nft)
        self.made = Compilation(policy(rule("permit", one("me", "10.9.0.0"))), HOST)
        self.reconciler.apply(self.made.plan)

    def grow(self, hosts: Sequence[int]) -> dict[str, int]:
        """Permit more hosts; what was done in the kernel, which is equal afterwards."""
        delta = self.made.change([], [self._generic(number) for number in hosts])
        assert delta is not None
        outcome = self.reconciler.change(self.made.plan, delta)
        assert outcome.degraded == ()
        assert Reconciler(self.spd, self.nft).check(self.made.plan).degraded == (), "for somebody who looks anew, too"
        return dict(outcome.changes)

    def _generic(self, number: int) -> Generic:
        (like,) = (generic for generic in self.made.generics.values() if generic.number == 0)
        return like._replace(number=number, filter=one("me", f"10.9.{number >> 8}.{number & 255}"))

    def sizes(self) -> set[int]:
        table = self.nft.observe()
        assert table is not None
        return {found.size for found in table.maps}


@pytest.fixture
def running() -> Iterator[Running]:
    with namespaces("room") as (host,):
        made = Running(host)
        yield made
        made.nft.close()
        made.spd.close()


def test_what_fits_changes_elements_only(running: Running) -> None:
    assert running.sizes() == {MAP_ROOM}
    hosts = len(HOST.own_addresses()) // 2
    assert running.grow(range(1, MAP_ROOM // max(1, hosts) - 1)).keys() == {"ChangeElements"}
    assert running.sizes() == {MAP_ROOM}


def test_a_full_map_is_exchanged_for_a_larger_one(running: Running) -> None:
    assert running.grow(range(1, MAP_ROOM + 2)).keys() == {"ExchangeTable"}
    larger = running.sizes()
    assert min(larger) > 2 * MAP_ROOM
    assert running.grow([MAP_ROOM + 2]).keys() == {"ChangeElements"}, "the next one finds room"
    assert running.sizes() == larger


def test_a_smaller_policy_keeps_its_larger_maps_and_their_counts(running: Running) -> None:
    running.grow(range(1, MAP_ROOM + 2))
    larger = running.sizes()
    gone = [generic for number, generic in running.made.generics.items() if number > 1]
    delta = running.made.change(gone, [])
    assert delta is not None
    outcome = running.reconciler.change(running.made.plan, delta)
    assert outcome.degraded == ()
    assert outcome.changes.keys() == {"ChangeElements"}
    assert running.reconciler.apply(running.made.plan).changes == {}
    assert running.sizes() == larger


def test_a_larger_map_goes_on_counting(running: Running) -> None:
    one = next(found for found in running.made.plan.nft.maps if found.counted)
    key = next(iter(one.elements))
    word = f"inet {limits.NFT_TABLE} {one.name}"
    text = one.key_text(key)
    running.nft.load(
        f"delete element {word} {{ {text} }}\n"
        f"add element {word} {{ {text} counter packets 5 bytes 300 : {one.elements[key]} }}\n"
    )
    assert running.grow(range(1, MAP_ROOM + 2)).keys() == {"ExchangeTable"}
    assert min(running.sizes()) > 2 * MAP_ROOM
    counts = running.nft.element_counters(running.made.plan.nft)
    assert counts[one.name][key] == Counted(5, 300)
    assert len(counts[one.name]) > MAP_ROOM
    found = tally_json(running.made, counts, 3, unused=False)
    assert (found["packets"], found["octets"], found["count"], found["unused"]) == (5, 300, MAP_ROOM + 2, MAP_ROOM + 1)
    (first, *_) = found["filters"]
    assert (first["packets"], first["filter"], first["action"]) == (5, "me <-> 10.9.0.0 any", "permit")
    assert tally_json(running.made, counts, 3, unused=True)["filters"]
