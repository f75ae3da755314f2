# SPDX-License-Identifier: GPL-2.0-or-later
"""Quick crash detection (RFC 6290): tokens by which a peer that still has an IKE SA believes that we have it not."""

from __future__ import annotations

import hashlib
from typing import Final

from xfrmd.model.secret import Secret

_TOKEN_OCTETS: Final = 16
"""The least that RFC 6290 4.1 has: the answer that shows two of them is hardly larger than a request."""


class TokenMaker:
    """Makes the tokens of our IKE SAs from a secret that outlives a crash, and from nothing that does not.

    The peer's address is no part of it: it may change. Who asks for the token of an IKE SA that we have gets none.
    """

    __slots__ = ("_secrets",)

    def __init__(self) -> None:
        self._secrets: tuple[Secret, ...] = ()

    def know(self, secrets: tuple[Secret, ...]) -> None:
        """The secrets, the one for new IKE SAs first; the others have made tokens earlier."""
        self._secrets = secrets

    def make(self, spi_i: bytes, spi_r: bytes, *, initiator: bool) -> bytes:
        """The token of an IKE SA in which we are the initiator or not, b"" where there is no secret."""
        return next(iter(self.all(spi_i, spi_r, initiator=initiator)), b"")

    def all(self, spi_i: bytes, spi_r: bytes, *, initiator: bool) -> tuple[bytes, ...]:
        """All that may be its token. Of the other role it is another: who lies about ours learns nothing."""
        of = bytes((initiator,)) + spi_i + spi_r
        return tuple(
            hashlib.blake2s(of, digest_size=_TOKEN_OCTETS, key=one.reveal(), person=b"crash").digest()
            for one in self._secrets
        )
