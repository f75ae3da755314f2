# SPDX-License-Identifier: GPL-2.0-or-later
"""Our one nftables table as a value: maps with elements and chains with rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.model.addresses import Address

ElementKey = bytes
"""A map's key as the kernel has it: fields in network order, each padded to a multiple of four octets where there are
several.
"""

_SIZES: Final = {
    "meta nfproto": 1,
    "meta l4proto": 1,
    "th sport": 2,
    "th dport": 2,
    "ip saddr": 4,
    "ip daddr": 4,
    "ip6 saddr": 16,
    "ip6 daddr": 16,
}
MAP_ROOM: Final = 192
"""Fewest elements that a map is made for: 2 KB of buckets, and dozens of peers in a map that begins empty."""
NFPROTO: Final = {4: 2, 6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6 of <linux/netfilter.h>, by IP version."""
_NFPROTO_NAMES: Final = {2: "ipv4", 10: "ipv6"}
_NFPROTO_VALUES: Final = {name: value for value, name in _NFPROTO_NAMES.items()}


class KeyField(NamedTuple):
    """One field of a key: nft's words for it and the bits of it that count."""

    words: str
    mask: int

    @classmethod
    def whole(cls, words: str) -> KeyField:
        """All bits of a field."""
        return cls(words, (1 << 8 * _SIZES[words]) - 1)

    @classmethod
    def parse(cls, text: str) -> KeyField:
        """A field as a rule writes it: `ip saddr & 255.0.0.0`. ValueError for one that we never write."""
        words, _, mask = text.partition(" & ")
        if words not in _SIZES:
            raise ValueError(f"a key field that the compiler does not write: {text!r}")
        whole = cls.whole(words)
        return whole._replace(mask=whole.value(mask)) if mask else whole

    @property
    def size(self) -> int:
        """Octets of the field's value."""
        return _SIZES[self.words]

    @property
    def is_whole(self) -> bool:
        """Do all bits count?"""
        return self.mask == (1 << 8 * self.size) - 1

    def text(self, value: int) -> str:
        """A value, or a mask, in nft's words."""
        if self.words == "meta nfproto":
            return _NFPROTO_NAMES.get(value, str(value))
        if self.words.startswith("ip"):
            return str(Address(4 if self.size == 4 else 6, value))
        return str(value)

    def value(self, text: str) -> int:
        """What `text` gives, read back. ValueError when it is nothing of the kind."""
        if self.words == "meta nfproto" and text in _NFPROTO_VALUES:
            return _NFPROTO_VALUES[text]
        return Address.parse(text).value if self.words.startswith("ip") else int(text)

    def __str__(self) -> str:
        return self.words if self.is_whole else f"{self.words} & {self.text(self.mask)}"


def pack_key(fields: tuple[KeyField, ...], values: Iterable[int]) -> ElementKey:
    """The key of values that are masked already."""
    if len(fields) == 1:
        (value,) = values
        return value.to_bytes(fields[0].size)
    return b"".join(
        value.to_bytes(field.size).ljust((field.size + 3) // 4 * 4, b"\0")
        for field, value in zip(fields, values, strict=True)
    )


def unpack_key(fields: tuple[KeyField, ...], key: ElementKey) -> Iterator[int]:
    """The values of a key."""
    at = 0
    for field in fields:
        yield int.from_bytes(key[at : at + field.size])
        at += (field.size + 3) // 4 * 4


@dataclass(frozen=True, slots=True)
class NftMap:
    """A verdict map that is one hash table: exact keys over masked fields.

    Verdicts are "accept", "drop" or "return"; "return" hands the packet to the rule behind the maps: the fence of
    negotiate filters.
    """

    name: str
    fields: tuple[KeyField, ...]
    elements: dict[ElementKey, str]
    counted: bool = True
    """Does each element count its packets and octets? (docs/decisions/0013)"""
    size: int = 0
    """Most elements, as the kernel has it; 0 when there is no such bound, or the map is not one that was observed."""
    is_set: bool = False
    """Keys only: what elements say is "" then."""

    @property
    def typeof(self) -> str:
        """The type of the map as nft prints it, with its verdict."""
        return " . ".join(field.words for field in self.fields) + ("" if self.is_set else " : verdict")

    @property
    def kind(self) -> str:
        """What nft calls it."""
        return "set" if self.is_set else "map"

    @property
    def room(self) -> int:
        """The size to make it with: the kernel makes a power of two of buckets that are three quarters full then, and
        a quarter full, or less, now. An empty bucket ends a search with one look at memory (docs/decisions/0013).
        """
        return max(MAP_ROOM, 3 << (4 * len(self.elements) - 1).bit_length() - 2) if self.elements else MAP_ROOM

    @property
    def expression(self) -> str:
        """The left side of the rule that asks it, e.g. `ip saddr & 255.255.0.0 . ip daddr . meta l4proto`."""
        return " . ".join(map(str, self.fields))

    @property
    def key_size(self) -> int:
        """Octets of a key."""
        return len(pack_key(self.fields, (0 for _ in self.fields)))

    def key_text(self, key: ElementKey) -> str:
        """A key as nft prints it."""
        values = unpack_key(self.fields, key)
        return " . ".join(field.text(value) for field, value in zip(self.fields, values, strict=True))


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain; `hook` is "" for a chain that is only jumped to."""

    name: str
    hook: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NftTable:
    """The table `inet xfrmd`."""

    maps: tuple[NftMap, ...]
    chains: tuple[NftChain, ...]
    counters: tuple[str, ...] = ()


class ElementChange(NamedTuple):
    """What becomes of the elements of one map. A key whose verdict changes is in both."""

    removed: tuple[ElementKey, ...]
    added: tuple[tuple[ElementKey, str], ...]


class Counted(NamedTuple):
    """What a counter of ours has seen."""

    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class TableChange:
    """A table in the place of another, where more than elements changes."""

    old: NftTable | None
    """As the kernel has it; None when there is none."""
    new: NftTable
    elements: Mapping[str, ElementChange]
    """Of the maps that stay, by their names; they have keys of one kind in both tables."""
