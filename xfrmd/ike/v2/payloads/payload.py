# SPDX-License-Identifier: GPL-2.0-or-later
"""What all payloads have in common: the shape of their classes and the generic header (RFC 7296 3.2)."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, Self

from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class Payload(Protocol):
    """A payload without its generic header. One class per kind; `decode` refuses by RemoteProtocolError."""

    @property
    def type(self) -> int:
        """Its number, see PayloadType."""
        ...

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        ...


class Decodable(Payload, Protocol):
    """A payload whose class knows how to read it."""

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body; `reader` ends where it ends."""
        ...


class GenericHeader(NamedTuple):
    """The four octets in front of each payload. `length` counts them too."""

    next_payload: int
    flags: int
    length: int


GENERIC: Final[Fields[GenericHeader]] = Fields(GenericHeader, "BBH")
