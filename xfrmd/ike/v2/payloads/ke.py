# SPDX-License-Identifier: GPL-2.0-or-later
"""Key Exchange payload (RFC 7296 3.4, RFC 9370 2.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd.ike.v2.constants import PayloadType
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class KeHead(NamedTuple):
    """Fixed part."""

    method: int


KE: Final[Fields[KeHead]] = Fields(KeHead, "Hxx")


@dataclass(slots=True, unsafe_hash=True)
class KePayload:
    """A public value. Its size and worth are judged by the method that computes with it."""

    method: Final[int]
    """IANA transform id of type 4, "D-H group number"."""
    data: Final[bytes]
    type: ClassVar[int] = PayloadType.KE

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the body."""
        return cls(KE.read(reader).method, reader.rest())

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        KE.write(writer, KeHead(self.method))
        writer.put(self.data)
