# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of a namespace: read, and watched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.netns import Host, namespaces
from xfrmd.adapters.facts import FactsWatcher, Places, gather
from xfrmd.adapters.leases.found import LeasePlaces
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]


def address(text: str, length: int) -> InterfaceAddress:
    return InterfaceAddress(Address.parse(text), length)


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces("facts") as (made,):
        made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        for link in ("eth0", "other"):
            made.run("ip", "link", "set", link, "addrgenmode", "none")
            made.run("ip", "link", "set", link, "up")
        yield made


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 10.1.0.53\n")
    return file


def test_addresses_gateways_and_kinds_are_found(host: Host, resolv_conf: Path) -> None:
    host.run("ip", "addr", "add", "10.1.0.5/16", "dev", "eth0")
    host.run("ip", "addr", "add", "10.1.0.6/16", "dev", "eth0")
    host.run("ip", "addr", "add", "fd00::5/64", "dev", "eth0", "nodad")
    host.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    host.run("ip", "addr", "add", "192.0.2.1", "peer", "192.0.2.9/32", "dev", "tun0")
    host.run("ip", "route", "add", "default", "via", "10.1.0.1")
    host.run("ip", "route", "add", "default", "metric", "9", "nexthop", "via", "10.1.0.2", "nexthop", "via", "10.1.0.1")
    host.run("ip", "route", "add", "default", "via", "fd00::1")
    host.run("ip", "route", "add", "10.9.0.0/16", "via", "10.1.0.3")
    found = host.inside(lambda: gather(Places(resolv_conf)))
    assert sorted(found.interfaces, key=lambda one: one.name) == [
        Interface(
            "eth0", InterfaceKind.LAN, (address("10.1.0.5", 16), address("10.1.0.6", 16), address("fd00::5", 64))
        ),
        Interface("other", InterfaceKind.LAN, ()),
        Interface("tun0", InterfaceKind.DIALUP, (address("192.0.2.1", 32),)),
    ]
    assert [str(gateway) for gateway in found.default_gateways] == ["10.1.0.1", "10.1.0.2", "fd00::1"]
    assert [str(server) for server in found.dns_servers] == ["10.1.0.53"]


def test_a_bare_namespace_has_no_facts(resolv_conf: Path) -> None:
    with namespaces("bare") as (bare,):
        assert bare.inside(lambda: gather(Places(resolv_conf.with_name("none")))) == HostFacts()


def test_the_loopback_interface_counts_for_what_is_reached_from_outside(host: Host, resolv_conf: Path) -> None:
    def loopback() -> list[Interface]:
        return [one for one in host.inside(lambda: gather(Places(resolv_conf))).interfaces if one.name == "lo"]

    host.run("ip", "link", "set", "lo", "up")
    assert loopback() == []
    host.run("ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
    assert loopback() == [Interface("lo", InterfaceKind.LAN, (address("10.99.0.1", 32),))]


def watched(host: Host, resolv_conf: Path, change: Callable[[], object]) -> tuple[int, HostFacts]:
    """How often a change was told within a settling time after the first, and the facts then."""

    async def watch() -> tuple[int, HostFacts]:
        told: asyncio.Queue[None] = asyncio.Queue()
        watcher = FactsWatcher(Places(resolv_conf))
        watcher.watch(lambda: told.put_nowait(None))
        try:
            await asyncio.to_thread(change)
            await asyncio.wait_for(told.get(), 5)
            return 1 + told.qsize(), watcher.read()
        finally:
            watcher.close()

    return host.inside(lambda: asyncio.run(watch()))


def test_new_addresses_are_told_once(host: Host, resolv_conf: Path) -> None:
    lines = "\n".join(f"addr add 10.1.0.{number}/16 dev eth0" for number in range(1, 50))
    times, found = watched(host, resolv_conf, lambda: host.run("ip", "-batch", "-", stdin=lines))
    assert times == 1
    assert len(found.own_addresses()) == 49


@pytest.mark.parametrize("what", ["link", "route"])
def test_links_and_routes_are_watched(host: Host, resolv_conf: Path, what: str) -> None:
    host.run("ip", "addr", "add", "10.1.0.5/16", "dev", "eth0")
    command = {"link": "link add new type bridge", "route": "route add default via 10.1.0.1"}[what]
    _, found = watched(host, resolv_conf, lambda: host.run("ip", *command.split()))
    assert len(found.interfaces) == (3 if what == "link" else 2)
    assert len(found.default_gateways) == (1 if what == "route" else 0)


def test_a_replaced_resolv_conf_is_noticed(host: Host, resolv_conf: Path) -> None:
    new = resolv_conf.with_name("new")
    new.write_text("nameserver 10.1.0.54\n")
    _, found = watched(host, resolv_conf, lambda: new.replace(resolv_conf))
    assert [str(server) for server in found.dns_servers] == ["10.1.0.54"]


def lease(ends: float) -> str:
    return f"""\
lease {{
  interface "eth0";
  fixed-address 10.1.0.5;
  option dhcp-server-identifier 10.1.0.2;
  option netbios-name-servers 10.1.0.44;
  expire epoch {int(ends)};
}}
"""


def test_a_lease_is_noticed_and_its_end(host: Host, resolv_conf: Path) -> None:
    host.run("ip", "addr", "add", "10.1.0.5/16", "dev", "eth0")
    places = Places(resolv_conf, leases=LeasePlaces(dhclient=(resolv_conf.parent,)))
    file = resolv_conf.with_name("dhclient.eth0.leases")

    async def watch() -> list[HostFacts]:
        told: asyncio.Queue[None] = asyncio.Queue()
        watcher = FactsWatcher(places)
        watcher.watch(lambda: told.put_nowait(None))
        try:
            seen = [watcher.read()]
            file.write_text(lease(time.time() + 3))
            for _ in range(2):
                await asyncio.wait_for(told.get(), 10)
                seen.append(watcher.read())
            return seen
        finally:
            watcher.close()

    seen = host.inside(lambda: asyncio.run(watch()))
    assert [[str(one) for one in facts.dhcp_servers] for facts in seen] == [[], ["10.1.0.2"], []]
    assert [[str(one) for one in facts.wins_servers] for facts in seen] == [[], ["10.1.0.44"], []]


MANY = 1500
"""Addresses: the kernel needs several buffers for them, and looks anew for its place among them at each."""


def test_an_address_that_stays_is_found_while_others_come_and_go(host: Host, resolv_conf: Path) -> None:
    host.run("ip", "-batch", "-", stdin="\n".join(f"addr add 10.2.{n >> 8}.{n & 255}/32 dev eth0" for n in range(MANY)))
    # The kernel puts addresses of a narrow scope ahead of those of a wide one: the place of each of these changes.
    churn = "\n".join(f"addr {what} 10.3.0.{n}/32 dev eth0 scope host" for what in ("add", "del") for n in range(100))
    wanted = {address(f"10.2.{n >> 8}.{n & 255}", 32) for n in range(MANY)}
    for _ in range(10):
        with host.popen("ip", "-batch", "-", stdin=subprocess.PIPE) as others:
            assert others.stdin is not None
            others.stdin.write(churn)
            others.stdin.close()
            while others.poll() is None:
                found = host.inside(lambda: gather(Places(resolv_conf)))
                assert wanted <= {one for interface in found.interfaces for one in interface.addresses}
        assert others.returncode == 0
