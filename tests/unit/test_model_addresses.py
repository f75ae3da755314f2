# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and prefixes as integers, against the standard library's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd.model.addresses import BITS, Address, Prefix, range_to_prefixes

FAMILIES = st.sampled_from([4, 6])


@st.composite
def addresses(draw: st.DrawFn, family: int) -> Address:
    return Address(family, draw(st.integers(0, (1 << BITS[family]) - 1)))


def library(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.packed)


@given(FAMILIES.flatmap(addresses))
def test_text_is_that_of_the_library_and_comes_back(address: Address) -> None:
    assert str(address) == str(library(address))
    assert Address.parse(str(address)) == address == Address.from_bytes(address.packed)
    assert str(Prefix.host(address)) == str(address)


@given(FAMILIES.flatmap(lambda f: st.tuples(addresses(f), addresses(f))))
def test_a_range_is_cut_as_the_library_cuts_it(ends: tuple[Address, Address]) -> None:
    first, last = sorted(ends)
    expected = ipaddress.summarize_address_range(library(first), library(last))
    assert [Prefix.parse(str(network)) for network in expected] == list(
        range_to_prefixes(first.family, first.value, last.value)
    )


@given(FAMILIES.flatmap(addresses))
def test_a_single_address_is_a_host_prefix(address: Address) -> None:
    assert range_to_prefixes(address.family, address.value, address.value) == (Prefix.host(address),)


@pytest.mark.parametrize("family", [4, 6])
def test_the_whole_range_is_any(family: int) -> None:
    assert range_to_prefixes(family, 0, (1 << BITS[family]) - 1) == (Prefix.any(family),)


@given(
    FAMILIES.flatmap(lambda f: st.tuples(addresses(f), st.integers(0, BITS[f]), addresses(f), st.integers(0, BITS[f])))
)
def test_containing_is_that_of_the_library(case: tuple[Address, int, Address, int]) -> None:
    networks = [
        ipaddress.ip_network((address.packed, length), strict=False) for address, length in (case[:2], case[2:])
    ]
    one, other = (Prefix.parse(str(network)) for network in networks)
    assert one.contains(other) == networks[1].subnet_of(networks[0])  # type: ignore[arg-type]
    assert one.overlaps(other) == networks[0].overlaps(networks[1])


@pytest.mark.parametrize("text", ["fe80::1%eth0", "10.0.0.256", "10.1", "", "10.0.0.1/33"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Address.parse(text)
    with pytest.raises(ValueError, match=r".+"):
        Prefix.parse(text)


def test_set_host_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Prefix.parse("10.0.0.1/8")
