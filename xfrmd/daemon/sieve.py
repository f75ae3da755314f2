# SPDX-License-Identifier: GPL-2.0-or-later
"""How many first messages the kernel lets in while more of them come than can be heard. Decision 46.

Where there is pressure, fewer than before of the network that sends a large part of them, if there is one and nothing
comes of what it begins, or of the kind that comes most; else, and of all others, a little more each time, until all
come in again. Where most of what is read is under SPIs, it is not first messages that press. What comes under SPIs is
never kept out: nobody could tell a peer's from a forger's.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Final

from xfrmd.adapters.sieve import Shares
from xfrmd.limits import floods
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.notice import Level, Notice

OPEN: Final = Shares()


class Sieve:
    """`apply` gives shares to the kernel, None for all. `suspect`: does nothing come of what this host begins? `come`
    counts what was read: bare first messages, those with a cookie (`first` counts these two), and what is under an SPI
    of ours.
    """

    def __init__(
        self,
        apply: Callable[[Shares | None], None],
        suspect: Callable[[Address, float], bool],
        tell: Callable[[Notice], None],
    ) -> None:
        self._apply, self._suspect, self._tell = apply, suspect, tell
        self._loop = asyncio.get_running_loop()
        self.come = [0, 0, 0]
        self.shares = OPEN
        self._before = (0, 0, 0)
        self._senders: collections.Counter[tuple[int, int]] = collections.Counter()
        """First messages of this step, by IP version and network."""
        self._last: dict[tuple[int, int], Address] = {}
        """Who sent the last one of each network."""
        self._pressure = 0
        self._at_work = False
        self._told = float("-inf")

    def first(self, remote: Address, *, shown: bool) -> None:
        """A first message was read. `shown`: it leads with a cookie."""
        self.come[shown] += 1
        if self._at_work:
            family, value = remote
            network = family, value >> floods.BEHIND_NETWORK[family]
            self._senders[network] += 1
            self._last[network] = remote

    def pressed(self, by: int = 1) -> None:
        """What comes fills a socket, read as it is; `by` floods.SIEVE_PRESSURE: or there is no room to keep it."""
        self._pressure += by
        if not self._at_work:
            self._at_work = True
            self._before = self._counts()
            self._loop.call_later(floods.SIEVE_STEP, self._step)

    def _counts(self) -> tuple[int, int, int]:
        bare, shown, other = self.come
        return bare, shown, other

    def _step(self) -> None:
        now = self._counts()
        bare, shown, other = (count - before for count, before in zip(now, self._before, strict=True))
        shares = _more(self.shares)
        if self._pressure >= floods.SIEVE_PRESSURE and other < max(bare, shown):
            shares = self._pressed_shares("bare" if bare >= shown else "shown", bare + shown)
        self._before, self._pressure = now, 0
        self._senders.clear()
        self._last.clear()
        self._set(shares)

    def _pressed_shares(self, kind: str, first: int) -> Shares:
        """Less of the loud network, and of the kind where there is none, or another one than before: who has many
        networks would have the others' shares rise, else.
        """
        shares, loud = self.shares, self._loud(first)
        parts = dict(shares.networks)
        if loud is None or (parts and loud not in parts):
            less = max(getattr(shares, kind) * floods.SIEVE_LESS, floods.SIEVE_LEAST)
            shares = (_more(shares) if loud is None else shares)._replace(**{kind: less}, networks=shares.networks)
        if loud in parts or (loud is not None and len(parts) < floods.SIEVE_NETWORKS):
            parts[loud] = max(parts.get(loud, 1.0) * floods.SIEVE_SUSPECT_LESS, floods.SIEVE_LEAST)
        return shares._replace(networks=tuple(parts.items()))

    def _loud(self, first: int) -> Prefix | None:
        """The network that sends most, where that is a large part of all first messages of which nothing comes."""
        for (family, network), count in self._senders.most_common(1):
            if count >= first * floods.SIEVE_LOUD:
                behind = floods.BEHIND_NETWORK[family]
                if self._suspect(self._last[family, network], self._loop.time()):
                    return Prefix(family, network << behind, BITS[family] - behind)
        return None

    def _set(self, shares: Shares) -> None:
        if shares != self.shares:
            self._apply(None if shares == OPEN else shares)
            self._say()
            self.shares = shares
        self._at_work = shares != OPEN
        if self._at_work:
            self._loop.call_later(floods.SIEVE_STEP, self._step)

    def _say(self) -> None:
        """At the beginning, and not again within a while."""
        if self.shares == OPEN and self._loop.time() >= self._told + floods.SIEVE_TELL:
            self._told = self._loop.time()
            self._tell(
                Notice(
                    Level.WARNING,
                    "first-messages-sieved",
                    "more first messages of IKE come than can be heard: the kernel lets in a part of them, drawn by "
                    "lot, and all that peers say under their IKE SAs",
                    {},
                    "xfrmctl counters tells the part (udp, first-messages-let-in, of 1,000, and of how many networks "
                    "less, networks-sieved); have the flood filtered upstream, or give the daemon more of a processor",
                )
            )


def _more(shares: Shares) -> Shares:
    """A little more of all."""
    bare, shown = (min(share * floods.SIEVE_MORE, 1.0) for share in (shares.bare, shares.shown))
    risen = ((network, share * floods.SIEVE_MORE) for network, share in shares.networks)
    return Shares(bare, shown, tuple((network, share) for network, share in risen if share < 1))
