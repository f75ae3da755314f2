# SPDX-License-Identifier: GPL-2.0-or-later
"""Which SA carries which filter's traffic (docs/decisions/0009): a peer with one wide child SA, two filters of ours.

A web connection belongs to the filter for port 80, which wants AES-256; everything else to the filter for all, which
is content with AES-128. An SA of one never carries what belongs to the other, whoever asks, and nothing goes in clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import pytest

from lab import topology
from lab.netns import Host
from lab.strongswan import StrongSwan
from lab.traffic import ping, tcp_echo
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
ALL, WEB = "protect", "web"
CIPHERS = {ALL: "AES_GCM_16-128", WEB: "AES_GCM_16-256"}
POLICY = e2e.policy(
    more_lists=(
        "  - name: web\n    filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 80}, "
        "{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 80}]\n"
    ),
    more_rules='      - {name: web, filterlist: web, filteraction: strong, psk: {file: "{psk}"}}\n',
).replace("  - name: block\n", '  - name: strong\n    qmsecmethods: ["ESP[AES256-GCM]"]\n  - name: block\n')


class Scene(NamedTuple):
    """xfrmd with both filters on the left, charon with one wide child on the right, a web server on each."""

    ours: XfrmdHost
    theirs: StrongSwan
    net: topology.TwoHosts

    def rules(self) -> dict[str, int]:
        """Packets out by rule, over all child SAs of ours."""
        found: dict[str, int] = {}
        for child in e2e.sas(self.ours)["child_sas"]:
            found[child["rule"]] = found.get(child["rule"], 0) + child["packets_out"]
        return found

    def carried(self, act: Callable[[], object]) -> dict[str, int]:
        """How many packets of ours went out under which rule while something was done."""
        before = self.rules()
        act()
        return {rule: more for rule, count in self.rules().items() if (more := count - before.get(rule, 0))}

    def children(self) -> list[dict[str, Any]]:
        """Our child SAs."""
        found: list[dict[str, Any]] = e2e.sas(self.ours)["child_sas"]
        return found

    def check(self) -> None:
        """What always holds: each SA carries what its filter says, under the algorithms of its action."""
        for child in self.children():
            ports = {text for text in child["selectors"] if ":80" in text}
            assert bool(ports) == (child["rule"] == WEB), child
        for theirs in self.theirs.children():
            web = any("/80]" in ts or "/http]" in ts for ts in theirs.local_ts + theirs.remote_ts)
            assert theirs.encryption == CIPHERS[WEB if web else ALL], theirs
        self.net.capture.assert_nothing_clear(topology.between(self.net.left, self.net.right, "icmp"))
        self.net.capture.assert_nothing_clear(topology.between(self.net.left, self.net.right, "tcp"))


def web(client: Host, server: str) -> bool:
    """Is a connection to port 80 served?"""
    return client.run("ncat", "-w", "3", server, "80", stdin="hello", check=False).stdout == "hello"


@pytest.fixture
def scene(two_hosts: topology.TwoHosts, strongswan: Charon, request: pytest.FixtureRequest) -> Iterator[Scene]:
    net, start = two_hosts, getattr(request, "param", "none")
    conf = e2e.charon(net.right.v4, net.left.v4, esp="aes256gcm16,aes128gcm16", child=f"start_action = {start}")
    with ExitStack() as stack:
        ours = stack.enter_context(xfrmd(net.left, POLICY, secret=e2e.SECRET))
        theirs = stack.enter_context(strongswan(net.right, conf))
        for host in (net.left, net.right):
            stack.enter_context(tcp_echo(host, host.v4, 80))
        yield Scene(ours, theirs, net)


def test_each_filter_of_ours_asks_for_an_sa_of_its_own_and_the_wide_peer_takes_both(scene: Scene) -> None:
    net = scene.net
    assert scene.carried(lambda: ping(net.left, net.right.v4, 3)) == {ALL: 3}, scene.theirs.log
    assert web(net.left, net.right.v4), scene.theirs.log
    carried = scene.carried(lambda: web(net.left, net.right.v4))
    assert set(carried) == {WEB}
    assert scene.carried(lambda: ping(net.left, net.right.v4, 3)) == {ALL: 3}
    assert {child["rule"] for child in scene.children()} == {ALL, WEB}
    scene.check()


def test_the_same_in_the_other_order(scene: Scene) -> None:
    net = scene.net
    assert web(net.left, net.right.v4), scene.theirs.log
    assert [child["rule"] for child in scene.children()] == [WEB]
    assert scene.carried(lambda: ping(net.left, net.right.v4, 3)) == {ALL: 3}
    scene.check()


def test_beside_a_wide_child_of_the_peers_we_ask_for_those_of_the_heavier_filters(scene: Scene) -> None:
    """The peer asks without a packet, for all between the two hosts; what it sent to port 80 there would be dropped."""
    net = scene.net
    scene.theirs.initiate("all")
    e2e.wait_until(lambda: len(scene.children()) == 3, "one for all, two for web: as client and as server")
    assert sorted(child["rule"] for child in scene.children()) == [ALL, WEB, WEB]
    assert ping(net.right, net.left.v4, 3).lost == 0
    assert web(net.right, net.left.v4), scene.theirs.log
    assert set(scene.carried(lambda: web(net.right, net.left.v4))) == {WEB}
    assert web(net.left, net.right.v4)
    assert scene.carried(lambda: ping(net.left, net.right.v4, 3)) == {ALL: 3}
    scene.check()


@pytest.mark.parametrize("scene", ["trap"], indirect=True)
def test_a_peer_whose_packet_asks_for_the_wide_child_reaches_the_heavier_filter_too(scene: Scene) -> None:
    """This peer's trap proposes its whole child, whichever packet has asked."""
    net = scene.net
    assert web(net.right, net.left.v4) or web(net.right, net.left.v4), scene.theirs.log
    assert ping(net.right, net.left.v4, 3).lost == 0
    assert {child["rule"] for child in scene.children()} == {ALL, WEB}
    scene.check()


def test_what_comes_on_another_filter_s_sa_is_dropped(scene: Scene) -> None:
    """We have asked for an SA for all; the peer has no other one and sends its web traffic there."""
    net = scene.net
    assert ping(net.left, net.right.v4, 1).lost == 0
    before = net.left.run("cat", "/proc/net/xfrm_stat").stdout
    assert not web(net.right, net.left.v4)
    after = net.left.run("cat", "/proc/net/xfrm_stat").stdout
    assert _mismatches(after) > _mismatches(before)
    scene.check()
    assert web(net.left, net.right.v4), "as soon as we have an SA for the web the peer uses it"
    scene.check()


def _mismatches(stat: str) -> int:
    """Packets that came on an SA which is not their filter's."""
    return next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("XfrmInTmplMismatch"))
