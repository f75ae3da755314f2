# SPDX-License-Identifier: GPL-2.0-or-later
"""The IKE header (RFC 7296 3.1): all that the cheap first look at a datagram needs."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import FLAG_INITIATOR, FLAG_RESPONSE, NO_SPI, VERSION, NotifyType
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader


class Header(NamedTuple):
    """The 28 octets in front of every message. `length` and `next_payload` are filled in when a message is built."""

    spi_i: bytes
    """SPI of the initiator of the IKE SA, 8 octets."""
    spi_r: bytes
    """SPI of the responder, 8 octets; zero in the first request."""
    next_payload: int
    version: int
    """Major version in the upper four bits, minor version in the lower."""
    exchange: int
    """See ExchangeType."""
    flags: int
    message_id: int
    length: int
    """Octets of the whole message."""

    # rfc 7296: flags
    @classmethod
    def of(
        cls, spi_i: bytes, spi_r: bytes, exchange: int, message_id: int, *, initiator: bool, response: bool
    ) -> Header:
        """A header of ours. `initiator`: we are the original initiator of the IKE SA."""
        flags = (FLAG_INITIATOR if initiator else 0) | (FLAG_RESPONSE if response else 0)
        return cls(spi_i, spi_r, 0, VERSION, exchange, flags, message_id, 0)

    @property
    def from_initiator(self) -> bool:
        """Is the sender the original initiator of the IKE SA?"""
        return self.flags & FLAG_INITIATOR != 0

    @property
    def is_response(self) -> bool:
        """Is it the answer to a request with the same message ID?"""
        return self.flags & FLAG_RESPONSE != 0

    @property
    def major(self) -> int:
        """Major version."""
        return self.version >> 4


HEADER: Final[Fields[Header]] = Fields(Header, "8s8sBBBBII")


# rfc 7296: size-1280 minor-version length
def parse_header(data: bytes) -> Header:
    """Read and judge the header alone. Raises RemoteProtocolError.

    Its `notify` is 0 for a datagram that is no IKE message (too short, too long), else INVALID_MAJOR_VERSION or
    INVALID_SYNTAX. A higher minor version and reserved flags are ignored (RFC 7296 2.5).
    """
    if not HEADER.size <= len(data) <= limits.DATAGRAM_SIZE:
        raise RemoteProtocolError(f"{len(data)} octets are no IKE message")
    header = HEADER.read(Reader(data))
    if header.version >> 4 != 2:
        raise RemoteProtocolError(f"IKE version {header.version >> 4}", NotifyType.INVALID_MAJOR_VERSION)
    if header.length != len(data):
        raise RemoteProtocolError(f"length {header.length} in {len(data)} octets", NotifyType.INVALID_SYNTAX)
    if header.spi_i == NO_SPI:
        raise RemoteProtocolError("the initiator's SPI is zero", NotifyType.INVALID_SYNTAX)
    return header
