# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters in their own words, one line each: `me <-> dns-servers:53 udp`."""

from __future__ import annotations

from collections.abc import Iterable

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NAMES, Ports
from xfrmd.policy.words import AddressSpec, AddressWord, Filter


def _joined(prefixes: Iterable[Prefix]) -> list[tuple[Address, Address]]:
    """Prefixes as the ranges that they make up."""
    found: list[tuple[Address, Address]] = []
    for one in sorted(prefixes):
        last = Address(one.family, one.last)
        if found and found[-1][1] == Address(one.family, one.value - 1):
            found[-1] = (found[-1][0], last)
        else:
            found.append((one.address, last))
    return found


def _address(spec: AddressSpec) -> str:
    if isinstance(spec, AddressWord):
        return spec.value
    if isinstance(spec, str):
        return spec
    if len(spec) == 1:
        return "any" if spec[0].length == 0 else str(spec[0])
    return ",".join(f"{first}-{last}" for first, last in _joined(spec))


def _ports(ports: tuple[Ports, ...]) -> str:
    return "" if any(one.is_any for one in ports) else ",".join(map(str, ports))


def _end(spec: AddressSpec, ports: tuple[Ports, ...]) -> str:
    address, named = _address(spec), _ports(ports)
    if not named:
        return address
    return f"[{address}]:{named}" if ":" in address else f"{address}:{named}"


def filter_text(one: Filter) -> str:
    """A filter as its author wrote it, in the order of a selector's text; `<->` when it is mirrored."""
    arrow = "<->" if one.mirrored else "->"
    name = "any" if one.protocol == 0 else PROTOCOL_NAMES.get(one.protocol, str(one.protocol))
    if one.protocol in (ICMP, ICMPV6):
        kind, code = _ports(one.sports), _ports(one.dports)
        more = f"{' type ' + kind if kind else ''}{' code ' + code if code else ''}"
        return f"{_address(one.src)} {arrow} {_address(one.dst)} {name}{more}"
    return f"{_end(one.src, one.sports)} {arrow} {_end(one.dst, one.dports)} {name}"
