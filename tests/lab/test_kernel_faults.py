# SPDX-License-Identifier: GPL-2.0-or-later
"""What the real kernel could not tell or would not do: packets flow again without anybody's help, none in the clear.

The daemon stands still meanwhile, and the kernel has more news for it than its sockets hold: that such news were lost
is read from the kernel. Each scene ends with its positive control.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from lab import topology
from lab.netns import Host, namespaces
from lab.packets import Flow
from lab.traffic import PORT, Flood, Udp, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e, leaks, overrun
from tests.unit.test_daemon_core import sa
from xfrmd import limits
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.daemon.installing import Installing
from xfrmd.daemon.ledger import Ledger
from xfrmd.errors import KernelError
from xfrmd.model.proposals import Lifetime

RATE = 100.0
MORE = 40
"""Answers of each flow, until which it is said to flow."""
AGAIN = 40.0
"""Seconds until they have come: the kernel asks for an SA again after 30."""


@dataclass
class Scene:
    """Two hosts with a daemon each, and traffic of both IP versions between them."""

    net: topology.TwoHosts
    left: XfrmdHost
    right: XfrmdHost
    floods: list[Flood] = field(default_factory=list)

    @property
    def flow(self) -> Flow:
        return topology.between(self.net.left, self.net.right, "udp", port_b=PORT)

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for version in (4, 6):
                stack.enter_context(udp_echo(self.net.right, self.net.right.address(version)))
            self.floods = [Flood(self.net.left, Udp(self.net.right.address(v)), rate=RATE).start() for v in (4, 6)]
            try:
                yield
            finally:
                for flood in self.floods:
                    flood.stop()

    def flows(self) -> None:
        for flood in self.floods:
            flood.wait_for(MORE, AGAIN)

    def settled(self) -> bool:
        """Have both the same SAs, one pair for each IP version, in engine and kernel?"""
        found = [e2e.sas(daemon)["child_sas"] for daemon in (self.left, self.right)]
        pairs = [{(one["spi_in"], one["spi_out"]) for one in mine} for mine in found]
        there = [kernel_spis(daemon.host) for daemon in (self.left, self.right)]
        mine, theirs = pairs[0], {(out, into) for into, out in pairs[1]}
        return len(mine) == 2 and mine == theirs and there == [{spi for pair in mine for spi in pair}] * 2

    def assert_whole(self) -> None:
        """Everything flows, nothing is left behind, nothing was in the clear."""
        self.flows()
        e2e.wait_until(self.settled, f"{e2e.sas(self.left)}\n{e2e.sas(self.right)}\n{self.left.log[-3000:]}", AGAIN)
        self.net.capture.assert_protected(self.flow)


def kernel_spis(host: Host) -> set[str]:
    """Of all SAs of ours."""

    def look() -> set[str]:
        with contextlib.closing(XfrmSocket()) as kernel:
            return {f"{sa.spi:08x}" for sa in kernel.sas() if sa.ours}

    return host.inside(look)


@pytest.fixture
def scene(two_hosts: topology.TwoHosts) -> Iterator[Scene]:
    """Both are connected; at the end the same traffic is seen in the clear when no policy is in force."""
    with leaks.daemons(two_hosts.left, two_hosts.right) as (left, right):
        made = Scene(two_hosts, left, right)
        with made.traffic():
            made.assert_whole()
            yield made
        leaks.put(e2e.NOTHING, left, right)
        two_hosts.capture.clear()
        with made.traffic():
            made.flows()
        two_hosts.capture.assert_seen_clear(made.flow)


def overflows(daemon: XfrmdHost) -> int:
    return int(daemon.ask("counters")["counters"]["daemon"].get("event-overflows", 0))


def removed(host: Host, *, inbound: bool = True) -> None:
    """Another program removes the SAs; of those that it has seen some may be gone by then."""

    def remove() -> None:
        with contextlib.closing(XfrmSocket()) as kernel:
            for one in kernel.sas():
                if inbound or str(one.src) in (host.v4, host.v6):
                    kernel.remove_sa(one.protocol, one.spi, one.dst)

    host.inside(remove)


def half_removed(host: Host) -> None:
    """What goes out; what comes in still does."""
    removed(host, inbound=False)


def expired(host: Host) -> None:
    assert leaks.expire_sas(host) == 4


@pytest.mark.parametrize("deed", [removed, half_removed, expired], ids=lambda deed: deed.__name__)
def test_sas_of_whose_end_nothing_is_heard_are_made_anew(scene: Scene, deed: Callable[[Host], None]) -> None:
    """And the kernel asks for others in vain: that is lost as well."""
    before, lost = e2e.child_spis(scene.left), overflows(scene.left)
    with leaks.frozen(scene.left):
        overrun.of_sas(scene.left)
        deed(scene.left.host)
    scene.assert_whole()
    assert not before & e2e.child_spis(scene.left)
    assert overflows(scene.left) > lost


def test_sas_that_end_in_the_middle_of_their_rekey_are_made_anew(scene: Scene) -> None:
    before = e2e.child_spis(scene.left)
    with leaks.frozen(scene.right):
        scene.left.ask("rekey", {"spi": "all"})
        removed(scene.left.host)
    scene.assert_whole()
    with leaks.frozen(scene.right):
        scene.left.ask("rekey", {"spi": "all"})
        removed(scene.right.host)
    scene.assert_whole()
    assert not before & e2e.child_spis(scene.left)


def test_policies_of_whose_removal_nothing_is_heard_stand_again(scene: Scene) -> None:
    with leaks.frozen(scene.left):
        overrun.of_policies(scene.left)
        scene.left.host.run("ip", "xfrm", "policy", "deleteall", "dir", "out")
    e2e.wait_until(lambda: scene.left.ask("status")["kernel"]["state"] == "equal", "policies are put back")
    scene.assert_whole()


def test_an_address_of_which_nothing_is_heard_is_protected(scene: Scene) -> None:
    version, other = 4, "10.1.0.77"
    with leaks.frozen(scene.left):
        overrun.of_addresses(scene.left)
        scene.left.host.run("ip", "addr", "add", f"{other}/24", "dev", "eth0")
    e2e.wait_until(lambda: other in str(scene.left.ask("facts")), "the address is known")
    scene.left.host.run("ping", "-c", "1", "-W", "5", "-I", other, scene.net.right.address(version))
    scene.net.capture.assert_nothing_clear(topology.between(scene.net.left, scene.net.right))


OURS = replace(sa(0x0A0B0C0D, inbound=True), reqid=limits.REQID_FIRST + 9)


@pytest.fixture
def installing() -> Iterator[tuple[Host, XfrmSocket, Installing]]:
    """The daemon's hands for SAs, in a host of their own."""
    with namespaces("sas") as (host,), contextlib.closing(host.inside(XfrmSocket)) as kernel:
        late: list[str] = []
        yield host, kernel, Installing(kernel, Ledger(lambda: 0.0), lambda what, *_: late.append(what))
        assert late == []


def test_an_spi_that_another_program_has_is_left_to_it(installing: tuple[Host, XfrmSocket, Installing]) -> None:
    host, kernel, hands = installing
    theirs = f"src {OURS.src} dst {OURS.dst} proto esp spi {OURS.spi:#x}"
    keys = ("aead", "rfc4106(gcm(aes))", "0x" + "11" * 20, "128")
    host.run("ip", "xfrm", "state", "add", *theirs.split(), "reqid", "77", "mode", "transport", *keys)
    with pytest.raises(KernelError) as refused:
        hands.put(OURS)
    assert refused.value.errno == errno.EEXIST
    hands.remove(OURS.key)
    (there,) = kernel.sas()
    assert (there.spi, there.reqid) == (OURS.spi, 77)


def test_an_spi_of_ours_that_nobody_knows_any_more_is_made_free(
    installing: tuple[Host, XfrmSocket, Installing],
) -> None:
    _, kernel, hands = installing
    kernel.add_sa(replace(OURS, hard=Lifetime(7200)))
    hands.put(OURS)
    (there,) = kernel.sas()
    assert there.soft == OURS.soft
    hands.remove(OURS.key)
    assert kernel.sas() == ()
