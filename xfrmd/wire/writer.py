# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing octets, with lengths that are filled in when they are known."""

from __future__ import annotations

import struct
from typing import Final

from xfrmd.errors import LocalProtocolError

_U16: Final = struct.Struct(">H")


class Writer(bytearray):
    """Octets in the making. A number too big for its field is a LocalProtocolError: it is our own mistake."""

    __slots__ = ()

    put = bytearray.extend
    """Append octets as they are."""

    def uint(self, value: int, size: int) -> None:
        """Append an unsigned number of `size` octets, network order."""
        try:
            self.put(value.to_bytes(size))
        except OverflowError:
            raise LocalProtocolError(f"{value} does not fit into {size} octets") from None

    def u8(self, value: int) -> None:
        """Append one octet."""
        self.uint(value, 1)

    def u16(self, value: int) -> None:
        """Append two octets, network order."""
        self.uint(value, 2)

    def u32(self, value: int) -> None:
        """Append four octets, network order."""
        self.uint(value, 4)

    def u64(self, value: int) -> None:
        """Append eight octets, network order."""
        self.uint(value, 8)

    def patch_u16(self, at: int, value: int) -> None:
        """Overwrite two octets at index `at`: the length of a part that has just been written."""
        if not 0 <= value <= 0xFFFF:
            raise LocalProtocolError(f"a part of {value} octets is too long for its length field")
        _U16.pack_into(self, at, value)

    def octets(self) -> bytes:
        """All that was written."""
        return bytes(self)
