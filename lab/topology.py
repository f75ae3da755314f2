# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks to test in, as context managers: namespaces, veth pairs, IPv4 and IPv6, a capture on every link.

The order makes the capture complete: interfaces up without addresses, then the capture, then addresses. Nothing of a
flow can leave before it is watched. Everything is removed at the end, whatever happened inside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from lab.capture import Capture
from lab.netns import Host, Link, ip_batch, namespaces
from lab.packets import Flow, flow

KEEP = "XFRMD_LAB_PCAP"
"""Environment variable: a directory for the captures of all topologies, to be looked at with tshark."""


@dataclass(frozen=True, slots=True)
class Network:
    """What all topologies have: hosts, and one capture over all their links."""

    hosts: tuple[Host, ...]
    capture: Capture


@dataclass(frozen=True, slots=True)
class TwoHosts(Network):
    """left - right."""

    left: Host
    right: Host


@dataclass(frozen=True, slots=True)
class Nat(Network):
    """inside - nat - outside. The nat masquerades what comes from inside (first link: inside, second: outside)."""

    inside: Host
    nat: Host
    outside: Host


@dataclass(frozen=True, slots=True)
class SharedNat(Nat):
    """The same with another host behind the nat, by its third link."""

    beside: Host


@dataclass(frozen=True, slots=True)
class TwoGateways(Network):
    """left_host - left - right - right_host. A gateway's first link leads to the other gateway, its second inwards."""

    left_host: Host
    left: Host
    right: Host
    right_host: Host


@dataclass(frozen=True, slots=True)
class Lan(Network):
    """Hosts on one bridge, each by its own link."""


def between(
    one: Host | Sequence[Host],
    other: Host | Sequence[Host],
    protocol: str | None = None,
    *,
    port_a: int | None = None,
    port_b: int | None = None,
) -> Flow:
    """The flow between all addresses, of both versions, of hosts and hosts."""
    ones, others = ((each,) if isinstance(each, Host) else each for each in (one, other))
    a = [address for host in ones for address in host.addresses]
    b = [address for host in others for address in host.addresses]
    return flow(a, b, protocol, port_a=port_a, port_b=port_b)


def _link(name: str, subnet: int, host: int) -> Link:
    """Interface `name` of host number `host` in subnet number `subnet`."""
    return Link(name, IPv4Interface(f"10.{subnet}.0.{host}/24"), IPv6Interface(f"fd{subnet:02x}::{host:x}/64"))


Cable = tuple[Host, str, Host, str]


def _wire(capture: Capture, *cables: Cable) -> None:
    """A veth pair for each cable (host, interface, host, interface), up at both ends and watched, without addresses."""
    pairs = (
        f"link add name {one_end} netns {one.name} type veth peer name {other_end} netns {other.name}"
        for one, one_end, other, other_end in cables
    )
    ip_batch(list(pairs))
    ends: dict[str, tuple[Host, list[str]]] = {}
    for one, one_end, other, other_end in cables:
        for host, end in ((one, one_end), (other, other_end)):
            ends.setdefault(host.name, (host, []))[1].append(end)
    for host, names in ends.values():
        ip_batch([f"link set {name} up" for name in ("lo", *names)], host)
        if host.links:  # a bridge has none: it repeats what the hosts sent
            capture.watch(host, *names)


def _address(host: Host, *routes: str) -> None:
    lines = [
        line
        for link in host.links
        for line in (f"addr add {link.v4} dev {link.name}", f"addr add {link.v6} dev {link.name} nodad")
    ]
    ip_batch([*lines, *(f"route add {route}" for route in routes)], host)


def _forward(*hosts: Host) -> None:
    for host in hosts:
        host.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)


@contextlib.contextmanager
def _hosts(*roles: str) -> Iterator[tuple[list[Host], Capture]]:
    with namespaces(*roles) as hosts, contextlib.closing(Capture()) as capture:
        try:
            yield hosts, capture
        finally:
            if directory := os.environ.get(KEEP):
                capture.save(Path(directory) / f"{hosts[0].name}.pcap")


@contextlib.contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts on one link: 10.1.0.1 and .2, fd01::1 and ::2."""
    with _hosts("left", "right") as ((left, right), capture):
        left.links, right.links = (_link("eth0", 1, 1),), (_link("eth0", 1, 2),)
        _wire(capture, (left, "eth0", right, "eth0"))
        for host in (left, right):
            _address(host)
        yield TwoHosts((left, right), capture, left, right)


_MASQUERADE = """
table inet lab_nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "eth1" masquerade
    }
}
"""


@contextlib.contextmanager
def host_nat_host() -> Iterator[Nat]:
    """Inside 10.1.0.1 - nat 10.1.0.2, 10.2.0.2 - outside 10.2.0.1; likewise fd01::, fd02::.

    Outside has no route to inside: it sees the nat's address alone.
    """
    with _hosts("inside", "nat", "outside") as ((inside, nat, outside), capture):
        inside.links, outside.links = (_link("eth0", 1, 1),), (_link("eth0", 2, 1),)
        nat.links = (_link("eth0", 1, 2), _link("eth1", 2, 2))
        _wire(capture, (inside, "eth0", nat, "eth0"), (nat, "eth1", outside, "eth0"))
        _forward(nat)
        nat.run("nft", "-f", "-", stdin=_MASQUERADE)
        _address(nat)
        _address(outside)
        _address(inside, "default via 10.1.0.2", "::/0 via fd01::2")
        yield Nat((inside, nat, outside), capture, inside, nat, outside)


@contextlib.contextmanager
def two_behind_nat() -> Iterator[SharedNat]:
    """As host_nat_host, and beside it 10.3.0.1 - nat 10.3.0.2; likewise fd03::."""
    with _hosts("inside", "nat", "outside", "beside") as (hosts, capture):
        inside, nat, outside, beside = hosts
        for number, host in enumerate((inside, outside, beside), 1):
            host.links = (_link("eth0", number, 1),)
        nat.links = tuple(_link(f"eth{number}", number + 1, 2) for number in range(3))
        _wire(
            capture,
            *((host, "eth0", nat, link.name) for host, link in zip((inside, outside, beside), nat.links, strict=True)),
        )
        _forward(nat)
        nat.run("nft", "-f", "-", stdin=_MASQUERADE)
        for host in (nat, outside):
            _address(host)
        for number, host in ((1, inside), (3, beside)):
            _address(host, f"default via 10.{number}.0.2", f"::/0 via fd0{number}::2")
        yield SharedNat(tuple(hosts), capture, inside, nat, outside, beside)


@contextlib.contextmanager
def two_gateways() -> Iterator[TwoGateways]:
    """Hosts 10.2.0.1 and 10.3.0.1, gateways 10.2.0.2, 10.1.0.1 - 10.1.0.2, 10.3.0.2; likewise fd01:: to fd03::."""
    with _hosts("lhost", "left", "right", "rhost") as (hosts, capture):
        left_host, left, right, right_host = hosts
        left_host.links, right_host.links = (_link("eth0", 2, 1),), (_link("eth0", 3, 1),)
        left.links = (_link("eth0", 1, 1), _link("eth1", 2, 2))
        right.links = (_link("eth0", 1, 2), _link("eth1", 3, 2))
        middle = (left, "eth0", right, "eth0")
        _wire(capture, middle, (left_host, "eth0", left, "eth1"), (right_host, "eth0", right, "eth1"))
        _forward(left, right)
        _address(left, "10.3.0.0/24 via 10.1.0.2", "fd03::/64 via fd01::2")
        _address(right, "10.2.0.0/24 via 10.1.0.1", "fd02::/64 via fd01::1")
        _address(left_host, "default via 10.2.0.2", "::/0 via fd02::2")
        _address(right_host, "default via 10.3.0.2", "::/0 via fd03::2")
        yield TwoGateways(tuple(hosts), capture, left_host, left, right, right_host)


@contextlib.contextmanager
def lan(count: int) -> Iterator[Lan]:
    """`count` hosts (at most 250) on a bridge: 10.1.0.1 and up, fd01::1 and up."""
    with _hosts("bridge", *(f"h{number}" for number in range(1, count + 1))) as ((bridge, *hosts), capture):
        for number, host in enumerate(hosts, 1):
            host.links = (_link("eth0", 1, number),)
        ports = [f"p{number}" for number in range(1, count + 1)]
        cables: list[Cable] = [(host, "eth0", bridge, port) for host, port in zip(hosts, ports, strict=True)]
        _wire(capture, *cables)
        into = [f"link set {port} master br0" for port in ports]
        ip_batch(["link add br0 type bridge", "link set br0 up", *into], bridge)
        for host in hosts:
            _address(host)
        yield Lan(tuple(hosts), capture)
