# SPDX-License-Identifier: GPL-2.0-or-later
"""Which PAD entry and which negotiate filter speak of a peer or a packet: found by index, never by walking the rules.

Entries are kept in one dictionary per shape, a shape being the pair of prefix lengths. A policy has few shapes, however
many rules it has, so a look-up is a handful of dictionary accesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.pad import PadEntry
from xfrmd.model.plan import Plan, ProtectPolicy, Weight
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode

Item = TypeVar("Item")


class PairTable(Generic[Item]):
    """Items by a pair of prefixes, found by a pair of addresses."""

    __slots__ = ("_shapes",)

    def __init__(self) -> None:
        self._shapes: dict[tuple[int, int, int], dict[tuple[int, int], list[Item]]] = {}

    def add(self, local: Prefix, remote: Prefix, item: Item) -> None:
        """Put an item beside those already there."""
        shape = self._shapes.setdefault((local.family, local.length, remote.length), {})
        shape.setdefault((local.value, remote.value), []).append(item)

    def sort(self) -> None:
        """Longest prefixes first; call it when all items are in."""
        order = sorted(self._shapes, key=lambda s: (s[1] + s[2], max(s[1], s[2]), s[1]), reverse=True)
        self._shapes = {shape: self._shapes[shape] for shape in order}

    def find(self, local: Address, remote: Address) -> Iterator[list[Item]]:
        """The items of each pair of prefixes that holds these addresses, longest prefixes first."""
        family, bits = local.family, BITS[local.family]
        for (of_family, near, far), pairs in self._shapes.items():
            if of_family == family:
                key = (_masked(local.value, bits - near), _masked(remote.value, bits - far))
                found = pairs.get(key)
                if found:
                    yield found


class Region(NamedTuple):
    """One selector of a negotiate filter."""

    weight: Weight
    selector: Selector
    protect: ProtectPolicy


_PacketKey = tuple[int, int, int, int, int]
_PacketShape = tuple[int, int, int, bool, bool, bool]


class PlanIndex:
    """What IKE asks the Plan."""

    __slots__ = ("_ids", "_packets", "_pad", "_regions", "_responding", "_tunnels")

    def __init__(self, plan: Plan) -> None:
        self._ids = {protect.reqid: protect for protect in plan.protect}
        self._pad: PairTable[PadEntry] = PairTable()
        for entry in plan.pad:
            self._pad.add(entry.local, entry.remote, entry)
        self._pad.sort()
        self._packets: dict[_PacketShape, dict[_PacketKey, list[Region]]] = {}
        self._regions: PairTable[Region] = PairTable()
        self._tunnels: dict[tuple[Address, Address], list[Region]] = {}
        self._responding: dict[int, ProtectPolicy] = {}
        for region in sorted(_regions(plan.protect), key=lambda r: r.weight, reverse=True):
            self._add(region)
        self._regions.sort()

    def _add(self, region: Region) -> None:
        if region.protect.responds:  # it decides no packet; it only answers
            self._responding[region.selector.family] = region.protect
            return
        shape = _shape(region.selector)
        self._packets.setdefault(shape, {}).setdefault(_key(region.selector, shape), []).append(region)
        if region.protect.tunnel is not None:
            self._tunnels.setdefault(region.protect.tunnel, []).append(region)
        else:
            self._regions.add(region.selector.src, region.selector.dst, region)

    def pad(self, local: Address, remote: Address) -> PadEntry | None:
        """The PAD entry for IKE between these addresses: longest prefixes win, then the order of the policy."""
        for entries in self._pad.find(local, remote):
            return entries[0]
        return None

    def protect(self, reqid: int) -> ProtectPolicy | None:
        """The negotiate filter with this reqid."""
        return self._ids.get(reqid)

    def responding(self, family: int) -> ProtectPolicy | None:
        """The default response rule for an IP version."""
        return self._responding.get(family)

    def heaviest(self, packet: Selector) -> Region | None:
        """The heaviest region that holds this outbound packet (host addresses, single ports)."""
        found = [
            next((region for region in pairs.get(_key(packet, shape), ()) if region.selector.contains(packet)), None)
            for shape, pairs in self._packets.items()
            if shape[0] == packet.family
        ]
        return max((region for region in found if region is not None), key=lambda r: r.weight, default=None)

    def regions(self, local: Address, remote: Address, mode: Mode) -> list[Region]:
        """All regions that speak of traffic between these IKE addresses, heaviest first."""
        if mode is Mode.TUNNEL:
            return self._tunnels.get((local, remote), [])
        found = [region for regions in self._regions.find(local, remote) for region in regions]
        return sorted(found, key=lambda r: r.weight, reverse=True)


def _regions(protects: Iterable[ProtectPolicy]) -> Iterator[Region]:
    return (Region(protect.weight, selector, protect) for protect in protects for selector in protect.selectors)


def _masked(value: int, host_bits: int) -> int:
    return value >> host_bits << host_bits


def _shape(selector: Selector) -> _PacketShape:
    src, dst, protocol, sport, dport = selector
    return (src.family, src.length, dst.length, protocol != 0, sport.width == 1, dport.width == 1)


def _key(selector: Selector, shape: _PacketShape) -> _PacketKey:
    """What a packet in this shape's dictionary is filed under: addresses masked, protocol and ports where named."""
    family, near, far, with_protocol, with_sport, with_dport = shape
    bits = BITS[family]
    return (
        _masked(selector.src.value, bits - near),
        _masked(selector.dst.value, bits - far),
        selector.protocol if with_protocol else 0,
        selector.sport.first if with_sport else 0,
        selector.dport.first if with_dport else 0,
    )
