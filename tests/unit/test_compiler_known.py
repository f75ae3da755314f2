# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of known addresses and ports ahead of large maps: when there are any, and that no value is missing in them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bench import filters
from tests.unit.compiler_cases import facts, one, packet, policy, rule
from tests.unit.nft_cases import key, nft_map
from xfrmd.compiler import Compilation
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.compiler.known import Known, KnownKey, parts
from xfrmd.compiler.runs import WORTH, Worth
from xfrmd.model.nft import NftMap, NftTable

SMALL = Worth(elements=1, maps=2, price=1, runs=4)


def compiled(count: int, family: int, worth: Worth, classes: int = 40) -> Compilation:
    policies, host, made = filters.generics(list(filters.classed(count, classes, family)))
    return Compilation(policies, host, generics=made, worth=worth)


def sets(table: NftTable) -> dict[str, NftMap]:
    return {one.name: one for one in table.maps if one.is_set}


def chains(table: NftTable, side: str) -> list[str]:
    return [chain.name for chain in table.chains if chain.name.startswith(f"classify_{side}")]


@pytest.mark.parametrize("family", [4, 6])
def test_a_large_policy_asks_for_known_hosts_and_ports_first(family: int) -> None:
    table = compiled(2_400, family, WORTH._replace(elements=600)).plan.nft
    assert [one for one in sets(table) if one.startswith("hosts_out")] == [
        f"hosts_out{family}_s{bits}_d{bits - free}" for bits in [32 if family == 4 else 128] for free in range(4)
    ]
    assert {"dport_out_ffff", "sport_in_ffff"} <= sets(table).keys()
    assert chains(table, "out") == ["classify_out", *(f"classify_out_{number}" for number in (1, 2, 3, 4))]


@pytest.mark.parametrize("worth", [WORTH, SMALL._replace(elements=2_400)], ids=["by default", "few elements"])
def test_a_small_policy_has_maps_alone(worth: Worth) -> None:
    table = compiled(1_200, 4, worth).plan.nft
    assert sets(table) == {}
    assert chains(table, "out") == ["classify_out"]


@pytest.mark.parametrize("worth", [SMALL._replace(maps=11), SMALL._replace(price=200)], ids=["few maps", "many hosts"])
def test_where_a_set_of_hosts_gains_too_little_ports_are_asked_for_all_the_same(worth: Worth) -> None:
    table = compiled(1_200, 4, worth).plan.nft
    assert {name.partition("_")[0] for name in sets(table)} == {"sport", "dport"}
    assert chains(table, "out") == ["classify_out"]
    assert_all_known(table)


def test_the_largest_runs_get_sets_where_not_all_can() -> None:
    table = compiled(1_200, 4, SMALL._replace(runs=2)).plan.nft
    assert len(chains(table, "out")) == 3
    assert sum(one.startswith("hosts_out") for one in sets(table)) == 2


def test_ports_that_nearly_all_packets_have_are_not_asked_for() -> None:
    widths = {name.rpartition("_")[2] for name in sets(compiled(12_000, 4, WORTH).plan.nft) if "port_out" in name}
    assert "ffff" in widths
    assert "ff80" not in widths, "blocks of 128 cover all ports"


def assert_all_known(table: NftTable) -> None:
    """Each value that an element has in a field with a set is in that set, and no other is."""
    there = sets(table)
    wanted: dict[str, set[bytes]] = {name: set() for name in there}
    for made in table.maps:
        side = "in" if made.name.startswith("in") else "out"
        for part in parts(made.fields) if made.name.startswith(("in", "out")) else ():
            name = KnownKey(side == "in", part.fields).name
            if name in wanted:
                wanted[name].update(packed[part.place] for packed in made.elements)
    assert {name: set(made.elements) for name, made in there.items()} == wanted
    assert there


@pytest.mark.parametrize("family", [4, 6])
def test_values_come_and_go_with_their_elements(family: int) -> None:
    made, dice = compiled(400, family, SMALL), random.Random(family)
    out = list[int]()
    generics = dict(made.generics)
    for _ in range(30):
        gone = dice.sample(sorted(made.generics), min(12, len(made.generics) - 300))
        back = [number for number in out if dice.random() < 0.4]
        made.change([made.generics[number] for number in gone], [generics[number] for number in back])
        out = [number for number in (*out, *gone) if number not in back]
        assert_all_known(made.plan.nft)


def test_a_value_goes_with_the_last_element_that_has_it() -> None:
    near = nft_map("m", "ip saddr . ip daddr . meta l4proto", {})
    hosts, known = KnownKey(False, near.fields[:2]), Known()
    first, second = (key("ip saddr . ip daddr . meta l4proto", f"10.0.0.1 . 10.0.0.2 . {number}") for number in (6, 17))
    assert known.count(hosts, [replace(near, elements={first: "drop"})]) == 1
    made = known.set_of(hosts)
    told = []
    for packed, step in ((second, 1), (first, -1), (second, -1), (second, 1)):
        known.begin()
        known.change(False, near, (packed,), step)
        told.append((len(made.elements), *((len(gone), len(new)) for gone, new in known.end().values())))
    assert told == [(1,), (1,), (0, (1, 0)), (1, (0, 1))]


def test_an_element_that_moves_is_no_change_of_its_hosts() -> None:
    made = compiled(400, 4, SMALL)
    number = next(iter(made.generics))
    moved = made.generics[number]
    made.change([moved], [moved._replace(number=10**9)])
    before = {name: dict(one.elements) for name, one in sets(made.plan.nft).items()}
    delta = made.change([made.generics[10**9]], [moved])
    assert delta is not None
    assert not delta.structure
    assert {name: dict(one.elements) for name, one in sets(made.plan.nft).items()} == before
    assert not [name for name in delta.elements if name.startswith(("hosts", "sport", "dport"))]


BLOCKING = policy(
    rule("block", one("me", "10.9.0.1", "udp", dport=7000), one("me", "10.9.0.2", "udp", sport=7)),
    rule("negotiate", one("me", "10.9.0.1", "tcp"), one("me", "10.9.0.0/24"), line=2),
    rule("block", one("me", "10.0.0.0/8"), line=3),
)


def test_a_missing_host_or_port_would_be_a_leak_and_shows() -> None:
    """What the sets must never lack: the interpreter, which proofs rest on, lets through what a set lacks."""
    table = Compilation(BLOCKING, facts("10.1.0.5/16"), worth=SMALL).plan.nft
    asked = packet("out", "10.1.0.5", "10.9.0.1", "udp", 5, 7000)
    assert Interpreter(table).run("postrouting", Seen(asked, (), protected=True)) == "drop"
    for lost in ("hosts_out4_s32_d32", "dport_out_ffff"):
        damaged = replace(
            table, maps=tuple(replace(one, elements={}) if one.name == lost else one for one in table.maps)
        )
        assert Interpreter(damaged).run("postrouting", Seen(asked, (), protected=True)) == "accept", lost
