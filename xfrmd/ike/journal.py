# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine counts and remembers for `status`: dropped datagrams by reason, the last failure of each peer."""

from __future__ import annotations

import enum
from typing import NamedTuple

from xfrmd import limits
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice


class Count(enum.Enum):
    """What is counted. Those that begin with "dropped" are datagrams of which nothing followed."""

    __hash__ = object.__hash__  # that of enums is a function of Python, and each datagram is counted

    RECEIVED = "received"
    REPEATED = "repeated"
    RETRANSMITTED = "retransmitted"
    IKE_SAS = "ike-sas"
    CHILD_SAS = "child-sas"
    REKEYED_IKE_SAS = "rekeyed-ike-sas"
    REKEYED_CHILD_SAS = "rekeyed-child-sas"
    SOFT_ASSOCIATIONS = "soft-associations"
    FAILURES = "failures"
    COOKIES = "cookies"
    TOKENS = "crash-tokens"
    """Shown to peers whose IKE SAs we do not have."""
    NO_IKE = "dropped-no-ike"
    VERSION = "dropped-version"
    MALFORMED = "dropped-malformed"
    UNKNOWN_SPI = "dropped-unknown-spi"
    STRANGER = "dropped-stranger"
    """From another address than the SA's."""
    NO_COOKIE = "dropped-bad-cookie"
    SUSPECT = "dropped-suspect"
    """IKE_SA_INIT from hosts and networks of whose others nothing has come."""
    CROWDED_OUT = "crowded-out"
    """Half-open IKE SAs that were given up for new ones."""
    FULL = "dropped-full"
    REFUSED = "dropped-refused"
    """IKE_SA_INIT that no rule or proposal fits."""
    WINDOW = "dropped-message-id"
    NOT_AUTHENTIC = "dropped-not-authentic"
    UNEXPECTED = "dropped-unexpected"


class Failure(NamedTuple):
    """The last thing that went wrong with a peer."""

    peer: Address
    at: float
    notice: Notice


class Journal:
    """Counters and failures, both bounded."""

    __slots__ = ("_failures", "_whispers", "counts")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Count, 0)
        self._failures: dict[Address, Failure] = {}
        self._whispers: dict[tuple[str, Address | str], float] = {}

    def count(self, what: Count) -> None:
        """One more."""
        self.counts[what] += 1

    def failed(self, peer: Address, notice: Notice, now: float) -> None:
        """Remember a failure as the peer's last; the oldest peer is forgotten when there are too many."""
        self._failures.pop(peer, None)
        self._failures[peer] = Failure(peer, now, notice)
        if len(self._failures) > limits.REPORTED_PEERS:
            del self._failures[next(iter(self._failures))]

    def healed(self, peer: Address) -> None:
        """The peer works: its failure is history."""
        self._failures.pop(peer, None)

    def may_whisper(self, code: str, about: Address | str, now: float, every: float = limits.WHISPER_INTERVAL) -> bool:
        """May what an unauthenticated datagram says be told, or was the same told of this address just now?"""
        key = (code, about)
        if self._whispers.get(key, -every) + every > now:
            return False
        self._whispers.pop(key, None)
        self._whispers[key] = now
        if len(self._whispers) > limits.REPORTED_PEERS:
            del self._whispers[next(iter(self._whispers))]
        return True

    def failures(self) -> tuple[Failure, ...]:
        """All that are remembered, newest last."""
        return tuple(self._failures.values())
