# SPDX-License-Identifier: GPL-2.0-or-later
"""nft's listing read as a value, and every kind of difference told."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.nft_cases import nft_map
from xfrmd.adapters.nft_listing import differences, frame_differences, parse, recognised, spelled
from xfrmd.errors import KernelError
from xfrmd.model.nft import NftChain, NftMap, NftTable

# As nft 1.0.6 prints it with `--stateless --numeric-protocol --numeric-priority`.
LISTING = """table inet xfrmd {
\tcounter held {
\t}

\tcounter pass_out {
\t}

\tmap out4_32_16 {
\t\ttypeof ip saddr . ip daddr . meta l4proto . th dport : verdict
\t\tcounter
\t\telements = { 10.1.0.5 . 10.9.0.0 . 6 . 2976 counter : accept,
\t\t\t     10.1.0.5 . 10.9.0.0 . 6 . 1008 counter : drop }
\t}

\tmap out6 {
\t\ttypeof ip6 saddr : verdict
\t\tcounter
\t\telements = { fd00::5 counter : return }
\t}

\tmap empty {
\t\ttypeof ip saddr : verdict
\t}

\tchain classify_out {
\t\tip saddr . ip daddr & 255.255.0.0 . meta l4proto . th dport & 65520 vmap @out4_32_16
\t\tcounter name "pass_out" accept
\t}

\tchain hold_output {
\t\ttype route hook output priority 250; policy accept;
\t\tmeta mark 0x58465244 meta mark set 0x00000000 accept
\t\tip6 daddr ff00::/8 drop
\t\tip daddr { 10.1.255.255, 224.0.0.0/4 } drop
\t\tmeta ipsec missing drop
\t\tcounter name "held" queue to 22358
\t}
}
"""

WANTED = NftTable(
    maps=(
        nft_map(
            "out4_32_16",
            "ip saddr . ip daddr & 255.255.0.0 . meta l4proto . th dport & 65520",
            {"10.1.0.5 . 10.9.0.0 . 6 . 1008": "drop", "10.1.0.5 . 10.9.0.0 . 6 . 2976": "accept"},
        ),
        nft_map("out6", "ip6 saddr", {"fd00::5": "return"}),
        dataclasses.replace(nft_map("empty", "ip saddr", {}), counted=False),
    ),
    chains=(
        NftChain(
            "classify_out",
            "",
            (
                "ip saddr . ip daddr & 255.255.0.0 . meta l4proto . th dport & 65520 vmap @out4_32_16",
                "counter name pass_out accept",
            ),
        ),
        NftChain(
            "hold_output",
            "type route hook output priority 250; policy accept;",
            (
                "meta mark 0x58465244 meta mark set 0x0 accept",
                "ip6 daddr { ff00::/8 } drop",
                "ip daddr { 224.0.0.0/4, 10.1.255.255 } drop",
                "meta secpath missing drop",
                "counter name held queue num 22358",
            ),
        ),
    ),
    counters=("held", "pass_out"),
)


def test_a_listing_equals_what_was_wanted() -> None:
    observed = parse(LISTING)
    assert differences(WANTED, observed) == ()
    assert observed.maps[0].elements == WANTED.maps[0].elements
    assert observed.chains[1].hook == WANTED.chains[1].hook


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (
            "2976 counter : accept",
            "2976 counter : drop",
            "map out4_32_16: 10.1.0.5 . 10.9.0.0 . 6 . 2976 is drop, not accept",
        ),
        ("fd00::5 counter : return", "fd00::6 counter : return", "map out6: fd00::5 is nothing, not return"),
        (
            "ip6 saddr : verdict",
            "ip6 daddr : verdict",
            "map out6 has keys ip6 daddr : verdict, not ip6 saddr : verdict",
        ),
        ("ip6 saddr : verdict\n\t\tcounter", "ip6 saddr : verdict", "map out6 does not count"),
        ("ip saddr : verdict", "ip saddr : verdict\n\t\tcounter", "map empty counts"),
        ("ip saddr : verdict", "ip saddr : verdict\n\t\tflags interval", "map empty has keys"),
        ("\tmap empty", "\tmap fully", "map empty is missing"),
        ("\tmap empty", "\tset empty", "map empty is a set"),
        ("meta ipsec missing drop", "meta ipsec exists drop", "chain hold_output differs from rule 4 on"),
        ("& 65520 vmap", "& 65521 vmap", "chain classify_out differs from rule 1 on"),
        ("policy accept", "policy drop", "chain hold_output is"),
        ("priority 250", "priority 251", "chain hold_output is"),
        ("queue to 22358", "queue flags bypass to 22358", "chain hold_output differs from rule 5 on"),
        ("chain classify_out", "chain other", "chain classify_out is missing"),
        ("counter held", "counter other", "counter held is missing"),
        ("set 0x00000000", "set 0x00000001", "chain hold_output differs from rule 1 on"),
    ],
)
def test_every_difference_is_told(was: str, now: str, told: str) -> None:
    assert was in LISTING
    found = differences(WANTED, parse(LISTING.replace(was, now, 1)))
    assert any(one.startswith(told) for one in found), found


def test_a_rule_more_at_the_end_is_a_difference() -> None:
    chain = dataclasses.replace(WANTED.chains[0], rules=WANTED.chains[0].rules[:1])
    short = dataclasses.replace(WANTED, chains=(chain, WANTED.chains[1]))
    assert differences(short, parse(LISTING)) == (
        """chain classify_out differs from rule 2 on: ('counter name pass_out accept',), not ()""",
    )


def test_no_table_is_a_difference() -> None:
    assert differences(WANTED, None) == ("the table is missing",)


def test_many_differences_of_a_map_are_cut_short() -> None:
    many = nft_map("out6", "ip6 saddr", {f"fd00::{n:x}": "drop" for n in range(1, 1000)})
    wanted = dataclasses.replace(WANTED, maps=(WANTED.maps[0], many, WANTED.maps[2]))
    assert len(differences(wanted, parse(LISTING))) == 10


def test_a_cut_listing_is_refused() -> None:
    with pytest.raises(KernelError):
        parse(LISTING[: LISTING.index("counter name")])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("meta mark 0x10 accept", "meta mark 16 accept"),
        ("ip daddr { 10.0.0.1 } drop", "ip daddr 10.0.0.1 drop"),
        ('iifname "lo" accept', "iifname lo accept"),
    ],
)
def test_spellings_of_one_rule_are_one(one: str, other: str) -> None:
    assert spelled(one) == spelled(other)


def test_a_key_too_long_to_be_remembered_is_known_by_its_types() -> None:
    """nft keeps what a key is made of in a few octets of its own; five fields do not fit."""
    long = "ip saddr & 255.255.0.0 . ip daddr . meta l4proto . th sport . th dport & 65520"
    wanted = NftTable((nft_map("m", long, {"10.1.0.0 . 10.9.0.1 . 6 . 7 . 80": "drop"}),), ())
    declared = "type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service : verdict\n\t\tcounter"
    listing = "table inet xfrmd {\n\tmap m {\n\t\t%s\n\t}\n}\n"
    observed = recognised(wanted, parse(listing % declared))
    assert frame_differences(wanted, observed) == ()
    assert observed is not None
    assert observed.maps[0].fields == wanted.maps[0].fields
    other = parse(listing % declared.replace("inet_proto", "inet_service"))
    assert frame_differences(wanted, other) != ()


def test_a_size_is_room_and_no_difference_until_it_is_too_small() -> None:
    before = "\t\telements = { fd00::5"
    assert before in LISTING
    observed = parse(LISTING.replace(before, f"\t\tsize 3\n{before}"))
    assert [one.size for one in observed.maps] == [0, 3, 0]
    more = {f"fd00::{number}": "return" for number in range(1, 5)}
    grown = dataclasses.replace(WANTED, maps=(WANTED.maps[0], nft_map("out6", "ip6 saddr", more), WANTED.maps[2]))
    assert frame_differences(WANTED, observed) == ()
    assert frame_differences(grown, observed) == ("map out6 has room for 3 elements, not 4",)


@pytest.mark.parametrize(("elements", "room"), [(0, 192), (64, 192), (65, 384), (128, 384), (2500, 12288)])
def test_a_map_is_made_with_buckets_that_are_a_quarter_full(elements: int, room: int) -> None:
    made = nft_map("m", "ip saddr", {f"10.0.{number >> 8}.{number & 255}": "drop" for number in range(elements)})
    assert made.room == room
    assert elements <= room * 4 // 3 // 4


SETS = """table inet xfrmd {
\tset hosts_out4_s32_d24 {
\t\ttypeof ip saddr . ip daddr
\t\tsize 192
\t\telements = { 10.0.0.1 . 10.9.0.0,
\t\t\t     10.0.0.2 . 10.9.1.0 }
\t}

\tset dport_out_fff0 {
\t\ttypeof th dport
\t\tsize 192
\t\telements = { 16, 7008 }
\t}
}
"""


def test_sets_are_read_and_what_differs_in_them_is_told() -> None:
    hosts = as_set(nft_map("hosts_out4_s32_d24", "ip saddr . ip daddr & 255.255.255.0", {
        "10.0.0.1 . 10.9.0.0": "", "10.0.0.2 . 10.9.1.0": "",
    }))  # fmt: skip
    ports = as_set(nft_map("dport_out_fff0", "th dport & 65520", {"16": "", "7008": ""}))
    wanted = NftTable((hosts, ports), ())
    assert differences(wanted, parse(SETS)) == ()
    assert differences(wanted, parse(SETS.replace("16, ", ""))) == ("set dport_out_fff0: 16 is missing",)
    assert differences(wanted, parse(SETS.replace("16, ", "16, 32, "))) == ("set dport_out_fff0: 32 is not ours",)
    assert "set dport_out_fff0 is a map" in differences(wanted, parse(SETS.replace("set dport", "map dport")))


def as_set(one: NftMap) -> NftMap:
    return dataclasses.replace(one, counted=False, is_set=True)
