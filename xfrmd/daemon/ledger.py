# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon remembers for `status` and `sas`: the SAs it put into the kernel and what became of each peer."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret

SaKey = tuple[Address, ProtocolId, int]
"""As SadEntry.key: destination, protocol, SPI."""
PEER_FIELDS: Final = ("peer", "remote")
"""Fields of a notice that name the peer it speaks of, first found wins."""


_NO_KEY: Final = Secret(b"")


class Installed(NamedTuple):
    """An SA in the kernel, without its keys. `at` is wall-clock time, seconds since 1970."""

    sa: SadEntry
    at: float


@dataclass(slots=True)
class PeerRecord:
    """The last failure with a peer and how often it failed since it last worked. Times are wall-clock."""

    failure: Notice | None = None
    failed_at: float = 0.0
    failures: int = 0
    worked_at: float | None = None


@dataclass(slots=True)
class Ledger:
    """`clock` gives wall-clock seconds."""

    clock: Callable[[], float]
    sas: dict[SaKey, Installed] = field(default_factory=dict)
    peers: collections.OrderedDict[str, PeerRecord] = field(default_factory=collections.OrderedDict)
    counters: collections.Counter[str] = field(default_factory=collections.Counter)
    _strangers: collections.OrderedDict[str, None] = field(default_factory=collections.OrderedDict)
    """Peers that never worked, oldest first: anyone can make them up, so they have a bound of their own."""

    def installed(self, sa: SadEntry) -> None:
        """The kernel took an SA. Its peer works."""
        self.sas[sa.key] = Installed(replace(sa, encryption_key=_NO_KEY, integrity_key=_NO_KEY), self.clock())
        self.counters["sas-installed"] += 1
        if not sa.inbound:
            record = self._peer(str(sa.dst))
            record.worked_at, record.failures = self.clock(), 0
            self._strangers.pop(str(sa.dst), None)

    def kept(self, sa: SadEntry, at: float) -> None:
        """The kernel has an SA of an earlier run, which goes on."""
        self.sas[sa.key] = Installed(sa, at)
        self.counters["sas-kept"] += 1

    def removed(self, key: SaKey) -> None:
        """An SA is gone from the kernel."""
        if self.sas.pop(key, None) is not None:
            self.counters["sas-removed"] += 1

    def heard(self, notice: Notice) -> None:
        """A notice of the engine: a warning or error that names a peer is that peer's last failure."""
        self.counters[f"notice-{notice.code}"] += 1
        peer = next((notice.fields[name] for name in PEER_FIELDS if notice.fields.get(name)), "")
        if peer and notice.level <= Level.WARNING:
            record = self._peer(peer)
            record.failure, record.failed_at = notice, self.clock()
            record.failures += 1

    def _peer(self, name: str) -> PeerRecord:
        record = self.peers.setdefault(name, PeerRecord())
        self.peers.move_to_end(name)
        if record.worked_at is None:
            self._strangers[name] = None
            self._strangers.move_to_end(name)
            if len(self._strangers) > limits.STRANGERS_REMEMBERED:
                self._forget(next(iter(self._strangers)))
        if len(self.peers) > limits.PEERS_REMEMBERED:
            self._forget(next(iter(self.peers)))
        return record

    def _forget(self, name: str) -> None:
        del self.peers[name]
        self._strangers.pop(name, None)
