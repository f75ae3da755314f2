# SPDX-License-Identifier: GPL-2.0-or-later
"""The writer, fields that are declared once, and enums that keep unknown numbers."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.wire.fields import Fields
from xfrmd.wire.numbers import AssignedNumber
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer


class Head(NamedTuple):
    kind: int
    length: int
    tag: bytes


HEAD = Fields(Head, "BxH3s")


class Colour(AssignedNumber):
    RED = 1
    BLUE = 7


def test_numbers_are_written_in_network_order() -> None:
    writer = Writer()
    writer.u8(1)
    writer.u16(0x0203)
    writer.u32(0x04050607)
    writer.u64(0x08090A0B0C0D0E0F)
    writer.put(b"\x10")
    assert writer.octets() == bytes(range(1, 17))
    assert len(writer) == 16


def test_a_length_is_filled_in_later() -> None:
    writer = Writer()
    writer.put(b"ab")
    writer.u16(0)
    writer.put(b"cd")
    writer.patch_u16(2, 0x0102)
    assert writer.octets() == b"ab\x01\x02cd"


@pytest.mark.parametrize(("value", "size"), [(256, 1), (-1, 1), (1 << 16, 2), (1 << 32, 4), (1 << 64, 8)])
def test_a_number_that_does_not_fit_is_our_own_error(value: int, size: int) -> None:
    with pytest.raises(LocalProtocolError):
        Writer().uint(value, size)


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_length_that_does_not_fit_is_our_own_error(value: int) -> None:
    writer = Writer()
    writer.u32(0)
    with pytest.raises(LocalProtocolError):
        writer.patch_u16(0, value)


def test_fields_read_what_they_write() -> None:
    writer = Writer()
    HEAD.write(writer, Head(5, 0x0102, b"xyz"))
    assert writer.octets() == b"\x05\x00\x01\x02xyz"
    assert HEAD.read(Reader(writer.octets())) == Head(5, 0x0102, b"xyz")
    assert HEAD.size == 7


def test_reserved_octets_are_ignored_when_read() -> None:
    assert HEAD.read(Reader(b"\x05\xff\x01\x02xyz")) == Head(5, 0x0102, b"xyz")


def test_short_fields_are_the_peers_error_and_big_values_ours() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        HEAD.read(Reader(bytes(6), 7))
    assert caught.value.notify == 7
    with pytest.raises(LocalProtocolError):
        HEAD.write(Writer(), Head(256, 0, b"xyz"))


def test_an_unknown_number_is_a_member_that_is_not_kept() -> None:
    unknown = Colour(99)
    assert unknown == 99
    assert unknown.name == "Colour 99"
    assert isinstance(unknown, Colour)
    assert Colour(7) is Colour.BLUE
    assert (Colour(0), Colour(0).name) == (0, "Colour 0")
    assert list(Colour) == [Colour.RED, Colour.BLUE]
    assert 99 not in Colour.__members__.values()


@pytest.mark.parametrize("value", [-1, "red"])
def test_what_is_no_number_of_a_registry_is_no_member(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Colour"):
        Colour(value)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("value", [0, 65535])
def test_the_smallest_and_greatest_length_fit(value: int) -> None:
    writer = Writer()
    writer.u16(1)
    writer.patch_u16(0, value)
    assert writer.octets() == value.to_bytes(2)
