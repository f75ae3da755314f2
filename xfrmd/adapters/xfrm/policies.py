# SPDX-License-Identifier: GPL-2.0-or-later
"""SPD entries to XFRM policies and back."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.selectors import packed_address, selector_fields, unpack_selector, unpacked_address
from xfrmd.errors import KernelError, LocalProtocolError
from xfrmd.model.addresses import Address
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry

_PLAIN: Final = struct.Struct("=BBBB4x")
"""The end of struct xfrm_userpolicy_info: direction, action, flags and share."""
_PROTECT: Final = struct.Struct("=BBBB4xHH" + uapi.TEMPLATE_FORMAT)
"""The same and one template, in one call: encoding is what a load of 100,000 policies spends its time on."""
_NUMBER: Final = struct.Struct("=I")
_REQIDS: Final = range(limits.REQID_FIRST, limits.REQID_LAST + 1)
_LIFETIME: Final = struct.pack("=" + uapi.LIFETIME_FORMAT, *(uapi.INFINITE,) * 4, *(0,) * 4)
_CURRENT: Final = bytes(struct.calcsize("=" + uapi.CURRENT_FORMAT))
_NO_INDEX: Final = bytes(4)
_NO_ADDRESS: Final = bytes(16)
_STATISTICS: Final = struct.calcsize("=" + uapi.SELECTOR_FORMAT + uapi.LIFETIME_FORMAT)
_PRIORITY: Final = _STATISTICS + struct.calcsize("=" + uapi.CURRENT_FORMAT)
_INDEX: Final = _PRIORITY + 4
_DIRECTION: Final = _INDEX + 4
"""Where these begin in struct xfrm_userpolicy_info."""
_MAIN_TYPE: Final = netlink.attribute(uapi.Attr.POLICY_TYPE, bytes(6))
_WRITTEN: Final[dict[tuple[bytes, bytes], SpdEntry]] = {}
"""What was written lately, by its octets: a dump of tens of thousands of policies need not be taken apart again."""
_TEMPLATE_HEADER: Final = (4 + uapi.TEMPLATE.size, int(uapi.Attr.TMPL))


@dataclass(frozen=True, slots=True)
class ObservedPolicy:
    """A policy as the kernel has it. `entry` is None when its like is never written by us."""

    direction: Direction
    selector: Selector
    priority: int
    index: int
    reqids: tuple[int, ...]
    """Of its templates."""
    entry: SpdEntry | None

    @property
    def key(self) -> tuple[Direction, Selector]:
        """What the kernel tells policies apart by."""
        return (self.direction, self.selector)

    @property
    def ours(self) -> bool:
        """In our priority band, of a form that we write, and with a reqid of ours where it has a template."""
        return self.entry is not None and (not self.reqids or all(map(_REQIDS.__contains__, self.reqids)))

    def __str__(self) -> str:
        return f"{self.direction.name.lower()} {self.selector} priority {self.priority} index {self.index}"


def encode(entry: SpdEntry) -> bytes:
    """Body of XFRM_MSG_NEWPOLICY and XFRM_MSG_UPDPOLICY. LocalProtocolError for an entry that XFRM cannot express."""
    if not limits.PRIORITY_FIRST <= entry.priority <= limits.PRIORITY_LAST:
        raise LocalProtocolError(f"{entry.selector}: priority {entry.priority:#x} is outside our band")
    head = uapi.SELECTOR.pack(*selector_fields(entry.selector)) + _LIFETIME
    priority, tail = _NUMBER.pack(entry.priority), _tail(entry)
    if len(_WRITTEN) >= limits.POLICIES_REMEMBERED:
        _WRITTEN.clear()
    _WRITTEN[head, priority + tail] = entry
    return b"".join((head, _CURRENT, priority, _NO_INDEX, tail))


def _essence(body: bytes) -> tuple[bytes, bytes]:
    """A policy's octets without what the kernel fills in: statistics, index and the type of all but sub-policies."""
    return body[:_STATISTICS], body[_PRIORITY:_INDEX] + body[_DIRECTION:].removesuffix(_MAIN_TYPE)


def _tail(entry: SpdEntry) -> bytes:
    """From the direction on."""
    if entry.action is SpdAction.PROTECT:
        icmp = uapi.POLICY_ICMP if entry.direction is Direction.OUT else 0
        kind = (entry.direction, uapi.POLICY_ALLOW, icmp, uapi.SHARE_ANY)
        return _PROTECT.pack(*kind, *_TEMPLATE_HEADER, *_template(entry))
    action = uapi.POLICY_BLOCK if entry.action is SpdAction.DISCARD else uapi.POLICY_ALLOW
    return _PLAIN.pack(entry.direction, action, 0, uapi.SHARE_ANY)


def _template(entry: SpdEntry) -> tuple[bytes | int, ...]:
    if entry.reqid not in _REQIDS:
        raise LocalProtocolError(f"{entry.selector}: reqid {entry.reqid:#x} is not ours")
    if entry.optional and entry.direction is Direction.OUT:
        raise LocalProtocolError(f"{entry.selector}: an optional template outbound leaks at once")
    if (entry.mode is Mode.TUNNEL) != (entry.tunnel is not None):
        raise LocalProtocolError(f"{entry.selector}: tunnel mode and tunnel endpoints go together")
    source = destination = _NO_ADDRESS
    version = entry.selector.src.family
    if entry.tunnel is not None:
        source, destination = map(packed_address, entry.tunnel)
        version = entry.tunnel[0].family
    algorithms, family = uapi.ALL_ALGORITHMS, uapi.FAMILIES[version]
    head = (destination, 0, uapi.IP_PROTOCOLS[entry.protocol], family, source, entry.reqid, entry.mode)
    return (*head, uapi.SHARE_ANY, entry.optional, algorithms, algorithms, algorithms)


def encode_id(direction: Direction, selector: Selector, index: int = 0) -> bytes:
    """Body of XFRM_MSG_DELPOLICY and XFRM_MSG_GETPOLICY: by index, or by selector when it is 0."""
    return uapi.POLICY_ID.pack(*selector_fields(selector), index, direction)


def decode(body: bytes) -> ObservedPolicy | None:
    """Read XFRM_MSG_NEWPOLICY as the kernel dumps it; None for a socket's own. KernelError for damaged octets."""
    if len(body) < uapi.POLICY.size:
        raise KernelError(f"XFRM policy of {len(body)} octets")
    known = _WRITTEN.get(_essence(body))
    if known is not None:
        index = int.from_bytes(body[_INDEX:_DIRECTION], sys.byteorder)
        reqids = (known.reqid,) if known.action is SpdAction.PROTECT else ()
        return ObservedPolicy(known.direction, known.selector, known.priority, index, reqids, known)
    *_, priority, index, direction, action, _, _ = uapi.POLICY.unpack_from(body)
    if direction not in tuple(Direction):
        return None
    selector, exact = unpack_selector(body, 0)
    extra = netlink.attributes(body, uapi.POLICY.size)
    templates = _templates(extra.get(uapi.Attr.TMPL, b""))
    entry = None
    if exact and not _marked(extra) and limits.PRIORITY_FIRST <= priority <= limits.PRIORITY_LAST:
        entry = _entry(Direction(direction), selector, action, priority, templates)
    return ObservedPolicy(Direction(direction), selector, priority, index, tuple(t.reqid for t in templates), entry)


def _marked(extra: dict[int, bytes]) -> bool:
    """Does it apply to marked packets or to an XFRM interface only?"""
    return any(any(extra.get(kind, b"")) for kind in (uapi.Attr.MARK, uapi.Attr.IF_ID))


@dataclass(frozen=True, slots=True)
class _Template:
    protocol: int
    reqid: int
    mode: int
    optional: bool
    spi: int
    ends: tuple[Address, Address] | None


def _templates(data: bytes) -> tuple[_Template, ...]:
    if len(data) % uapi.TEMPLATE.size:
        raise KernelError(f"XFRM templates of {len(data)} octets")
    found = []
    for values in uapi.TEMPLATE.iter_unpack(data):
        daddr, spi, protocol, family, saddr, reqid, mode, _, optional, *_ = values
        version = uapi.VERSIONS.get(family)
        ends = None
        if version and mode == Mode.TUNNEL:
            ends = (unpacked_address(version, saddr), unpacked_address(version, daddr))
        found.append(_Template(protocol, reqid, mode, bool(optional), spi, ends))
    return tuple(found)


def _entry(
    direction: Direction, selector: Selector, action: int, priority: int, templates: tuple[_Template, ...]
) -> SpdEntry | None:
    """The SpdEntry that would be written as this policy; None when none would."""
    if action == uapi.POLICY_BLOCK or not templates:
        plain = SpdAction.DISCARD if action == uapi.POLICY_BLOCK else SpdAction.BYPASS
        return None if templates else SpdEntry(direction, selector, plain, priority)
    first = templates[0]
    protocol = uapi.PROTOCOL_IDS.get(first.protocol)
    if len(templates) > 1 or protocol is None or first.spi or first.mode not in tuple(Mode):
        return None
    how = (first.reqid, Mode(first.mode), first.optional, first.ends, protocol)
    return SpdEntry(direction, selector, SpdAction.PROTECT, priority, *how)
