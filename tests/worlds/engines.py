# SPDX-License-Identifier: GPL-2.0-or-later
"""Everybody who decides about packets, asked about one packet: oracle, explain, nftables' rules, the SPD."""

from __future__ import annotations

from collections.abc import Iterator

from tests.worlds.world import World
from xfrmd.compiler import compile_policy
from xfrmd.compiler.exempt import LOOPBACK
from xfrmd.compiler.explain import explain, winner
from xfrmd.compiler.interpreter import Interpreter, Seen, SpdIndex
from xfrmd.compiler.oracle import Decision, decide
from xfrmd.compiler.runs import WORTH, Worth
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.selector import Packet
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

UNSEEN_BY_XFRM = ("exempt-ike", "exempt-esp", "exempt-ah", LOOPBACK)
"""Sockets with a policy of their own, carriers, and `lo`: they never come to the SPD."""


def in_nftables(decision: Decision) -> tuple[str, str, str]:
    """What nftables does: in the clear, on an SA, and in the chain that holds packets."""
    if decision.verdict is Verdict.BLOCK:
        return "drop", "drop", "drop"
    if decision.verdict is Verdict.NEGOTIATE:
        return ("accept" if decision.inpass else "drop"), "accept", "queue"
    return "accept", "accept", "accept"


def impossible(plan: Plan, packet: Packet) -> bool:
    """To an own address outbound, or from one inbound: on the wire only a forger does that, and only nftables can tell
    it from loopback.
    """
    selector = packet.selector
    return (selector.src if packet.inbound else selector.dst).address in plan.local


ALWAYS = Worth(elements=1, maps=1, price=0, runs=6)
"""Sets ahead of all maps that can have them, as only large policies have otherwise."""


class Engines:
    """The engines of one world, compiled."""

    def __init__(self, world: World, worth: Worth = WORTH) -> None:
        """`worth`: when nftables' maps are asked about some packets only."""
        self.world = world
        self.plan = compile_policy(world.policies, world.host, worth=worth)
        self._table = Interpreter(self.plan.nft)
        self._spd = SpdIndex(self.plan.spd)
        self._holds = any(chain.name == "hold_output" for chain in self.plan.nft.chains)

    def disagreements(self, packet: Packet) -> Iterator[str]:
        """Who says something else than the oracle, in words."""
        decision = decide(self.world.policies, self.world.host, packet)
        explained = explain(self.plan, packet)
        store = explained.winner.origin.store if explained.winner else None
        told = (explained.verdict, explained.rule, explained.at, explained.weight, store)
        if told != (decision.verdict, decision.rule, decision.at, decision.weight, decision.store):
            yield f"explain says {explained}, the oracle {decision}"
        if decision.rule != LOOPBACK:  # the interpreter's packets are on real interfaces
            yield from self._nftables(packet, decision)
        if decision.rule not in UNSEEN_BY_XFRM and not impossible(self.plan, packet):
            yield from self._xfrm(packet, decision)

    def _nftables(self, packet: Packet, decision: Decision) -> Iterator[str]:
        clear, protected, held = in_nftables(decision)
        asked = [("prerouting" if packet.inbound else "postrouting", False, clear)]
        asked.append((asked[0][0], True, protected))
        if not packet.inbound and self._holds:
            asked += [(chain, on_sa, "accept" if on_sa else held) for chain in HOLDING for on_sa in (False, True)]
        for chain, on_sa, wanted in asked:
            found = self._table.run(chain, Seen(packet, self.plan.local, on_sa))
            if found != wanted:
                yield f"nftables' {chain} says {found}{' on an SA' if on_sa else ''}, the oracle {decision}"

    def _xfrm(self, packet: Packet, decision: Decision) -> Iterator[str]:
        exempt = decision.rule.startswith("exempt-")
        inward = (Direction.IN,) if exempt else (Direction.IN, Direction.FWD)
        for direction in inward if packet.inbound else (Direction.OUT,):
            matching = self._spd.matching(direction, packet)
            entry, second = next(matching, None), next(matching, None)
            if entry and second and entry.priority == second.priority and entry.action is not second.action:
                yield f"the SPD ({direction.name}) prefers neither {entry} nor {second}"
            if not self._stands_for(entry, packet, decision):
                yield f"the SPD ({direction.name}) says {entry}, the oracle {decision}"

    def _stands_for(self, entry: SpdEntry | None, packet: Packet, decision: Decision) -> bool:
        if decision.verdict is Verdict.NEGOTIATE:
            won = winner(self.plan, packet)
            wanted = (SpdAction.PROTECT, won.reqid if won else 0, decision.inpass)
            return entry is not None and (entry.action, entry.reqid, entry.optional) == wanted
        if entry is None:
            return True
        if entry.optional:  # a group address under inpass
            grouped = any(group.contains(packet.selector.dst) for group in self.plan.groups)
            return decision.verdict is Verdict.PERMIT and grouped
        return entry.action is (SpdAction.DISCARD if decision.verdict is Verdict.BLOCK else SpdAction.BYPASS)

    def reqid(self, packet: Packet) -> int:
        """The reqid of the filter that wins a packet, 0 when none does."""
        won = winner(self.plan, packet)
        return won.reqid if won else 0


HOLDING = ("hold_output", "hold_forward")
