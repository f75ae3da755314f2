# SPDX-License-Identifier: GPL-2.0-or-later
"""The facts of this host: addresses, gateways, name servers, leases; read now, and watched."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.files import stamp
from xfrmd.adapters.leases.found import HeldLease, LeasePlaces, Strange, leases, stamps
from xfrmd.adapters.names.follow import NameOrigin, Names, NameSources, look_up
from xfrmd.adapters.network import Network, read_network
from xfrmd.adapters.resolv_conf import NameServers, name_servers
from xfrmd.adapters.watched import WatchedFiles
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.notice import Level, Notice

_NETLINK_ROUTE: Final = 0
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of <linux/rtnetlink.h>."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files that say what the kernel does not know."""

    resolv_conf: Path = Path("/etc/resolv.conf")
    resolved: Path = Path("/run/systemd/resolve/resolv.conf")
    """systemd-resolved's servers, where /etc/resolv.conf names only its stub."""
    leases: LeasePlaces = field(default_factory=LeasePlaces)


class Found(NamedTuple):
    """Where facts come from: the network, name servers and leases behind them."""

    network: Network
    name_servers: NameServers
    leases: tuple[HeldLease, ...]

    @property
    def facts(self) -> HostFacts:
        """The facts, without names."""
        return HostFacts(
            interfaces=self.network.interfaces,
            dns_servers=self.name_servers.servers,
            wins_servers=_each(one.lease.wins_servers for one in self.leases),
            dhcp_servers=_each(one.lease.servers for one in self.leases),
            default_gateways=self.network.default_gateways,
        )


@dataclass(frozen=True, slots=True)
class Origins:
    """Where facts come from: the file of the name servers, leases, and each name's source; "" for what is not known."""

    name_servers: str = ""
    leases: tuple[HeldLease, ...] = ()
    names: Mapping[str, NameOrigin] = field(default_factory=dict)


def _each(found: Iterable[tuple[Address, ...]]) -> tuple[Address, ...]:
    """Each address once, in order."""
    return tuple(dict.fromkeys(address for addresses in found for address in addresses))


def find(places: Places, network: Network, now: float, strange: Strange = lambda *_: None) -> Found:
    """What stands in files at wall-clock time `now`, beside the network."""
    servers = name_servers(places.resolv_conf, places.resolved)
    return Found(network, servers, leases(places.leases, network, now, strange))


def gather(places: Places = Places(), names: frozenset[str] = frozenset(), *, strict: bool = False) -> HostFacts:
    """The facts now, of this network namespace, with the addresses of these DNS names; `strict`: of those that are
    resolved in full. KernelError when the kernel does not tell them.
    """
    found = find(places, read_network(), time.time())
    if not names:
        return found.facts
    asked = look_up(NameSources(), names, found.name_servers.asked, strict=strict)
    return replace(found.facts, names=asyncio.run(asked))


class FactsWatcher:
    """Reads facts, and tells when they may have changed: on news of links, addresses and routes, on changed files, and
    when a lease ends. Many changes at once are told once.
    """

    def __init__(
        self,
        places: Places = Places(),
        tell: Callable[[Notice], None] = lambda _: None,
        names: NameSources | None = None,
    ) -> None:
        self._places = places
        self.names = Names(names or NameSources(), tell)
        self.names.changed = self._soon
        self._tell_of = tell
        self._changed: Callable[[], None] = lambda: None
        self._socket: socket.socket | None = None
        self._told: asyncio.TimerHandle | None = None
        self._network: Network | None = None
        """As read last, while the kernel tells of changes."""
        leases = places.leases
        files = (places.resolv_conf, places.resolved, self.names.file, leases.networkd, leases.networkmanager)
        self._files = WatchedFiles((*files, *leases.dhclient), self._look, self._soon)
        self._strange: set[Path] = set()
        self._redirects: dict[Address, Address] = {}
        self.found: Found | None = None
        """What was read last."""

    def read(self) -> HostFacts:
        """The facts now. KernelError when the kernel does not tell them."""
        network = self._network or read_network()
        self._network = network if self._socket is not None else None
        now = time.time()
        self.found = find(self._places, network, now, self._cannot_read)
        ends = (one.lease.expires for one in self.found.leases if one.lease.expires is not None)
        self._files.ends(min(ends, default=float("inf")))
        return replace(self.found.facts, names=self.names.addresses(), redirects=dict(self._redirects))

    def redirect(self, end: Address, gateway: Address) -> None:
        """Tunnels to this end have another one from now on; the same: no other. A fact that IKE has found out."""
        self._redirects.pop(end, None)
        if gateway != end:
            self._redirects[end] = gateway
        self._soon()

    def want(self, names: frozenset[str], *, strict: bool) -> None:
        """From now on the facts hold the addresses of these DNS names. `strict`: only as long as they are resolved."""
        self.names.want(names, self._name_servers().asked, strict=strict)

    async def settled(self) -> None:
        """Wait until each name has an answer or has failed, or limits.NAMES_WAIT is over."""
        await self.names.settled()

    async def look_up(self, names: frozenset[str], *, strict: bool) -> dict[str, tuple[Address, ...]]:
        """The addresses of DNS names now, apart from those that are followed."""
        return await self.names.look_up(names, self._name_servers().asked, strict=strict)

    def origins(self) -> Origins:
        """Where the facts that were read last come from."""
        names = self.names.origins(asyncio.get_running_loop().time())
        if self.found is None:
            return Origins(names=names)
        return Origins(str(self.found.name_servers.file), self.found.leases, names)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from the running event loop after anything that may alter the facts."""
        self._look_away()
        self._changed = changed
        self._socket = netlink.open_socket(_NETLINK_ROUTE, _GROUPS)
        self._socket.setblocking(False)
        # What overflowed the buffer is news all the same, and all news is told in one word.
        self._socket.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_NO_ENOBUFS, 1)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._news)
        self._files.start()

    def close(self) -> None:
        """Stop watching, and asking for names."""
        self.names.close()
        self._look_away()

    def _look_away(self) -> None:
        if self._told is not None:
            self._told.cancel()
        self._told = self._network = None
        self._files.stop()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _news(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            while self._socket.recv(netlink.RECEIVE_SIZE):
                pass
        self._network = None
        self._soon()

    def _soon(self) -> None:
        """Tell in a moment: an interface that comes up brings a dozen messages."""
        if self._told is None and self._socket is not None:
            self._told = asyncio.get_running_loop().call_later(limits.FACTS_SETTLE, self._tell)

    def _tell(self) -> None:
        self._told = None
        self.names.surroundings(self._name_servers().asked, network_changed=self._network is None)
        self._changed()

    def _name_servers(self) -> NameServers:
        return name_servers(self._places.resolv_conf, self._places.resolved)

    def _look(self) -> object:
        """What is another when any of the files is."""
        places = self._places
        return stamp(places.resolv_conf), stamp(places.resolved), stamps(places.leases), self.names.stamp()

    def _cannot_read(self, file: Path, what: str) -> None:
        """Told once of each file."""
        if file not in self._strange and len(self._strange) < limits.FACTS_FILES:
            self._strange.add(file)
            self._tell_of(
                Notice(
                    Level.WARNING,
                    "lease-unreadable",
                    f"{file} holds what cannot be read and counts for nothing: {what!r}",
                    {"file": str(file)},
                    "compare it with what its DHCP client writes; xfrmctl facts shows what was read",
                )
            )
