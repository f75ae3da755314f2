# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of the policy in force, kept up to date: asked for as the table says, kept in a file, changes told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.files import stamp
from xfrmd.adapters.names import dns, hosts
from xfrmd.adapters.names.store import NameStore
from xfrmd.adapters.names.table import Addresses, Failed, Half, Last, NameTable
from xfrmd.model.notice import Level, Notice

Ask = Callable[[str, Sequence[str]], Awaitable[tuple[Half, Half]]]
"""Asks servers for a name's IPv4 and IPv6 addresses."""


@dataclass(frozen=True, slots=True)
class NameOrigin:
    """Where a name's addresses are from: DNS, the hosts file, or an earlier run; "" when it has none. `seconds`: until
    it is asked for again. `trouble`: why there is no better answer.
    """

    source: str
    seconds: float | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class NameSources:
    """What names come from. `draw` gives a random number from 0 to 1."""

    hosts: Path = Path("/etc/hosts")
    store: NameStore | None = None
    ask: Ask = dns.ask
    draw: Callable[[], float] = random.random


class Names:
    """The names that are wanted, with their addresses. All of it runs in the event loop."""

    def __init__(self, sources: NameSources, tell: Callable[[Notice], None] = lambda _: None) -> None:
        self._from = sources
        self._tell = tell
        self._table = NameTable(sources.draw)
        self._hosts: dict[str, Addresses] = {}
        self._hosts_seen: object = None
        self._wanted: tuple[frozenset[str], bool] = (frozenset(), False)
        self._servers: tuple[str, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._settled = asyncio.Event()
        self._closed = False
        self.changed: Callable[[], None] = lambda: None
        """Called when any addresses may differ."""

    def want(self, names: frozenset[str], servers: tuple[str, ...], *, strict: bool) -> None:
        """From now on these names. `strict`: they have addresses only as long as they are resolved. What failed is
        asked for again at once: whoever gives a policy anew may have mended it.
        """
        self._wanted, self._servers = (names, strict), servers
        self._table.again(asyncio.get_running_loop().time(), failed_only=True)
        self._begin()

    async def settled(self) -> None:
        """Wait until each name has an answer or has failed, or limits.NAMES_WAIT is over."""
        if not self._table.is_settled:
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), limits.NAMES_WAIT)

    async def look_up(self, names: frozenset[str], servers: tuple[str, ...], *, strict: bool) -> dict[str, Addresses]:
        """The addresses of other names now, from the same sources."""
        return await look_up(self._from, names, servers, strict=strict)

    def surroundings(self, servers: tuple[str, ...], *, network_changed: bool) -> None:
        """The name servers now; the hosts file is looked at again, too."""
        now = asyncio.get_running_loop().time()
        before, self._servers = self._servers, servers
        self._begin()
        if servers != before or network_changed:
            self._table.again(now, failed_only=servers == before)
            self._step()

    def addresses(self) -> dict[str, Addresses]:
        """The names that have addresses."""
        found = {**dict(self._table.addresses()), **self._hosts}
        return {name: found[name] for name in sorted(found)}

    def origins(self, now: float) -> dict[str, NameOrigin]:
        """Where each name's addresses are from, at monotonic time `now`."""
        found = {name: NameOrigin(str(self._from.hosts)) for name in self._hosts}
        for name, one in self._table.entries.items():
            found[name] = NameOrigin(one.source, max(0.0, one.due - now), one.trouble)
        return {name: found[name] for name in sorted(found)}

    @property
    def file(self) -> Path:
        """The hosts file."""
        return self._from.hosts

    def stamp(self) -> object:
        """What is another when the hosts file is."""
        return stamp(self._from.hosts) if self._wanted[0] else None

    def close(self) -> None:
        """Ask no more, and save what was learnt."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._save in self._timers:
            self._save()
        self._timers.clear()

    def _begin(self) -> None:
        """Share the wanted names out among hosts file and DNS."""
        (names, strict), known = self._wanted, dict[str, tuple[Last, str]]()
        if names - self._table.entries.keys() - self._hosts.keys():
            known = {name: (last, "an earlier run") for name, last in self._stored().items()}
        seen = (names, self.stamp())
        if seen != self._hosts_seen:
            before, self._hosts = self._hosts, hosts.names_of(self._from.hosts, names, self._tell)
            self._hosts_seen = seen
            # What the hosts file said last stays until DNS says otherwise.
            known |= {name: (_split(found), str(self._from.hosts)) for name, found in before.items()}
        now = asyncio.get_running_loop().time()
        self._table.want(names - self._hosts.keys(), known, now, strict=strict)
        self._step()

    def _stored(self) -> dict[str, Last]:
        try:
            return self._from.store.load() if self._from.store else {}
        except ValueError as error:
            remedy = "nothing to do: it is written anew"
            self._tell(Notice(Level.WARNING, "names-file", f"{error}: no name has its last addresses", remedy=remedy))
            return {}

    def _step(self) -> None:
        """Ask for what is due, and look again in time."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        for name in self._table.due(loop.time()):
            task = loop.create_task(self._one(name), name=f"DNS {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        following = self._table.next()
        if following is not None:
            self._at(following, self._step)
        if self._table.is_settled:
            self._settled.set()

    def _at(self, when: float, step: Callable[[], None]) -> None:
        timer = self._timers.pop(step, None)
        if timer is not None:
            timer.cancel()
        self._timers[step] = asyncio.get_running_loop().call_at(when, step)

    async def _one(self, name: str) -> None:
        halves: tuple[Half, Half] = (Failed("an internal error"), Failed("an internal error"))
        try:
            halves = await asyncio.wait_for(self._from.ask(name, self._servers), limits.NAME_DEADLINE)
        except TimeoutError:
            halves = (Failed("the question did not come to an end"),) * 2
        finally:
            self._heard(name, halves)

    def _heard(self, name: str, halves: tuple[Half, Half]) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            return
        outcome = self._table.answer(name, halves, loop.time())
        for notice in outcome.notices:
            self._tell(notice)
        if outcome.changed:
            self.changed()
            if self._from.store and self._save not in self._timers:
                self._at(loop.time() + limits.NAMES_SAVE, self._save)
        self._step()

    def _save(self) -> None:
        """In the event loop: a thread would be in the way of the next one, and a thousand names take 5 ms."""
        self._timers.pop(self._save, None)
        assert self._from.store is not None
        known = {name: one.last for name, one in self._table.entries.items() if one.last.addresses}
        try:
            self._from.store.save(known)
        except OSError as error:
            text = f"last addresses of names cannot be kept for the next start: {error}"
            self._tell(Notice(Level.WARNING, "names-file", text, remedy="see to the daemon's state directory"))


async def look_up(
    sources: NameSources, names: frozenset[str], servers: tuple[str, ...], *, strict: bool
) -> dict[str, Addresses]:
    """The addresses of names now, asked for once and kept nowhere."""
    once = Names(replace(sources, store=None))
    try:
        once.want(names, servers, strict=strict)
        await once.settled()
        return once.addresses()
    finally:
        once.close()


def _split(addresses: Addresses) -> Last:
    v4, v6 = (tuple(one for one in addresses if one.family == family) for family in (4, 6))
    return Last(v4, v6)
