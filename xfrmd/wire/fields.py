# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixed parts of messages, declared once and used both ways."""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeVar

from xfrmd.errors import LocalProtocolError
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

Record = TypeVar("Record", bound=tuple[Any, ...])


class Fields(Generic[Record]):
    """A NamedTuple and its layout in the words of `struct`, network order: `Fields(Head, "BxH")`.

    `x` is a RESERVED octet: sent as zero, ignored on receipt (RFC 7296 2.5).
    """

    __slots__ = ("_pack", "_pack_into", "_record", "_unpack", "layout", "size")

    def __init__(self, record: type[Record], layout: str) -> None:
        fixed = struct.Struct(">" + layout)
        self._record = record
        self._pack, self._pack_into, self._unpack = fixed.pack, fixed.pack_into, fixed.unpack_from
        self.layout = layout
        self.size = fixed.size

    def read(self, reader: Reader) -> Record:
        """Decode the next `size` octets."""
        # The record's own __new__ is a Python function; this is the hottest line of every handshake.
        return tuple.__new__(self._record, self._unpack(reader.data, reader.advance(self.size)))

    def write(self, writer: Writer, record: Record) -> None:
        """Encode `record`. A value out of its field's range is a LocalProtocolError."""
        try:
            writer.put(self._pack(*record))
        except struct.error as error:
            raise LocalProtocolError(f"{record} does not fit into {self.layout}: {error}") from None

    def patch(self, writer: Writer, at: int, record: Record) -> None:
        """Encode `record` over the octets at index `at`, once all its values are known. Errors as those of write."""
        try:
            self._pack_into(writer, at, *record)
        except struct.error as error:
            raise LocalProtocolError(f"{record} does not fit into {self.layout}: {error}") from None
