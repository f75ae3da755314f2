# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces with their addresses, and default gateways, as the kernel tells them (rtnetlink(7))."""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.adapters import netlink, netlink_dump
from xfrmd.adapters.netlink import Message
from xfrmd.adapters.netlink_dump import Opener
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import Interface, InterfaceAddress, InterfaceKind

_NETLINK_ROUTE: Final = 0
# <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>
NEWLINK, GETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = 16, 18, 20, 22, 24, 26
_LINK: Final = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type of device, index, flags, change."""
_ADDRESS: Final = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, length of the prefix, flags, scope, index."""
_ROUTE: Final = struct.Struct("=8BI")
"""struct rtmsg: family, lengths of destination and source, service, table, protocol, scope, type; flags."""
_HOP: Final = struct.Struct("=HBBi")
"""struct rtnexthop: length with attributes, flags, weight, index."""
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE = 5, 9, 15
_LOOPBACK: Final = 0x8
_POINT_TO_POINT: Final = 0x10
"""IFF_LOOPBACK, IFF_POINTOPOINT of <linux/if.h>."""
_DIALUP_KINDS: Final = frozenset({"ppp", "wwan", "ipip", "sit", "gre", "l2tp", "wireguard", "xfrm", "vti"})
_MOBILE: Final = re.compile(r"wwan[0-9]+|ww[opsvx].*")
"""Names of mobile broadband by the kernel and by systemd: many such devices call themselves an Ethernet card."""
_MAIN_TABLE: Final = 254
_IP: Final = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Network:
    """What the kernel knows. `indexes` names every interface by its index."""

    interfaces: tuple[Interface, ...]
    default_gateways: tuple[Address, ...]
    indexes: Mapping[int, str]


class _Link(NamedTuple):
    number: int
    name: str
    flags: int
    kind: str


def _opened() -> socket.socket:
    return netlink.open_socket(_NETLINK_ROUTE)


def read_network(opened: Opener = _opened, pause: Callable[[float], None] = time.sleep) -> Network:
    """The network now, of this network namespace. KernelError when the kernel does not tell."""

    def linked() -> tuple[tuple[_Link, ...], dict[int, list[InterfaceAddress]]]:
        found = netlink_dump.dump(opened, "links", GETLINK, bytes(_LINK.size))
        links = tuple(_link(one.body) for one in found if one.type == NEWLINK)
        addresses = _by_index(netlink_dump.dump(opened, "addresses", GETADDR, bytes(_ADDRESS.size)))
        if not addresses.keys() <= {link.number for link in links}:
            raise netlink_dump.interrupted("links and addresses")  # a link that has come in between
        return links, addresses

    def routed() -> tuple[Message, ...]:
        return netlink_dump.dump(opened, "routes", GETROUTE, bytes(_ROUTE.size))

    links, addresses = netlink_dump.steady(linked, pause)
    routes = netlink_dump.steady(routed, pause)
    indexes = {link.number: link.name for link in links}
    return Network(tuple(_interfaces(links, addresses)), tuple(dict.fromkeys(_gateways(routes))), indexes)


def _fixed(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise KernelError(f"rtnetlink: a message of {len(body)} octets")
    return layout.unpack_from(body)


def _link(body: bytes) -> _Link:
    _, _, index, flags, _ = _fixed(_LINK, body)
    found = netlink.attributes(body, _LINK.size)
    info = netlink.attributes(found.get(_IFLA_LINKINFO, b""), 0)
    return _Link(index, _text(found.get(_IFLA_IFNAME, b"")), flags, _text(info.get(_IFLA_INFO_KIND, b"")))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _by_index(messages: Iterable[Message]) -> dict[int, list[InterfaceAddress]]:
    """Addresses by the index of their interface. On a point-to-point link IFA_ADDRESS is the other end's."""
    by_index: dict[int, list[InterfaceAddress]] = {}
    for message in messages:
        if message.type == NEWADDR:
            _, length, _, _, index = _fixed(_ADDRESS, message.body)
            found = netlink.attributes(message.body, _ADDRESS.size)
            own = _address(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""))
            if own is not None:
                by_index.setdefault(index, []).append(InterfaceAddress(own, length))
    return by_index


def _address(octets: bytes) -> Address | None:
    """None for what is no address of IP."""
    return Address.from_bytes(octets) if len(octets) in (4, 16) else None


def _interfaces(links: Iterable[_Link], addresses: Mapping[int, list[InterfaceAddress]]) -> Iterator[Interface]:
    for link in links:
        own = addresses.get(link.number, ())
        outward = tuple(dict.fromkeys(one for one in own if not is_loopback(one.address)))
        # The loopback interface may hold addresses of a service: those are reached from outside as any other is.
        if outward or not link.flags & _LOOPBACK:
            yield Interface(link.name, _kind(link), outward)


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address.value >> 24 == 127 if address.family == 4 else address.value == 1


def _kind(link: _Link) -> InterfaceKind:
    """Dial-up is what leads to one other end, or to a mobile operator; everything else is a LAN."""
    point_to_point = bool(link.flags & _POINT_TO_POINT)
    mobile = _MOBILE.fullmatch(link.name) is not None
    return InterfaceKind.DIALUP if point_to_point or mobile or link.kind in _DIALUP_KINDS else InterfaceKind.LAN


def _gateways(messages: Iterable[Message]) -> Iterator[Address]:
    """Of the default routes of the main table, in its order."""
    for message in messages:
        fixed = _fixed(_ROUTE, message.body) if message.type == NEWROUTE else None
        if fixed is None or fixed[0] not in _IP or fixed[1]:
            continue
        found = netlink.attributes(message.body, _ROUTE.size)
        table = int.from_bytes(found[_RTA_TABLE], sys.byteorder) if _RTA_TABLE in found else fixed[4]
        if table == _MAIN_TABLE:
            for octets in (found.get(_RTA_GATEWAY, b""), *_hops(found.get(_RTA_MULTIPATH, b""))):
                gateway = _address(octets)
                if gateway is not None:
                    yield gateway


def _hops(several: bytes) -> Iterator[bytes]:
    """The gateways of a route with several ways."""
    at = 0
    while at + _HOP.size <= len(several):
        length = _HOP.unpack_from(several, at)[0]
        if not _HOP.size <= length <= len(several) - at:
            raise KernelError(f"rtnetlink: a way of {length} octets in {len(several) - at}")
        yield netlink.attributes(several[at : at + length], _HOP.size).get(_RTA_GATEWAY, b"")
        at += (length + 3) & ~3
