# SPDX-License-Identifier: GPL-2.0-or-later
"""The facts of this host: addresses by interface, default gateways and name servers, read now and watched."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind

RESOLV_CONF: Final = Path("/etc/resolv.conf")
SYSTEMD_RESOLVED: Final = Path("/run/systemd/resolve/resolv.conf")
"""The real servers, where /etc/resolv.conf names only systemd-resolved's stub on a loopback address."""
_RESOLV_CONF_SIZE: Final = 64 * 1024
_NAME_SERVERS: Final = 16

_NETLINK_ROUTE: Final = 0
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of <linux/rtnetlink.h>."""
_LOOPBACK: Final = 0x8
_POINT_TO_POINT: Final = 0x10
"""IFF_LOOPBACK, IFF_POINTOPOINT of <linux/if.h>."""
_DIALUP_KINDS: Final = frozenset({"ppp", "wwan", "ipip", "sit", "gre", "l2tp", "wireguard", "xfrm", "vti"})
_MAIN_TABLE: Final = 254


def gather(resolv_conf: Path = RESOLV_CONF) -> HostFacts:
    """The facts now, of this network namespace. KernelError when the kernel does not tell them."""
    # In a thread of its own: pyroute2's plain interface refuses to work inside a running event loop.
    with concurrent.futures.ThreadPoolExecutor(1, "facts") as thread:
        interfaces, gateways = thread.submit(_network).result()
    return HostFacts(interfaces=interfaces, dns_servers=name_servers(resolv_conf), default_gateways=gateways)


def _network() -> tuple[tuple[Interface, ...], tuple[Address, ...]]:
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415 - costs 0.3 s: only who asks for facts pays

    try:
        with IPRoute() as route:
            links, addresses = tuple(route.get_links()), tuple(route.get_addr())
            routes = tuple(route.get_routes(table=_MAIN_TABLE))
    except (OSError, NetlinkError) as error:
        raise KernelError(f"links, addresses and routes cannot be read: {error}") from error
    return tuple(_interfaces(links, addresses)), tuple(dict.fromkeys(_gateways(routes)))


def _interfaces(links: Iterable[Any], addresses: Sequence[Any]) -> Iterator[Interface]:
    for link in links:
        own = (a for a in addresses if a["index"] == link["index"])
        found = (InterfaceAddress(Address.parse(_local(a)), a["prefixlen"]) for a in own)
        outward = tuple(dict.fromkeys(one for one in found if not _is_loopback(one.address)))
        # The loopback interface may hold addresses of a service: those are reached from outside as any other is.
        if outward or not link["flags"] & _LOOPBACK:
            yield Interface(link.get_attr("IFLA_IFNAME"), _kind(link), outward)


def _is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address.value >> 24 == 127 if address.family == 4 else address.value == 1


def _local(address: Any) -> str:
    """The host's own address. On a point-to-point link IFA_ADDRESS is the other end's."""
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))


def _kind(link: Any) -> InterfaceKind:
    """Dial-up is what leads to one other end; everything else is a LAN."""
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    point_to_point = bool(link["flags"] & _POINT_TO_POINT)
    return InterfaceKind.DIALUP if point_to_point or kind in _DIALUP_KINDS else InterfaceKind.LAN


def _gateways(routes: Iterable[Any]) -> Iterator[Address]:
    for route in routes:
        if route["dst_len"]:
            continue
        hops = route.get_attr("RTA_MULTIPATH") or [route]
        for hop in hops:
            gateway = hop.get_attr("RTA_GATEWAY")
            if gateway:
                yield Address.parse(gateway)


def name_servers(resolv_conf: Path) -> tuple[Address, ...]:
    """The name servers of a resolv.conf, in order, each once; unreadable lines count for nothing."""
    found = _nameserver_lines(resolv_conf)
    stub = found and all(address.value >> 24 == 127 for address in found if address.family == 4)
    if stub and resolv_conf == RESOLV_CONF and SYSTEMD_RESOLVED.exists():
        found = _nameserver_lines(SYSTEMD_RESOLVED)
    return found[:_NAME_SERVERS]


def _nameserver_lines(path: Path) -> tuple[Address, ...]:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            lines = file.read(_RESOLV_CONF_SIZE).splitlines()
    except OSError:
        return ()
    found: dict[Address, None] = {}
    for words in (line.split() for line in lines):
        if len(words) >= 2 and words[0] == "nameserver":
            with contextlib.suppress(ValueError):
                found[Address.parse(words[1].partition("%")[0])] = None
    return tuple(found)


class FactsWatcher:
    """Reads facts, and tells when they may have changed: on news of links, addresses and routes, and on a new
    resolv.conf. Many changes at once are told once.
    """

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        self._resolv_conf = resolv_conf
        self._changed: Callable[[], None] = lambda: None
        self._socket: socket.socket | None = None
        self._told: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._seen = self._stamp()

    def read(self) -> HostFacts:
        """The facts now. KernelError when the kernel does not tell them."""
        return gather(self._resolv_conf)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from the running event loop after anything that may alter the facts."""
        self.close()
        self._changed = changed
        self._socket = netlink.open_socket(_NETLINK_ROUTE, _GROUPS)
        self._socket.setblocking(False)
        # What overflowed the buffer is news all the same, and all news is told in one word.
        self._socket.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_NO_ENOBUFS, 1)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._news)
        self._poll = loop.call_later(limits.RESOLV_CONF_INTERVAL, self._look)

    def close(self) -> None:
        """Stop watching."""
        for handle in (self._told, self._poll):
            if handle is not None:
                handle.cancel()
        self._told = self._poll = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _news(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            while self._socket.recv(netlink.RECEIVE_SIZE):
                pass
        self._soon()

    def _soon(self) -> None:
        """Tell in a moment: an interface that comes up brings a dozen messages."""
        if self._told is None:
            self._told = asyncio.get_running_loop().call_later(limits.FACTS_SETTLE, self._tell)

    def _tell(self) -> None:
        self._told = None
        self._changed()

    def _look(self) -> None:
        self._poll = asyncio.get_running_loop().call_later(limits.RESOLV_CONF_INTERVAL, self._look)
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            self._soon()

    def _stamp(self) -> tuple[int, int]:
        """What changes when the file does; it is often replaced, or a link to another place."""
        try:
            status = self._resolv_conf.stat()
        except OSError:
            return (0, 0)
        return (status.st_ino, status.st_mtime_ns)
