# SPDX-License-Identifier: GPL-2.0-or-later
"""How many first messages the kernel lets in while more of them come than can be heard. Decision 46.

Where there is pressure, fewer than before of the kind that comes most; else, and of the other kind, a little more each
time, until all come in again. Where most of what is read is under SPIs, it is not first messages that press. What comes
under SPIs is never kept out: nobody could tell a peer's from a forger's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from xfrmd.adapters.sieve import Shares
from xfrmd.limits import floods
from xfrmd.model.notice import Level, Notice

OPEN: Final = Shares()


class Sieve:
    """`apply` gives shares to the kernel, None for all. `come` counts what was read: bare first messages, those with a
    cookie, and what is under an SPI of ours.
    """

    def __init__(self, apply: Callable[[Shares | None], None], tell: Callable[[Notice], None]) -> None:
        self._apply, self._tell = apply, tell
        self._loop = asyncio.get_running_loop()
        self.come = [0, 0, 0]
        self.shares = OPEN
        self._before = (0, 0, 0)
        self._pressure = 0
        self._at_work = False
        self._told = float("-inf")

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
        shares = Shares(*(min(share * floods.SIEVE_MORE, 1.0) for share in self.shares))
        if self._pressure >= floods.SIEVE_PRESSURE and other < max(bare, shown):
            kind = "bare" if bare >= shown else "shown"
            less = max(getattr(self.shares, kind) * floods.SIEVE_LESS, floods.SIEVE_LEAST)
            shares = shares._replace(**{kind: less})
        self._before, self._pressure = now, 0
        self._set(shares)

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
                    "xfrmctl counters tells the part (udp, first-messages-let-in, of 1,000); have the flood filtered "
                    "upstream, or give the daemon more of a processor",
                )
            )
