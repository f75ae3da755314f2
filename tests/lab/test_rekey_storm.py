# SPDX-License-Identifier: GPL-2.0-or-later
"""A storm of rekeys: two hosts with many addresses, an IKE SA and two child SAs between any two of them, and all of
these replaced at once, from both ends, under traffic by each.

XFRMD_STORM says how many addresses each host has; three without it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import topology
from lab.fan import Fan
from lab.netns import Host, ip_batch
from lab.packets import flow
from lab.traffic import Ping, Udp, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e, leaks
from xfrmd import limits
from xfrmd.control.schema import ControlError

ADDRESSES = int(os.environ.get("XFRMD_STORM", "3"))
LEFT = tuple(f"10.1.0.{number}" for number in range(11, 11 + ADDRESSES))
RIGHT = tuple(f"10.1.0.{number}" for number in range(111, 111 + ADDRESSES))
PAIRS = tuple(itertools.product(LEFT, RIGHT))
RATE = min(10.0 * len(PAIRS), 200.0)
"""Packets a second by all child SAs in turn, each there and back."""
HELD = 64
"""So many pairs connect at once without a packet that is lost."""
CALM = 60.0 + len(PAIRS)
"""Seconds for all to be replaced: the lab's one processor computes for both ends."""
POLICY = e2e.policy(
    more_lists=(
        "  - name: echo\n    filters: [{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7007}, "
        "{srcaddr: any, dstaddr: me, protocol: udp, dstport: 7007}]\n"
    ),
    more_rules='      - {name: echo, filterlist: echo, filteraction: require, psk: {file: "{psk}"}}\n',
)


def fan_of(host: Host) -> Fan:
    """Numbered packets by each child SA, which are answered."""
    carriers = [
        carrier
        for number, (source, there) in enumerate(PAIRS)
        for carrier in (Ping(there, identifier=number + 1, source=source), Udp(there, source=source))
    ]
    return Fan(host, carriers, rate=RATE).start()


def connected(host: Host) -> None:
    """Have all SAs made by packets of which some are lost: so many peers at once are more than packets are held for."""
    fan = fan_of(host)
    try:
        fan.wait_for(1, CALM)
    finally:
        fan.stop()


@contextlib.contextmanager
def flows(host: Host) -> Iterator[Fan]:
    """None of these packets is lost until the end."""
    fan = fan_of(host)
    try:
        yield fan
    finally:
        fan.stop()
    fan.assert_none_lost()


def spis(daemon: XfrmdHost) -> tuple[list[str], set[str]]:
    """Our SPIs of all IKE SAs, in the same order at both ends, and of all child SAs."""
    return spis_of(e2e.sas(daemon))


def spis_of(found: dict[str, Any]) -> tuple[list[str], set[str]]:
    """The same of an answer."""
    ikes = {sa["spi_local"]: sorted((sa["local"], sa["remote"])) for sa in found["ike_sas"]}
    return sorted(ikes, key=lambda spi: ikes[spi]), {child["spi_in"] for child in found["child_sas"]}


def kernel_sas(host: Host) -> int:
    """SAs of the host's kernel, both ways, larval ones included."""
    return host.run("ip", "xfrm", "state").stdout.count("proto esp")


def exact(daemon: XfrmdHost, found: dict[str, Any] | None = None) -> bool:
    """One IKE SA and two child SAs between any two addresses, and nothing else."""
    found = found or e2e.sas(daemon)
    ends = sorted((sa["local"], sa["remote"]) for sa in found["child_sas"])
    wanted = PAIRS if daemon.host.name.endswith("left") else [(b, a) for a, b in PAIRS]
    return len(found["ike_sas"]) == len(PAIRS) and ends == sorted([*wanted, *wanted])


def rekey_all(daemon: XfrmdHost, ikes: list[str]) -> None:
    """All child SAs at once, and these IKE SAs one after the other meanwhile."""

    def rekey_children() -> None:
        daemon.ask("rekey", {"spi": "all", "wait": min(CALM, limits.CONTROL_WAIT)})

    def rekey_ikes() -> None:
        for spi in ikes:
            try:
                daemon.ask("rekey", {"spi": spi})
            except ControlError as error:
                if error.code != "unknown-spi":  # the other end was quicker
                    raise

    with ThreadPoolExecutor() as both:
        for asked in [both.submit(rekey_children), both.submit(rekey_ikes)]:
            asked.result()


def replaced(daemon: XfrmdHost, old: tuple[list[str], set[str]]) -> bool:
    """None of these SAs is left, and there is one successor each."""
    found = e2e.sas(daemon)
    now = spis_of(found)
    return not set(now[0]) & set(old[0]) and not now[1] & old[1] and exact(daemon, found)


@pytest.mark.parametrize("both", [False, True], ids=["one end", "both ends"])
def test_a_storm_of_rekeys_loses_no_packet(
    two_hosts: topology.TwoHosts, both: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    net, start = two_hosts, time.monotonic()

    def tell(what: str) -> None:
        """Of a long run, how far it is."""
        if len(PAIRS) > HELD:
            with capsys.disabled():
                print(f"\n  {time.monotonic() - start:.0f} s: {what}", end="", flush=True)

    for host, addresses in ((net.left, LEFT), (net.right, RIGHT)):
        ip_batch([f"addr add {address}/24 dev eth0" for address in addresses], host)
    with contextlib.ExitStack() as stack:
        left, right = stack.enter_context(leaks.daemons(net.left, net.right, policy=POLICY))
        for address in RIGHT:
            stack.enter_context(udp_echo(net.right, address))
        if len(PAIRS) > HELD:
            connected(net.left)
            tell("all have answered")
        fan = stack.enter_context(flows(net.left))
        fan.wait_for(1, CALM)
        e2e.wait_until(lambda: exact(left) and exact(right), "one IKE SA and two child SAs for each pair", CALM)
        tell(f"{len(PAIRS)} IKE SAs")
        before = {daemon: spis(daemon) for daemon in (left, right)}
        begun = time.monotonic()
        ends = (left, right) if both else (left,)
        with ThreadPoolExecutor() as storms:
            for storm in [storms.submit(rekey_all, daemon, before[daemon][0]) for daemon in ends]:
                storm.result()
        tell("all are to be rekeyed")
        e2e.wait_until(
            lambda: all(replaced(daemon, old) for daemon, old in before.items()), "all have one successor each", CALM
        )
        took = time.monotonic() - begun
        tell("all are")
        fan.wait_for(5 if len(PAIRS) < 20 else 1, CALM)
        for daemon in (left, right):
            assert daemon.ask("status")["kernel"]["state"] == "equal"
            assert exact(daemon)
        # What was replaced is taken for a while longer.
        e2e.wait_until(
            lambda: all(kernel_sas(daemon.host) == 4 * len(PAIRS) for daemon in (left, right)),
            "no SA is left over",
            limits.OLD_SA_LINGER + CALM,
        )
    net.capture.assert_protected(flow(LEFT, RIGHT))
    with capsys.disabled():
        print(f"\n  {len(PAIRS)} IKE SAs, {2 * len(PAIRS)} child SAs replaced within {took:.1f} s", flush=True)
