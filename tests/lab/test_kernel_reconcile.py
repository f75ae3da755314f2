# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconciler and a real kernel: equal after apply, proved by looking; what is foreign is told and stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.netns import Host, namespaces
from tests.worlds.engines import ALWAYS
from tests.worlds.hosts import addressed
from tests.worlds.world import world
from xfrmd import limits
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm.sockets import XfrmSocket, add_policy
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation, compile_policy
from xfrmd.compiler.runs import WORTH
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.model.nft import NftChain
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry
from xfrmd.policy import load

POLICY = """
version: 1
filterlists:
  - {name: all, filters: [{srcaddr: me, dstaddr: any, mirrored: yes}]}
  - {name: web, filters: [{srcaddr: me, dstaddr: 10.9.0.0/16, protocol: tcp, dstport: 1000-2999, mirrored: yes}]}
  - {name: many, filters: [%s]}
filteractions:
  - {name: require, action: negotiate, qmsecmethods: ["ESP[AES128-GCM]:100000k/3600s"]}
  - {name: permit, action: permit}
  - {name: block, action: block}
policies:
  - name: Servers
    assign: yes
    mmsecmethods: [AES128GCM-SHA256-X25519]
    rules:
      - {name: a, filterlist: all, filteraction: %s, psk: "of no use here"}
      - {name: b, filterlist: web, filteraction: %s}
      - {name: c, filterlist: many, filteraction: block}
"""
ADDRESSES = (
    InterfaceAddress(Address.parse("10.1.0.5"), 16),
    InterfaceAddress(Address.parse("fd00::5"), 64),
)
FACTS = HostFacts(interfaces=(Interface("eth0", InterfaceKind.LAN, ADDRESSES),))


def plan(first: str, second: str, count: int) -> Plan:
    many = ", ".join(f"{{srcaddr: me, dstaddr: 10.8.{n >> 8}.{n & 255}, mirrored: yes}}" for n in range(1, count + 1))
    text = POLICY % (many, first, second)
    if first != "require":
        text = text.replace(', psk: "of no use here"', "")
    return compile_policy(load(text, "policy", lambda _: b""), FACTS)


class Kernel:
    """SPD and table of a namespace."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.xfrm = host.inside(XfrmSocket)
        self.spd = host.inside(Spd)
        self.nft = host.inside(NftLoader)
        host.inside(self.nft.observe)
        self.reconciler = Reconciler(self.spd, self.nft)

    def close(self) -> None:
        self.xfrm.close()
        self.spd.close()
        self.nft.close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with namespaces("reconcile") as (host,):
        made = Kernel(host)
        yield made
        made.close()


def test_any_policy_follows_any_other(kernel: Kernel) -> None:
    plans = [
        plan("require", "permit", 1),
        plan("require", "block", 300),
        plan("block", "permit", 3),
        plan("require", "permit", 200),
        plan("permit", "block", 1),
    ]
    for one in plans:
        outcome = kernel.reconciler.apply(one)
        assert outcome.degraded == ()
        assert outcome.changes.keys() & {"ExchangeTable", "ChangeElements"}
        assert kernel.reconciler.check(one).degraded == ()
        assert len(kernel.xfrm.policies()) == len(one.spd)
        assert kernel.reconciler.apply(one).changes == {}, "the same again is nothing to do"


def follow(seed: int, kernel: Kernel) -> int:
    """How many changes of a random host's addresses the kernel followed by what differs, proved by looking anew."""
    one, dice, followed = world(f"own {seed}"), random.Random(seed), 0
    made, host = Compilation(one.policies, one.host, worth=ALWAYS if seed % 2 else WORTH), one.host
    assert kernel.reconciler.apply(made.plan).degraded == ()
    for _ in range(4):
        host = addressed(host, dice)
        delta = made.refresh(host)
        assert delta is not None
        assert kernel.reconciler.change(made.plan, delta).degraded == ()
        assert Reconciler(kernel.spd, kernel.nft).check(made.plan).degraded == (), "for somebody who looks anew, too"
        followed += bool(delta.elements or delta.spd_new)
    return followed


def test_own_addresses_are_followed(kernel: Kernel) -> None:
    assert sum(follow(seed, kernel) for seed in range(8)) > 8


def test_a_new_daemon_takes_over_by_difference(kernel: Kernel) -> None:
    kernel.reconciler.apply(plan("require", "permit", 2))
    before = {policy.index for policy in kernel.xfrm.policies()}
    later = Reconciler(kernel.spd, kernel.nft)
    outcome = later.apply(plan("require", "block", 2))
    assert outcome.degraded == ()
    assert before & {policy.index for policy in kernel.xfrm.policies()}, "what stays is not written again"


def test_drift_is_seen_and_mended(kernel: Kernel) -> None:
    one = plan("require", "permit", 2)
    kernel.reconciler.apply(one)
    kernel.host.run("nft", "flush", "ruleset")
    kernel.host.run("ip", "xfrm", "policy", "flush")
    found = kernel.reconciler.check(one).degraded
    assert "nftables: the table is missing" in found
    assert any("is missing" in text and "SPD" in text for text in found)
    assert any(text.startswith("and more") for text in found)
    assert kernel.reconciler.apply(one).degraded == ()


def test_what_is_foreign_stays_and_is_told(kernel: Kernel) -> None:
    one = plan("require", "permit", 2)
    add = "ip xfrm policy add dir out"
    kernel.host.run(*f"{add} src 10.1.0.5 dst 10.7.0.0/16 priority 100".split())
    kernel.host.run(*f"{add} src 10.1.0.5/32 dst 0.0.0.0/0 priority 200".split())
    kernel.host.run(*f"{add} src 192.0.2.0/24 dst 192.0.3.0/24 proto tcp priority 300".split())
    kernel.host.run("nft", "add table inet firewall; add table ip xfrmd")
    outcome = kernel.reconciler.apply(one)
    assert [text.split(":")[0] for text in outcome.degraded] == ["a foreign policy stands in the way of ours"] * 2
    assert "priority 100" in outcome.degraded[0]
    assert "priority 200" in outcome.degraded[1]
    kernel.reconciler.apply(plan("block", "permit", 1))
    assert sorted(policy.priority for policy in kernel.xfrm.policies() if not policy.ours) == [100, 200, 300]
    assert "table inet firewall\n" in kernel.host.run("nft", "list", "tables").stdout


def test_leftovers_in_our_band_are_removed(kernel: Kernel) -> None:
    left = SpdEntry(
        Direction.OUT, Selector(Prefix.parse("192.0.2.1"), Prefix.any(4)), SpdAction.DISCARD, limits.PRIORITY_LAST
    )
    kernel.xfrm.submit([add_policy(left)])
    one = plan("require", "permit", 1)
    assert kernel.reconciler.apply(one).changes["RemovePolicy"] == 1
    assert len(kernel.xfrm.policies()) == len(one.spd)


def test_a_table_that_the_kernel_refuses_changes_nothing(kernel: Kernel) -> None:
    old, new = plan("require", "permit", 2), plan("block", "permit", 2)
    kernel.reconciler.apply(old)
    wrong = replace(new, nft=replace(new.nft, chains=(*new.nft.chains, NftChain("wrong", "", ("jump nowhere",)))))
    before = kernel.xfrm.policies()
    with pytest.raises(KernelError, match="nowhere"):
        kernel.reconciler.apply(wrong)
    assert kernel.xfrm.policies() == before
    assert kernel.reconciler.check(old).degraded == ()


def test_this_kernel_has_what_the_table_needs(kernel: Kernel) -> None:
    kernel.nft.probe()
    assert kernel.nft.observe() is None
