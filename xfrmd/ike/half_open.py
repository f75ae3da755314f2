# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE SAs whose peers have proved nothing yet, and the books of who leaves such behind.

A host that means it goes on at once, and so does each of two thousand behind one NAT: what tells an attacker, whose
address a cookie has proved, is not how much it asks for but that nothing comes of it. Decision 44.
"""

from __future__ import annotations

import itertools
from typing import Final

from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.limits import floods
from xfrmd.model.addresses import Address

_Key = tuple[Endpoint, bytes]
"""Who asked, and with which SPI of its own."""
_Entry = tuple[Endpoint, bytes]
"""Who asked, and the SPI of ours that it was told: who asks by one SPI again, as nothing came of it, asks twice."""
_Name = tuple[int, int, int]
"""A host or a network: IP version, bits cut off, what is left of the address."""
_ADDRESS: Final = {4: 0, 6: 64}
"""Bits behind what counts as one host: whoever has an IPv6 address has all of its /64."""


class _Book:
    """Of one host or network: when each was begun of which nothing has come yet, oldest first."""

    __slots__ = ("begun", "until")

    def __init__(self) -> None:
        self.begun: dict[_Entry, float] = {}
        self.until = 0.0
        """Nothing more before this time."""


class HalfOpen:
    """Half-open IKE SAs by who asked for them. Those of which nothing has come are counted for as long as one may be
    half-open, whether they are there still or not.
    """

    __slots__ = ("_begun", "_books", "_most", "_sas")

    def __init__(self, most: int = floods.HALF_OPEN_BOOKS) -> None:
        """`most`: of how many it is remembered that nothing has come of them."""
        self._most = most
        self._sas: dict[_Key, IkeSa] = {}
        self._begun: dict[_Entry, float] = {}
        self._books: dict[_Name, _Book] = {}

    def __len__(self) -> int:
        """IKE SAs that have proved nothing yet."""
        return len(self._sas)

    def find(self, remote: Endpoint, spi_i: bytes) -> IkeSa | None:
        """The half-open IKE SA that this peer asked for with this SPI of its own."""
        return self._sas.get((remote, spi_i))

    def add(self, sa: IkeSa) -> None:
        """Somebody has asked."""
        self._sas[_key(sa)] = sa
        self._begun[_entry(sa)] = sa.created

    def book(self, remote: Endpoint, spi_i: bytes) -> None:
        """A cookie has shown that it was this host that asked: from now on it answers for what it has begun."""
        sa = self._sas.get((remote, spi_i))
        entry = _entry(sa) if sa is not None else None
        if entry is None or entry not in self._begun:
            return
        begun = self._begun[entry]
        host, network = _names(remote.address)
        book = self._books.setdefault(host, _Book())
        book.begun[entry] = begun
        if len(book.begun) <= floods.HALF_OPEN_STALE:  # what is more than one host's is held against that host alone
            self._books.setdefault(network, _Book()).begun[entry] = begun

    def proved(self, sa: IkeSa) -> None:
        """The peer has proved itself."""
        key = _key(sa)
        if self._sas.get(key) is sa:
            del self._sas[key]
            self._strike(_entry(sa))

    def left(self, sa: IkeSa) -> None:
        """It is gone, and nothing has come of it."""
        key = _key(sa)
        if self._sas.get(key) is sa:
            del self._sas[key]

    def load(self, now: float) -> int:
        """Of how many nothing has come. From floods.HALF_OPEN_COOKIE on who asks must show that it is there."""
        while self._begun:
            entry, begun = next(iter(self._begun.items()))
            if begun > now - floods.HALF_OPEN_LIFETIME and len(self._begun) <= self._most:
                break
            self._strike(entry)
        return len(self._begun)

    def admits(self, remote: Address, now: float) -> bool:
        """May somebody at this address, which a cookie has proved, begin another one? Hosts and networks of whom too
        much has come to nothing may now and then.
        """
        suspect = self._suspect(remote, now)
        if any(now < book.until for book in suspect):
            return False
        for book in suspect:
            book.until = now + floods.HALF_OPEN_PAUSE
        return True

    def suspect(self, remote: Address, now: float) -> bool:
        """Has too much come to nothing of this host or its network?"""
        self.load(now)  # what is long ago counts no more
        return bool(self._suspect(remote, now))

    def oldest(self, now: float) -> IkeSa | None:
        """The one to give up where there is no room, None while all may still be on their way."""
        sa = next(iter(self._sas.values()), None)
        return sa if sa is not None and sa.created <= now - floods.HALF_OPEN_GRACE else None

    def _suspect(self, remote: Address, now: float) -> list[_Book]:
        books = zip(map(self._books.get, _names(remote)), _LEAST, strict=True)
        return [book for book, least in books if book is not None and _stale(book, least, now)]

    def _strike(self, entry: _Entry) -> None:
        self._begun.pop(entry, None)
        for name in _names(entry[0].address):
            book = self._books.get(name)
            if book is not None and book.begun.pop(entry, None) is not None and not book.begun:
                del self._books[name]


_LEAST: Final = (floods.HALF_OPEN_STALE, floods.HALF_OPEN_STALE_NETWORK)


def _key(sa: IkeSa) -> _Key:
    return (sa.lineage.remote, sa.spi_i)


def _entry(sa: IkeSa) -> _Entry:
    return (sa.lineage.remote, sa.spi)


def _names(address: Address) -> tuple[_Name, _Name]:
    """Host and network."""
    host, network = _ADDRESS[address.family], floods.BEHIND_NETWORK[address.family]
    return (address.family, host, address.value >> host), (address.family, network, address.value >> network)


def _stale(book: _Book, least: int, now: float) -> bool:
    """Are there so many that have had the time to go on, and did not?"""
    begun = next(itertools.islice(book.begun.values(), least - 1, None), None)
    return begun is not None and begun <= now - floods.HALF_OPEN_GRACE
