# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets ahead of maps in the host's own kernel: they change with the elements, are proved equal, and grow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench import filters
from lab.netns import Host, namespaces
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation
from xfrmd.compiler.expand import Generic
from xfrmd.compiler.runs import Worth
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.addresses import BITS

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]

WORTH = Worth(elements=100, maps=4, price=1)


class Running:
    """Filters of 40 classes with their sets, in the kernel."""

    def __init__(self, host: Host, family: int) -> None:
        self.host = host
        self.nft = host.inside(NftLoader)
        host.inside(self.nft.observe)  # its thread is made here, and stays in the namespace
        self.spd = host.inside(Spd)
        self.reconciler = Reconciler(self.spd, self.nft)
        self.policies, facts, made = filters.generics(list(filters.classed(9_000, 40, family)))
        self.first = made[:2_000]
        self.others = [made[place * 40 + place % 10] for place in range(50, 225)]
        """Filters of ten classes, with a new host each."""
        self.hosts = f"hosts_out{family}_s{BITS[family]}_d{BITS[family]}"
        """The set of hosts that filters with single ones speak of."""
        self.made = Compilation(self.policies, facts, generics=self.first, worth=WORTH)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Elements and room of the sets in the kernel."""
        table = self.nft.observe()
        assert table is not None
        return {one.name: (len(one.elements), one.size) for one in table.maps if one.is_set}

    def change(self, gone: list[Generic], new: list[Generic]) -> set[str]:
        """What was done in the kernel, which is equal afterwards."""
        delta = self.made.change(gone, new)
        assert delta is not None
        outcome = self.reconciler.change(self.made.plan, delta)
        assert outcome.degraded == ()
        assert Reconciler(self.spd, self.nft).check(self.made.plan).degraded == (), "for somebody who looks anew, too"
        return set(outcome.changes)


@pytest.fixture(params=[4, 6])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with namespaces("known") as (host,):
        made = Running(host, request.param)
        yield made
        made.nft.close()
        made.spd.close()


def test_sets_follow_what_changes(running: Running) -> None:
    assert running.reconciler.apply(running.made.plan).degraded == ()
    before = running.sizes()
    assert len(before) > 8
    one_host = [generic for generic in running.first[:400] if generic.filter.dst == running.first[40].filter.dst]
    assert len(one_host) == 10
    assert running.change(one_host[:9], []) == {"ChangeElements"}
    assert running.sizes()[running.hosts] == before[running.hosts], "one filter still speaks of it"
    assert running.change(one_host[9:], []) == {"ChangeElements"}
    assert running.sizes()[running.hosts][0] == before[running.hosts][0] - 1
    assert running.change([], one_host) == {"ChangeElements"}
    assert running.sizes() == before


def test_a_set_that_is_full_is_exchanged_for_a_larger_one(running: Running) -> None:
    assert running.reconciler.apply(running.made.plan).degraded == ()
    elements, room = running.sizes()[running.hosts]
    assert running.change([], running.others[: room - elements]) == {"ChangeElements"}
    assert running.change([], running.others[room - elements :]) == {"ExchangeTable"}
    elements, larger = running.sizes()[running.hosts]
    assert room < elements < larger


def test_a_host_that_somebody_takes_out_is_seen_and_put_back(running: Running) -> None:
    assert running.reconciler.apply(running.made.plan).degraded == ()
    name = running.hosts
    (made,) = (one for one in running.made.plan.nft.maps if one.name == name)
    lost = made.key_text(next(iter(made.elements)))
    running.host.run("nft", f"delete element inet xfrmd {name} {{ {lost} }}")
    running.host.run("nft", "flush set inet xfrmd dport_out_ffff")
    found = running.reconciler.check(running.made.plan).degraded
    assert f"nftables: set {name}: {lost} is missing" in found
    assert any(one.startswith("nftables: set dport_out_ffff: ") for one in found)
    outcome = running.reconciler.apply(running.made.plan)
    assert outcome.degraded == ()
    assert outcome.changes.keys() == {"ChangeElements"}


def test_a_policy_that_shrinks_below_what_sets_are_for_loses_them_in_one_exchange(running: Running) -> None:
    assert running.reconciler.apply(running.made.plan).degraded == ()
    small = Compilation(running.policies, running.made.facts, generics=running.first[:80], worth=WORTH)
    outcome = running.reconciler.apply(small.plan)
    assert outcome.degraded == ()
    assert outcome.changes.keys() == {"ExchangeTable"}
    assert running.sizes() == {}
