# SPDX-License-Identifier: GPL-2.0-or-later
"""What `nft list table` prints (stateless, numbers for protocols and priorities) as a value, to compare with ours.

nft spells some things differently from how they were given. `spelled` brings both sides to one spelling; it never
changes the meaning, so two rules that differ in it differ in the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from xfrmd.errors import KernelError
from xfrmd.model.nft import ElementKey, KeyField, NftChain, NftMap, NftTable, pack_key

_SPELLINGS: Final = (
    (re.compile(r'"([^"]*)"'), r"\1"),
    (re.compile(r"\bmeta secpath\b"), "meta ipsec"),
    (re.compile(r"\bqueue num\b"), "queue to"),
    (re.compile(r"\b0x([0-9a-f]+)\b"), lambda found: str(int(found[1], 16))),
)
_MEMBERS: Final = re.compile(r"\{ ([^{}]*) \}")
_ELEMENT: Final = re.compile(r"\s*([^{},]*?\S)(?: counter)? : (\w+)\s*(?:,|$)")
_MEMBER: Final = re.compile(r"\s*([^{},]*?\S)\s*(?:,|$)")
_SIZE: Final = re.compile(r"size \d+")
_BLOCK: Final = re.compile(r"\t(\w+) (\S+) \{")
_SAME_TYPES: Final = {
    "ip daddr": "ip saddr",
    "ip6 daddr": "ip6 saddr",
    "th dport": "th sport",
}
"""Fields whose values are of one type for nft, as one of them."""
_OF_TYPE: Final = {
    "nf_proto": "meta nfproto",
    "inet_proto": "meta l4proto",
    "inet_service": "th sport",
    "ipv4_addr": "ip saddr",
    "ipv6_addr": "ip6 saddr",
}
_DIFFERENCES_SHOWN: Final = 10


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
        elif kind in ("map", "set"):
            maps.append(_map(name, lines, is_set=kind == "set"))
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


def _map(name: str, lines: list[str], *, is_set: bool) -> NftMap:
    """A map whose keys are of fields that we never use has none: it is another one than ours all the same."""
    declared, _, elements = "\n".join(lines).partition("elements = {")
    found: dict[ElementKey, str] = {}
    counted = "counter" in declared.split("\n")
    size = next((int(line[5:]) for line in declared.split("\n") if _SIZE.fullmatch(line)), 0)
    try:
        fields = tuple(_fields(declared.split("\n")))
        for element in (_MEMBER if is_set else _ELEMENT).finditer(elements.rpartition("}")[0]):
            values = [field.value(part) for field, part in zip(fields, element[1].split(" . "), strict=True)]
            found[pack_key(fields, values)] = "" if is_set else element[2]
    except (KeyError, ValueError, OverflowError):
        return NftMap(name, (), {}, counted=counted, is_set=is_set)
    return NftMap(name, fields, found, counted=counted, size=size, is_set=is_set)


def _fields(declared: list[str]) -> Iterator[KeyField]:
    """A key's fields. The kernel keeps what they are (`typeof`) when that is short, and else only their types."""
    for line in declared:
        kind, _, words = line.partition(" ")
        if kind in ("type", "typeof"):
            for one in words.removesuffix(" : verdict").split(" . "):
                yield KeyField.whole(one if kind == "typeof" else _OF_TYPE[one])
        elif kind not in ("counter", "size", ""):
            raise ValueError(f"not as we make maps: {line}")


def _same_keys(one: NftMap, other: NftMap) -> bool:
    """Are the keys of one type? The kernel knows no more of them; what a key is made of, the rules say."""
    alike = (_SAME_TYPES.get(field.words, field.words) for field in one.fields)
    end = "" if one.is_set else " : verdict"
    return other.typeof in (one.typeof, f"{' . '.join(alike)}{end}")


def differences(wanted: NftTable, observed: NftTable | None) -> tuple[str, ...]:
    """Where the kernel's table is not what it should be, in words; () when it is. At most a few per kind are named."""
    frame = frame_differences(wanted, observed)
    return frame if observed is None else (*frame, *_element_differences(wanted, observed))


def frame_differences(wanted: NftTable, observed: NftTable | None) -> tuple[str, ...]:
    """The same but for the elements of maps."""
    if observed is None:
        return ("the table is missing",)
    return (
        *_map_differences(wanted, observed),
        *_chain_differences(wanted, observed),
        *_counter_names(wanted, observed),
    )


def recognised(wanted: NftTable, observed: NftTable | None) -> NftTable | None:
    """The observed table with the masks of keys, which the kernel knows from rules only, in maps that are as wanted."""
    if observed is None:
        return None
    ours = {one.name: one for one in wanted.maps}
    return replace(
        observed,
        maps=tuple(
            replace(one, fields=ours[one.name].fields) if one.name in ours and _same_keys(ours[one.name], one) else one
            for one in observed.maps
        ),
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
        if other is None:
            continue
        if one.kind != other.kind:
            yield f"{one.kind} {one.name} is a {other.kind}"
        elif not _same_keys(one, other):
            yield f"{one.kind} {one.name} has keys {other.typeof}, not {one.typeof}"
        if one.counted != other.counted:
            yield f"map {one.name} {'does not count' if one.counted else 'counts'}"
        if 0 < other.size < len(one.elements):
            yield f"{one.kind} {one.name} has room for {other.size} elements, not {len(one.elements)}"


def _element_differences(wanted: NftTable, observed: NftTable) -> Iterator[str]:
    there = {one.name: one for one in observed.maps}
    for one in wanted.maps:
        other = there.get(one.name)
        if other is None or one.elements == other.elements:
            continue
        changed = one.elements.items() ^ other.elements.items()
        for key, _ in islice(sorted(changed), _DIFFERENCES_SHOWN):
            if one.is_set:
                yield f"set {one.name}: {one.key_text(key)} is {'missing' if key in one.elements else 'not ours'}"
                continue
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
