# SPDX-License-Identifier: GPL-2.0-or-later
"""Boxes put together for reading: several ranges in each dimension. What a policy says in one line, with what others
cut out of it, is one region, where it would be dozens of boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, product
from typing import Final, NamedTuple

from xfrmd.compiler.boxes import ALL_PROTOCOLS, ICMP_PROTOCOLS, LAST_TYPE, Box
from xfrmd.model.addresses import BITS, Address, Prefix, range_to_prefixes
from xfrmd.model.selector import PROTOCOL_NAMES, Ports

Range = tuple[int, int]
"""First and last, both included."""
Ranges = tuple[Range, ...]
"""Disjoint, ascending, none next to another."""
_FEW: Final = 8
"""So many protocols are named; of more, those that are missing."""
_LAST_PORT: Final = 65535


class Region(NamedTuple):
    """Packets whose addresses, ports and protocol each lie in one of these ranges."""

    src: Ranges
    dst: Ranges
    sports: Ranges
    dports: Ranges
    protocols: int
    """Bit n: protocol n."""

    def boxes(self) -> Iterator[Box]:
        """The same as boxes."""
        for src, dst, sport, dport in product(*self[:4]):
            yield Box(*src, *dst, *sport, *dport, self.protocols)


def regions(boxes: Iterable[Box]) -> tuple[Region, ...]:
    """Disjoint boxes as few disjoint regions, in ascending order."""
    found, before = [Region((box[0:2],), (box[2:4],), (box[4:6],), (box[6:8],), box[8]) for box in boxes], 0
    while len(found) != before:
        before = len(found)
        for dimension in (3, 2, 1, 0):
            found = [*_together(found, dimension)]
    return tuple(sorted(found))


def _together(found: Iterable[Region], dimension: int) -> Iterator[Region]:
    """Regions that differ in one dimension only are one."""
    alike: dict[tuple[object, ...], list[Region]] = {}
    for one in found:
        alike.setdefault((*one[:dimension], *one[dimension + 1 :]), []).append(one)
    for group in alike.values():
        ranges = _joined(sorted(chain.from_iterable(one[:4][dimension] for one in group)))
        yield Region._make((*group[0][:dimension], ranges, *group[0][dimension + 1 :]))


def _joined(ranges: Iterable[Range]) -> Ranges:
    """Ranges in ascending order, neighbours as one."""
    found: list[Range] = []
    for one in ranges:
        if found and found[-1][1] + 1 == one[0]:
            found[-1] = (found[-1][0], one[1])
        else:
            found.append(one)
    return tuple(found)


def _gaps(ranges: Ranges, top: int) -> Ranges:
    """What is missing from ranges up to `top`, if that is less and no longer to tell; else nothing."""
    edges = ((-1, -1), *ranges, (top + 1, top + 1))
    gaps = tuple((before[1] + 1, after[0] - 1) for before, after in pairwise(edges) if before[1] + 1 < after[0])
    missing = sum(last - first + 1 for first, last in gaps)
    return gaps if len(gaps) <= len(ranges) and 2 * missing < top else ()


def addresses_text(family: int, ranges: Ranges) -> str:
    """Ranges of addresses as policies write them: any, an address, a subnet, first-last; several in braces."""
    missing = _gaps(ranges, (1 << BITS[family]) - 1)
    if missing and not (len(ranges) == 1 and _subnet(family, ranges[0])):
        return f"{{any but {', '.join(_address(family, each) for each in missing)}}}"
    found = [_address(family, each) for each in ranges]
    return found[0] if len(found) == 1 else f"{{{', '.join(found)}}}"


def _subnet(family: int, one: Range) -> Prefix | None:
    first, last = one
    found = range_to_prefixes(family, first, last) if last - first + 1 & last - first == 0 else ()
    return found[0] if len(found) == 1 else None


def _address(family: int, one: Range) -> str:
    subnet = _subnet(family, one)
    if subnet is not None:
        return str(subnet) if subnet.length else "any"
    return f"{Address(family, one[0])}-{Address(family, one[1])}"


def protocols_text(protocols: int) -> str:
    """A set of protocols: any, tcp, "tcp or udp", "any but tcp"."""
    missing = ALL_PROTOCOLS & ~protocols
    if not missing:
        return "any"
    if protocols.bit_count() <= _FEW:
        return " or ".join(_names(protocols))
    return f"any but {', '.join(_names(missing))}"


def numbers(protocols: int) -> list[int]:
    """The protocols of a set, ascending."""
    return [number for number in range(256) if protocols >> number & 1]


def _names(protocols: int) -> Iterator[str]:
    return (PROTOCOL_NAMES.get(number, str(number)) for number in numbers(protocols))


def _numbers(ranges: Ranges, top: int = _LAST_PORT) -> str:
    """Ports, ICMP types or codes; "" for all."""
    if ranges[0][0] == 0 and ranges[0][1] >= top:
        return ""
    missing = _gaps(ranges, top) if len(ranges) > 1 else ()
    texts = ",".join(str(Ports(*each)) for each in missing or ranges)
    return f"{{any but {texts}}}" if missing else texts


def region_text(family: int, one: Region) -> str:
    """A region in the form of a selector's text."""
    ends = [addresses_text(family, ranges) for ranges in (one.src, one.dst)]
    name = protocols_text(one.protocols)
    if one.protocols in ICMP_PROTOCOLS:
        kind, code = (_numbers(ranges, LAST_TYPE) for ranges in (one.sports, one.dports))
        return f"{ends[0]} -> {ends[1]} {name}{' type ' + kind if kind else ''}{' code ' + code if code else ''}"
    source, destination = map(_end, ends, (one.sports, one.dports))
    return f"{source} -> {destination} {name}"


def _end(address: str, ports: Ranges) -> str:
    text = _numbers(ports)
    if not text:
        return address
    return f"[{address}]:{text}" if ":" in address and not address.startswith("{") else f"{address}:{text}"
