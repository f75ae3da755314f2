# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces with their addresses, and default gateways, as the kernel tells them (rtnetlink(7))."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from xfrmd.adapters import netlink, netlink_dump
from xfrmd.adapters.netlink_dump import Opener
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import Interface, InterfaceAddress, InterfaceKind

_NETLINK_ROUTE: Final = 0
# <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>
NEWLINK, GETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = 16, 18, 20, 22, 24, 26
_LINK, _ADDRESS, _ROUTE = 16, 8, 12
"""Octets of struct ifinfomsg, ifaddrmsg and rtmsg, which attributes follow."""
_HOP: Final = struct.Struct("=H6x")
"""Of struct rtnexthop: its length with its attributes."""
_RTA_MULTIPATH: Final = 9
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


def _opened() -> socket.socket:
    return netlink.open_socket(_NETLINK_ROUTE)


def read_network(opened: Opener = _opened, pause: Callable[[float], None] = time.sleep) -> Network:
    """The network now, of this network namespace. KernelError when the kernel does not tell."""

    def linked() -> tuple[list[Any], list[Any]]:
        links = _read(opened, "links", GETLINK, NEWLINK, _LINK)
        addresses = _read(opened, "addresses", GETADDR, NEWADDR, _ADDRESS)
        if not {one["index"] for one in addresses} <= {one["index"] for one in links}:
            raise netlink_dump.interrupted("links and addresses")  # a link that has come in between
        return links, addresses

    links, addresses = netlink_dump.steady(linked, pause)
    routes = netlink_dump.steady(lambda: _read(opened, "routes", GETROUTE, NEWROUTE, _ROUTE), pause)
    try:
        indexes = {link["index"]: _name(link) for link in links}
        return Network(tuple(_interfaces(links, addresses)), tuple(dict.fromkeys(_gateways(routes))), indexes)
    except (ValueError, TypeError) as error:
        raise KernelError(f"links, addresses and routes cannot be read: {error}") from error


def _read(opened: Opener, what: str, asked: int, told: int, fixed: int) -> list[Any]:
    """Messages of rtnetlink, read by pyroute2. The dump is ours: pyroute2 does not tell whether one was interrupted."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: PLC0415 - costs 0.3 s: only who asks for facts pays
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: PLC0415
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: PLC0415

    kind = {NEWLINK: ifinfmsg, NEWADDR: ifaddrmsg, NEWROUTE: rtmsg}[told]
    found = []
    for message in netlink_dump.dump(opened, what, asked, bytes(fixed)):
        if message.type == told:
            # pyroute2 passes over what does not fit.
            attributes = netlink.attributes(message.body, fixed)
            made = kind(netlink.frame(message.type, message.flags, message.seq, message.body))
            try:
                if told == NEWROUTE:
                    _walk_hops(attributes.get(_RTA_MULTIPATH, b""))
                made.decode()
            except (struct.error, ValueError) as error:
                raise KernelError(f"{what}: a message of {len(message.body)} octets") from error
            found.append(made)
    return found


def _walk_hops(value: bytes) -> None:
    """ValueError when the hops of a route that has several do not fit in one another."""
    while value:
        (length,) = _HOP.unpack_from(value)
        if not _HOP.size <= length <= len(value):
            raise ValueError(f"a hop of {length} octets in {len(value)}")
        value = value[(length + 3) & ~3 :]


def _interfaces(links: Iterable[Any], addresses: Iterable[Any]) -> Iterator[Interface]:
    by_index: dict[int, list[InterfaceAddress]] = {}
    for one in addresses:
        if one["family"] in _FAMILIES:
            own = InterfaceAddress(Address.parse(_local(one)), one["prefixlen"])
            by_index.setdefault(one["index"], []).append(own)
    for link in links:
        found = by_index.get(link["index"], ())
        outward = tuple(dict.fromkeys(one for one in found if not is_loopback(one.address)))
        # The loopback interface may hold addresses of a service: those are reached from outside as any other is.
        if outward or not link["flags"] & _LOOPBACK:
            yield Interface(_name(link), _kind(link), outward)


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address.value >> 24 == 127 if address.family == 4 else address.value == 1


def _name(link: Any) -> str:
    """pyroute2 leaves octets that are no UTF-8 as they are."""
    name: str | bytes = link.get_attr("IFLA_IFNAME")
    return name if isinstance(name, str) else name.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _local(address: Any) -> str:
    """The host's own address. On a point-to-point link IFA_ADDRESS is the other end's."""
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))


def _kind(link: Any) -> InterfaceKind:
    """Dial-up is what leads to one other end, or to a mobile operator; everything else is a LAN."""
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    point_to_point = bool(link["flags"] & _POINT_TO_POINT)
    mobile = _MOBILE.fullmatch(_name(link)) is not None
    return InterfaceKind.DIALUP if point_to_point or mobile or kind in _DIALUP_KINDS else InterfaceKind.LAN


def _gateways(routes: Iterable[Any]) -> Iterator[Address]:
    """Of the default routes of the main table, in its order."""
    for route in routes:
        table = route.get_attr("RTA_TABLE") or route["table"]
        if route["dst_len"] or table != _MAIN_TABLE or route["family"] not in _FAMILIES:
            continue
        hops = route.get_attr("RTA_MULTIPATH") or [route]
        for hop in hops:
            gateway = hop.get_attr("RTA_GATEWAY")
            if gateway:
                yield Address.parse(gateway)
