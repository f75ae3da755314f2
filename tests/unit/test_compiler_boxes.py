# SPDX-License-Identifier: GPL-2.0-or-later
"""Where boxes are cut: the properties of the whole comparison are in tests/properties."""

from __future__ import annotations

from xfrmd.compiler.boxes import ALL_PROTOCOLS, DPORT, DST, Box, Cut, halving, whole

ALL = whole(4)


def to(first: int, last: int, ports: tuple[int, int] = (0, 65535)) -> Box:
    return Box(0, ALL.src_last, first, last, 0, 65535, *ports, ALL_PROTOCOLS)


def test_many_hosts_are_cut_in_their_middle() -> None:
    assert halving(ALL, [to(host, host) for host in range(100, 110)]) == Cut(DST, 105)


def test_the_dimension_that_goes_through_fewest_is_cut() -> None:
    # Each edge of an address goes through what has all addresses.
    inner = [to(10 * port, 10 * port + 5, (port, port)) for port in range(8)]
    inner += [to(0, ALL.dst_last, (port, port)) for port in range(8, 16)]
    assert halving(ALL, inner) == Cut(DPORT, 8)


def test_what_every_cut_goes_through_is_not_halved() -> None:
    assert halving(ALL, [to(0, ALL.dst_last)] * 8) is None
    nested = [to(1000 - reach, 1000 + reach) for reach in range(8)]
    assert halving(ALL, nested) is None
