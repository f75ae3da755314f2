# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that wait for their SA (docs/decisions/0003): the kernel keeps them, we say when they go."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from xfrmd import limits
from xfrmd.adapters import nfqueue, packet_headers
from xfrmd.adapters.held import HeldPacket, HeldPackets
from xfrmd.adapters.nfqueue import Nfqueue, QueuedPacket, Verdict
from xfrmd.model.selector import UDP, Selector

Classify = Callable[[Selector], int]
"""The reqid of the negotiate filter that decides an outbound packet, 0 when none does."""
_AGAIN: Final = (nfqueue.REPEAT, limits.HOLD_MARK)


class PacketHold:
    """The hold queue of this network namespace.

    `wanted(reqid, packet)` is called for each kind of packet that begins to wait: it wants an SA. `kick(reqid, packet)`
    must send the out policy of that packet to the kernel again.
    """

    def __init__(
        self, classify: Classify, wanted: Callable[[int, Selector], None], kick: Callable[[int, Selector], None]
    ) -> None:
        self._classify = classify
        self._wanted = wanted
        self._kick = kick
        self._held = HeldPackets()
        self._queue = Nfqueue(limits.HOLD_QUEUE, self._arrived)
        self._timer: asyncio.TimerHandle | None = None
        self.counters: collections.Counter[str] = collections.Counter()
        """By what became of packets: held, released, dropped, expired, refused, unclassified, unreadable."""

    def __len__(self) -> int:
        return len(self._held)

    def open(self) -> None:
        """Begin to hold. Until then, and after `close`, the kernel drops such packets. KernelError when refused."""
        self._queue.open()

    def close(self) -> None:
        """Stop holding; packets that are held are dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.close()

    def release(self, reqid: int, selector: Selector) -> None:
        """An outbound SA for these packets is in the kernel: let them go. KernelError when the kernel refuses."""
        try:
            # First of all, sockets that were connected while there was no SA must look their route up anew.
            self._kick(reqid, selector)
        finally:
            self._let_all_go(reqid, selector)

    def _let_all_go(self, reqid: int, selector: Selector) -> None:
        ready = self._held.take(reqid, selector)
        self.counters["released"] += len(ready)
        first, others = _paced(ready)
        self._let_go(reqid, first)
        if others:
            asyncio.get_running_loop().call_later(limits.HOLD_PACE, self._let_go, reqid, others)
        for packet in self._held.kinds(reqid, selector):
            self._wanted(reqid, packet)

    def _let_go(self, reqid: int, packets: Sequence[HeldPacket]) -> None:
        self._queue.decide(_released(held) for held in packets)
        for packet in dict.fromkeys(held.packet for held in packets if not held.routes_again):
            self._kick(reqid, packet)

    def drop(self, reqid: int, selector: Selector) -> None:
        """There will be no SA for these packets."""
        self._refuse("dropped", self._held.take(reqid, selector))

    def reclassify(self) -> None:
        """The policy changed: packets wait for the filter that decides them now, or go on if none negotiates."""
        for held in self._held.take_where(lambda held: self._classify(held.packet) != held.reqid):
            self._sort(held)

    def _arrived(self, queued: QueuedPacket) -> None:
        packet = packet_headers.read(queued.head)
        if packet is None:
            self.counters["unreadable"] += 1
            self._queue.decide([Verdict(queued.id, nfqueue.DROP)])
            return
        self.counters["held"] += 1
        routes_again = queued.hook == nfqueue.HOOK_OUTPUT and queued.mark == 0
        deadline = asyncio.get_running_loop().time() + limits.HELD_SECONDS
        self._sort(HeldPacket(queued.id, 0, packet, routes_again, deadline))

    def _sort(self, waiting: HeldPacket) -> None:
        """Keep a packet for the filter that decides it."""
        held = waiting._replace(reqid=self._classify(waiting.packet))
        if not held.reqid:
            # Between two policies: the rules behind the queue know better, and the fence stands among them.
            self.counters["unclassified"] += 1
            self._queue.decide([_released(held)])
            return
        new, out = self._held.add(held)
        if out is not None:
            self._refuse("refused", [out])
        self._arm()
        if new:
            self._wanted(held.reqid, held.packet)

    def _refuse(self, why: str, packets: Iterable[HeldPacket]) -> None:
        verdicts = [Verdict(held.id, nfqueue.DROP) for held in packets]
        self.counters[why] += len(verdicts)
        self._queue.decide(verdicts)

    def _arm(self) -> None:
        if self._timer is not None:
            return
        deadline = self._held.next_deadline
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._refuse("expired", self._held.expire(asyncio.get_running_loop().time()))
        self._arm()


def _released(held: HeldPacket) -> Verdict:
    if held.routes_again:
        return Verdict(held.id, *_AGAIN)
    return Verdict(held.id, nfqueue.ACCEPT)


def _paced(packets: Sequence[HeldPacket]) -> tuple[list[HeldPacket], list[HeldPacket]]:
    """What goes at once, and what a moment later: of each kind, all but the first.

    The kernel of a peer with conntrack takes decrypted packets in before it files the first one's connection. Of a
    burst that begins a connection all but the first are dropped there as duplicates; UDP alone is let through.
    """
    begun: set[Selector] = set()
    first: list[HeldPacket] = []
    others: list[HeldPacket] = []
    for held in packets:
        (others if held.packet in begun and held.packet.protocol != UDP else first).append(held)
        begun.add(held.packet)
    return first, others
