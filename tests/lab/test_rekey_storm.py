# SPDX-License-Identifier: GPL-2.0-or-later
"""A storm of rekeys: two hosts with many addresses, an IKE SA and two child SAs between any two of them, and all of
these replaced at once, from one end and from both, under traffic by each; or the IKE SAs alone.

XFRMD_STORM says how many addresses each host has; three without it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
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


def spis_of(found: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Our SPIs of all IKE SAs and of all child SAs."""
    return {sa["spi_local"] for sa in found["ike_sas"]}, {child["spi_in"] for child in found["child_sas"]}


def kernel_sas(host: Host) -> int:
    """SAs of the host's kernel, both ways, larval ones included."""
    return host.run("ip", "xfrm", "state").stdout.count("proto esp")


def exact(daemon: XfrmdHost, found: dict[str, Any] | None = None) -> bool:
    """One IKE SA and two child SAs between any two addresses, and nothing else."""
    found = found or e2e.sas(daemon)
    ends = sorted((sa["local"], sa["remote"]) for sa in found["child_sas"])
    wanted = PAIRS if daemon.host.name.endswith("left") else [(b, a) for a, b in PAIRS]
    return len(found["ike_sas"]) == len(PAIRS) and ends == sorted([*wanted, *wanted])


def rekey(daemon: XfrmdHost, what: str) -> None:
    """Replace all child SAs or all IKE SAs."""
    daemon.ask("rekey", {"spi": what, "wait": min(CALM, limits.CONTROL_WAIT)})


def replaced(daemon: XfrmdHost, old: tuple[set[str], set[str]], what: Sequence[str]) -> bool:
    """None of these SAs is left, and there is one successor each. Child SAs that nobody has replaced are what they
    were.
    """
    found = e2e.sas(daemon)
    ikes, children = spis_of(found)
    ended = not ikes & old[0] and (not children & old[1] if "all" in what else children == old[1])
    return ended and exact(daemon, found)


@pytest.mark.parametrize(
    ("what", "ends"), [(["all", "ike"], 1), (["all", "ike"], 2), (["ike"], 1)], ids=["one end", "both ends", "IKE SAs"]
)
def test_a_storm_of_rekeys_loses_no_packet(
    two_hosts: topology.TwoHosts, what: Sequence[str], ends: int, capsys: pytest.CaptureFixture[str]
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
        before = {daemon: spis_of(e2e.sas(daemon)) for daemon in (left, right)}
        begun = time.monotonic()
        with ThreadPoolExecutor() as storms:
            for storm in [storms.submit(rekey, daemon, one) for daemon in (left, right)[:ends] for one in what]:
                storm.result()
        tell("all are rekeyed by who was told to")
        e2e.wait_until(
            lambda: all(replaced(daemon, old, what) for daemon, old in before.items()), "one successor each", CALM
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
        children = f", {2 * len(PAIRS)} child SAs" if "all" in what else ""
        print(f"\n  {len(PAIRS)} IKE SAs{children} replaced within {took:.1f} s", flush=True)
