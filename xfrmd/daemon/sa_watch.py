# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's SAs beside those that we believe in: what is carried, what nobody told, what was not done.

Events of the kernel can be lost, and requests to it can fail: for want of memory, or because an answer got lost. Each
look at all SAs therefore compares as well. An SA of ours that is gone is an expired one, a soft lifetime that is over
and of which we have not heard is told now, and an SA with a reqid of ours that nobody knows is removed. So whatever has
failed, kernel and IKE agree again after the next look; what was asked of the kernel in vain brings that look forward.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from xfrmd import limits
from xfrmd.adapters.xfrm.events import XfrmEvent
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.daemon.ledger import Installed, Ledger, SaKey
from xfrmd.daemon.ports import SaDatabase
from xfrmd.errors import KernelError
from xfrmd.ike.events import SaExpired, SaUsed
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice

_UNTOLD = "the kernel no longer has it"


class Backlog(Protocol):
    """Something that the kernel did not do, and that can be tried again."""

    def catch_up(self) -> None:
        """Try it, if there is such a thing. KernelError when the kernel refuses again."""


class SaWatch:
    """Hears what the kernel tells of SAs, and looks at all of them now and then. `post` gives an event to the engine,
    `later` calls something after a number of seconds, `wall` is wall-clock time, `backlog` is tried again at each look.
    """

    def __init__(
        self,
        sas: SaDatabase,
        ledger: Ledger,
        post: Callable[[XfrmEvent | SaUsed], None],
        tell: Callable[[Notice], None],
        later: Callable[[float, Callable[[], None]], object],
        *,
        wall: Callable[[], float],
        backlog: Backlog,
    ) -> None:
        self._sas = sas
        self._ledger = ledger
        self._post = post
        self._tell = tell
        self._later = later
        self._wall = wall
        self._backlog = backlog
        self._octets: dict[SaKey, int] = {}
        self._due: set[SaKey] = set()
        """SAs whose soft expiry the engine has heard of."""
        self._soon = False
        self._trouble = ""

    def hear(self, event: XfrmEvent) -> None:
        """What the kernel tells."""
        if isinstance(event, SaExpired):
            key = (event.dst, event.protocol, event.spi)
            if event.hard:
                self._ledger.removed(key)
            elif key in self._ledger.sas:
                self._due.add(key)
        self._post(event)

    def lost(self) -> None:
        """The kernel could not tell everything: what it was is seen by looking."""
        self._ledger.counters["event-overflows"] += 1
        if not self._soon:  # in a flood of events, once a second
            self.look()
            self._look_soon()

    def late(self, what: str, step: str, error: KernelError) -> None:
        """The kernel has not done something that it must do: tell, and look soon."""
        self._ledger.counters["kernel-steps-late"] += 1
        text = f"{what}: {error}; it is seen to in a moment"
        fields = {"step": step, "reason": str(error)}
        self._tell(Notice(Level.WARNING, "kernel-behind", text, fields, "is there memory left?"))
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._soon:
            self._soon = True
            self._later(limits.KERNEL_AGAIN, self._again)

    def _again(self) -> None:
        self._soon = False
        self.look()

    def look(self) -> float:
        """Compare and catch up; seconds until the next look."""
        known = dict(self._ledger.sas)
        try:
            seen = _by_key(self._sas.sas())
        except KernelError as error:
            return self._blind(error)
        return self._compare(known, seen)

    async def look_apart(self) -> float:
        """The same, while others have their turn: with 10,000 peers the kernel takes long to tell of all its SAs. Of
        what has come or gone meanwhile the next look tells.
        """
        known = dict(self._ledger.sas)
        try:
            seen = await asyncio.to_thread(lambda: _by_key(self._sas.sas_apart()))
        except KernelError as error:
            return self._blind(error)
        return self._compare(known, seen)

    def _blind(self, error: KernelError) -> float:
        if str(error) == self._trouble:
            self._look_soon()
        else:
            self._trouble = str(error)
            self.late("kernel and IKE were not compared", "look", error)
        return limits.SA_USE_INTERVAL[0]

    def _compare(self, known: Mapping[SaKey, Installed], seen: Mapping[SaKey, ObservedSa]) -> float:
        """`seen` was in the kernel after `known` was in the ledger."""
        try:
            self._remove_strangers(known, seen)
            self._backlog.catch_up()
        except KernelError as error:
            return self._blind(error)
        self._trouble = ""
        self._expire(known, seen)
        return self._count(seen)

    def _remove_strangers(self, known: Mapping[SaKey, Installed], seen: Mapping[SaKey, ObservedSa]) -> None:
        for key, sa in seen.items():
            if sa.ours and key not in self._ledger.sas and key not in known:
                self._ledger.counters["sas-unknown"] += 1
                self._sas.remove_sa(sa.protocol, sa.spi, sa.dst)

    def _expire(self, known: Mapping[SaKey, Installed], seen: Mapping[SaKey, ObservedSa]) -> None:
        """What the kernel has told, or should have."""
        now = self._wall()
        self._due &= self._ledger.sas.keys()
        for key in list(self._ledger.sas):
            dst, protocol, spi = key
            if key not in seen:
                if known.get(key) is not self._ledger.sas.get(key):
                    continue  # it has come, or was changed, since the kernel was asked
                self._ledger.counters["expiries-untold"] += 1
                self._ledger.removed(key)
                self._post(SaExpired(spi, protocol, dst, hard=True, why=_UNTOLD))
            elif key not in self._due and seen[key].due(now):
                self._ledger.counters["expiries-untold"] += 1
                self._due.add(key)
                self._post(SaExpired(spi, protocol, dst, hard=False))

    def _count(self, seen: Mapping[SaKey, ObservedSa]) -> float:
        """Tell the engine of SAs that carried something since the last look. Inbound ones: their peers are alive.
        Outbound ones: if nothing comes back for long, it asks whether they are.
        """
        before, self._octets = self._octets, {}
        sent, heard = set[Address](), set[Address]()
        for key, known in list(self._ledger.sas.items()):
            sa = seen.get(key)
            if sa is None:
                continue
            self._octets[key] = max(sa.octets, before.get(key, 0))
            if sa.octets > before.get(key, 0):
                (heard if known.sa.inbound else sent).add(sa.src if known.sa.inbound else sa.dst)
                self._post(SaUsed(sa.spi, sa.protocol, sa.dst, sa.octets))
        busy, quiet = limits.SA_USE_INTERVAL
        return busy if sent - heard else quiet


def _by_key(sas: Iterable[ObservedSa]) -> dict[SaKey, ObservedSa]:
    return {(sa.dst, sa.protocol, sa.spi): sa for sa in sas}
