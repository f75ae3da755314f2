# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compiler knows of the host: the values behind `me`, `dns-servers` and their like."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from xfrmd.model.addresses import Address


class InterfaceKind(enum.Enum):
    """Windows' connection types; every interface is one or the other."""

    LAN = "lan"
    DIALUP = "dialup"


class InterfaceAddress(NamedTuple):
    """An address of the host with the length of its on-link prefix (its broadcast address follows from both)."""

    address: Address
    length: int


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. The loopback interface is one only when it has addresses that are reached from outside."""

    name: str
    kind: InterfaceKind
    addresses: tuple[InterfaceAddress, ...]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """All the compiler may know of the host. Order is that of the source; equal facts compare equal."""

    interfaces: tuple[Interface, ...] = ()
    dns_servers: tuple[Address, ...] = ()
    wins_servers: tuple[Address, ...] = ()
    dhcp_servers: tuple[Address, ...] = ()
    default_gateways: tuple[Address, ...] = ()
    names: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    redirects: dict[Address, Address] = field(default_factory=dict)
    """Where tunnels end now, by the gateways that policies name for them, where those have sent us elsewhere."""

    def own_addresses(self, kinds: frozenset[InterfaceKind] = frozenset(InterfaceKind)) -> tuple[Address, ...]:
        """Addresses of the host on interfaces of these kinds, each once, in order."""
        seen = dict.fromkeys(a.address for i in self.interfaces if i.kind in kinds for a in i.addresses)
        return tuple(seen)
