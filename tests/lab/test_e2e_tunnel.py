# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnels between gateways: what two networks send each other, from the first packet on, and what must not pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab import packets, topology
from lab.capture import Seen
from lab.dnsmasq import MISSING as NO_DNSMASQ
from lab.dnsmasq import dnsmasq
from lab.packets import Kind
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping, ping, tcp_echo
from lab.xfrmd_host import xfrmd
from tests.lab import e2e, leaks
from tests.lab.injection import arrivals, datagram, sink

Charon = Callable[..., AbstractContextManager[StrongSwan]]

NETS = {4: ("10.2.0.0/24", "10.3.0.0/24"), 6: ("fd02::/64", "fd03::/64")}
"""What is behind the left gateway, and behind the right one."""


@pytest.fixture
def net() -> Iterator[topology.TwoGateways]:
    """Two gateways with a host behind each, captured."""
    with topology.two_gateways() as made:
        yield made


def tunnel(here: str, there: str, near: str, far: str, *, lists: str = "", rules: str = "") -> str:
    """A gateway's policy: a tunnel between two networks, from its own address to the far gateway's."""
    secret = 'psk: {file: "{psk}"}'
    return f"""\
version: 1
filterlists:
  - name: there
    filters: [{{srcaddr: "{here}", dstaddr: "{there}", mirrored: no}}]
  - name: back
    filters: [{{srcaddr: "{there}", dstaddr: "{here}", mirrored: no}}]
{lists}
filteractions:
  - {{name: require, qmsecmethods: ["{e2e.QM}"]}}
  - {{name: block, action: block}}
  - {{name: permit, action: permit}}
policies:
  - name: site to site
    assign: yes
    mmsecmethods: ["{e2e.MM}"]
    rules:
      - {{name: out, filterlist: there, filteraction: require, tunnel: "{far}", {secret}}}
      - {{name: in, filterlist: back, filteraction: require, tunnel: "{near}", {secret}}}
{rules}
"""


ELSEWHERE = {4: "198.51.100.9", 6: "2001:db8::9"}
"""Addresses that no tunnel speaks of."""


def policies(net: topology.TwoGateways, version: int) -> tuple[str, str]:
    """The policies of the left and of the right gateway."""
    ours, theirs = NETS[version]
    left, right = net.left.address(version), net.right.address(version)
    return tunnel(ours, theirs, left, right), tunnel(theirs, ours, right, left)


def on_the_wire(net: topology.TwoGateways) -> list[Seen]:
    """What went between the gateways."""
    gateways = (net.left.name, net.right.name)
    return [each for each in net.capture.packets if each.host in gateways and each.link == "eth0"]


def clear_on_the_wire(net: topology.TwoGateways) -> list[Seen]:
    """What went between the gateways in the clear of what is to be in the tunnel."""
    flow = packets.flow([ours for ours, _ in NETS.values()], [theirs for _, theirs in NETS.values()])
    return [each for each in on_the_wire(net) if each.packet.kind is Kind.CLEAR and flow.carries(each.packet)]


def assert_only_in_the_tunnel(net: topology.TwoGateways) -> None:
    """What the networks sent each other went as ESP, and nothing in the clear."""
    assert clear_on_the_wire(net) == []
    assert [each for each in on_the_wire(net) if each.packet.kind is Kind.ESP]


def test_two_networks_reach_each_other_through_the_tunnel_only(net: topology.TwoGateways, version: int) -> None:
    there = net.right_host.address(version)
    left, right = policies(net, version)
    with (
        xfrmd(net.left, left, secret=e2e.SECRET) as ours,
        xfrmd(net.right, right, secret=e2e.SECRET) as theirs,
        tcp_echo(net.right_host, there),
    ):
        assert ping(net.left_host, there, 1).lost == 0, ours.log + theirs.log
        assert ping(net.left_host, there, 3).lost == 0
        assert ping(net.right_host, net.left_host.address(version), 3).lost == 0
        sent = "0123456789abcdef" * 65_536
        assert net.left_host.run("ncat", "-w", "5", there, "7007", stdin=sent).stdout == sent
        assert ours.ask("filters", {"top": 1})["filters"][0]["packets"] > 4, "also what is on an SA is counted"
        (child,) = e2e.sas(ours)["child_sas"]
        assert (child["mode"], child["state"]) == ("tunnel", "installed")
        assert len(e2e.sas(theirs)["child_sas"]) == 1
    assert_only_in_the_tunnel(net)


def test_the_same_traffic_without_a_policy_is_seen_in_the_clear(net: topology.TwoGateways, version: int) -> None:
    """The positive control of the tests here: the same networks, the same capture, the policy off."""
    off = policies(net, version)[0].replace("assign: yes", "assign: no")
    with xfrmd(net.left, off, secret=e2e.SECRET):
        assert ping(net.left_host, net.right_host.address(version), 3).lost == 0
    assert clear_on_the_wire(net)


def injected(net: topology.TwoGateways, version: int) -> set[str]:
    """From where clear packets on the wire reach the network behind the left gateway: the far network, or elsewhere."""
    inner = net.left_host.address(version)
    sources = {"far network": net.right_host.address(version), "elsewhere": ELSEWHERE[version]}
    made = {name: [datagram(source, inner, 40_000, 7998, name.encode())] for name, source in sources.items()}
    with sink(net.left_host, inner, 7998) as wanted, sink(net.left_host, inner, 7999) as last:
        return arrivals(net.right, net.left, made, wanted, last)


def test_clear_packets_into_the_network_behind_are_dropped(net: topology.TwoGateways, version: int) -> None:
    left, right = policies(net, version)
    with xfrmd(net.left, left, secret=e2e.SECRET) as ours, xfrmd(net.right, right, secret=e2e.SECRET):
        assert injected(net, version) == {"elsewhere"}
        assert ping(net.left_host, net.right_host.address(version), 1).lost == 0
        assert injected(net, version) == {"elsewhere"}, "while SAs stand"
        assert ours.ask("counters")["counters"]["nftables"]["fence_in"] == 2
    with xfrmd(net.left, left.replace("assign: yes", "assign: no"), secret=e2e.SECRET):
        assert injected(net, version) == {"far network", "elsewhere"}, "the positive control"


def test_nothing_leaves_in_the_clear_while_the_far_gateway_is_silent(net: topology.TwoGateways, version: int) -> None:
    left, right = policies(net, version)
    there = net.right_host.address(version)
    with xfrmd(net.left, left, secret=e2e.SECRET) as ours:
        assert ping(net.left_host, there, 2, wait=1.0).received == 0
        with xfrmd(net.right, right, secret=e2e.SECRET):
            e2e.wait_until(lambda: ping(net.left_host, there, 1, wait=1.0).lost == 0, "the tunnel comes up")
            assert ours.stop() == 0
            assert ping(net.left_host, there, 2, wait=1.0).received == 0, "a stop keeps enforcing"
            assert ping(net.right_host, net.left_host.address(version), 1, wait=1.0).received == 0
    assert_only_in_the_tunnel(net)


def provoked(net: topology.TwoGateways, version: int) -> list[Seen]:
    """Errors of the far gateway on the wire: it finds a hop limit at its end, and nobody at an address."""
    there, here = net.right_host.address(version), net.left_host.address(version)
    for options in (("-t", "2", there), ("-W", "4", f"{there[:-1]}9")):
        net.left_host.run("ping", "-n", "-q", "-c", "1", *options, check=False)
    errors = packets.flow(net.right.addresses, [here])
    return [each for each in on_the_wire(net) if errors.carries(each.packet)]


def test_errors_about_what_came_out_of_the_tunnel_do_not_quote_it_in_the_clear(
    net: topology.TwoGateways, version: int
) -> None:
    left, right = policies(net, version)
    with xfrmd(net.left, left, secret=e2e.SECRET), xfrmd(net.right, right, secret=e2e.SECRET) as theirs:
        assert ping(net.left_host, net.right_host.address(version), 1).lost == 0, theirs.log
        assert provoked(net, version) == []
    assert_only_in_the_tunnel(net)
    nothing = right.replace("assign: yes", "assign: no")
    with xfrmd(net.left, nothing, secret=e2e.SECRET), xfrmd(net.right, nothing, secret=e2e.SECRET):
        assert len(provoked(net, version)) >= 2, "the positive control"


def test_rekeys_lose_no_packet(net: topology.TwoGateways) -> None:
    left, right = policies(net, 4)
    with (
        xfrmd(net.left, left, secret=e2e.SECRET) as ours,
        xfrmd(net.right, right, secret=e2e.SECRET) as theirs,
    ):
        ours.ctl("initiate", net.right.v4, "--wait", "20")
        assert ping(net.left_host, net.right_host.v4, 1).lost == 0, ours.log + theirs.log
        assert len(e2e.sas(ours)["child_sas"]) == 1
        flood = Flood(net.left_host, Ping(net.right_host.v4), rate=200).start()
        flood.wait_for(30)
        for daemon in (ours, theirs):
            children, ikes = e2e.child_spis(daemon), e2e.ike_spis(daemon)
            daemon.ctl("rekey", "--wait", "20", *children)
            flood.wait_for(50)
            daemon.ctl("rekey", "--wait", "20", *ikes)
            flood.wait_for(50)
            assert not children & e2e.child_spis(daemon)
        flood.stop().assert_none_lost()
    assert_only_in_the_tunnel(net)


def test_a_host_alone_has_a_tunnel_to_a_gateway(net: topology.TwoGateways, version: int) -> None:
    """The left one is no gateway here: what it sends itself goes in the tunnel, and it is asked from behind."""
    near, far, network = net.left.address(version), net.right.address(version), NETS[version][1]
    there = net.right_host.address(version)
    with (
        xfrmd(net.left, tunnel("me", network, near, far), secret=e2e.SECRET) as ours,
        xfrmd(net.right, tunnel(network, near, far, near), secret=e2e.SECRET) as theirs,
        tcp_echo(net.left, near),
    ):
        assert ping(net.left, there, 1).lost == 0, ours.log + theirs.log
        assert ping(net.left, there, 3).lost == 0
        assert ping(net.right_host, near, 3).lost == 0
        assert net.right_host.run("ncat", "-w", "2", near, "7007", stdin="hello").stdout == "hello"
        (child,) = e2e.sas(ours)["child_sas"]
        assert child["mode"] == "tunnel"
    assert [each for each in on_the_wire(net) if each.packet.kind is Kind.ESP]
    behind = packets.flow([near], [network])
    assert [each for each in on_the_wire(net) if each.packet.kind is Kind.CLEAR and behind.carries(each.packet)] == []


def test_a_tunnel_without_its_address_blocks_until_the_address_comes(net: topology.TwoGateways) -> None:
    ours, theirs = NETS[4]
    near, far, there = "10.1.0.77", net.right.v4, net.right_host.v4
    with (
        xfrmd(net.left, tunnel(ours, theirs, near, far), secret=e2e.SECRET) as left,
        xfrmd(net.right, tunnel(theirs, ours, far, near), secret=e2e.SECRET),
    ):
        (warning,) = left.ask("status")["policy"]["warnings"]
        assert "neither end is an address of this host" in str(warning)
        assert ping(net.left_host, there, 2, wait=1.0).received == 0
        net.left.run("ip", "address", "add", f"{near}/24", "dev", "eth0")
        e2e.wait_until(lambda: ping(net.left_host, there, 1, wait=1.0).lost == 0, "the tunnel comes up")
        assert left.ask("status")["policy"]["warnings"] == []
    assert_only_in_the_tunnel(net)


def test_networks_of_the_other_ip_version_go_through_the_tunnel(net: topology.TwoGateways) -> None:
    ours, theirs = NETS[6]
    left, right = net.left.v4, net.right.v4
    with (
        xfrmd(net.left, tunnel(ours, theirs, left, right), secret=e2e.SECRET) as near,
        xfrmd(net.right, tunnel(theirs, ours, right, left), secret=e2e.SECRET) as far,
    ):
        assert ping(net.left_host, net.right_host.v6, 1).lost == 0, near.log + far.log
        assert ping(net.left_host, net.right_host.v6, 3).lost == 0
        assert ping(net.right_host, net.left_host.v6, 3).lost == 0
    assert_only_in_the_tunnel(net)


def test_a_gateway_that_blocks_everything_else_permits_the_clear_side(net: topology.TwoGateways, version: int) -> None:
    ours, theirs = NETS[version]
    lists = f"""\
  - name: clear side
    filters: [{{srcaddr: "{ours}", dstaddr: "{theirs}"}}]
  - name: everything
    filters: [{{srcaddr: any, dstaddr: any}}]
config: {{allow_lockout: yes}}"""
    rules = """\
      - {name: clear side, filterlist: clear side, filteraction: permit}
      - {name: nothing else, filterlist: everything, filteraction: block}"""
    near, far, there = net.left.address(version), net.right.address(version), net.right_host.address(version)
    with (
        xfrmd(net.left, tunnel(ours, theirs, near, far, lists=lists, rules=rules), secret=e2e.SECRET) as left,
        xfrmd(net.right, policies(net, version)[1], secret=e2e.SECRET) as right,
    ):
        assert ping(net.left_host, there, 1).lost == 0, left.log + right.log
        assert ping(net.left_host, there, 3).lost == 0
        assert ping(net.right_host, net.left_host.address(version), 3).lost == 0
        assert ping(net.left_host, far, 1, wait=1.0).received == 0
    assert_only_in_the_tunnel(net)


MASQUERADE = """
table inet lab_nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        rt ipsec exists accept
        oifname "eth0" masquerade
    }
}
"""


def test_a_gateway_that_masquerades_everything_else(net: topology.TwoGateways, version: int) -> None:
    """As the policy reference says how: what goes into a tunnel keeps its source."""
    left, right = policies(net, version)
    here, there, far = (host.address(version) for host in (net.left_host, net.right_host, net.right))
    net.left.run("nft", "-f", "-", stdin=MASQUERADE)
    with xfrmd(net.left, left, secret=e2e.SECRET) as ours, xfrmd(net.right, right, secret=e2e.SECRET) as theirs:
        assert ping(net.left_host, there, 1).lost == 0, ours.log + theirs.log
        assert ping(net.left_host, there, 3).lost == 0
        assert ping(net.right_host, here, 3).lost == 0
        assert ping(net.left_host, far, 1).lost == 0
    assert_only_in_the_tunnel(net)
    behind, gateway = (packets.flow([source], [there, far]) for source in (here, net.left.address(version)))
    clear = [each.packet for each in on_the_wire(net) if each.packet.kind is Kind.CLEAR]
    assert not any(behind.carries(packet) for packet in clear)
    assert {packet.destination for packet in clear if gateway.carries(packet)} <= {
        ip_address(far),
        ip_address(net.left.address(version)),
    }


def marking(mark: int, priority: str) -> str:
    """Before and behind all NAT, what another program does with packets to the networks there: it marks and counts."""
    chain = "chain {0} {{ type filter hook postrouting priority {1}; oifname eth0 udp dport 7007 {2} counter; }}"
    before = chain.format("before", -150, f"meta mark set {mark} meta priority set {priority}")
    behind = chain.format("behind", 160, f"meta mark {mark} meta priority {priority}")
    return f"table inet others {{\n{before}\n{behind}\n}}\n"


@pytest.mark.parametrize(
    ("version", "mark", "priority"), [(4, 0, "none"), (6, 0, "none"), (4, 7, "none"), (6, 7, "1:2")]
)
def test_source_nat_takes_nothing_from_the_tunnel(
    net: topology.TwoGateways, version: int, mark: int, priority: str
) -> None:
    """A gateway that masquerades all, also what goes into the tunnel: that is dropped, it would leave in the clear."""
    left, right = policies(net, version)
    there, far = net.right_host.address(version), net.right.address(version)
    gateway = packets.flow([net.left.address(version)], [there])
    net.left.run("nft", "-f", "-", stdin=MASQUERADE.replace("rt ipsec exists accept\n", "") + marking(mark, priority))

    def send(count: int) -> None:
        with leaks.udp_socket(net.left_host, "::" if version == 6 else "") as made:
            for _ in range(count):
                made.sendto(b"behind NAT", (there, 7007))

    with xfrmd(net.left, left, secret=e2e.SECRET) as ours, xfrmd(net.right, right, secret=e2e.SECRET):
        send(3)
        e2e.wait_until(lambda: bool(e2e.child_spis(ours)), "an SA stands")
        dropped = ours.ask("counters")["counters"]["nftables"]["fence_nat"]
        send(5)
        e2e.wait_until(
            lambda: ours.ask("counters")["counters"]["nftables"]["fence_nat"] >= dropped + 5, "all five are dropped"
        )
        assert ping(net.left_host, far, 1).lost == 0, "what no tunnel speaks of is masqueraded"
        assert not any(gateway.carries(each.packet) for each in on_the_wire(net) if each.packet.kind is Kind.CLEAR)
        assert clear_on_the_wire(net) == []

        net.left.run("nft", "insert rule inet lab_nat postrouting rt ipsec exists accept")
        with sink(net.right_host, there, 7007) as arrived:
            send(1)  # from another port: NAT keeps to what it has decided for a flow
            arrived.wait_for(b"behind NAT")
        behind = net.left.run("nft", "list chain inet others behind").stdout
        assert ("packets 0 " in behind) == (mark != 0 and priority != "none"), "what others have marked stays so"
        leaks.put(left.replace("assign: yes", "assign: no"), ours)
        net.capture.clear()
        send(1)
        net.capture.wait_for(lambda seen: seen.packet.kind is Kind.CLEAR and seen.host == net.left.name)


@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_a_tunnel_with_strongswan(net: topology.TwoGateways, strongswan: Charon, version: int, initiator: str) -> None:
    there, here = net.right_host.address(version), net.left_host.address(version)
    ours, theirs = NETS[version]
    conf = e2e.charon(net.right.address(version), net.left.address(version), nets=(theirs, ours))
    left, _ = policies(net, version)
    with (
        xfrmd(net.left, left, secret=e2e.SECRET) as daemon,
        strongswan(net.right, conf) as peer,
        tcp_echo(net.right_host, there),
    ):
        if initiator == "charon":
            peer.initiate("all")
        assert ping(net.left_host, there, 1).lost == 0, daemon.log + peer.log
        assert ping(net.left_host, there, 3).lost == 0
        assert ping(net.right_host, here, 3).lost == 0
        sent = "0123456789abcdef" * 65_536
        assert net.left_host.run("ncat", "-w", "5", there, "7007", stdin=sent).stdout == sent
        (child,) = peer.children()
        assert child.mode == "TUNNEL"
        (child,) = e2e.sas(daemon)["child_sas"]
        assert child["mode"] == "tunnel"
    assert_only_in_the_tunnel(net)


@pytest.mark.skipif(bool(NO_DNSMASQ), reason=NO_DNSMASQ or "dnsmasq")
def test_a_far_gateway_that_moves_takes_its_tunnel_along(net: topology.TwoGateways, tmp_path: Path) -> None:
    (ours, theirs), near, there = NETS[4], net.left.v4, net.right_host.v4
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {net.right.v4}\n")
    with (
        dnsmasq(net.right, f"listen-address={net.right.v4}\nlocal-ttl=1", f"{net.right.v4} far.example") as server,
        xfrmd(net.right, tunnel(theirs, ours, net.right.v4, near), secret=e2e.SECRET) as right,
        xfrmd(
            net.left,
            tunnel(ours, theirs, near, "far.example"),
            secret=e2e.SECRET,
            instead={"/etc/resolv.conf": resolv_conf},
        ) as left,
    ):
        e2e.wait_until(lambda: ping(net.left_host, there, 1, wait=1.0).lost == 0, "the name has its answer")
        net.right.run("ip", "address", "add", "10.1.0.78/24", "dev", "eth0")
        right.write_policy(right.policy.read_text().replace(f'tunnel: "{net.right.v4}"', 'tunnel: "10.1.0.78"'))
        right.ctl("apply", right.policy)
        server.set_names("10.1.0.78 far.example")
        e2e.wait_until(lambda: ping(net.left_host, there, 1, wait=1.0).lost == 0, "the tunnel has moved", 30.0)
        (child,) = e2e.sas(left)["child_sas"]
        assert child["remote"] == "10.1.0.78", left.log
    assert_only_in_the_tunnel(net)
