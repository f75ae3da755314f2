# SPDX-License-Identifier: GPL-2.0-or-later
"""The books of held packets: who is let go, who is put out, and what asks for an SA."""

from __future__ import annotations

import itertools

from xfrmd import limits
from xfrmd.adapters.held import HeldPacket, HeldPackets
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ANY_PORT, TCP, UDP, Ports, Selector

ME = Prefix.parse("10.0.0.1")
PEER = Prefix.parse("10.0.0.2")
OTHER = Prefix.parse("10.0.0.3")
ANY = Selector(ME, Prefix.any(4))
_ids = itertools.count(1)


def packet(dst: Prefix = PEER, port: int = 80, protocol: int = UDP) -> Selector:
    return Selector(ME, dst, protocol, Ports(4000, 4000), Ports(port, port))


def held(what: Selector, reqid: int = 1, deadline: float = 10.0) -> HeldPacket:
    return HeldPacket(next(_ids), reqid, what, True, deadline)


def test_the_first_of_a_kind_asks_for_an_sa_and_its_like_do_not() -> None:
    books = HeldPackets()
    assert books.add(held(packet())) == (True, None)
    assert books.add(held(packet())) == (False, None)
    assert books.add(held(packet(port=81))) == (True, None)
    assert books.add(held(packet(), reqid=2)) == (True, None)
    assert len(books) == 4


def test_a_selector_takes_what_it_contains_of_its_filter_oldest_first() -> None:
    books = HeldPackets()
    first, second = held(packet()), held(packet())
    other_filter, other_port, other_peer = held(packet(), reqid=2), held(packet(port=81)), held(packet(OTHER))
    for one in (first, other_filter, second, other_port, other_peer):
        books.add(one)
    narrow = Selector(ME, PEER, UDP, ANY_PORT, Ports(80, 80))
    assert books.take(1, narrow) == [first, second]
    assert books.take(1, narrow) == []
    assert books.kinds(1, narrow) == [packet(port=81)]
    assert set(books) == {other_filter, other_port, other_peer}
    assert books.take(1, ANY) == [other_port, other_peer]
    assert books.take(3, ANY) == []
    assert books.take(1, Selector(ME, OTHER, TCP)) == []


def test_one_pair_of_addresses_cannot_take_all_the_room() -> None:
    books = HeldPackets()
    for _ in range(limits.HELD_PER_FLOW):
        assert books.add(held(packet(), deadline=5))[1] is None
    last = held(packet())
    assert books.add(last) == (False, last)
    assert books.add(held(packet(OTHER))) == (True, None)
    assert len(books) == limits.HELD_PER_FLOW + 1


def test_when_all_is_full_the_oldest_goes() -> None:
    books = HeldPackets()
    oldest = held(packet())
    books.add(oldest)
    for number in range(limits.HELD_PACKETS - 1):
        assert books.add(held(packet(Prefix.host(Address(4, (11 << 24) + number))))) == (True, None)
    assert books.add(held(packet(OTHER))) == (True, oldest)
    assert len(books) == limits.HELD_PACKETS
    assert books.kinds(1, Selector(ME, PEER)) == []


def test_packets_expire_at_their_deadline() -> None:
    books = HeldPackets()
    early, late = held(packet(), deadline=3), held(packet(OTHER), deadline=4)
    books.add(late)
    books.add(early)
    assert books.next_deadline == 3
    assert books.expire(2.9) == []
    assert books.expire(3) == [early]
    assert books.expire(9) == [late]
    assert list(books) == []


def test_packets_of_another_family_do_not_mix() -> None:
    books = HeldPackets()
    six = held(Selector(Prefix.parse("fd00::1"), Prefix.parse("fd00::2"), UDP, Ports(1, 1), Ports(2, 2)))
    books.add(six)
    assert books.take(1, ANY) == []
    assert books.take(1, Selector(Prefix.parse("fd00::1"), Prefix.any(6))) == [six]
