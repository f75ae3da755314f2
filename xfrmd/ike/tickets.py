# SPDX-License-Identifier: GPL-2.0-or-later
"""Tickets by value (RFC 5723 6): a session, sealed for ourselves and carried by the peer.

A ticket has a name of random octets, and is sealed under a key that is derived of ours and of this name: so each key
seals once. Who has a ticket can read nothing in it, and who has not SK_d can do nothing with it.
"""

from __future__ import annotations

import json
import zlib
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.session import Held, Session
from xfrmd.ike.tokens import TokenMaker
from xfrmd.model.addresses import Address
from xfrmd.model.plain import reader, writer
from xfrmd.model.proposals import Transform, TransformType
from xfrmd.model.secret import Secret
from xfrmd.transforms.compute import IkeCipher, prf_plus
from xfrmd.transforms.encr import ENCR_AES_GCM_16

NAME: Final = 16
"""Octets of a ticket's name: drawn at random, none comes twice."""
_LABEL: Final = b"xfrmd session ticket 1"
_PRF: Final = Transform(TransformType.PRF, 5)
_ENCR: Final = Transform(TransformType.ENCR, ENCR_AES_GCM_16, 256)
_KEY: Final = 36
"""Of AES-GCM with 256 bits, and its salt."""
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Tickets:
    """Those we give are made with `keys`, of which the first is the newest; those we hold stand in `held`."""

    __slots__ = ("_keys", "held", "spent", "tokens")

    def __init__(self) -> None:
        self._keys: tuple[Secret, ...] = ()
        self.held: dict[Address, Held] = {}
        """By the peer's address."""
        self.spent: dict[bytes, float] = {}
        """Names of our tickets that no longer count, and until when they would (seconds since 1970)."""
        self.tokens = TokenMaker()
        """What else outlives IKE SAs: it tells peers that they are no more."""

    def know(self, keys: tuple[Secret, ...]) -> None:
        """From now on tickets are made with the first key, and opened with each."""
        self._keys = keys

    @property
    def gives(self) -> bool:
        """Can we make any?"""
        return bool(self._keys)

    # rfc 5723: sealed
    def seal(self, session: Session, name: bytes) -> bytes:
        """A ticket with a name that no other has."""
        cipher = _cipher(self._keys[0], name)
        plain = zlib.compress(_ENCODER.encode(writer(Session)(session)).encode(), 9)
        return name + cipher.seal(bytes(cipher.iv_len), plain, _LABEL)

    def open(self, ticket: bytes) -> Session | None:
        """What a ticket of ours holds; None for whatever we have not made, or with a key that is no more."""
        if not NAME < len(ticket) <= limits.TICKET_GIVEN:
            return None
        for key in self._keys:
            cipher = _cipher(key, name_of(ticket))
            try:
                plain = cipher.open(bytes(cipher.iv_len), ticket[NAME:], _LABEL)
                found: Session = reader(Session)(json.loads(zlib.decompress(plain)))  # of our own making
            except (RemoteProtocolError, ValueError, zlib.error):
                continue
            return found
        return None


def name_of(ticket: bytes) -> bytes:
    """A ticket's name."""
    return ticket[:NAME]


def _cipher(key: Secret, name: bytes) -> IkeCipher:
    return IkeCipher.new(_ENCR, prf_plus(_PRF, key.reveal(), _LABEL + name, _KEY))
