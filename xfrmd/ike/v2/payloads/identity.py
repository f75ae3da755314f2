# SPDX-License-Identifier: GPL-2.0-or-later
"""Identification and Authentication payloads (RFC 7296 3.5, 3.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd.ike.v2.constants import PayloadType
from xfrmd.model.pad import Identity
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class IdHead(NamedTuple):
    """Fixed part. The RESERVED octets are kept: AUTH covers them as they were sent (RFC 7296 2.15)."""

    id_type: int
    reserved: bytes


ID: Final[Fields[IdHead]] = Fields(IdHead, "B3s")


@dataclass(slots=True, unsafe_hash=True)
class IdPayload:
    """Who somebody says to be. On the wire it is an IdiPayload or an IdrPayload."""

    id_type: Final[int]
    data: Final[bytes]
    reserved: Final[bytes] = bytes(3)

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """The payload of an identity."""
        return cls(identity.type, identity.value)

    @property
    def identity(self) -> Identity:
        """The identity claimed."""
        return Identity(self.id_type, self.data)

    @property
    def body(self) -> bytes:
        """RestOfInitIDPayload or RestOfRespIDPayload of RFC 7296 2.15: the octets that AUTH covers."""
        return bytes((self.id_type,)) + self.reserved + self.data

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        head = ID.read(reader)
        return cls(head.id_type, reader.rest(), head.reserved)

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        ID.write(writer, IdHead(self.id_type, self.reserved))
        writer.put(self.data)


@dataclass(slots=True, unsafe_hash=True)
class IdiPayload(IdPayload):
    """Identification of the initiator."""

    type: ClassVar[int] = PayloadType.IDi


@dataclass(slots=True, unsafe_hash=True)
class IdrPayload(IdPayload):
    """Identification of the responder; in a request, whom the initiator wants to talk to."""

    type: ClassVar[int] = PayloadType.IDr


class AuthHead(NamedTuple):
    """Fixed part."""

    method: int


AUTH: Final[Fields[AuthHead]] = Fields(AuthHead, "Bxxx")


@dataclass(slots=True, unsafe_hash=True)
class AuthPayload:
    """The proof of an identity."""

    method: Final[int]
    """See AuthMethodId."""
    data: Final[bytes]
    type: ClassVar[int] = PayloadType.AUTH

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        return cls(AUTH.read(reader).method, reader.rest())

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        AUTH.write(writer, AuthHead(self.method))
        writer.put(self.data)
