# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader: every number, every bound, and that nothing is read twice or left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xfrmd.errors import RemoteProtocolError
from xfrmd.wire.reader import Reader

NOTIFY = 7
DATA = bytes(range(1, 17))


def test_numbers_are_read_in_network_order_and_in_turn() -> None:
    reader = Reader(DATA)
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (1, 0x0203, 0x04050607, 0x08090A0B0C0D0E0F)
    assert (reader.position, reader.remaining) == (15, 1)
    assert reader.take(1) == b"\x10"
    reader.finish()
    assert reader.rest() == b""


@pytest.mark.parametrize(
    "read",
    [
        lambda r: r.u8(),
        lambda r: r.u16(),
        lambda r: r.u32(),
        lambda r: r.u64(),
        lambda r: r.take(1),
        lambda r: r.restrict(1),
        lambda r: r.advance(1),
        lambda r: r.take(-1),
        lambda r: r.restrict(-1),
    ],
)
def test_what_is_short_is_refused_with_the_notify_and_moves_nothing(read: Callable[[Reader], object]) -> None:
    reader = Reader(DATA, NOTIFY, start=16)
    with pytest.raises(RemoteProtocolError) as caught:
        read(reader)
    assert caught.value.notify == NOTIFY
    assert reader.position == 16


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_number_does_not_reach_beyond_the_end_of_a_restricted_part(size: int) -> None:
    reader = Reader(DATA, NOTIFY)
    part = reader.restrict(size)
    with pytest.raises(RemoteProtocolError):
        part.u64()
    assert part.take(size) == DATA[:size]
    assert reader.rest() == DATA[size:]


def test_a_restricted_part_must_be_read_to_its_end() -> None:
    reader = Reader(DATA, NOTIFY)
    with pytest.raises(RemoteProtocolError, match="2 octets left over") as caught, reader.restrict(3) as part:
        part.u8()
    assert caught.value.notify == NOTIFY
    with reader.restrict(2) as part:
        assert part.u16() == 0x0405
    assert reader.remaining == 11


def test_an_error_inside_a_restricted_part_is_not_covered_by_its_left_over() -> None:
    with pytest.raises(ZeroDivisionError), Reader(DATA).restrict(3):
        raise ZeroDivisionError


def test_parts_nest_and_never_reach_beyond_each_other() -> None:
    outer = Reader(DATA, NOTIFY).restrict(8)
    inner = outer.restrict(4)
    with pytest.raises(RemoteProtocolError):
        inner.restrict(5)
    with pytest.raises(RemoteProtocolError):
        outer.restrict(5)
    assert (inner.rest(), outer.rest()) == (DATA[:4], DATA[4:8])


def test_refuse_makes_an_error_with_the_notify() -> None:
    error = Reader(b"", NOTIFY).refuse("wrong")
    assert (str(error), error.notify) == ("wrong", NOTIFY)


def test_without_a_notify_there_is_none() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Reader(b"").u8()
    assert caught.value.notify == 0
