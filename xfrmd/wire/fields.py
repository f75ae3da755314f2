# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixed parts of messages, declared once and used both ways."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

Record = TypeVar("Record", bound=tuple[Any, ...])


class Fields(Generic[Record]):
    """A NamedTuple and its layout in the words of `struct`, network order: `Fields(Head, "BxH")`.

    `x` is a RESERVED octet: sent as zero, ignored on receipt (RFC 7296 2.5).
    """

    __slots__ = ("_record", "_struct", "size")

    def __init__(self, record: Callable[..., Record], layout: str) -> None:
        self._record = record
        self._struct = struct.Struct(">" + layout)
        self.size = self._struct.size

    def read(self, reader: Reader) -> Record:
        """Decode the next `size` octets."""
        return self._record(*reader.unpack(self._struct))

    def write(self, writer: Writer, record: Record) -> None:
        """Encode `record`. A value out of its field's range is a LocalProtocolError."""
        writer.pack(self._struct, record)
