# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic selectors: intersections, narrowing, and the way to selectors of the kernel's kind and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector, from_selectors, narrow, to_selectors
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, UDP, Ports, Selector

A, B = Prefix.parse("10.1.0.0/16"), Prefix.parse("10.2.0.5")
SIX = Prefix.parse("fd00::/64")


def ts(first: str, last: str, protocol: int = 0, ports: Ports = ANY_PORT) -> TrafficSelector:
    low, high = Address.parse(first), Address.parse(last)
    return TrafficSelector(low.family, low.value, high.value, protocol, ports)


NET = ts("10.1.0.0", "10.1.255.255")


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (NET, NET, NET),
        (NET, ts("10.1.2.0", "10.3.0.0"), ts("10.1.2.0", "10.1.255.255")),
        (NET, ts("10.2.0.0", "10.3.0.0"), None),
        (NET, ts("::", "ffff::"), None),
        (NET, ts("10.1.2.3", "10.1.2.3", TCP, Ports(80, 80)), ts("10.1.2.3", "10.1.2.3", TCP, Ports(80, 80))),
        (NET._replace(protocol=UDP), NET._replace(protocol=TCP), None),
        (NET._replace(ports=Ports(1, 10)), NET._replace(ports=Ports(5, 20)), NET._replace(ports=Ports(5, 10))),
        (NET._replace(ports=Ports(1, 4)), NET._replace(ports=Ports(5, 20)), None),
        (NET._replace(ports=OPAQUE), NET, NET._replace(ports=OPAQUE)),
        (NET._replace(ports=OPAQUE), NET._replace(ports=OPAQUE), NET._replace(ports=OPAQUE)),
        (NET._replace(ports=OPAQUE), NET._replace(ports=Ports(0, 65534)), None),
    ],
)
def test_what_two_selectors_share(one: TrafficSelector, other: TrafficSelector, common: TrafficSelector | None) -> None:
    assert one.intersection(other) == common
    assert other.intersection(one) == common
    assert one.contains(other) == (common == other)


def test_covers() -> None:
    assert NET.covers(Address.parse("10.1.0.0"))
    assert NET.covers(Address.parse("10.1.255.255"))
    assert not NET.covers(Address.parse("10.2.0.0"))
    assert not NET.covers(Address.parse("::a01:0"))


def test_narrowing_keeps_the_order_of_the_offer_and_repeats_nothing() -> None:
    offered = [ts("10.1.9.9", "10.1.9.9"), NET, ts("192.0.2.0", "192.0.2.255")]
    allowed = [ts("10.1.0.0", "10.1.127.255"), ts("10.1.9.0", "10.1.9.255")]
    assert narrow(offered, allowed) == (offered[0], allowed[0], allowed[1])
    assert narrow(offered[2:], allowed) == ()


def test_text_names_ends_protocol_and_ports() -> None:
    assert str(ts("10.0.0.1", "10.0.0.9", 6, Ports(80, 80))) == "10.0.0.1-10.0.0.9[6/80]"
    assert str(NET._replace(ports=OPAQUE)) == "10.1.0.0-10.1.255.255[0/opaque]"


PLAIN = [
    Selector(A, B),
    Selector(A, B, TCP, ANY_PORT, Ports(445, 445)),
    Selector(SIX, SIX, UDP, Ports(1, 9), Ports(0, 65535)),
    Selector(A, B, ICMP),
    Selector(A, B, ICMP, Ports(8, 8), Ports(0, 0)),
    Selector(A, B, ICMP, Ports(3, 5)),
    Selector(SIX, SIX, ICMPV6, Ports(255, 255)),
    Selector(SIX, SIX, ICMPV6, Ports(1, 1), Ports(2, 4)),
]


# rfc 7296: selector-form
@pytest.mark.parametrize("selector", PLAIN, ids=str)
def test_a_selector_goes_over_the_wire_and_back(selector: Selector) -> None:
    src, dst = from_selectors([selector])
    assert (len(src), len(dst)) == (1, 1)
    assert to_selectors(src, dst) == (selector,)


# rfc 7296: selector-form
def test_icmp_types_and_codes_are_one_number_at_both_ends() -> None:
    src, dst = from_selectors([Selector(A, B, ICMP, Ports(8, 8), Ports(0, 0))])
    assert src[0].ports == dst[0].ports == Ports(0x0800, 0x0800)
    src, dst = from_selectors([Selector(A, B, ICMP, Ports(3, 3))])
    assert src[0].ports == dst[0].ports == Ports(0x0300, 0x03FF)


def test_icmp_named_at_one_end_only_is_enough() -> None:
    any_icmp = TrafficSelector.of(B, ICMP)
    echo = TrafficSelector.of(A, ICMP, Ports(0x0800, 0x0800))
    assert to_selectors([echo], [any_icmp]) == (Selector(A, B, ICMP, Ports(8, 8), Ports(0, 0)),)
    assert to_selectors([echo], [any_icmp._replace(ports=Ports(0, 0))]) == ()


def test_an_icmp_range_over_types_is_cut_into_rectangles() -> None:
    both = Ports(0x0305, 0x0607)
    found = to_selectors([TrafficSelector.of(A, ICMP, both)], [TrafficSelector.of(B, ICMP, both)])
    assert [(s.sport, s.dport) for s in found] == [
        (Ports(3, 3), Ports(5, 255)),
        (Ports(4, 5), ANY_PORT),
        (Ports(6, 6), Ports(0, 7)),
    ]


def test_icmp_codes_of_several_types_are_several_selectors() -> None:
    src, dst = from_selectors([Selector(A, B, ICMP, Ports(3, 5), Ports(1, 2))])
    assert [t.ports for t in src] == [t.ports for t in dst] == [Ports(t << 8 | 1, t << 8 | 2) for t in (3, 4, 5)]
    assert {(s.sport, s.dport) for s in to_selectors(src, dst)} == {(Ports(t, t), Ports(1, 2)) for t in (3, 4, 5)}


def test_a_range_becomes_prefixes() -> None:
    found = to_selectors([ts("10.0.0.1", "10.0.0.4")], [TrafficSelector.of(B)])
    assert [str(s.src) for s in found] == ["10.0.0.1", "10.0.0.2/31", "10.0.0.4"]


def test_pairs_that_cannot_meet_give_no_selector() -> None:
    assert to_selectors([TrafficSelector.of(SIX)], [NET]) == ()
    assert to_selectors([NET._replace(protocol=TCP)], [NET._replace(protocol=UDP)]) == ()
    assert to_selectors([NET._replace(ports=OPAQUE)], [NET]) == ()


def test_ranges_that_fall_into_too_many_pieces_are_refused() -> None:
    odd = TrafficSelector(6, 1, (1 << 128) - 2)
    with pytest.raises(RemoteProtocolError) as caught:
        to_selectors([odd], [odd])
    assert caught.value.notify == NotifyType.TS_UNACCEPTABLE
    assert len(to_selectors([odd], [TrafficSelector.of(SIX)])) == 254
    single = [TrafficSelector.of(Prefix(4, value, 32)) for value in range(257)]
    assert len(to_selectors(single[:256], [TrafficSelector.of(B)])) == 256
    with pytest.raises(RemoteProtocolError):
        to_selectors(single, [TrafficSelector.of(B)])


def test_pieces_are_counted_however_often_they_come() -> None:
    """A message of 2 KB could ask for some 800,000 of 196 selectors."""
    odd = ts("10.0.0.1", "10.0.0.254")
    assert len(to_selectors([odd] * 64, [odd] * 64)) == 196
    overlapping = [odd, odd._replace(last=odd.last - 1)]
    with pytest.raises(RemoteProtocolError):
        to_selectors(overlapping, overlapping)


def test_a_protocol_named_at_one_end_counts_for_both() -> None:
    assert to_selectors([NET._replace(protocol=TCP)], [TrafficSelector.of(B)]) == (Selector(A, B, TCP),)


def test_equal_ends_are_sent_once() -> None:
    two = [Selector(A, B, TCP, ANY_PORT, Ports(80, 80)), Selector(A, B, TCP, ANY_PORT, Ports(443, 443))]
    src, dst = from_selectors(two)
    assert (len(src), len(dst)) == (1, 2)
    assert to_selectors(src, dst) == tuple(two)


small = st.integers(0, 40)
ports = st.builds(lambda a, b: Ports(min(a, b), max(a, b)), small, small) | st.just(ANY_PORT)
selectors = st.builds(
    lambda a, b, protocol, p: TrafficSelector(4, min(a, b), max(a, b), protocol, p),
    small,
    small,
    st.sampled_from([0, TCP, UDP]),
    ports,
)


@given(selectors, selectors)
def test_an_address_and_port_is_in_both_or_not_in_the_intersection(
    one: TrafficSelector, other: TrafficSelector
) -> None:
    common = one.intersection(other)
    for value in range(0, 41, 5):
        for port in (0, 20, 40):
            packet = TrafficSelector(4, value, value, TCP, Ports(port, port))
            in_both = one.contains(packet) and other.contains(packet)
            assert in_both == (common is not None and common.contains(packet))


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_icmp_rectangles_hold_each_type_and_code_once(one: int, other: int) -> None:
    wanted = Ports(min(one, other), max(one, other))
    end = TrafficSelector.of(A, ICMP, wanted)
    found = to_selectors([end], [end])
    assert sum(min(s.sport.width, 256) * min(s.dport.width, 256) for s in found) == wanted.width
    assert all(wanted.first <= s.sport.first << 8 | s.dport.first for s in found)
