# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts that change while the daemon runs: names, leases, name servers. The plan follows, SAs of other filters stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import topology
from lab.dhclient import MISSING as NO_DHCLIENT
from lab.dhclient import dhclient
from lab.dnsmasq import MISSING as NO_DNSMASQ
from lab.dnsmasq import Dnsmasq, dnsmasq
from lab.traffic import ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from xfrmd import limits

pytestmark = pytest.mark.skipif(bool(NO_DNSMASQ), reason=NO_DNSMASQ or "dnsmasq")
PEER = "10.1.0.2"
FILES = "files.example"
DNS = f"listen-address={PEER}\nlocal-ttl=1"
WITHIN = 5.0
"""Seconds for what takes one on a quiet machine."""
SHORTEST_TTL = limits.NAME_TTL[0]


def policy(word: str, *, lists: str = "", rules: str = "") -> str:
    """Protected pings to the peer, and a block of TCP to what stands behind `word`."""
    return e2e.policy(
        f"{{srcaddr: me, dstaddr: {PEER}, protocol: icmp}}",
        more_lists=f"""\
  - name: behind the word
    filters:
      - {{srcaddr: me, dstaddr: {word}, protocol: tcp}}
  - name: dns
    filters:
      - {{srcaddr: me, dstaddr: dns-servers, protocol: udp, dstport: 53}}
{lists}""",
        more_rules=f"""\
      - {{name: word, filterlist: behind the word, filteraction: block}}
      - {{name: dns, filterlist: dns, filteraction: permit}}
{rules}""",
    )


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    file = tmp_path / "resolv.conf"
    file.write_text(f"nameserver {PEER}\n")
    return file


@pytest.fixture
def names(two_hosts: topology.TwoHosts) -> Iterator[Dnsmasq]:
    """A DNS server at the peer."""
    with dnsmasq(two_hosts.right, DNS, f"10.9.0.1 {FILES}") as server:
        yield server


def rule_for(daemon: XfrmdHost, address: str, port: str = "protocol=tcp sport=40000 dport=445") -> str:
    """The rule that decides a packet from the left host to this address now; "" when none does."""
    return str(daemon.ask("explain", {"packet": f"direction=out src=10.1.0.1 dst={address} {port}"})["rule"] or "")


def follows(daemon: XfrmdHost, what: Callable[[], bool], story: str, timeout: float = WITHIN) -> float:
    """Wait until it does; after how many seconds."""
    begun = time.monotonic()
    try:
        e2e.wait_until(what, story, timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{daemon.ask('facts')}\n{daemon.log}") from None
    return time.monotonic() - begun


def kernel_spis(daemon: XfrmdHost) -> list[str]:
    """SPIs of the SAs in the kernel."""
    lines = daemon.host.run("ip", "xfrm", "state").stdout.splitlines()
    return sorted(line.split()[3] for line in lines if line.strip().startswith("proto esp"))


def test_a_name_that_moves_takes_its_filter_along_and_leaves_other_sas_alone(
    two_hosts: topology.TwoHosts, names: Dnsmasq, resolv_conf: Path
) -> None:
    net = two_hosts
    with (
        xfrmd(net.right, e2e.policy("{srcaddr: me, dstaddr: 10.1.0.1, protocol: icmp}"), secret=e2e.SECRET),
        xfrmd(net.left, policy(FILES), secret=e2e.SECRET, instead={"/etc/resolv.conf": resolv_conf}) as left,
    ):
        assert rule_for(left, "10.9.0.1") == "word", left.log
        assert ping(net.left, PEER, 5).lost == 0, left.log
        before = kernel_spis(left)
        assert len(before) == 2
        names.set_names(f"10.9.0.2 {FILES}", f"fd09::2 {FILES}")
        follows(left, lambda: rule_for(left, "10.9.0.2") == "word", "the filter moves", SHORTEST_TTL + WITHIN)
        assert rule_for(left, "10.9.0.1") == ""
        facts = left.ask("facts")
        assert facts["facts"]["names"] == {FILES: ["10.9.0.2", "fd09::2"]}
        assert facts["sources"]["names"][FILES]["source"] == "DNS"
        assert ping(net.left, PEER, 5).lost == 0
        assert kernel_spis(left) == before
        assert left.ask("status")["state"] == "running", left.ask("status")


def test_other_name_servers_are_in_the_plan_within_a_second_and_asked(
    two_hosts: topology.TwoHosts, names: Dnsmasq, resolv_conf: Path
) -> None:
    net = two_hosts
    resolv_conf.write_text("nameserver 10.9.0.53\n")
    dns = "protocol=udp sport=40000 dport=53"
    with xfrmd(net.left, policy(FILES), secret=e2e.SECRET, instead={"/etc/resolv.conf": resolv_conf}) as left:
        assert rule_for(left, "10.9.0.53", dns) == "dns"
        assert rule_for(left, PEER, dns) == ""
        assert left.ask("facts")["facts"]["names"] == {}
        resolv_conf.write_text(f"nameserver {PEER}\nnameserver fd01::2\n")
        took = follows(left, lambda: rule_for(left, PEER, dns) == "dns", "the new server has its filter")
        print(f"resolv.conf: {took:.2f} s")
        assert rule_for(left, "10.9.0.53", dns) == ""
        follows(left, lambda: rule_for(left, "10.9.0.1") == "word", "the new server is asked")
        assert f"query[A] {FILES}" in names.log


LEASES = "port=0\ninterface=eth0\ndhcp-range=10.1.0.100,10.1.0.150,2m\ndhcp-option=44,10.1.0.44,10.1.0.45\n"


@pytest.mark.skipif(bool(NO_DHCLIENT), reason=NO_DHCLIENT or "dhclient")
def test_a_lease_brings_the_dhcp_server_and_the_wins_servers(two_hosts: topology.TwoHosts, tmp_path: Path) -> None:
    net = two_hosts
    text = policy(
        "wins-servers",
        lists="  - {name: dhcp, filters: [{srcaddr: me, dstaddr: dhcp-server, protocol: tcp, dstport: 80}]}",
        rules="      - {name: dhcp, filterlist: dhcp, filteraction: permit}",
    )
    dhcp = "protocol=tcp sport=40000 dport=80"
    with (
        dnsmasq(net.right, LEASES) as server,
        xfrmd(net.right, e2e.policy("{srcaddr: me, dstaddr: 10.1.0.1, protocol: icmp}"), secret=e2e.SECRET),
        xfrmd(net.left, text, secret=e2e.SECRET, instead={"/var/lib/dhcp": tmp_path}) as left,
    ):
        assert ping(net.left, PEER, 5).lost == 0, left.log
        before = kernel_spis(left)
        assert rule_for(left, PEER, dhcp) == ""
        with dhclient(net.left, "eth0", tmp_path):
            took = follows(left, lambda: rule_for(left, PEER, dhcp) == "dhcp", server.log)
            print(f"lease: {took:.2f} s")
            assert rule_for(left, "10.1.0.44") == rule_for(left, "10.1.0.45") == "word"
            (lease,) = left.ask("facts")["sources"]["leases"]
            assert lease["interface"] == "eth0"
            assert lease["file"].endswith("/dhclient.eth0.leases")
            assert "10.1.0.44" in left.ctl_text("facts").stdout
            assert ping(net.left, PEER, 5).lost == 0
            assert kernel_spis(left) == before
            net.left.run("ip", "addr", "del", f"{lease['address']}/24", "dev", "eth0")
            follows(left, lambda: rule_for(left, PEER, dhcp) == "", "without its address the lease is over")


def test_without_dns_the_last_answers_stay_also_over_a_restart(
    two_hosts: topology.TwoHosts, names: Dnsmasq, resolv_conf: Path
) -> None:
    net = two_hosts
    with xfrmd(net.left, policy(FILES), secret=e2e.SECRET, instead={"/etc/resolv.conf": resolv_conf}) as left:
        assert rule_for(left, "10.9.0.1") == "word"
        names.stop()

        def troubled() -> bool:
            return bool(left.ask("facts")["sources"]["names"][FILES]["trouble"])

        follows(left, troubled, "the silence is told", SHORTEST_TTL + limits.NAME_LIFETIME + WITHIN)
        assert rule_for(left, "10.9.0.1") == "word"
        assert "[name-unanswered]" in left.log
        left.stop()
        left.start()
        assert rule_for(left, "10.9.0.1") == "word"
        assert left.ask("facts")["sources"]["names"][FILES]["source"] == "an earlier run"


def test_unresolved_names_mean_nothing_or_block_as_the_policy_says(
    two_hosts: topology.TwoHosts, names: Dnsmasq, resolv_conf: Path
) -> None:
    net = two_hosts
    names.set_names()
    keep = policy(FILES)
    block = keep.replace("assign: yes", "assign: yes\n    unresolved: block")
    with xfrmd(net.left, keep, secret=e2e.SECRET, instead={"/etc/resolv.conf": resolv_conf}) as left:
        assert rule_for(left, "10.9.0.1") == ""
        assert "[name-unanswered]" in left.log
        names.stop()
        left.write_policy(block.replace("{psk}", str(left.directory / "psk")))
        left.ctl("apply", left.policy, "--allow-lockout")
        assert rule_for(left, "10.9.0.1") == rule_for(left, "10.77.0.1") == "word"
        assert rule_for(left, PEER, "protocol=udp sport=40000 dport=53") == "dns"
        assert left.ask("status")["state"] == "running", left.ask("status")
        names.hosts.write_text(f"10.9.0.1 {FILES}\n")
        names.start()
        answered = 2 * limits.NAME_LIFETIME + 2 * WITHIN
        follows(left, lambda: rule_for(left, "10.77.0.1") == "", "the name has an address", answered)
        assert rule_for(left, "10.9.0.1") == "word"
        names.set_names()
        follows(left, lambda: rule_for(left, "10.77.0.1") == "word", "the name is gone", SHORTEST_TTL + WITHIN)
