# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts and what is asked of them again and again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from tests.conversations.network import PERFECT, Faults, Flow, Host, Network, differences
from tests.conversations.plans import ALL_REQID, Settings, plan
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire
from xfrmd.ike.views import ChildSaView
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ICMP, TCP, Ports, Selector

A4, B4 = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6, B6 = Address.parse("fd00::1"), Address.parse("fd00::2")


@dataclass
class Pair:
    """Two hosts that protect everything between them."""

    network: Network
    a: Host
    b: Host

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Both."""
        return self.a, self.b

    def ping(self, host: Host) -> Selector:
        """An echo request from a host to the other."""
        return ping(host.address, self.other(host).address)

    def other(self, host: Host) -> Host:
        """The peer."""
        return self.b if host is self.a else self.a

    def acquire(self, host: Host, when: float = 0.0, reqid: int = ALL_REQID, packet: Selector | None = None) -> None:
        """The kernel of a host asks for an SA."""
        self.network.at(when, host, Acquire(reqid, packet or self.ping(host)))

    def connect(self) -> None:
        """A asks, and everything is settled."""
        self.acquire(self.a, self.network.now)
        self.network.settle()
        self.agree()

    def flow(self, host: Host, seconds: float, interval: float = 0.05) -> Flow:
        """Pings from a host from now on."""
        until = self.network.now + seconds
        return self.network.flow(host, Flow(self.ping(host), ALL_REQID, interval, until))

    def child(self, host: Host, reqid: int = ALL_REQID) -> ChildSaView:
        """The one child SA of a filter."""
        found = [c for sa in host.ike_sas() for c in sa.children if c.reqid == reqid]
        assert len(found) == 1, found
        return found[0]

    def agree(self, ike_sas: int = 1) -> None:
        """Demand what must hold once all is quiet: the kernels fit each other, and so do the engines."""
        found = differences(self.hosts)
        assert not found, f"{found}\n{summary(self)}"
        for host in self.hosts:
            assert len(host.ike_sas()) == ike_sas, f"{host.name} has {len(host.ike_sas())} IKE SAs:\n{summary(self)}"
        spis = [{frozenset((sa.local_spi, sa.remote_spi)) for sa in host.ike_sas()} for host in self.hosts]
        assert spis[0] == spis[1], f"other IKE SAs:\n{summary(self)}"
        for host in self.hosts:
            children = {(c.spi_in, c.spi_out) for sa in host.ike_sas() for c in sa.children}
            inbound = {sa.spi for sa in host.kernel.live(inbound=True)}
            outbound = {sa.spi for sa in host.kernel.live(inbound=False)}
            sides = ({i for i, _ in children}, {o for _, o in children})
            assert sides == (inbound, outbound), f"{host.name}: engine and kernel differ:\n{summary(self)}"

    def converge(self, limit: int = 60, ike_sas: int = 1) -> None:
        """Demand agreement at some moment within `limit` seconds: rekeys by lifetime may be under way at any other."""
        for _ in range(limit):
            with contextlib.suppress(AssertionError):
                self.agree(ike_sas)
                return
            self.network.run(self.network.now + 1.0)
        self.agree(ike_sas)

    def works(self) -> None:
        """Demand that packets pass both ways."""
        for host in self.hosts:
            flow = self.flow(host, 1.0)
            self.network.run(self.network.now + 1.5)
            assert (flow.delivered >= 20, flow.lost, flow.waiting) == (True, [], 0), f"{host.name}: {flow}"


def summary(scene: Pair) -> str:
    """What both engines and kernels hold, a line each."""
    lines = []
    for host in scene.hosts:
        for sa in host.ike_sas():
            children = " ".join(f"{c.spi_in:08x}/{c.spi_out:08x}({c.state})" for c in sa.children)
            side = "i" if sa.initiator else "r"
            ends = f"{sa.local_spi.hex()}/{sa.remote_spi.hex()}"
            lines.append(f"  {host.name} {side} {ends} {sa.state} since {sa.created:.3f}: {children}")
        kernel = " ".join(f"{'in' if e.sa.inbound else 'out'}:{e.sa.spi:08x}" for e in host.kernel.sas.values())
        lines.append(f"  {host.name} kernel {kernel}")
    return "\n".join(lines)


def ping(src: Address, dst: Address) -> Selector:
    """An ICMP echo request."""
    return Selector(Prefix.host(src), Prefix.host(dst), ICMP, Ports(8, 8), Ports(0, 0))


def tcp(src: Address, dst: Address, port: int) -> Selector:
    """A TCP packet to a port."""
    return Selector(Prefix.host(src), Prefix.host(dst), TCP, Ports(40000, 40000), Ports(port, port))


def pair(
    seed: int = 1,
    settings: Settings | None = None,
    other: Settings | None = None,
    faults: Faults = PERFECT,
    addresses: tuple[Address, Address] = (A4, B4),
) -> Pair:
    """Two hosts; `other` are the settings of the second where they differ."""
    network = Network(seed, faults)
    ours = settings or Settings()
    one, two = addresses
    a = network.add("A", one, Engine(plan(one, [two], ours), network.entropy()))
    b = network.add("B", two, Engine(plan(two, [one], other or ours), network.entropy()))
    return Pair(network, a, b)
