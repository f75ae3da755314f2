# SPDX-License-Identifier: GPL-2.0-or-later
"""Cookies against floods from forged addresses (RFC 7296 2.6): nothing is stored for those who asked."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from xfrmd.ike.events import Endpoint
from xfrmd.limits import floods

_SECRET_OCTETS = 32
_TAG_OCTETS = 16


class CookieJar:
    """Makes and recognises cookies. The secret changes every floods.COOKIE_LIFETIME; the one before stays valid.

    A cookie is bound to the peer's address, port and SPI. The nonce needs no place in it (RFC 7296 2.6 is an example):
    a second IKE_SA_INIT of the same address and SPI with other octets is no new half-open IKE SA.
    """

    __slots__ = ("_current", "_entropy", "_previous", "_since")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._current = b""
        self._previous = b""
        self._since = 0.0

    # rfc 7296: cookie-stateless
    def bake(self, remote: Endpoint, spi_i: bytes, now: float) -> bytes:
        """The cookie for this peer and SPI."""
        self._rotate(now)
        return _tag(self._current, remote, spi_i)

    def valid(self, cookie: bytes, remote: Endpoint, spi_i: bytes, now: float) -> bool:
        """Did we give this cookie to this peer for this SPI, not too long ago?"""
        if len(cookie) != _TAG_OCTETS:
            return False
        self._rotate(now)
        return any(
            secret and hmac.compare_digest(cookie, _tag(secret, remote, spi_i))
            for secret in (self._current, self._previous)
        )

    def _rotate(self, now: float) -> None:
        if self._current and now - self._since < floods.COOKIE_LIFETIME:
            return
        fresh = now - self._since < 2 * floods.COOKIE_LIFETIME
        self._previous = self._current if fresh else b""
        self._current = self._entropy(_SECRET_OCTETS)
        self._since = now


def _tag(secret: bytes, remote: Endpoint, spi_i: bytes) -> bytes:
    data = remote.address.packed + remote.port.to_bytes(2) + spi_i
    return hashlib.blake2s(data, digest_size=_TAG_OCTETS, key=secret).digest()
