# SPDX-License-Identifier: GPL-2.0-or-later
"""Which traffic a child SA carries: what we offer, and what of an offer we accept (RFC 7296 2.9).

An SA never carries traffic of two filters: the answer lies within one selector of one negotiate filter, because the
kernel's policies demand the SA of exactly their filter (by reqid).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xfrmd.ike.lookup import PlanIndex, Region
from xfrmd.ike.v2.traffic import TrafficSelector, from_selectors, narrow, to_selectors
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.plan import ProtectPolicy
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, WITH_PORTS, Ports, Selector
from xfrmd.model.spd import Mode


class Traffic(NamedTuple):
    """Traffic selectors of an SA pair as we see them."""

    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]

    @property
    def outbound(self) -> tuple[Selector, ...]:
        """Every packet of ours that the pair carries."""
        return to_selectors(self.local, self.remote)

    def __str__(self) -> str:
        return ", ".join(map(str, self.outbound)) or "nothing"


class Ends(NamedTuple):
    """The IKE addresses between which an SA pair is negotiated, and how it is to be used."""

    local: Address
    remote: Address
    mode: Mode


class Agreed(NamedTuple):
    """A negotiate filter and that part of one of its selectors which an SA pair carries."""

    protect: ProtectPolicy
    selector: Selector
    """The outbound selector of the filter, cut to the peers of transport mode: what a rekey offers again."""
    traffic: Traffic


def region_of(protect: ProtectPolicy, packet: Selector) -> Selector | None:
    """The selector of the filter that holds this outbound packet, cut to the two hosts in transport mode."""
    for selector in protect.selectors:
        if selector.contains(packet):
            return selector if protect.mode is Mode.TUNNEL else _cut(selector, packet.src, packet.dst)
    return None


def widest_region(protect: ProtectPolicy, local: Address, remote: Address) -> Selector | None:
    """The first selector of the filter that speaks of these peers, for an SA that no packet asked for."""
    for selector in protect.selectors:
        if protect.mode is Mode.TUNNEL:
            return selector
        if selector.src.contains(local) and selector.dst.contains(remote):
            return _cut(selector, Prefix.host(local), Prefix.host(remote))
    return None


# rfc 7296: first-is-the-packet
def offer(region: Selector, packet: Selector | None) -> Traffic:
    """What to propose: the region, and before it the very packet where that is narrower (RFC 7296 2.9)."""
    specific = packet is not None and packet != region and region.contains(packet) and is_specific(packet)
    return Traffic(*from_selectors((packet, region) if packet is not None and specific else (region,)))


def is_specific(packet: Selector) -> bool:
    """Is it one packet's selector: single hosts, a protocol, and single ports where the protocol has them?"""
    hosts = packet.src.is_host and packet.dst.is_host and packet.protocol != 0
    return hosts and (packet.protocol not in WITH_PORTS or packet.sport.width == packet.dport.width == 1)


# rfc 7296: narrow-subset
def answer(index: PlanIndex, ends: Ends, proposed: Traffic, only: int | None = None) -> Agreed | None:
    """Choose a negotiate filter for proposed traffic and narrow it. None: TS_UNACCEPTABLE.

    It is the filter that decides the packet which leads the proposal: an SA that does not carry it serves nobody. For a
    proposal without such a packet it is the heaviest filter that holds all of it, else the lightest that holds some.
    `only`: a rekey stays with the filter (reqid) of the SA that it replaces.
    """
    near, far = Prefix.host(ends.local), Prefix.host(ends.remote)
    if ends.mode is Mode.TRANSPORT:
        proposed = Traffic(
            narrow(proposed.local, (TrafficSelector.of(near),)), narrow(proposed.remote, (TrafficSelector.of(far),))
        )
    wanted = proposed.outbound
    if not wanted:
        return None
    for region in _candidates(index, ends, wanted, _leading(proposed) if only is None else None):
        if only is not None and region.protect.reqid != only:
            continue
        selector = region.selector if ends.mode is Mode.TUNNEL else _cut(region.selector, near, far)
        traffic = within(proposed, selector)
        if traffic.outbound:
            return Agreed(region.protect, selector, traffic)
    return _default_response(index, ends, proposed, only)


def heavier(index: PlanIndex, ends: Ends, lighter: Agreed) -> Iterator[tuple[ProtectPolicy, Selector]]:
    """Filters between two hosts that outweigh the one of a child SA and take part of its traffic, heaviest first, each
    with its selector cut to the hosts.
    """
    near, far = Prefix.host(ends.local), Prefix.host(ends.remote)
    for region in index.regions(ends.local, ends.remote, ends.mode):
        selector = _cut(region.selector, near, far)
        outweighs = region.weight > lighter.protect.weight or lighter.protect.responds
        if outweighs and any(selector.overlaps(one) for one in lighter.traffic.outbound):
            yield region.protect, selector


def led_by_packet(proposed: Traffic) -> bool:
    """Does a packet lead the proposal (RFC 7296 2.9)?"""
    return _leading(proposed) is not None


def _default_response(index: PlanIndex, ends: Ends, proposed: Traffic, only: int | None) -> Agreed | None:
    """What the default response rule answers where no filter speaks of the traffic: one selector of the proposal.

    It becomes a filter, and those between two hosts are kept under whole addresses and whole ports only. So it is the
    widest selector that is such a one, among those that hold the packet which leads the proposal, if one does.
    """
    protect = index.responding(ends.local.family)
    if protect is None or ends.mode is not Mode.TRANSPORT or only not in (None, protect.reqid):
        return None
    packet = _leading(proposed)
    found = [one for one in proposed.outbound if _of_whole_ports(one) and (packet is None or one.contains(packet))]
    if not found:
        return None
    widest = next(one for one in found if not any(other != one and other.contains(one) for other in found))
    return Agreed(protect, widest, within(proposed, widest))


def _of_whole_ports(selector: Selector) -> bool:
    """Is each port any or a single one? Of ICMP type and code, which are one number on the wire, both or none."""
    widths = (selector.sport.width, selector.dport.width)
    if selector.protocol in (ICMP, ICMPV6):
        return widths in ((65536, 65536), (1, 1))
    return all(width in (1, 65536) for width in widths)


def within(proposed: Traffic, selector: Selector) -> Traffic:
    """The part of a proposal that lies in one selector; what another part of it contains is left out."""
    local, remote = from_selectors((selector,))
    return Traffic(_maximal(narrow(proposed.local, local)), _maximal(narrow(proposed.remote, remote)))


def lies_in(traffic: Traffic, selector: Selector) -> bool:
    """Is all of this traffic part of one selector?"""
    local, remote = from_selectors((selector,))
    return all(any(whole.contains(part) for whole in local) for part in traffic.local) and all(
        any(whole.contains(part) for whole in remote) for part in traffic.remote
    )


def cover(selectors: Sequence[Selector]) -> Selector:
    """One selector as the kernel can hold it that covers all of these (at least one): prefixes and port blocks."""
    hull = selectors[0]
    for selector in selectors[1:]:
        hull = Selector(
            _common_prefix(hull.src, selector.src),
            _common_prefix(hull.dst, selector.dst),
            hull.protocol if hull.protocol == selector.protocol else 0,
            Ports(min(hull.sport.first, selector.sport.first), max(hull.sport.last, selector.sport.last)),
            Ports(min(hull.dport.first, selector.dport.first), max(hull.dport.last, selector.dport.last)),
        )
    if hull.protocol == 0:
        return hull._replace(sport=ANY_PORT, dport=ANY_PORT)
    return hull._replace(sport=_block(hull.sport), dport=_block(hull.dport))


def _candidates(index: PlanIndex, ends: Ends, wanted: tuple[Selector, ...], packet: Selector | None) -> list[Region]:
    if packet is not None:
        decided, tunnel = index.heaviest(packet), None if ends.mode is Mode.TRANSPORT else (ends.local, ends.remote)
        return [decided] if decided is not None and decided.protect.tunnel == tunnel else []
    regions = index.regions(ends.local, ends.remote, ends.mode)
    whole = [region for region in regions if all(region.selector.contains(part) for part in wanted)]
    partial = [region for region in reversed(regions) if any(region.selector.overlaps(part) for part in wanted)]
    return whole + partial


# rfc 7296: first-is-the-packet
def _leading(proposed: Traffic) -> Selector | None:
    """The packet that leads the proposal, if one does."""
    first = to_selectors(proposed.local[:1], proposed.remote[:1])
    return first[0] if len(first) == 1 and is_specific(first[0]) else None


def _cut(selector: Selector, local: Prefix, remote: Prefix) -> Selector:
    return selector._replace(src=local, dst=remote)


def _maximal(found: tuple[TrafficSelector, ...]) -> tuple[TrafficSelector, ...]:
    return tuple(one for one in found if not any(other != one and other.contains(one) for other in found))


def _common_prefix(one: Prefix, other: Prefix) -> Prefix:
    bits = BITS[one.family]
    length = min(one.length, other.length, bits - (one.value ^ other.value).bit_length())
    return Prefix(one.family, one.value >> (bits - length) << (bits - length), length)


def _block(ports: Ports) -> Ports:
    """The smallest aligned block of a power of two that holds these ports."""
    size = 1 << (ports.first ^ ports.last).bit_length()
    first = ports.first // size * size
    return Ports(first, first + size - 1)
