# SPDX-License-Identifier: GPL-2.0-or-later
"""Security Association payload: proposals, transforms, attributes (RFC 7296 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple, Self

from xfrmd import limits
from xfrmd.ike.v2.constants import AttributeType, PayloadType
from xfrmd.model.proposals import Transform
from xfrmd.wire.fields import Fields
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

_FIXED_FORMAT: Final = 0x8000
_MORE_PROPOSALS: Final = 2
_MORE_TRANSFORMS: Final = 3


class ProposalHead(NamedTuple):
    """Fixed part of a proposal substructure (RFC 7296 3.3.1)."""

    more: int
    length: int
    number: int
    protocol: int
    spi_size: int
    transforms: int


class TransformHead(NamedTuple):
    """Fixed part of a transform substructure (RFC 7296 3.3.2)."""

    more: int
    length: int
    type: int
    id: int


PROPOSAL: Final[Fields[ProposalHead]] = Fields(ProposalHead, "BxHBBBB")
TRANSFORM: Final[Fields[TransformHead]] = Fields(TransformHead, "BxHBxH")


class Attribute(NamedTuple):
    """A transform attribute: an int is the short form of two octets, bytes the long one (RFC 7296 3.3.5)."""

    type: int
    value: int | bytes


class WireTransform(NamedTuple):
    """A transform as it stands in a message, with attributes we may not know."""

    type: int
    id: int
    attributes: tuple[Attribute, ...] = ()

    @classmethod
    @lru_cache(maxsize=limits.OFFERS)
    def of(cls, transform: Transform) -> WireTransform:
        """The transform as we send it."""
        if not transform.key_bits:
            return cls(transform.type, transform.id)
        return cls(transform.type, transform.id, (Attribute(AttributeType.KEY_LENGTH, transform.key_bits),))

    @property
    def understood(self) -> Transform | None:
        """The transform in our words; None if an attribute is unknown, so that it must not be chosen (3.3.6)."""
        if not self.attributes:
            return Transform(self.type, self.id)
        (kind, value), *more = self.attributes
        if more or kind != AttributeType.KEY_LENGTH or not isinstance(value, int) or value == 0:
            return None
        return Transform(self.type, self.id, value)


class WireProposal(NamedTuple):
    """A proposal as it stands in a message. `protocol`: see model ProtocolId; an unknown one is kept."""

    number: int
    protocol: int
    spi: bytes
    """Empty in an initial IKE SA, 8 octets in its rekey, 4 for ESP and AH."""
    transforms: tuple[WireTransform, ...]

    @classmethod
    def of(cls, number: int, protocol: int, spi: bytes, transforms: Iterable[Transform]) -> WireProposal:
        """A proposal of ours."""
        return cls(number, protocol, spi, tuple(map(WireTransform.of, transforms)))

    @property
    def understood(self) -> tuple[Transform, ...]:
        """Its transforms in our words, in the order sent, those with unknown attributes left out."""
        return tuple(found for transform in self.transforms if (found := transform.understood) is not None)


@dataclass(slots=True, unsafe_hash=True)
class SaPayload:
    """Proposals in order of preference; in a response the one that was chosen."""

    proposals: Final[tuple[WireProposal, ...]]
    type: ClassVar[int] = PayloadType.SA

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read 1..limits.PAYLOADS proposals."""
        if reader.remaining > limits.OFFER_SIZE:
            return cls(_read_proposals(reader))
        return cls(_known(reader.rest(), reader.notify))

    def encode(self, writer: Writer) -> None:
        """Write the body."""
        alike = not any(one.spi for one in self.proposals)
        writer.put((_known_octets if alike else _octets)(self.proposals))


@lru_cache(maxsize=limits.OFFERS)
def _known(octets: bytes, notify: int) -> tuple[WireProposal, ...]:
    """What hosts of one kind offer is the same for all of them, but for the SPIs of child SAs."""
    with Reader(octets, notify) as reader:
        return _read_proposals(reader)


def _read_proposals(reader: Reader) -> tuple[WireProposal, ...]:
    found: list[WireProposal] = []
    more = _MORE_PROPOSALS
    while more:
        if len(found) == limits.PAYLOADS:
            raise reader.refuse("too many proposals")
        more, proposal = _read_proposal(reader)
        found.append(proposal)
    return tuple(found)


def _read_proposal(reader: Reader) -> tuple[int, WireProposal]:
    more, length, number, protocol, spi_size, count = PROPOSAL.read(reader)
    if more not in (0, _MORE_PROPOSALS):
        raise reader.refuse(f"'last substructure' of a proposal is {more}")
    if count > limits.PAYLOADS:
        raise reader.refuse(f"{count} transforms in one proposal")
    with reader.restrict(length - PROPOSAL.size) as body:
        spi = body.take(spi_size)
        transforms = tuple([_read_transform(body, last=left == 0) for left in range(count - 1, -1, -1)])
    return more, WireProposal(number, protocol, spi, transforms)


def _read_transform(reader: Reader, *, last: bool) -> WireTransform:
    more, length, kind, number = TRANSFORM.read(reader)
    if more != (0 if last else _MORE_TRANSFORMS):
        raise reader.refuse(f"'last substructure' of a transform is {more}")
    if length == TRANSFORM.size:
        return WireTransform(kind, number)
    attributes: list[Attribute] = []
    with reader.restrict(length - TRANSFORM.size) as body:
        while body.remaining:
            if len(attributes) == limits.PAYLOADS:
                raise body.refuse("too many attributes in one transform")
            attributes.append(_read_attribute(body))
    return WireTransform(kind, number, tuple(attributes))


def _read_attribute(reader: Reader) -> Attribute:
    kind = reader.u16()
    if kind & _FIXED_FORMAT:
        return Attribute(kind & ~_FIXED_FORMAT, reader.u16())
    return Attribute(kind, reader.take(reader.u16()))


def _octets(proposals: tuple[WireProposal, ...]) -> bytes:
    writer = Writer()
    last = len(proposals) - 1
    for index, (number, protocol, spi, transforms) in enumerate(proposals):
        start = len(writer)
        more = _MORE_PROPOSALS if index < last else 0
        PROPOSAL.write(writer, ProposalHead(more, 0, number, protocol, len(spi), len(transforms)))
        writer.put(spi)
        _write_transforms(writer, transforms)
        writer.patch_u16(start + 2, len(writer) - start)
    return writer.octets()


_known_octets = lru_cache(maxsize=limits.OFFERS)(_octets)
"""Hosts of one kind are offered and answered the same, but for SPIs."""


def _write_transforms(writer: Writer, transforms: tuple[WireTransform, ...]) -> None:
    last = len(transforms) - 1
    for index, (kind, number, attributes) in enumerate(transforms):
        start = len(writer)
        TRANSFORM.write(writer, TransformHead(_MORE_TRANSFORMS if index < last else 0, TRANSFORM.size, kind, number))
        if not attributes:
            continue
        for attribute, value in attributes:
            if isinstance(value, int):
                writer.u16(attribute | _FIXED_FORMAT)
                writer.u16(value)
            else:
                writer.u16(attribute)
                writer.u16(len(value))
                writer.put(value)
        writer.patch_u16(start + 2, len(writer) - start)
