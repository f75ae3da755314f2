# SPDX-License-Identifier: GPL-2.0-or-later
"""Random policies in a real kernel: each packet meets the verdict that the oracle gives it, in nftables and in XFRM.

XFRMD_KERNEL_WORLDS policies (default 24, and 300 in `make test`) with 40 packets each, from fixed seeds. Each packet is
sent first while there is no policy: only what the kernel carried then can prove that a policy stopped it, and what it
did not carry then proves nothing. Packets that pass must be seen where they lead, the others must not; what leaves in
the clear is what the oracle lets leave; ACQUIREs are raised for packets that the oracle says are to be negotiated,
all of them and no others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.lab.world_host import Seen, WorldHost, world_host, world_hosts
from tests.worlds.engines import ALWAYS, UNSEEN_BY_XFRM, impossible, in_nftables
from tests.worlds.golden import packet_text, story
from tests.worlds.shrink import shrink
from tests.worlds.traffic import Traffic
from tests.worlds.world import HOSTS, World, world
from xfrmd.compiler import compile_policy
from xfrmd.compiler.exempt import LOOPBACK
from xfrmd.compiler.explain import winner
from xfrmd.compiler.oracle import Decision, decide
from xfrmd.compiler.runs import WORTH, Worth
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.selector import Packet

WORLDS = int(os.environ.get("XFRMD_KERNEL_WORLDS", "24"))
PACKETS = 40
BY_HOPS = ("exempt-nd", "exempt-mld")
"""Exemptions that depend on the hop limit: a forwarded packet has not the one that they ask for."""
CHUNK = 20
"""Worlds between two looks at what was let in: each look costs a process, each plan memory."""
SHRINKING = 120
"""Smaller worlds that are tried on a failure: each is applied to the kernel."""


class Judge:
    """Compares what was seen with the oracle."""

    def __init__(self, one: World, plan: Plan, packets: list[Packet], control: Seen, seen: Seen) -> None:
        self.world, self.plan, self.packets, self.control, self.seen = one, plan, packets, control, seen

    def decide(self, packet: Packet) -> Decision:
        return decide(*self.world, packet)

    def judge(self, host: WorldHost, entered: frozenset[int]) -> Iterator[str]:
        """Where kernel and oracle differ. `entered` are the numbers of the packets that nftables let in."""
        for place, packet in enumerate(self.packets):
            if host.injected(packet):
                yield from self._entering(place, packet, entered)
            elif host.sendable(packet):
                yield from self._leaving(packet)
        yield from self._on_the_wire()
        yield from self._acquires()

    def _entering(self, place: int, packet: Packet, entered: frozenset[int]) -> Iterator[str]:
        inward = packet._replace(inbound=True)
        decision = self.decide(inward)
        if decision.rule == LOOPBACK or (not packet.inbound and decision.rule in BY_HOPS):
            return
        passes = in_nftables(decision)[0] == "accept"
        before, now = self.control.first + place, self.seen.first + place
        if before in entered and passes != (now in entered):
            yield f"nftables {'drops' if passes else 'lets in'} {packet_text(inward)}; oracle: {decision}"
        if impossible(self.plan, inward) or decision.rule in UNSEEN_BY_XFRM:
            return
        if before in self.control.arrived and passes != (now in self.seen.arrived):
            yield f"{packet_text(inward)} {'is lost' if passes else 'arrives'}; oracle: {decision}"
        if passes and not decision.rule.startswith("exempt-"):  # XFRM knows no exemptions of what is forwarded
            yield from self._leaving(packet._replace(inbound=False))

    def _leaving(self, packet: Packet) -> Iterator[str]:
        decision = self.decide(packet)
        if packet.selector not in self.control.wired or decision.rule in BY_HOPS or impossible(self.plan, packet):
            return
        if in_nftables(decision)[0] == "accept" and packet.selector not in self.seen.wired:
            yield f"{packet_text(packet)} does not leave; oracle: {decision}"
        if decision.verdict is Verdict.NEGOTIATE and not self._asked(packet):
            yield f"no ACQUIRE for {packet_text(packet)}; oracle: {decision}"

    def _asked(self, packet: Packet) -> bool:
        """Is there an ACQUIRE for the packet? While the kernel waits for an SA it asks for no second one between the
        ends of a tunnel, and without tunnel to a destination, from whatever source.
        """
        won, there = winner(self.plan, packet), packet.selector.dst
        return won is not None and any(
            reqid == won.reqid and (won.tunnel is not None or selector.dst == there)
            for reqid, selector in self.seen.wanted
        )

    def _on_the_wire(self) -> Iterator[str]:
        for selector, limit in self.seen.wired.items():
            packet = Packet(False, selector)
            decision = self.decide(packet)
            if decision.rule in BY_HOPS and limit not in (1, 255):
                continue
            if in_nftables(decision)[0] != "accept":
                yield f"{packet_text(packet)} leaves in the clear; oracle: {decision}"

    def _acquires(self) -> Iterator[str]:
        for reqid, selector in self.seen.wanted:
            packet = Packet(False, selector)
            decision, won = self.decide(packet), winner(self.plan, packet)
            if decision.verdict is not Verdict.NEGOTIATE or won is None or won.reqid != reqid:
                yield f"ACQUIRE with reqid {reqid} for {packet_text(packet)}; oracle: {decision}"


def packets_of(one: World, seed: str) -> list[Packet]:
    """A world's packets, none twice."""
    return list(dict.fromkeys(islice(Traffic(one, seed), PACKETS)))


def tried(host: WorldHost, one: World, packets: list[Packet], control: Seen, worth: Worth) -> Judge:
    """Apply a world and send. `worth`: when maps are asked about some packets only."""
    plan = compile_policy(*one, worth=worth)
    host.apply(plan)
    return Judge(one, plan, packets, control, host.send(packets))


def run(host: WorldHost, worlds: dict[str, World]) -> str:
    """All worlds of a host; the story of the first that fails, "" when none does."""
    traffic = {seed: packets_of(one, seed) for seed, one in worlds.items()}
    controls = {seed: host.send(packets) for seed, packets in traffic.items()}
    assert any(control.arrived and control.wired for control in controls.values())
    seeds = list(worlds)
    for start in range(0, len(seeds), CHUNK):
        judges = {
            seed: tried(host, worlds[seed], traffic[seed], controls[seed], (WORTH, ALWAYS)[at % 2])
            for at, seed in enumerate(seeds[start : start + CHUNK])
        }
        entered = host.entered()
        for seed, judge in judges.items():
            said = list(judge.judge(host, entered))
            if said:
                return "\n".join([f"seed {seed}:", *said, "shrunk:", shrunk(host, judge)])
    return ""


def _has_sets(plan: Plan) -> bool:
    return any(one.is_set for one in plan.nft.maps)


def shrunk(host: WorldHost, judge: Judge) -> str:
    """The story of a smaller world that fails with the same packets."""

    def said(one: World) -> list[str]:
        again = tried(host, one, judge.packets, judge.control, ALWAYS if _has_sets(judge.plan) else WORTH)
        return list(again.judge(host, host.entered()))

    small = shrink(judge.world, lambda one: bool(said(one)), SHRINKING)
    return story(small, judge.packets, said(small))


@pytest.mark.timeout(120 + 2 * WORLDS)
@pytest.mark.parametrize("number", range(len(HOSTS)))
def test_the_kernel_decides_as_the_oracle(number: int) -> None:
    seeds = [f"kernel {seed}" for seed in range(WORLDS)]
    worlds = {seed: world(seed) for seed in seeds if world(seed).host is HOSTS[number]}

    with world_hosts() as (us, wire, mac):

        def inside() -> str:
            with world_host(HOSTS[number], us, wire, mac) as host:
                return run(host, worlds)

        failed = us.inside(inside)
    if failed:
        pytest.fail(failed)
