# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificate and Certificate Request payloads (RFC 7296 3.6, 3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from xfrmd.ike.v2.constants import PayloadType
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

_KEY_HASH: Final = 20


@dataclass(slots=True, unsafe_hash=True)
class CertPayload:
    """A certificate, CRL or OCSP answer, opaque here."""

    encoding: Final[int]
    """See CertEncoding."""
    data: Final[bytes]
    type: ClassVar[int] = PayloadType.CERT

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        return cls(reader.u8(), reader.rest())

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.u8(self.encoding)
        writer.put(self.data)


@dataclass(slots=True, unsafe_hash=True)
class CertreqPayload:
    """Which certification authorities the sender trusts."""

    encoding: Final[int]
    """See CertEncoding."""
    authorities: Final[bytes]
    """For X.509: SHA-1 hashes of the authorities' public keys, 20 octets each, in a row."""
    type: ClassVar[int] = PayloadType.CERTREQ

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        return cls(reader.u8(), reader.rest())

    @property
    def key_hashes(self) -> tuple[bytes, ...]:
        """The hashes one by one; a torn one at the end is left out."""
        whole = len(self.authorities) // _KEY_HASH * _KEY_HASH
        return tuple(self.authorities[at : at + _KEY_HASH] for at in range(0, whole, _KEY_HASH))

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.u8(self.encoding)
        writer.put(self.authorities)
