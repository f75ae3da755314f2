# SPDX-License-Identifier: GPL-2.0-or-later
"""Key exchanges on their way: our own side of one, and the additional ones of RFC 9242 and RFC 9370."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms.compute import KeyExchange, key_exchange_new


class SeededExchange:
    """Our side of a key exchange, with the entropy that it was made of: from that it can be made again."""

    __slots__ = ("_exchange", "_seed")

    def __init__(self, method: Transform, entropy: Callable[[int], bytes]) -> None:
        self._seed = b""

        def draw(count: int) -> bytes:
            octets = entropy(count)
            self._seed += octets
            return octets

        self._exchange: KeyExchange = key_exchange_new(method, draw)

    @classmethod
    def again(cls, method: Transform, seed: Secret) -> SeededExchange:
        """The exchange that was made of this seed."""
        rest = iter(seed.reveal())
        return cls(method, lambda count: bytes(itertools.islice(rest, count)))

    @property
    def seed(self) -> Secret:
        """What it was made of."""
        return Secret(self._seed)

    @property
    def public(self) -> bytes:
        """The Key Exchange Data to send."""
        return self._exchange.public

    def shared(self, peer_public: bytes) -> bytes:
        """The shared secret, as KeyExchange has it."""
        return self._exchange.shared(peer_public)


@dataclass(slots=True)
class FollowUp:
    """Additional key exchanges that our CREATE_CHILD_SA has led to (RFC 9370 2.2.4)."""

    answer: SealedMessage
    """To CREATE_CHILD_SA: what is to be made when all is agreed."""
    left: tuple[Transform, ...]
    link: bytes
    """By which the peer knows what the next one belongs to."""
    secrets: bytes = b""
    """Those that are agreed, one after the other."""
    exchange: SeededExchange | None = None


@dataclass(slots=True)
class Intermediate:
    """How far the IKE_INTERMEDIATE exchanges of an IKE SA have come (RFC 9242)."""

    left: tuple[Transform, ...] = ()
    """Key exchanges still to be made."""
    made: int = 0
    initiator: bytes = b""
    """IntAuth_i so far (RFC 9242 3.3.1)."""
    responder: bytes = b""
    secret: bytes = b""
    """Of the last key exchange, until it has changed the keys."""
    before: Channel | None = None
    """The keys before the last one changed them."""


class Rekeyed(NamedTuple):
    """What a rekey is measured by where one of the other end's crosses with it (RFC 9370 2.2.4)."""

    sa: object
    """The child or IKE SA that is to be replaced."""
    lowest_nonce: bytes


@dataclass(slots=True)
class Following:
    """What a CREATE_CHILD_SA of the peer's is to lead to, once its additional key exchanges are made."""

    link: bytes
    left: tuple[Transform, ...]
    finish: Callable[[bytes], None]
    """Makes the SA of the secrets of all of them; RefusalError when it can be made no more."""
    ends: float
    rekeyed: Rekeyed | None = None
    """None: the SA replaces none."""
    secrets: bytes = b""
