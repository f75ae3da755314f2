# SPDX-License-Identifier: GPL-2.0-or-later
"""Payloads whose body has no inner structure here: Nonce, Vendor ID, EAP, and all that we do not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import PayloadType
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


@dataclass(slots=True, unsafe_hash=True)
class NoncePayload:
    """Freshness (RFC 7296 3.9), 16..256 octets."""

    data: Final[bytes]
    type: ClassVar[int] = PayloadType.NONCE

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        shortest, longest = limits.NONCE_SIZES
        if not shortest <= reader.remaining <= longest:
            raise reader.refuse(f"a nonce of {reader.remaining} octets")
        return cls(reader.rest())

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.put(self.data)


@dataclass(slots=True, unsafe_hash=True)
class VendorPayload:
    """Which implementation or extension the sender is or has (RFC 7296 3.12)."""

    data: Final[bytes]
    type: ClassVar[int] = PayloadType.VENDOR

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        return cls(reader.rest())

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.put(self.data)


@dataclass(slots=True, unsafe_hash=True)
class EapPayload:
    """An EAP message (RFC 7296 3.16)."""

    message: Final[bytes]
    type: ClassVar[int] = PayloadType.EAP

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body: code, identifier, length and data of RFC 3748 4; the length must be that of the payload."""
        size = reader.remaining
        message = reader.rest()
        if size < 4 or int.from_bytes(message[2:4]) != size:
            raise reader.refuse("the length of the EAP message is not that of its payload")
        return cls(message)

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.put(self.message)


@dataclass(slots=True, unsafe_hash=True)
class UnknownPayload:
    """A payload of a type we do not know; it is ignored unless critical (RFC 7296 2.5)."""

    type: Final[int]
    critical: Final[bool]
    body: Final[bytes]

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        writer.put(self.body)
