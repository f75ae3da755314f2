# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that befall a host under traffic, and what each let through: the rows of the table in docs/threat-model.md.

A row is a fault at a moment: packets seen in the clear while it lasted and until all was mended, packets lost, and the
positive control: how many packets the same capture saw of the same traffic with the policy off.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.netns import Host
from lab.packets import Flow
from lab.topology import Network
from lab.traffic import Flood, Udp, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab.injection import Sink, sink

RATE = 250.0
"""Packets a second of each flow, each of which is answered where it arrives."""
TABLE = "XFRMD_CHAOS_TABLE"
"""A file that rows are added to, for the documentation."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a host. `mended`: does the daemon put back what it took?"""

    name: str
    commands: tuple[str, ...]
    mended: bool = True

    def happen(self, host: Host) -> None:
        """Run the commands, each in a shell of the host, as fast as they go."""
        host.run("sh", "-c", " && ".join(self.commands))


RULESET = """\
printf 'flush ruleset\\ntable inet filter { chain input { type filter hook input priority 0; policy accept; }; }\\n'"""
LAST_RULE = "nft -a list chain inet xfrmd %s | sed -n 's/.* # handle //p' | tail -1"
FAULTS = (
    Fault("nft flush ruleset", ("nft flush ruleset",)),
    Fault("systemctl reload nftables", (f"{RULESET} | nft -f -",)),
    Fault("nft delete table inet xfrmd", ("nft delete table inet xfrmd",)),
    Fault(
        "the last rule of both chains deleted",
        tuple(
            f"nft delete rule inet xfrmd {chain} handle $({LAST_RULE % chain})"
            for chain in ("prerouting", "postrouting")
        ),
    ),
    Fault(
        "a rule that accepts all put first",
        tuple(f"nft insert rule inet xfrmd {chain} accept" for chain in ("prerouting", "postrouting")),
    ),
)
XFRM_FAULTS = (
    Fault("ip xfrm policy flush", ("ip xfrm policy flush",)),
    Fault("ip xfrm state flush", ("ip xfrm state flush",), mended=False),
    Fault("ip xfrm policy flush, ip xfrm state flush", ("ip xfrm policy flush", "ip xfrm state flush")),
)
ALL_AT_ONCE = Fault("nft flush ruleset; ip xfrm policy flush", ("nft flush ruleset", "ip xfrm policy flush"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    scene: str
    fault: str
    moment: str
    clear: int
    sent: int
    lost: int
    back: float
    """Seconds from the fault until all of ours stood again."""

    def __str__(self) -> str:
        back = f"{self.back * 1000:.0f} ms" if self.back else "-"
        return f"| {self.scene} | {self.fault} | {self.moment} | {self.clear} | {self.lost} of {self.sent} | {back} |"


def told(row: Row) -> Row:
    """Print a row, and add it to the table that is asked for."""
    print(row)
    if TABLE in os.environ:
        with Path(os.environ[TABLE]).open("a") as file:
            file.write(f"{row}\n")
    return row


def mends(daemon: XfrmdHost) -> int:
    """How often a daemon has put something back."""
    return int(daemon.ask("counters")["counters"]["daemon"]["kernel-mended"])


def whole_again(daemon: XfrmdHost, before: int, timeout: float = 10.0) -> None:
    """Return when the daemon has put something back since `before`."""
    deadline = time.monotonic() + timeout
    while mends(daemon) <= before:
        assert time.monotonic() < deadline, f"nothing is put back within {timeout} s:\n{daemon.log}"
        time.sleep(0.005)


@dataclass
class Scene:
    """Traffic between hosts, of both IP versions, that must not be seen in the clear. `sender` has the daemon."""

    name: str
    net: Network
    sender: Host
    receiver: Host
    daemon: XfrmdHost
    flow: Flow
    wires: tuple[str, ...]
    """Hosts whose sending is looked at."""
    floods: list[Flood] = field(default_factory=list)

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Floods of both IP versions, each packet of which is answered, are under way."""
        self.floods = [Flood(self.sender, Udp(self.receiver.address(version)), rate=RATE) for version in (4, 6)]
        with contextlib.ExitStack() as stack:
            for version in (4, 6):
                stack.enter_context(udp_echo(self.receiver, self.receiver.address(version)))
            for flood in self.floods:
                flood.start()
            try:
                yield
            finally:
                self._ended()

    def _ended(self) -> tuple[int, int]:
        """Packets sent and lost."""
        done = [flood.stop() for flood in self.floods]
        self.floods = []
        return sum(one.sent for one in done), sum(len(one.lost) for one in done)

    def flowing(self, more: int = 40) -> None:
        """Wait until packets of all floods are answered."""
        for flood in self.floods:
            flood.wait_for(more)

    def clear(self) -> int:
        """Packets of the flow seen in the clear."""
        return sum(one.host in self.wires for one in self.net.capture.clear_packets(self.flow))

    def row(self, fault: Fault, moment: str = "under traffic", between: Callable[[], None] = lambda: None) -> Row:
        """Let a fault happen, wait until all is as it was, and tell. `between` comes right after the fault."""
        self.net.capture.clear()
        with self.traffic():
            self.flowing()
            before, begun = mends(self.daemon) if fault.mended else 0, time.monotonic()
            fault.happen(self.daemon.host)
            between()
            if fault.mended:
                whole_again(self.daemon, before)
            back = time.monotonic() - begun
            self.flowing()
            sent, lost = self._ended()
        return told(Row(self.name, fault.name, moment, self.clear(), sent, lost, back if fault.mended else 0.0))

    def control(self) -> int:
        """The same traffic with the policy off, as the same capture sees it: it must be called last."""
        self.net.capture.clear()
        with self.traffic():
            self.flowing()
        seen = self.clear()
        told(Row(self.name, "the policy is off (positive control)", "", seen, 0, 0, 0.0))
        return seen


@contextlib.contextmanager
def sinks(host: Host, port: int) -> Iterator[Sequence[Sink]]:
    """What arrives at a port, over IPv4 and IPv6."""
    with sink(host, host.v4, port) as four, sink(host, host.v6, port) as six:
        yield (four, six)
