# SPDX-License-Identifier: GPL-2.0-or-later
"""What `nft list table` prints (stateless, numbers for protocols and priorities) as a value, to compare with ours.

nft spells some things differently from how they were given. `spelled` brings both sides to one spelling; it never
changes the meaning, so two rules that differ in it differ in the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from xfrmd.errors import KernelError
from xfrmd.model.nft import ElementKey, KeyField, NftChain, NftMap, NftTable, pack_key

_SPELLINGS: Final = (
    (re.compile(r'"([^"]*)"'), r"\1"),
    (re.compile(r"\bmeta secpath\b"), "meta ipsec"),
    (re.compile(r"\bqueue num\b"), "queue to"),
    (re.compile(r"\b0x([0-9a-f]+)\b"), lambda found: str(int(found[1], 16))),
)
_MEMBERS: Final = re.compile(r"\{ ([^{}]*) \}")
_ELEMENT: Final = re.compile(r"\s*([^{},]*\S) : (\w+)\s*(?:,|$)")
_BLOCK: Final = re.compile(r"\t(\w+) (\S+) \{")
_COUNTER: Final = re.compile(r"\tcounter (\S+) \{[^}]*?packets (\d+) bytes (\d+)", re.DOTALL)
_DIFFERENCES_SHOWN: Final = 10


class Counted(NamedTuple):
    """A counter of ours."""

    packets: int
    octets: int


def _sorted_members(found: re.Match[str]) -> str:
    members = sorted(found[1].split(", "))
    return members[0] if len(members) == 1 else f"{{ {', '.join(members)} }}"


def spelled(rule: str) -> str:
    """A rule in the one spelling that this module compares."""
    for pattern, instead in _SPELLINGS:
        rule = pattern.sub(instead, rule)
    return _MEMBERS.sub(_sorted_members, rule)


def parse(listing: str) -> NftTable:
    """Read the listing of one table. Blocks of kinds that we never make come out as chains, and so as differences."""
    maps: list[NftMap] = []
    chains: list[NftChain] = []
    counters: list[str] = []
    for kind, name, lines in _blocks(listing):
        if kind == "counter":
            counters.append(name)
        elif kind == "map":
            maps.append(_map(name, lines))
        else:
            chains.append(_chain(name if kind == "chain" else f"{kind} {name}", lines))
    return NftTable(tuple(maps), tuple(chains), tuple(counters))


def _blocks(listing: str) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, name and stripped lines of each block of the table."""
    head: re.Match[str] | None = None
    lines: list[str] = []
    for line in listing.splitlines():
        if head is None:
            head, lines = _BLOCK.fullmatch(line), []
        elif line == "\t}":
            yield head[1], head[2], lines
            head = None
        else:
            lines.append(line.strip())
    if head is not None:
        raise KernelError(f"nft: the listing ends inside {head[1]} {head[2]}")


def _chain(name: str, lines: list[str]) -> NftChain:
    hook = lines[0] if lines and lines[0].startswith("type ") else ""
    return NftChain(name, hook, tuple(lines[1:] if hook else lines))


def _map(name: str, lines: list[str]) -> NftMap:
    """A map whose keys are of fields that we never use has none: it is another one than ours all the same."""
    typeof = next((line.removeprefix("typeof ") for line in lines if line.startswith("typeof ")), "")
    text = " ".join(lines)
    _, _, elements = text.partition("elements = {")
    found: dict[ElementKey, str] = {}
    try:
        fields = tuple(KeyField.whole(words) for words in typeof.removesuffix(" : verdict").split(" . "))
        for element in _ELEMENT.finditer(elements.rpartition("}")[0]):
            values = [field.value(part) for field, part in zip(fields, element[1].split(" . "), strict=True)]
            found[pack_key(fields, values)] = element[2]
    except (KeyError, ValueError, OverflowError):
        return NftMap(name, (), {})
    return NftMap(name, fields, found)


def counters(listing: str) -> dict[str, Counted]:
    """Named counters in a listing that was made with state."""
    return {name: Counted(int(packets), int(octets)) for name, packets, octets in _COUNTER.findall(listing)}


def differences(wanted: NftTable, observed: NftTable | None) -> tuple[str, ...]:
    """Where the kernel's table is not what it should be, in words; () when it is. At most a few per kind are named."""
    if observed is None:
        return ("the table is missing",)
    return (
        *_map_differences(wanted, observed),
        *_chain_differences(wanted, observed),
        *_counter_names(wanted, observed),
    )


def _named(what: str, wanted: set[str], observed: set[str]) -> Iterator[str]:
    yield from (f"{what} {name} is missing" for name in sorted(wanted - observed))
    yield from (f"{what} {name} is not ours" for name in sorted(observed - wanted))


def _counter_names(wanted: NftTable, observed: NftTable) -> Iterator[str]:
    yield from _named("counter", set(wanted.counters), set(observed.counters))


def _map_differences(wanted: NftTable, observed: NftTable) -> Iterator[str]:
    there = {one.name: one for one in observed.maps}
    yield from _named("map", {one.name for one in wanted.maps}, set(there))
    for one in wanted.maps:
        other = there.get(one.name)
        if other is None or (one.typeof == other.typeof and one.elements == other.elements):
            continue
        if one.typeof != other.typeof:
            yield f"map {one.name} has keys {other.typeof}, not {one.typeof}"
        changed = one.elements.items() ^ other.elements.items()
        for key, _ in islice(sorted(changed), _DIFFERENCES_SHOWN):
            has, should = other.elements.get(key, "nothing"), one.elements.get(key, "nothing")
            yield f"map {one.name}: {one.key_text(key)} is {has}, not {should}"


def _chain_differences(wanted: NftTable, observed: NftTable) -> Iterator[str]:
    there = {one.name: one for one in observed.chains}
    yield from _named("chain", {one.name for one in wanted.chains}, set(there))
    for one in wanted.chains:
        other = there.get(one.name)
        if other is None:
            continue
        if one.hook != other.hook:
            yield f"chain {one.name} is {other.hook!r}, not {one.hook!r}"
        should, has = tuple(map(spelled, one.rules)), tuple(map(spelled, other.rules))
        if should != has:
            at = next(
                (n for n, (a, b) in enumerate(zip(should, has, strict=False)) if a != b), min(len(should), len(has))
            )
            yield f"chain {one.name} differs from rule {at + 1} on: {has[at : at + 1]}, not {should[at : at + 1]}"
