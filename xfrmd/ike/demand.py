# SPDX-License-Identifier: GPL-2.0-or-later
"""What traffic has asked for: negotiations under way, and peers that are left alone for a while after a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xfrmd import limits
from xfrmd.ike.child_sa import ChildSa
from xfrmd.model.addresses import Address
from xfrmd.model.selector import Selector


class WantKey(NamedTuple):
    """What makes two demands the same."""

    reqid: int
    local: Address
    remote: Address
    """The IKE peers; in transport mode those of the packet too."""
    region: Selector
    """The outbound selector of the filter, cut to the two hosts in transport mode."""


@dataclass(slots=True, eq=False)
class Want:
    """A demand for a child SA."""

    key: WantKey
    packet: Selector | None
    """The outbound packet that asked first; None when the operator did."""
    asked: float
    packets: dict[Selector, None] = field(default_factory=dict)
    """Others that asked meanwhile, and may need an SA of their own in the end."""
    tries: int = 0
    method: int = 0
    """Which authentication method of the rule is the next to be tried, from 0."""
    alone: bool = False
    """The peer wants the IKE SA without a child SA first (RFC 6023)."""
    whole: bool = False
    """A ticket was of no use: it is IKE_SA_INIT that begins the next IKE SA for it."""
    heard: bool = False
    """The peer has answered an earlier handshake for it: somebody there speaks IKE."""
    replaces: ChildSa | None = None
    """A child SA that ends when the new one stands: its rekey had to go to another IKE SA."""


class Demand:
    """All wants, and the failures that forbid new ones for a while."""

    __slots__ = ("_barred", "_wants")

    def __init__(self) -> None:
        self._wants: dict[WantKey, Want] = {}
        self._barred: dict[tuple[int, Address, Address], float] = {}

    def __len__(self) -> int:
        return len(self._wants)

    def find(self, key: WantKey) -> Want | None:
        """The want that is already there."""
        return self._wants.get(key)

    def add(self, key: WantKey, packet: Selector | None, now: float) -> Want | None:
        """A new want; None when there are too many or a failure is too fresh."""
        if len(self._wants) >= limits.NEGOTIATIONS or self.barred(key, now):
            return None
        want = self._wants[key] = Want(key, packet, now)
        return want

    def join(self, want: Want, packet: Selector) -> None:
        """One more packet that waits for the same negotiation."""
        if packet != want.packet and len(want.packets) < limits.WAITING_PACKETS:
            want.packets[packet] = None

    def done(self, want: Want) -> bool:
        """The want is fulfilled or has failed. False when it was done before."""
        if self._wants.get(want.key) is not want:  # another one may have come since then
            return False
        del self._wants[want.key]
        return True

    def every(self) -> list[Want]:
        """All wants, oldest first."""
        return list(self._wants.values())

    def bar(self, key: WantKey, now: float, *, whole_peer: bool) -> None:
        """Try neither this filter with this peer, nor (`whole_peer`) any other, for a while."""
        if len(self._barred) >= limits.NEGOTIATIONS:
            self._barred = {name: until for name, until in self._barred.items() if until > now}
        self._barred[(0 if whole_peer else key.reqid, key.local, key.remote)] = now + limits.RETRY_AFTER_FAILURE

    def barred(self, key: WantKey, now: float) -> bool:
        """Is a failure with this peer or filter too fresh?"""
        pairs = ((0, key.local, key.remote), (key.reqid, key.local, key.remote))
        return any(self._barred.get(pair, now) > now for pair in pairs)

    def forgive(self, local: Address, remote: Address) -> None:
        """The peer has authenticated: what failed before no longer counts."""
        self._barred.pop((0, local, remote), None)
