# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces with their addresses, and default gateways, as the kernel tells them (rtnetlink(7)).

Read by ourselves: pyroute2, which knows all of it, was two fifths of what a start of the daemon cost.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from xfrmd.adapters import netlink, netlink_dump
from xfrmd.adapters.netlink_dump import Opener
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import Interface, InterfaceAddress, InterfaceKind

_NETLINK_ROUTE: Final = 0
# <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>
NEWLINK, GETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = 16, 18, 20, 22, 24, 26
_LINK: Final = struct.Struct("=4xiI4x")
"""Of struct ifinfomsg: index, flags. Attributes follow, as with all of these."""
_ADDRESS: Final = struct.Struct("=BB2xI")
"""Of struct ifaddrmsg: family, length of the prefix, index of the link."""
_ROUTE: Final = struct.Struct("=BB2xB7x")
"""Of struct rtmsg: family, length of the destination, table."""
_HOP: Final = struct.Struct("=H6x")
"""Of struct rtnexthop: its length with its attributes."""
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE = 5, 9, 15
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_LOOPBACK: Final = 0x8
_POINT_TO_POINT: Final = 0x10
"""IFF_LOOPBACK, IFF_POINTOPOINT of <linux/if.h>."""
_DIALUP_KINDS: Final = frozenset({"ppp", "wwan", "ipip", "sit", "gre", "l2tp", "wireguard", "xfrm", "vti"})
_MOBILE: Final = re.compile(r"wwan[0-9]+|ww[opsvx].*")
"""Names of mobile broadband by the kernel and by systemd: many such devices call themselves an Ethernet card."""
_MAIN_TABLE: Final = 254


@dataclass(frozen=True, slots=True)
class Network:
    """What the kernel knows. `indexes` names every interface by its index."""

    interfaces: tuple[Interface, ...]
    default_gateways: tuple[Address, ...]
    indexes: Mapping[int, str]


class _Link(NamedTuple):
    """An interface. `number`: its index; `kind`: what it was made as, "" for one that a driver brought."""

    number: int
    flags: int
    name: str
    kind: str


T = TypeVar("T")


def _opened() -> socket.socket:
    return netlink.open_socket(_NETLINK_ROUTE)


def read_network(opened: Opener = _opened, pause: Callable[[float], None] = time.sleep) -> Network:
    """The network now, of this network namespace. KernelError when the kernel does not tell."""

    def linked() -> tuple[list[_Link], list[tuple[int, InterfaceAddress]]]:
        links = _read(opened, "links", (GETLINK, NEWLINK), _LINK.size, _link)
        addresses = _read(opened, "addresses", (GETADDR, NEWADDR), _ADDRESS.size, _address)
        if not {index for index, _ in addresses} <= {one.number for one in links}:
            raise netlink_dump.interrupted("links and addresses")  # a link that has come in between
        return links, addresses

    links, addresses = netlink_dump.steady(linked, pause)
    gateways = netlink_dump.steady(lambda: _read(opened, "routes", (GETROUTE, NEWROUTE), _ROUTE.size, _gateways), pause)
    indexes = {link.number: link.name for link in links}
    return Network(tuple(_interfaces(links, addresses)), tuple(dict.fromkeys(gateways)), indexes)


def _read(
    opened: Opener, what: str, kinds: tuple[int, int], fixed: int, read: Callable[[bytes], Iterable[T]]
) -> list[T]:
    """What `read` finds in each message of a dump, of the `kinds` that it is asked for by and told in, whose attributes
    stand behind `fixed` octets. KernelError, also where a message is not as it should be.
    """
    asked, told = kinds
    found: list[T] = []
    for message in netlink_dump.dump(opened, what, asked, bytes(fixed)):
        if message.type == told:
            try:
                found.extend(read(message.body))
            except (struct.error, KeyError, ValueError) as error:
                raise KernelError(f"{what}: a message of {len(message.body)} octets cannot be read") from error
    return found


def _link(body: bytes) -> Iterator[_Link]:
    index, flags = _LINK.unpack_from(body)
    found = netlink.attributes(body, _LINK.size)
    made_as = netlink.attributes(found.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"")
    yield _Link(index, flags, _text(found[_IFLA_IFNAME]), _text(made_as))


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _address(body: bytes) -> Iterator[tuple[int, InterfaceAddress]]:
    """The host's own address. On a point-to-point link IFA_ADDRESS is the other end's."""
    family, length, index = _ADDRESS.unpack_from(body)
    if family in _FAMILIES:
        found = netlink.attributes(body, _ADDRESS.size)
        own = found[_IFA_LOCAL] if _IFA_LOCAL in found else found[_IFA_ADDRESS]
        yield index, InterfaceAddress(Address.from_bytes(own), length)


def _gateways(body: bytes) -> Iterator[Address]:
    """Of a default route of the main table, in its order."""
    family, length, table = _ROUTE.unpack_from(body)
    found = netlink.attributes(body, _ROUTE.size)
    if _RTA_TABLE in found:
        table = int.from_bytes(found[_RTA_TABLE], sys.byteorder)
    if length or table != _MAIN_TABLE or family not in _FAMILIES:
        return
    hops = _hops(found[_RTA_MULTIPATH]) if _RTA_MULTIPATH in found else [found]
    for hop in hops:
        if _RTA_GATEWAY in hop:
            yield Address.from_bytes(hop[_RTA_GATEWAY])


def _hops(value: bytes) -> Iterator[dict[int, bytes]]:
    """The attributes of each hop of a route that has several."""
    while value:
        (length,) = _HOP.unpack_from(value)
        if not _HOP.size <= length <= len(value):
            raise ValueError(f"a hop of {length} octets in {len(value)}")
        yield netlink.attributes(value[:length], _HOP.size)
        value = value[(length + 3) & ~3 :]


def _interfaces(links: Iterable[_Link], addresses: Iterable[tuple[int, InterfaceAddress]]) -> Iterator[Interface]:
    by_index: dict[int, list[InterfaceAddress]] = {}
    for index, own in addresses:
        by_index.setdefault(index, []).append(own)
    for link in links:
        found = by_index.get(link.number, ())
        outward = tuple(dict.fromkeys(one for one in found if not is_loopback(one.address)))
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
