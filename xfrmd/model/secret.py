# SPDX-License-Identifier: GPL-2.0-or-later
"""Octets that must never be printed."""

from __future__ import annotations

import enum
import hmac
from typing import NamedTuple


class Secret:
    """Key material. repr, str and format show nothing of it; comparison takes constant time."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets themselves, for the module that computes with them."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class StandIn(bytes):
    """Octets in place of a secret or certificate that is not read: nobody knows them, and they are no certificate."""

    __slots__ = ()


class SecretSource(enum.Enum):
    """Where a policy says that a secret is kept."""

    FILE = "file"
    """A file of its own, by absolute path."""
    CREDENTIAL = "credential"
    """A systemd credential, by name: a file in $CREDENTIALS_DIRECTORY."""


class SecretRef(NamedTuple):
    """A secret by reference, as a policy names it. Who reads it is told apart from who names it."""

    source: SecretSource
    name: str
    public: bool = False
    """A certificate: everybody may read it, and nobody else may write it."""
    lists: bool = False
    """Revocation lists, which are longer."""

    def __str__(self) -> str:
        return f"{self.source.value} {self.name}"
