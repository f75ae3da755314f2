# SPDX-License-Identifier: GPL-2.0-or-later
"""The books of the packets that the kernel holds for us: which wait for which SA, bounded in number and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xfrmd import limits
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import Selector

Pair = tuple[Prefix, Prefix]


class HeldPacket(NamedTuple):
    """A packet in the kernel's hold queue, known by its id there. `deadline` in the time of the caller's clock."""

    id: int
    reqid: int
    packet: Selector
    routes_again: bool
    """Whether it can be sent through routing once more: the host's own, and without an fwmark of the operator's."""
    deadline: float


class HeldPackets:
    """All held packets by filter and pair of addresses. Values only: the caller gives the verdicts."""

    def __init__(self) -> None:
        self._pairs: dict[int, dict[Pair, dict[int, HeldPacket]]] = {}
        self._oldest_first: dict[int, HeldPacket] = {}

    def __len__(self) -> int:
        return len(self._oldest_first)

    def __iter__(self) -> Iterator[HeldPacket]:
        return iter(tuple(self._oldest_first.values()))

    def add(self, held: HeldPacket) -> tuple[bool, HeldPacket | None]:
        """Take a packet in; whether its like (same filter, addresses, ports) was not held yet, and one put out for it.

        A pair of addresses that holds limits.HELD_PER_FLOW gets its own newest one refused; when all is full, the
        oldest of all goes: whoever has waited longest is the least likely to get an answer.
        """
        pair = (held.packet.src, held.packet.dst)
        flow = self._pairs.setdefault(held.reqid, {}).setdefault(pair, {})
        if len(flow) >= limits.HELD_PER_FLOW:
            return False, held
        out = None
        if len(self._oldest_first) >= limits.HELD_PACKETS:
            out = next(iter(self._oldest_first.values()))
        new = all(other.packet != held.packet for other in flow.values())
        flow[held.id] = held
        self._oldest_first[held.id] = held
        if out is not None:
            self._remove(out)
        return new, out

    def take(self, reqid: int, selector: Selector) -> list[HeldPacket]:
        """Remove and give the packets of a filter that a selector contains, oldest first."""
        found = [
            held for flow in self._flows(reqid, selector) for held in flow.values() if selector.contains(held.packet)
        ]
        return self._removed(found)

    def take_where(self, condition: Callable[[HeldPacket], bool]) -> list[HeldPacket]:
        """Remove and give the packets of which `condition` holds, oldest first."""
        return self._removed([held for held in self._oldest_first.values() if condition(held)])

    def expire(self, now: float) -> list[HeldPacket]:
        """Remove and give the packets whose deadline has come."""
        return self.take_where(lambda held: held.deadline <= now)

    @property
    def next_deadline(self) -> float | None:
        """When the first packet expires."""
        return min((held.deadline for held in self._oldest_first.values()), default=None)

    def kinds(self, reqid: int, selector: Selector) -> list[Selector]:
        """The different packets of a filter that are held between the selector's addresses, each once."""
        found = (held.packet for flow in self._flows(reqid, selector) for held in flow.values())
        return list(dict.fromkeys(found))

    def _flows(self, reqid: int, selector: Selector) -> Iterable[dict[int, HeldPacket]]:
        pairs = self._pairs.get(reqid, {})
        if selector.src.is_host and selector.dst.is_host:
            flow = pairs.get((selector.src, selector.dst))
            return () if flow is None else (flow,)
        return tuple(
            flow for (src, dst), flow in pairs.items() if selector.src.contains(src) and selector.dst.contains(dst)
        )

    def _removed(self, found: list[HeldPacket]) -> list[HeldPacket]:
        for held in found:
            self._remove(held)
        return found

    def _remove(self, held: HeldPacket) -> None:
        del self._oldest_first[held.id]
        pair = (held.packet.src, held.packet.dst)
        pairs = self._pairs[held.reqid]
        del pairs[pair][held.id]
        if not pairs[pair]:
            del pairs[pair]
        if not pairs:
            del self._pairs[held.reqid]
