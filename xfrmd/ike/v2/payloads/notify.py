# SPDX-License-Identifier: GPL-2.0-or-later
"""Notify and Delete payloads (RFC 7296 3.10, 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import PayloadType
from xfrmd.model.proposals import ProtocolId
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class NotifyHead(NamedTuple):
    """Fixed part of a Notify payload."""

    protocol: int
    spi_size: int
    notify: int


class DeleteHead(NamedTuple):
    """Fixed part of a Delete payload."""

    protocol: int
    spi_size: int
    spis: int


NOTIFY: Final[Fields[NotifyHead]] = Fields(NotifyHead, "BBH")
DELETE: Final[Fields[DeleteHead]] = Fields(DeleteHead, "BBH")


@dataclass(slots=True, unsafe_hash=True)
class NotifyPayload:
    """An error or a piece of status. `protocol` and `spi` name the SA concerned, if it is not the IKE SA itself."""

    notify: Final[int]
    """See NotifyType."""
    data: Final[bytes] = b""
    protocol: Final[int] = 0
    spi: Final[bytes] = b""
    type: ClassVar[int] = PayloadType.NOTIFY

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        protocol, spi_size, notify = NOTIFY.read(reader)
        spi = reader.take(spi_size) if spi_size else b""
        return cls(notify, reader.rest(), protocol, spi)

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        NOTIFY.write(writer, NotifyHead(self.protocol, len(self.spi), self.notify))
        writer.put(self.spi)
        writer.put(self.data)


@dataclass(slots=True, unsafe_hash=True)
class DeletePayload:
    """SAs that the sender has deleted: its own inbound SPIs. For the IKE SA itself there is no SPI."""

    protocol: Final[int]
    spis: Final[tuple[bytes, ...]] = ()
    type: ClassVar[int] = PayloadType.DELETE

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body. SPIs are 4 octets for ESP and AH; the IKE SA is named without any."""
        protocol, spi_size, count = DELETE.read(reader)
        if protocol == ProtocolId.IKE and (spi_size or count):
            raise reader.refuse("an SPI where the IKE SA is deleted")
        if protocol != ProtocolId.IKE and spi_size != 4:
            raise reader.refuse(f"SPIs of {spi_size} octets")
        if count > limits.DELETED_SPIS:
            raise reader.refuse(f"{count} SPIs in one Delete payload")
        return cls(protocol, tuple([reader.take(4) for _ in range(count)]))

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        size = len(self.spis[0]) if self.spis else 0 if self.protocol == ProtocolId.IKE else 4
        DELETE.write(writer, DeleteHead(self.protocol, size, len(self.spis)))
        writer.put(b"".join(self.spis))
