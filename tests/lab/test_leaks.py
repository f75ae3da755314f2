# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing leaves in the clear while policies, addresses, SAs and daemons come and go under running traffic.

Each test ends with its positive control: the same flow, in the same capture, with the policy off, is seen.
"""

from __future__ import annotations

import threading
import time

import pytest

from lab import packets, topology
from lab.netns import Host
from lab.traffic import Flood, Ping, Udp, ping, udp_echo
from tests.lab import e2e, leaks
from tests.lab.injection import sink
from xfrmd.control.schema import ControlError

BAD = e2e.policy().replace("negotiate", "negociate")
BACK = 30.0
"""Seconds until traffic is back: a peer that refused is tried again after 10, a lost message is sent again."""


def test_held_packets_survive_a_change_of_policy(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right, "udp", port_b=7007)
    sent = [b"held %d" % number for number in range(10)]
    with (
        leaks.daemons(net.left, net.right) as (left, right),
        sink(net.right, net.right.v4, 7007) as arrived,
        leaks.udp_socket(net.left) as client,
    ):
        with leaks.frozen(right):
            for data in sent:
                client.sendto(data, (net.right.v4, 7007))
            e2e.wait_until(lambda: left.ask("status")["held"]["waiting"] == len(sent), "the packets are held")
            leaks.put(leaks.MORE, left)
            leaks.put(e2e.policy(), left)
        arrived.wait_for(sent[-1])
        assert left.ask("status")["held"]["released"] == len(sent)
        net.capture.assert_protected(flow)
        leaks.put(e2e.NOTHING, left, right)
        client.sendto(b"clear", (net.right.v4, 7007))
        arrived.wait_for(b"clear")
    net.capture.assert_seen_clear(flow)


def test_policies_change_under_a_flood(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    flows = [topology.between(net.left, net.right, name) for name in ("udp", "icmpv6")]
    with leaks.daemons(net.left, net.right) as (left, right), udp_echo(net.right, net.right.v4):
        floods = [
            Flood(net.left, Udp(net.right.v4), rate=100).start(),
            Flood(net.left, Ping(net.right.v6), rate=50).start(),
        ]
        for text in (e2e.policy(), leaks.MORE, BAD, e2e.policy()):
            try:
                leaks.put(text, left)
            except ControlError:
                assert text is BAD
            leaks.put(e2e.policy(), right)
            for flood in floods:
                flood.wait_for(10)
        for flood in floods:
            flood.stop().assert_none_lost()
        for flow in flows:
            net.capture.assert_protected(flow)

        flood = Flood(net.left, Udp(net.right.v4), rate=100).start()
        for daemons in ((left,), (right,), (left, right)):
            flood.wait_for(10)
            leaks.put(leaks.BLOCK_ALL, *daemons)
            time.sleep(0.3)  # nothing is to happen
            leaks.put(e2e.policy(), *daemons)
            flood.wait_for(10, BACK)
        for daemon in (right, left):
            daemon.write_secret("psk", "another secret")
            leaks.put(e2e.policy(), daemon)
        flood.wait_for(10, BACK)
        net.capture.assert_protected(flows[0])
        leaks.put(e2e.NOTHING, left, right)
        flood.wait_for(10)
        flood.stop()
    net.capture.assert_seen_clear(flows[0])


class Eager:
    """Sends to a port 7007 from an address from the moment on at which the host has it."""

    def __init__(self, net: topology.TwoHosts, source: str, version: int) -> None:
        self._net, self._source, self._to = net, source, net.right.address(version)
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Eager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            try:
                with leaks.udp_socket(self._net.left, self._source) as client:
                    while not self._stop.wait(0.005):
                        client.sendto(b"eager", (self._to, 7007))
                        self.sent += 1
            except OSError:  # the host has no such address, or no longer
                continue


def sas_of(host: Host, address: str) -> list[str]:
    """SAs with this end. Without the kernel's own notes that it has asked for one (SPI 0), which stay for minutes: an
    IPv6 socket goes on sending from an address that has gone, and its packet may meet the policy a moment before it
    goes, too.
    """
    every = host.run("ip", "xfrm", "state").stdout.replace("\nsrc ", "\0src ").split("\0")
    return [one for one in every if address in one and "spi 0x00000000" not in one]


@pytest.mark.parametrize(("version", "new"), [(4, "10.1.0.77/24"), (6, "fd01::77/64")], ids=["ipv4", "ipv6"])
def test_an_address_that_comes_and_goes(two_hosts: topology.TwoHosts, version: int, new: str) -> None:
    net = two_hosts
    source, there = new.partition("/")[0], net.right.address(version)
    flow = packets.flow([source], [there], "udp", port_b=7007)
    change = ["dev", "eth0", *(["nodad"] if version == 6 else [])]
    with (
        leaks.daemons(net.left, net.right) as (left, right),
        sink(net.right, there, 7007) as arrived,
        Eager(net, source, version) as eager,
    ):
        net.left.run("ip", "addr", "add", new, *change)
        arrived.wait_for(b"eager")
        net.capture.assert_protected(flow)
        net.left.run("ip", "addr", "del", new, "dev", "eth0")
        e2e.wait_until(lambda: not sas_of(net.left, source), "the address's SAs leave the kernel")
        assert source not in net.left.run("ip", "xfrm", "policy").stdout
        net.left.run("ip", "addr", "add", new, *change)
        before = eager.sent
        e2e.wait_until(lambda: eager.sent > before + 20, "traffic goes on")
        net.capture.assert_protected(flow)
        leaks.put(e2e.NOTHING, left, right)
        before = eager.sent
        e2e.wait_until(lambda: eager.sent > before + 20, "traffic goes on")
    net.capture.assert_seen_clear(flow)


def test_stops_crashes_and_restarts_under_a_flood(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right)
    with leaks.daemons(net.left, net.right) as (left, right), udp_echo(net.right, net.right.v4):
        flood = Flood(net.left, Udp(net.right.v4), rate=100).start()
        flood.wait_for(10)
        assert left.stop() == 0
        left.start()
        flood.wait_for(10, BACK)

        right.kill()
        leaks.expire_sas(net.right)  # as a machine that was switched off and on
        right.start()
        assert ping(net.right, net.left.v4, 3).lost == 0, left.log + right.log
        flood.wait_for(10, BACK)
        assert len(e2e.ike_spis(left)) == 1, "what the peer no longer knows has gone"

        for daemon in (left, right):
            daemon.kill()
        right.start()
        left.start()
        flood.wait_for(10, BACK)
        with leaks.frozen(right):
            left.ask("rekey", {"spi": "all"})
            left.kill()
            left.start()
            e2e.wait_until(lambda: left.ask("status")["held"].get("waiting", 0) > 0, "a negotiation is under way")
            left.kill()
        left.start()
        flood.wait_for(10, BACK)
        net.capture.assert_protected(flow)
        leaks.put(e2e.NOTHING, left, right)
        flood.wait_for(10)
        flood.stop()
    net.capture.assert_seen_clear(flow)


def test_sas_expire_while_the_peer_is_gone(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right, "udp", port_b=7007)
    with leaks.daemons(net.left, net.right) as (left, right), udp_echo(net.right, net.right.v4):
        flood = Flood(net.left, Udp(net.right.v4), rate=100).start()
        flood.wait_for(10)
        right.kill()
        assert leaks.expire_sas(net.left) == 2
        e2e.wait_until(lambda: left.ask("status")["held"].get("waiting", 0) > 10, "packets are held")
        assert not any(child["state"] == "installed" for child in e2e.sas(left)["child_sas"])
        net.capture.assert_protected(flow)
        right.start()
        leaks.put(e2e.NOTHING, left, right)
        flood.wait_for(10)
        flood.stop()
    net.capture.assert_seen_clear(flow)
