# SPDX-License-Identifier: GPL-2.0-or-later
"""The leases that hold now: of interfaces that exist and have the leased address, and not expired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xfrmd.adapters.files import Stamp, names_in, read_text, stamp
from xfrmd.adapters.leases import dhclient, networkd, networkmanager
from xfrmd.adapters.leases.lease import Ignored, Lease
from xfrmd.adapters.network import Network


@dataclass(frozen=True, slots=True)
class LeasePlaces:
    """Directories of the DHCP clients' files."""

    networkd: Path = Path("/run/systemd/netif/leases")
    networkmanager: Path = Path("/run/NetworkManager/devices")
    dhclient: tuple[Path, ...] = (Path("/var/lib/dhcp"), Path("/var/lib/NetworkManager"), Path("/var/lib/dhclient"))


class HeldLease(NamedTuple):
    """A lease, its interface's name and the file it stands in."""

    lease: Lease
    interface: str
    file: Path


Strange = Callable[[Path, str], None]
"""Hears of a file that holds what cannot be read, and what the first such thing is."""


def _files(places: LeasePlaces) -> Iterator[tuple[Path, int | None]]:
    """All lease files, each with the index of its interface or None for dhclient's."""
    for directory in (places.networkd, places.networkmanager):
        for name in names_in(directory):
            if name.isascii() and name.isdecimal() and len(name) < 10:
                yield directory / name, int(name)
    for directory in places.dhclient:
        for name in names_in(directory):
            if name.startswith("dhclient") and name.endswith((".lease", ".leases")):
                yield directory / name, None


def stamps(places: LeasePlaces) -> tuple[tuple[Path, Stamp], ...]:
    """What changes when any lease does."""
    return tuple((file, stamp(file)) for file, _ in _files(places))


def _read(places: LeasePlaces, strange: Strange) -> Iterator[tuple[Lease, Path]]:
    for file, index in _files(places):
        text, ignored = read_text(file, end=True), Ignored()
        if text is None:
            continue
        if index is None:
            yield from ((lease, file) for lease in dhclient.parse(text, ignored))
        else:
            parse = networkd.parse if file.parent == places.networkd else networkmanager.parse
            one = parse(text, index, ignored)
            if one is not None:
                yield one, file
        if ignored:
            strange(file, ignored[0])


def valid(found: Iterable[tuple[Lease, Path]], network: Network, now: float) -> tuple[HeldLease, ...]:
    """The leases that hold at wall-clock time `now`; of several of one interface and client, the last in its file."""
    addresses = {one.name: {own.address for own in one.addresses} for one in network.interfaces}
    last: dict[tuple[str, Path], HeldLease] = {}
    for lease, file in found:
        name = network.indexes.get(lease.interface) if isinstance(lease.interface, int) else lease.interface
        expired = lease.expires is not None and lease.expires <= now
        if name is not None and not expired and lease.address in addresses.get(name, ()):
            last[name, file.parent] = HeldLease(lease, name, file)
    return tuple(last.values())


def leases(places: LeasePlaces, network: Network, now: float, strange: Strange) -> tuple[HeldLease, ...]:
    """The leases that hold now."""
    return valid(_read(places, strange), network, now)
