# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter with real packets: what passes in each mode, before the daemon, under it and after its failure.

Each test has its positive control: the same packets pass in the same capture without the filter.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import dhclient, dnsmasq, topology
from lab.boot_filter import BootLoader
from lab.netns import Host
from lab.traffic import Flood, Udp, ping, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e, leaks
from xfrmd.adapters.boot_files import BLOCK, BOOT, BootFiles
from xfrmd.compiler.boot import block_file, boot_file
from xfrmd.model.facts import HostFacts
from xfrmd.policy import load
from xfrmd.policy.resolve import blank
from xfrmd.policy.words import BootMode

EXEMPT = "config: {bootexemptions: 'udp:0:22:inbound'}\n"
SSH, ECHO, OTHER = 22, 7007, 7008
WAIT = 0.4
"""Seconds for an answer on a link of the lab: it takes a hundredth of that."""


@pytest.fixture
def boot(two_hosts: topology.TwoHosts, tmp_path: Path) -> BootLoader:
    """The loader of the left host, whose state directory is empty."""
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    return BootLoader(two_hosts.left, tmp_path / "state", tmp_path / "run")


NOTHING = e2e.NOTHING.replace('{file: "{psk}"}', "a secret of some length")


def save(boot: BootLoader, mode: BootMode, text: str) -> None:
    """What the daemon saves when this policy is in force under this mode."""
    policies, files = load(text, "policy.yaml", blank), BootFiles(boot.state, None)
    files.remember_policy()
    files.save(BLOCK, block_file(policies.config))
    files.save(BOOT, boot_file(policies, HostFacts(), mode))


def talks(client: Host, address: str, port: int, source: str = "", sport: int = 0) -> bool:
    """Does a datagram to this service come back?"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with client.inside(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        sender.bind((source, sport))
        sender.settimeout(WAIT)
        with contextlib.suppress(OSError):  # who is refused at once gets no answer either
            sender.sendto(b"anybody there?", (address, port))
            return bool(sender.recv(100))
    return False


@contextlib.contextmanager
def services(host: Host, *ports: int) -> Iterator[None]:
    """UDP services of both IP versions that echo."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            for address in host.addresses:
                stack.enter_context(udp_echo(host, address, port))
        yield


def sent_by(net: topology.TwoHosts, host: Host) -> list[object]:
    """What a host sent in the clear to the other, neighbour discovery aside."""
    flow = topology.between(net.left, net.right, "udp")
    return [seen for seen in net.capture.clear_packets(flow) if seen.host == host.name]


def probed(net: topology.TwoHosts) -> set[str]:
    """Which of the probes came back, over both IP versions."""
    found = set()
    with services(net.left, SSH, ECHO), services(net.right, ECHO):
        for version in (4, 6):
            for name, client, server, port in (
                ("begins", net.left, net.right, ECHO),
                ("is asked", net.right, net.left, ECHO),
                ("is exempt", net.right, net.left, SSH),
            ):
                if talks(client, server.address(version), port):
                    found.add(f"{name} {version}")
    return found


def both(*names: str) -> set[str]:
    return {f"{name} {version}" for name in names for version in (4, 6)}


@pytest.mark.parametrize(
    ("mode", "config", "passes"),
    [
        (BootMode.PERMIT, "", both("begins", "is asked", "is exempt")),
        (BootMode.BLOCK, "", set[str]()),
        (BootMode.BLOCK, EXEMPT, both("is exempt")),
        (BootMode.STATEFUL, "", both("begins")),
        (BootMode.STATEFUL, EXEMPT, both("begins", "is exempt")),
    ],
)
def test_what_passes_in_each_mode(
    two_hosts: topology.TwoHosts, boot: BootLoader, mode: BootMode, config: str, passes: set[str]
) -> None:
    net = two_hosts
    assert probed(net) == both("begins", "is asked", "is exempt"), "the control: without a filter all passes"
    save(boot, mode, config + NOTHING)
    assert boot.load().returncode == 0
    assert boot.stands == (mode is not BootMode.PERMIT)
    net.capture.clear()
    net.left.run("ip", "neigh", "flush", "all")  # IPv6 needs neighbour discovery anew, through the filter
    net.right.run("ip", "neigh", "flush", "all")
    assert probed(net) == passes
    for near in ("127.0.0.1", "::1", *net.left.addresses):
        assert ping(net.left, near, 1, wait=WAIT).lost == 0, "what stays on the host is nobody's business"
    assert bool(sent_by(net, net.left)) == bool(passes)
    assert sent_by(net, net.right)
    assert boot.console == ""


def test_a_damaged_file_blocks_with_the_exemptions_and_says_so(two_hosts: topology.TwoHosts, boot: BootLoader) -> None:
    save(boot, BootMode.STATEFUL, EXEMPT + NOTHING)
    path = boot.state / BOOT
    path.write_bytes(path.read_bytes()[:-40])
    assert boot.load().returncode == 0
    assert "is damaged" in boot.console
    assert probed(two_hosts) == both("is exempt")
    boot.set_cmdline("quiet xfrmd.boot=off")
    two_hosts.left.run("nft", "flush", "ruleset")
    assert boot.load().returncode == 0
    assert not boot.stands
    assert probed(two_hosts) == both("begins", "is asked", "is exempt")


@pytest.mark.skipif(bool(dnsmasq.MISSING or dhclient.MISSING), reason=dnsmasq.MISSING or dhclient.MISSING)
def test_dhcp_works_under_block(two_hosts: topology.TwoHosts, boot: BootLoader, tmp_path: Path) -> None:
    net = two_hosts
    save(boot, BootMode.BLOCK, NOTHING)
    boot.load()
    pool = "interface=eth0\ndhcp-range=10.1.0.100,10.1.0.110,1h\n"
    with dnsmasq.dnsmasq(net.right, pool), dhclient.dhclient(net.left, "eth0", tmp_path):
        assert "10.1.0.1" in net.left.run("ip", "-4", "addr", "show", "dev", "eth0").stdout
        assert "fixed-address 10.1.0.1" in (tmp_path / "dhclient.eth0.leases").read_text()
    # A client takes its first lease past the filters, and renews it through a socket.
    with services(net.right, 67, 547):
        assert talks(net.left, net.right.v4, 67, net.left.v4, sport=68)
        assert talks(net.left, net.right.v6, 547, net.left.v6, sport=546)
        assert not talks(net.left, net.right.v4, 67, net.left.v4)
        assert not talks(net.left, net.right.v6, 547, net.left.v6)


SAVED = e2e.policy(
    "{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7008}",
    more_lists=(
        "  - {name: blocked, filters: [{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7009}]}\n"
        "  - {name: permitted, filters: [{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7007}]}\n"
    ),
    more_rules=(
        "      - {name: blocked, filterlist: blocked, filteraction: block}\n"
        "      - {name: permitted, filterlist: permitted, filteraction: permit}\n"
    ),
).replace('{file: "{psk}"}', "a secret of some length")


def test_stateful_drops_what_the_saved_policy_blocks_or_protects_also_from_a_new_address(
    two_hosts: topology.TwoHosts, boot: BootLoader
) -> None:
    net = two_hosts
    net.left.run("ip", "addr", "add", "10.1.0.77/24", "dev", "eth0")
    net.left.run("ip", "addr", "add", "fd01::77/64", "dev", "eth0", "nodad")
    sources = {4: (net.left.v4, "10.1.0.77"), 6: (net.left.v6, "fd01::77")}

    def passing(port: int) -> set[bool]:
        """What becomes of datagrams to this port, from each source."""
        pairs = ((version, source) for version in (4, 6) for source in sources[version])
        return {talks(net.left, net.right.address(version), port, source) for version, source in pairs}

    with services(net.right, ECHO, OTHER, 7009):
        assert passing(ECHO) == passing(OTHER) == passing(7009) == {True}, "the control"
        net.capture.clear()
        save(boot, BootMode.STATEFUL, SAVED)
        boot.load()
        assert passing(ECHO) == {True}
        assert passing(OTHER) == passing(7009) == {False}
        for port in (OTHER, 7009):
            net.capture.assert_nothing_clear(topology.between(net.left, net.right, "udp", port_b=port))


def test_what_a_gateway_would_forward_is_dropped(tmp_path: Path) -> None:
    with topology.two_gateways() as net:
        for name in ("state", "run"):
            (tmp_path / name).mkdir()
        boot = BootLoader(net.left, tmp_path / "state", tmp_path / "run")
        for mode in (BootMode.STATEFUL, BootMode.BLOCK):
            assert ping(net.left_host, net.right_host.v4, 1).lost == 0
            save(boot, mode, NOTHING)
            boot.load()
            net.capture.clear()
            assert ping(net.left_host, net.right_host.v4, 1, wait=WAIT).received == 0
            assert ping(net.right_host, net.left_host.v6, 1, wait=WAIT).received == 0
            inside = [one for one in net.capture.packets if one.host == net.left.name and one.packet.protocol == 1]
            assert inside == []
            save(boot, BootMode.PERMIT, NOTHING)
            boot.load()


def test_from_the_boot_filter_to_the_policy_and_back_after_a_failure(
    two_hosts: topology.TwoHosts, boot: BootLoader
) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right, "udp", port_b=OTHER)
    daemon = XfrmdHost(net.left, boot.state, lasting=True)
    (boot.state.parent / "run" / "xfrmd").symlink_to(boot.state)
    text = SAVED.replace("version: 1", f"version: 1\n{EXEMPT}".rstrip())
    daemon.write_policy(text)
    save(boot, BootMode.STATEFUL, text)
    boot.load()
    with services(net.right, ECHO, OTHER), services(net.left, SSH):
        flood = Flood(net.left, Udp(net.right.v4), rate=100).start()
        eager = Flood(net.left, Udp(net.right.v4, port=OTHER), rate=100).start()
        try:
            flood.wait_for(10)
            daemon.start()
            assert not boot.stands
            assert "boot-filter-lifted" in daemon.log
            boot.load()  # as when nftables.service is reloaded
            assert not boot.stands
            flood.wait_for(20)
            assert net.capture.clear_packets(topology.between(net.left, net.right, "udp", port_b=ECHO))
            flood.stop().assert_none_lost()

            daemon.kill()
            boot.load("block")
            assert "xfrmd failed" in boot.console
            net.left.run("nft", "delete", "table", "inet", "xfrmd_boot")
            boot.load()  # as when nftables.service is reloaded
            assert not talks(net.left, net.right.v4, ECHO)
            assert talks(net.right, net.left.v4, SSH)
            daemon.start()
            assert not boot.stands
            assert talks(net.left, net.right.v4, ECHO)
        finally:
            eager.stop()
        net.capture.assert_nothing_clear(flow)
        leaks.put(NOTHING, daemon)
        assert talks(net.left, net.right.v4, OTHER)
        net.capture.assert_seen_clear(flow)
        daemon.stop()
    leaks.assert_clean(daemon)
