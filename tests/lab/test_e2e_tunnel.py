# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnels between gateways: what two networks send each other, from the first packet on, and what must not pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import packets, topology
from lab.capture import Seen
from lab.packets import Kind
from lab.traffic import ping, tcp_echo
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

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


def test_two_networks_reach_each_other_through_the_tunnel_only(net: topology.TwoGateways, version: int) -> None:
    there = net.right_host.address(version)
    left, right = policies(net, version)
    with (
        xfrmd(net.left, left, secret=e2e.SECRET) as ours,
        xfrmd(net.right, right, secret=e2e.SECRET) as theirs,
        tcp_echo(net.right_host, there),
    ):
        assert ping(net.left_host, there, 3).lost == 0, ours.log + theirs.log
        assert ping(net.right_host, net.left_host.address(version), 3).lost == 0
        sent = "0123456789abcdef" * 65_536
        assert net.left_host.run("ncat", "-w", "5", there, "7007", stdin=sent).stdout == sent
        (child,) = e2e.sas(ours)["child_sas"]
        assert (child["mode"], child["state"]) == ("tunnel", "installed")
        assert len(e2e.sas(theirs)["child_sas"]) == 1
    assert clear_on_the_wire(net) == []
    assert [each for each in on_the_wire(net) if each.packet.kind is Kind.ESP]
