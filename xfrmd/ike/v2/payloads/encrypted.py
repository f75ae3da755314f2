# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted payloads as they stand in a message, still closed: SK (RFC 7296 3.14) and SKF (RFC 7383 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import PayloadType
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader


class SkfHead(NamedTuple):
    """Fixed part of an SKF payload."""

    number: int
    total: int


SKF: Final[Fields[SkfHead]] = Fields(SkfHead, "HH")


@dataclass(slots=True, unsafe_hash=True)
class SkPayload:
    """The encrypted rest of a message."""

    first: Final[int]
    """Type of the first payload inside."""
    offset: Final[int]
    """Where the body begins in the message; the octets before it are authenticated but not encrypted."""
    body: Final[bytes]
    """Initialization vector, ciphertext, integrity checksum."""
    type: ClassVar[int] = PayloadType.SK

    @classmethod
    def read(cls, first: int, reader: Reader) -> Self:
        """Read the body."""
        return cls(first, reader.position, reader.rest())


@dataclass(slots=True, unsafe_hash=True)
class SkfPayload:
    """One encrypted fragment of a message: number `number` of `total`, counted from 1."""

    first: Final[int]
    """Type of the first payload inside the whole message; 0 in all fragments but the first."""
    offset: Final[int]
    """As in SkPayload: the octets before it include the fragment numbers."""
    body: Final[bytes]
    number: Final[int]
    total: Final[int]
    type: ClassVar[int] = PayloadType.SKF

    @classmethod
    def read(cls, first: int, reader: Reader) -> Self:
        """Read the body."""
        number, total = SKF.read(reader)
        if not 0 < number <= total <= limits.FRAGMENTS:
            raise reader.refuse(f"fragment {number} of {total}")
        return cls(first, reader.position, reader.rest(), number, total)
