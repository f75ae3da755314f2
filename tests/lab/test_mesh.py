# SPDX-License-Identifier: GPL-2.0-or-later
"""A mesh of hosts that all start at once and all talk to all: one SA pair between any two, nothing in the clear.

XFRMD_MESH says how many hosts; eight without it. All are met by all at the same moment: each pair of hosts begins from
both ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab import topology
from lab.netns import Host
from lab.traffic import Ping
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e

HOSTS = int(os.environ.get("XFRMD_MESH", "8"))
CONVERGED = 60.0 + HOSTS**2 / 2
"""Seconds for all to have met all: the lab's one processor computes the handshakes of all pairs, many of them twice."""


@contextlib.contextmanager
def daemons(hosts: Sequence[Host], policy: str) -> Iterator[list[XfrmdHost]]:
    """xfrmd in every host, all ready and none awake: whoever lets them go does it for all at once."""
    with contextlib.ExitStack() as stack:
        made = []
        for host in hosts:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="xfrmd-")))
            daemon = XfrmdHost(host, directory)
            daemon.write_policy(policy.replace("{psk}", str(daemon.write_secret("psk", e2e.SECRET))))
            daemon.start()
            stack.callback(daemon.stop)
            signalled((daemon,), signal.SIGSTOP)
            stack.callback(signalled, (daemon,), signal.SIGCONT)
            made.append(daemon)
        yield made


def signalled(daemons: Sequence[XfrmdHost], number: signal.Signals) -> None:
    for daemon in daemons:
        assert daemon.process is not None
        daemon.process.send_signal(number)


def sent_to_all(hosts: Sequence[Host], number: int) -> None:
    """One ping from everybody to everybody, without waiting."""
    for one, other in itertools.permutations(hosts, 2):
        carrier = Ping(other.v4)
        with carrier.connect(one) as sock, contextlib.suppress(OSError):
            sock.sendall(carrier.pack(number))


def unanswered(hosts: Sequence[Host]) -> list[tuple[str, str]]:
    """Who has no answer to a ping to whom, within seconds."""
    found = []
    for one in hosts:
        with contextlib.ExitStack() as stack:
            socks = []
            for other in hosts:
                if other is not one:
                    carrier = Ping(other.v4)
                    sock = stack.enter_context(carrier.connect(one))
                    sock.settimeout(5)
                    sock.sendall(carrier.pack(7))
                    socks.append((other, carrier, sock))
            for other, carrier, sock in socks:
                try:
                    while carrier.take(sock.recv(65536))[0] != [7]:
                        pass
                except OSError:
                    found.append((one.name, other.name))
    return found


def pairs(daemon: XfrmdHost) -> tuple[Counter[str], Counter[str]]:
    """How many IKE SAs, and how many child SAs, a daemon has with each peer."""
    found = e2e.sas(daemon)
    ikes = {sa["spi_local"]: sa["remote_id"] for sa in found["ike_sas"]}
    return Counter(ikes.values()), Counter(child["remote"] for child in found["child_sas"])


def kernel_spis(host: Host) -> int:
    """SAs of the host's kernel, both ways, larval ones included."""
    return host.run("ip", "xfrm", "state").stdout.count("proto esp")


def test_hosts_that_all_meet_at_once_have_one_sa_pair_with_each(capsys: pytest.CaptureFixture[str]) -> None:
    with topology.lan(HOSTS) as net, daemons(net.hosts, e2e.policy()) as made:
        sent_to_all(net.hosts, 1)  # every kernel asks for its SAs, and nobody listens yet
        begun = time.monotonic()
        signalled(made, signal.SIGCONT)
        one_each = Counter({host.v4: 1 for host in net.hosts})

        def converged() -> bool:
            return all(
                ike == child == one_each - Counter([daemon.host.v4])
                for daemon in made
                for ike, child in [pairs(daemon)]
            )

        with contextlib.suppress(AssertionError):
            e2e.wait_until(converged, "one IKE SA and one child SA between any two", CONVERGED)
        took = time.monotonic() - begun
        assert converged(), {daemon.host.name: pairs(daemon) for daemon in made}
        assert not unanswered(net.hosts)
        # What is in the kernels is what the daemons tell, and all packets of one pair go by its one SA.
        assert {host.name: kernel_spis(host) for host in net.hosts} == dict.fromkeys(
            (host.name for host in net.hosts), 2 * (HOSTS - 1)
        )
        for daemon in made:
            assert daemon.ask("status")["kernel"]["state"] == "equal"
        assert converged()
        net.capture.assert_protected(topology.between(net.hosts, net.hosts, "icmp"))
        with capsys.disabled():
            print(f"\n  {HOSTS} hosts, {HOSTS * (HOSTS - 1) // 2} pairs of SAs after {took:.1f} s", flush=True)


def test_the_same_mesh_without_a_policy_is_seen_in_the_clear() -> None:
    """The positive control."""
    with topology.lan(3) as net, daemons(net.hosts, e2e.NOTHING) as made:
        signalled(made, signal.SIGCONT)
        assert not unanswered(net.hosts)
        net.capture.assert_seen_clear(topology.between(net.hosts, net.hosts, "icmp"))
