# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic Selector payloads (RFC 7296 3.13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import PayloadType, TsType
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector
from xfrmd.model.addresses import BITS
from xfrmd.model.selector import Ports
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class TsHead(NamedTuple):
    """Fixed part of the payload."""

    selectors: int


class SelectorHead(NamedTuple):
    """Fixed part of one traffic selector, of whatever type."""

    type: int
    protocol: int
    length: int


TS: Final[Fields[TsHead]] = Fields(TsHead, "Bxxx")
SELECTOR: Final[Fields[SelectorHead]] = Fields(SelectorHead, "BBH")

_FAMILIES: Final[dict[int, int]] = {TsType.IPV4_ADDR_RANGE: 4, TsType.IPV6_ADDR_RANGE: 6}
_TYPES: Final = {family: kind for kind, family in _FAMILIES.items()}


class UnknownSelector(NamedTuple):
    """A traffic selector of a type we do not know; narrowing leaves it out (RFC 7296 2.9)."""

    type: int
    protocol: int
    body: bytes


@dataclass(frozen=True, slots=True)
class TsPayload:
    """Traffic at one end of the SA. On the wire it is a TsiPayload or a TsrPayload."""

    selectors: tuple[TrafficSelector | UnknownSelector, ...]

    @property
    def ranges(self) -> tuple[TrafficSelector, ...]:
        """The selectors that we understand."""
        return tuple(selector for selector in self.selectors if isinstance(selector, TrafficSelector))

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read 1..limits.PAYLOADS traffic selectors."""
        count = TS.read(reader).selectors
        if not 0 < count <= limits.PAYLOADS:
            raise reader.refuse(f"{count} traffic selectors")
        return cls(tuple([_read_selector(reader) for _ in range(count)]))

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        TS.write(writer, TsHead(len(self.selectors)))
        for selector in self.selectors:
            if isinstance(selector, TrafficSelector):
                _write_range(writer, selector)
            else:
                SELECTOR.write(writer, SelectorHead(selector.type, selector.protocol, 4 + len(selector.body)))
                writer.put(selector.body)


@dataclass(frozen=True, slots=True)
class TsiPayload(TsPayload):
    """Traffic Selectors of the initiator of the exchange."""

    type: ClassVar[int] = PayloadType.TSi


@dataclass(frozen=True, slots=True)
class TsrPayload(TsPayload):
    """Traffic Selectors of the responder of the exchange."""

    type: ClassVar[int] = PayloadType.TSr


def _read_selector(reader: Reader) -> TrafficSelector | UnknownSelector:
    kind, protocol, length = SELECTOR.read(reader)
    family = _FAMILIES.get(kind)
    with reader.restrict(length - SELECTOR.size) as body:
        if family is None:
            return UnknownSelector(kind, protocol, body.rest())
        ports = Ports(body.u16(), body.u16())
        size = BITS[family] // 8
        first, last = int.from_bytes(body.take(size)), int.from_bytes(body.take(size))
    if first > last:
        raise reader.refuse("a traffic selector ends before it begins")
    if ports.first > ports.last and ports != OPAQUE:
        raise reader.refuse(f"a traffic selector for ports {ports.first} to {ports.last}")
    return TrafficSelector(family, first, last, protocol, ports)


def _write_range(writer: Writer, selector: TrafficSelector) -> None:
    size = BITS[selector.family] // 8
    SELECTOR.write(writer, SelectorHead(_TYPES[selector.family], selector.protocol, 8 + 2 * size))
    writer.u16(selector.ports.first)
    writer.u16(selector.ports.last)
    writer.uint(selector.first, size)
    writer.uint(selector.last, size)
