# SPDX-License-Identifier: GPL-2.0-or-later
"""How the two ends of an IKE SA have proved who they are: facts for people, and what later decides whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xfrmd.credentials import revocation, signatures
from xfrmd.credentials.certificates import Certificate

PSK: Final = "psk"
ROOTCA: Final = "rootca"


@dataclass(frozen=True, slots=True)
class Proven:
    """One end. Everything but `method` is of certificates alone; nothing is known of it without a method."""

    method: str = ""
    """Windows' word: "psk" or "rootca"."""
    scheme: str = ""
    """How it has signed."""
    subject: str = ""
    serial: str = ""
    authority: str = ""
    until: float | None = None
    """When the first certificate on its path expires, in seconds since 1970."""
    links: tuple[bytes, ...] = ()
    """Which certificates these were, as revocation.link names them."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Both ends."""

    local: Proven = Proven()
    remote: Proven = Proven()
    ppk: str = ""
    """The name of the postquantum preshared key in the keys, "" where there is none."""


@dataclass(frozen=True, slots=True)
class Term:
    """How long an authentication is to hold, beside what the peer's proof itself allows."""

    ours: bool = False
    """Did we send the IKE_SA_INIT that it all began with?"""
    since: float = 0.0
    """When both ends had proved themselves, as the engine was told the time."""
    asked_until: float | None = None
    """When the peer wants us to have authenticated anew (AUTH_LIFETIME, RFC 4478)."""
    aging: bool = False
    """A new IKE SA is to take over the child SAs."""


def by_certificate(path: Sequence[Certificate], number: int, data: bytes) -> Proven:
    """What is remembered of a path and a signature: authentication method and Authentication Data."""
    return Proven(ROOTCA, signatures.told(number, data), *_facts(tuple(path)))


@lru_cache(maxsize=64)
def _facts(path: tuple[Certificate, ...]) -> tuple[str, str, str, float, tuple[bytes, ...]]:
    """From the subject to the links. Those of our own path are wanted at each handshake."""
    serial = f"{path[0].parsed.serial_number:x}"
    until = min(one.parsed.not_valid_after_utc for one in path).timestamp()
    return path[0].subject, serial, path[-1].subject, until, tuple(map(revocation.link, path[:-1]))
