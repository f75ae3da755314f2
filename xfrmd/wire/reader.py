# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading octets that may be hostile: every bound of every parser is checked here and nowhere else."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Final, Self

from xfrmd.errors import RemoteProtocolError

_U16: Final = struct.Struct(">H").unpack_from
_U32: Final = struct.Struct(">I").unpack_from
_U64: Final = struct.Struct(">Q").unpack_from


class Reader:
    """A position in octets with an end. Whatever is short, or left over, is a RemoteProtocolError with `notify`.

    As a context manager it demands on leaving that all octets were read. Nothing is copied before `take` or `rest`.
    """

    __slots__ = ("_at", "_end", "data", "notify")

    def __init__(self, data: bytes, notify: int = 0, start: int = 0, end: int | None = None) -> None:
        self.data = data
        """The octets given at first; only advance() says which of them may be read."""
        self._at = start
        self._end = len(data) if end is None else end
        self.notify = notify

    @property
    def remaining(self) -> int:
        """Octets not yet read."""
        return self._end - self._at

    @property
    def position(self) -> int:
        """Index of the next octet in the data given at first, whatever `restrict` has cut out."""
        return self._at

    def refuse(self, message: str) -> RemoteProtocolError:
        """The error to raise for octets that are there but wrong."""
        return RemoteProtocolError(message, self.notify)

    def advance(self, count: int) -> int:
        """Skip `count` octets; the index where they began. For readers of fixed parts."""
        at = self._at
        if count < 0 or count > self._end - at:
            raise self._short(count)
        self._at = at + count
        return at

    def _short(self, count: int) -> RemoteProtocolError:
        return self.refuse(f"{count} octets wanted, {self._end - self._at} left")

    def u8(self) -> int:
        """Read one octet."""
        return self.data[self.advance(1)]

    def u16(self) -> int:
        """Read two octets, network order."""
        value: int = _U16(self.data, self.advance(2))[0]
        return value

    def u32(self) -> int:
        """Read four octets, network order."""
        value: int = _U32(self.data, self.advance(4))[0]
        return value

    def u64(self) -> int:
        """Read eight octets, network order."""
        value: int = _U64(self.data, self.advance(8))[0]
        return value

    def take(self, count: int) -> bytes:
        """Read `count` octets."""
        at = self.advance(count)
        return self.data[at : at + count]

    def rest(self) -> bytes:
        """Read all that is left, perhaps nothing."""
        at, self._at = self._at, self._end
        return self.data[at : self._end]

    def restrict(self, count: int) -> Reader:
        """A reader of the next `count` octets, which this one skips. Use it in a `with`: it must be read to its end."""
        at = self._at
        end = self._at = at + count
        if not at <= end <= self._end:
            self._at = at
            raise self._short(count)
        return Reader(self.data, self.notify, at, end)

    def finish(self) -> None:
        """Demand that nothing is left."""
        if self._at != self._end:
            raise RemoteProtocolError(f"{self._end - self._at} octets left over", self.notify)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.finish()
