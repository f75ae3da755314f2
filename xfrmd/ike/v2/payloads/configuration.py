# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration payload (RFC 7296 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import PayloadType
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

_RESERVED_BIT: Final = 0x8000


class CpHead(NamedTuple):
    """Fixed part of the payload."""

    kind: int


class AttributeHead(NamedTuple):
    """Fixed part of one attribute."""

    type: int
    length: int


CP: Final[Fields[CpHead]] = Fields(CpHead, "Bxxx")
ATTRIBUTE: Final[Fields[AttributeHead]] = Fields(AttributeHead, "HH")


class CpAttribute(NamedTuple):
    """One attribute, see CfgAttribute; an empty value asks for one."""

    type: int
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class CpPayload:
    """Addresses and servers asked for or handed out."""

    kind: int
    """See CfgType."""
    attributes: tuple[CpAttribute, ...]
    type: ClassVar[int] = PayloadType.CP

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read 0..limits.PAYLOADS attributes."""
        kind = CP.read(reader).kind
        found: list[CpAttribute] = []
        while reader.remaining:
            if len(found) == limits.PAYLOADS:
                raise reader.refuse("too many configuration attributes")
            head = ATTRIBUTE.read(reader)
            found.append(CpAttribute(head.type & ~_RESERVED_BIT, reader.take(head.length)))
        return cls(kind, tuple(found))

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        CP.write(writer, CpHead(self.kind))
        for attribute in self.attributes:
            ATTRIBUTE.write(writer, AttributeHead(attribute.type, len(attribute.value)))
            writer.put(attribute.value)
