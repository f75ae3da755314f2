# SPDX-License-Identifier: GPL-2.0-or-later
"""What other programs write about leases: read as they write it, bounded, and never an exception."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd import limits
from xfrmd.adapters.facts import Places, find
from xfrmd.adapters.files import read_text
from xfrmd.adapters.leases import dhclient, networkd, networkmanager
from xfrmd.adapters.leases.found import LeasePlaces
from xfrmd.adapters.leases.lease import Ignored
from xfrmd.adapters.network import Network
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind

NETWORKD = """\
# This is private data. Do not parse.
ADDRESS=10.1.0.57
NETMASK=255.255.0.0
ROUTER=10.1.0.1
SERVER_ADDRESS=10.1.0.2
T1=1800
T2=3150
LIFETIME=3600
DNS=10.1.0.53
CLIENTID=ffb6220feb00020000ab11d4f0ea0b6b3f8c1f
OPTION_44=0a01002c0a01002d
"""
NETWORKMANAGER = """\
[device]
managed=1
connection-uuid=0b6e2c1c-9ef5-4bb2-a5a4-b9b4b7d6e7a1
nm-owned=0

[dhcp4]
dhcp_lease_time=3600
dhcp_server_identifier=10.1.0.2
domain_name_servers=10.1.0.53
expiry=1790000000
ip_address=10.1.0.57
netbios_name_servers=10.1.0.44 10.1.0.45
subnet_mask=255.255.0.0
"""
DHCLIENT = """\
default-duid "\\000\\001\\000\\001+\\236";
lease {
  interface "eth0";
  fixed-address 10.1.0.57;
  option subnet-mask 255.255.0.0;
  option routers 10.1.0.1;
  option dhcp-lease-time 3600;
  option dhcp-server-identifier 10.1.0.1;
  option domain-name "a \\"quoted\\" } name";
  renew 3 2026/01/07 09:12:11;
  rebind 3 2026/01/07 09:39:04;
  expire 3 2026/01/07 09:46:34;
}
lease {
  interface "eth0";
  fixed-address 10.1.0.57;
  option dhcp-server-identifier 10.1.0.2;
  option netbios-name-servers 10.1.0.44,10.1.0.45;
  expire 3 2026/01/07 10:46:34;
}
"""
LAST_END = 1767782794.0
"""When the second lease above ends: 2026-01-07 10:46:34 UTC."""
NETWORK = Network(
    (Interface("eth0", InterfaceKind.LAN, (InterfaceAddress(Address.parse("10.1.0.57"), 16),)),), (), {2: "eth0"}
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(
        tmp_path / "resolv.conf",
        tmp_path / "resolved.conf",
        LeasePlaces(tmp_path / "networkd", tmp_path / "nm", (tmp_path / "dhcp",)),
    )
    for directory in (made.leases.networkd, made.leases.networkmanager, *made.leases.dhclient):
        directory.mkdir()
    return made


def facts(places: Places, now: float = 0.0, network: Network = NETWORK) -> HostFacts:
    return find(places, network, now).facts


def shown(addresses: tuple[Address, ...]) -> list[str]:
    return [str(address) for address in addresses]


def test_a_lease_of_networkd(places: Places) -> None:
    (places.leases.networkd / "2").write_text(NETWORKD)
    found = facts(places)
    assert shown(found.dhcp_servers) == ["10.1.0.2"]
    assert shown(found.wins_servers) == ["10.1.0.44", "10.1.0.45"]


def test_a_lease_of_networkmanager(places: Places) -> None:
    (places.leases.networkmanager / "2").write_text(NETWORKMANAGER)
    found = facts(places)
    assert shown(found.dhcp_servers) == ["10.1.0.2"]
    assert shown(found.wins_servers) == ["10.1.0.44", "10.1.0.45"]


def test_the_last_lease_of_dhclient_counts(places: Places) -> None:
    (places.leases.dhclient[0] / "dhclient.eth0.leases").write_text(DHCLIENT)
    found = facts(places, LAST_END - 1)
    assert shown(found.dhcp_servers) == ["10.1.0.2"]
    assert shown(found.wins_servers) == ["10.1.0.44", "10.1.0.45"]


def test_an_expired_lease_of_dhclient_is_none(places: Places) -> None:
    (places.leases.dhclient[0] / "dhclient.leases").write_text(DHCLIENT)
    assert facts(places, LAST_END) == HostFacts(interfaces=NETWORK.interfaces)


def test_clients_add_up_and_each_server_counts_once(places: Places) -> None:
    (places.leases.networkd / "2").write_text(NETWORKD)
    (places.leases.dhclient[0] / "dhclient.leases").write_text(DHCLIENT.replace("10.1.0.44", "10.1.0.46"))
    found = facts(places)
    assert shown(found.dhcp_servers) == ["10.1.0.2"]
    assert shown(found.wins_servers) == ["10.1.0.44", "10.1.0.45", "10.1.0.46"]


@pytest.mark.parametrize(
    "network",
    [
        Network((), (), {}),
        Network(NETWORK.interfaces, (), {3: "eth0"}),
        Network((Interface("eth0", InterfaceKind.LAN, ()),), (), {2: "eth0"}),
    ],
    ids=["no interface", "another index", "without the address"],
)
def test_a_file_that_was_left_behind_is_no_lease(places: Places, network: Network) -> None:
    (places.leases.networkd / "2").write_text(NETWORKD)
    (places.leases.networkmanager / "2").write_text(NETWORKMANAGER)
    assert facts(places, network=network) == HostFacts(interfaces=network.interfaces)


@pytest.mark.parametrize("server", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "fd00::1", "10.1.0.300"])
def test_what_no_server_can_have_is_ignored_and_told(places: Places, server: str) -> None:
    told: list[tuple[str, str]] = []
    (places.leases.networkd / "2").write_text(NETWORKD.replace("SERVER_ADDRESS=10.1.0.2", f"SERVER_ADDRESS={server}"))
    found = find(places, NETWORK, 0.0, lambda file, what: told.append((file.name, what)))
    assert found.facts.dhcp_servers == ()
    assert told == [("2", server)]


def test_of_many_wins_servers_a_bounded_number_counts(places: Places) -> None:
    many = "".join(f"0a0101{number:02x}" for number in range(60))
    (places.leases.networkd / "2").write_text(NETWORKD.replace("0a01002c0a01002d", many))
    assert len(facts(places).wins_servers) == limits.LEASE_WINS_SERVERS


def test_of_a_long_file_of_dhclient_the_end_counts(places: Places) -> None:
    old = DHCLIENT.replace("10.1.0.2", "10.1.0.9")
    text = old * (limits.FACTS_FILE_SIZE // len(old) + 2) + DHCLIENT
    (places.leases.dhclient[0] / "dhclient.leases").write_text(text)
    assert shown(facts(places).dhcp_servers) == ["10.1.0.2"]


def test_a_name_is_not_cut_at_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("nameserver 10.1.0.53\nnameserver 10.1.0.54\n")
    assert read_text(file, 30) == "nameserver 10.1.0.53"
    assert read_text(file, 30, end=True) == "nameserver 10.1.0.54\n"


def test_neither_pipes_nor_directories_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_text(tmp_path / "pipe") is None
    assert read_text(tmp_path) is None


_PIECES = st.lists(st.sampled_from([*DHCLIENT.split(" "), *'{};"\\#\n\0', "lease", "expire", "epoch 1e9", "\xff"]))


@given(st.one_of(st.text(max_size=300), _PIECES.map(" ".join), _PIECES.map("".join)))
def test_nothing_that_stands_in_a_file_raises(text: str) -> None:
    ignored = Ignored()
    dhclient.parse(text, ignored)
    networkd.parse(text, 2, ignored)
    networkmanager.parse(text, 2, ignored)
