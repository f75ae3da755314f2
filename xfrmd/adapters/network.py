# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces with their addresses, and default gateways, as the kernel tells them."""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import Interface, InterfaceAddress, InterfaceKind

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


def read_network() -> Network:
    """The network now, of this network namespace. KernelError when the kernel does not tell."""
    # In a thread of its own: pyroute2's plain interface refuses to work inside a running event loop.
    with concurrent.futures.ThreadPoolExecutor(1, "facts") as thread:
        return thread.submit(_read).result()


def _read() -> Network:
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415 - costs 0.3 s: only who asks for facts pays

    try:
        with IPRoute() as route:
            links, addresses = tuple(route.get_links()), tuple(route.get_addr())
            routes = tuple(route.get_routes(table=_MAIN_TABLE))
    except (OSError, NetlinkError) as error:
        raise KernelError(f"links, addresses and routes cannot be read: {error}") from error
    indexes = {link["index"]: link.get_attr("IFLA_IFNAME") for link in links}
    return Network(tuple(_interfaces(links, addresses)), tuple(dict.fromkeys(_gateways(routes))), indexes)


def _interfaces(links: Iterable[Any], addresses: Sequence[Any]) -> Iterator[Interface]:
    for link in links:
        own = (a for a in addresses if a["index"] == link["index"])
        found = (InterfaceAddress(Address.parse(_local(a)), a["prefixlen"]) for a in own)
        outward = tuple(dict.fromkeys(one for one in found if not is_loopback(one.address)))
        # The loopback interface may hold addresses of a service: those are reached from outside as any other is.
        if outward or not link["flags"] & _LOOPBACK:
            yield Interface(link.get_attr("IFLA_IFNAME"), _kind(link), outward)


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address.value >> 24 == 127 if address.family == 4 else address.value == 1


def _local(address: Any) -> str:
    """The host's own address. On a point-to-point link IFA_ADDRESS is the other end's."""
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))


def _kind(link: Any) -> InterfaceKind:
    """Dial-up is what leads to one other end, or to a mobile operator; everything else is a LAN."""
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    point_to_point = bool(link["flags"] & _POINT_TO_POINT)
    mobile = _MOBILE.fullmatch(link.get_attr("IFLA_IFNAME")) is not None
    return InterfaceKind.DIALUP if point_to_point or mobile or kind in _DIALUP_KINDS else InterfaceKind.LAN


def _gateways(routes: Iterable[Any]) -> Iterator[Address]:
    for route in routes:
        if route["dst_len"]:
            continue
        hops = route.get_attr("RTA_MULTIPATH") or [route]
        for hop in hops:
            gateway = hop.get_attr("RTA_GATEWAY")
            if gateway:
                yield Address.parse(gateway)
