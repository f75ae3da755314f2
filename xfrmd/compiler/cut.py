# SPDX-License-Identifier: GPL-2.0-or-later
"""Subtracting selectors: what remains of a filter where another one was decided first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.selector import Ports, Selector

_PROTOCOLS = range(1, 256)
"""Protocol 0 (IPv6 hop-by-hop options) is never a packet's upper protocol, so "any" is these."""


def subtract_prefix(prefix: Prefix, taken: Prefix) -> Iterator[Prefix]:
    """Disjoint prefixes that make up `prefix` without `taken`, which lies inside it: the siblings on the way down."""
    for length in range(prefix.length + 1, taken.length + 1):
        low = BITS[taken.family] - length
        yield Prefix(taken.family, (taken.value >> low ^ 1) << low, length)


def subtract_ports(ports: Ports, taken: Ports) -> Iterator[Ports]:
    """The ranges left and right of `taken`, which overlaps `ports`."""
    if ports.first < taken.first:
        yield Ports(ports.first, taken.first - 1)
    if taken.last < ports.last:
        yield Ports(taken.last + 1, ports.last)


def subtract(selector: Selector, taken: Selector) -> tuple[Selector, ...]:
    """Disjoint selectors of the packets that are in `selector` and not in `taken`."""
    common = selector.intersection(taken)
    if common is None:
        return (selector,)
    rest, left = selector, list[Selector]()
    left.extend(rest._replace(src=src) for src in subtract_prefix(rest.src, common.src))
    rest = rest._replace(src=common.src)
    left.extend(rest._replace(dst=dst) for dst in subtract_prefix(rest.dst, common.dst))
    rest = rest._replace(dst=common.dst)
    if rest.protocol != common.protocol:
        left.extend(rest._replace(protocol=other) for other in _PROTOCOLS if other != common.protocol)
        rest = rest._replace(protocol=common.protocol)
    left.extend(rest._replace(sport=sport) for sport in subtract_ports(rest.sport, common.sport))
    rest = rest._replace(sport=common.sport)
    left.extend(rest._replace(dport=dport) for dport in subtract_ports(rest.dport, common.dport))
    return tuple(left)


def subtract_all(selector: Selector, taken: Iterable[Selector]) -> tuple[Selector, ...]:
    """What remains of a selector after all of `taken`, as disjoint selectors."""
    left: tuple[Selector, ...] = (selector,)
    for one in taken:
        left = tuple(piece for part in left for piece in subtract(part, one))
    return left
