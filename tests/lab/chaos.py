# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that befall a host under traffic, and what each let through: the rows of the second table in docs/faults.md.

A row is a fault at a moment: packets seen in the clear while it lasted and until all was mended, packets lost, and the
positive control: how many packets the same capture saw of the same traffic with the policy off.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lab.netns import Host
from lab.packets import Flow
from lab.topology import Network
from lab.traffic import PORT, Flood, Udp, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab import leaks
from tests.lab.injection import Sink, sink
from tools.faults import keep

UNATTENDED = 1.0
"""Seconds that a fault lasts while no daemon runs."""
RATE = 250.0
"""Packets a second of each flow, each of which is answered where it arrives."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a host. `mended`: does the daemon put back what it took? `negotiates`: does IKE work at
    the same time, so that the daemon's processor time is not that of putting back? `why`: the stated reason for which
    something may pass.
    """

    name: str
    commands: tuple[str, ...]
    mended: bool = True
    negotiates: bool = False
    why: str = ""

    def happen(self, host: Host) -> None:
        """Run the commands, each in a shell of the host, as fast as they go."""
        host.run("sh", "-c", " && ".join(self.commands))


RULESET = """\
printf 'flush ruleset\\ntable inet filter { chain input { type filter hook input priority 0; policy accept; }; }\\n'"""
LAST_RULE = "$(nft -a list chain inet xfrmd {0} | sed -n 's/.* # handle //p' | tail -1)"
CHAINS = ("prerouting", "postrouting")
FAULTS = (
    Fault("nft flush ruleset", ("nft flush ruleset",)),
    Fault("systemctl reload nftables", (f"{RULESET} | nft -f -",)),
    Fault("nft delete table inet xfrmd", ("nft delete table inet xfrmd",)),
    Fault(
        "the last rule of both chains deleted",
        (
            'nft "'
            + "; ".join(f"delete rule inet xfrmd {name} handle {LAST_RULE.format(name)}" for name in CHAINS)
            + '"',
        ),
    ),
    Fault(
        "a rule that accepts all put first",
        ('nft "' + "; ".join(f"insert rule inet xfrmd {name} accept" for name in CHAINS) + '"',),
    ),
)
"""Each is one transaction."""
XFRM_FAULTS = (
    Fault("ip xfrm policy flush", ("ip xfrm policy flush",)),
    Fault("ip xfrm state flush", ("ip xfrm state flush",), mended=False),
    Fault(
        "ip xfrm policy flush, ip xfrm state flush",
        ("ip xfrm policy flush", "ip xfrm state flush"),
        negotiates=True,
    ),
)
ALL_AT_ONCE = Fault(
    "nft flush ruleset; ip xfrm policy flush",
    ("nft flush ruleset", "ip xfrm policy flush"),
    why="stated: both layers go in one moment",
)


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
    work: float | None = None
    """Seconds of processor time that the daemon took for it."""
    why: str = ""
    """The stated reason for which something may pass."""


class Mended(NamedTuple):
    """What is to stand under `back` and `work`."""

    back: float
    work: float | None = None


def told(row: Row) -> Row:
    """Print a row, and keep it where a table is made."""
    print(row)
    keep("chaos", "test_chaos", row)
    return row


def mends(daemon: XfrmdHost) -> int:
    """How often a daemon has put something back."""
    return int(daemon.ask("counters")["counters"]["daemon"]["kernel-mended"])


def whole_again(daemon: XfrmdHost, before: int, timeout: float = 30.0) -> None:
    """Return when the daemon has put something back since `before`."""
    deadline = time.monotonic() + timeout
    while mends(daemon) <= before:
        assert time.monotonic() < deadline, f"nothing is put back within {timeout} s:\n{daemon.log}"
        time.sleep(0.02)


def processor_time(daemon: XfrmdHost) -> float:
    """Seconds that a daemon has computed for so far (proc_pid_stat(5))."""
    assert daemon.process is not None
    user, system = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


Wire = tuple[Host, str]
"""An end of a link: what its host sends there is looked at."""


@dataclass
class Scene:
    """Traffic of both IP versions that must not be seen in the clear. Each packet is answered where it arrives.

    The daemon that faults befall is that of `daemon`, somewhere on the way.
    """

    name: str
    net: Network
    sender: Host
    receiver: Host
    daemon: XfrmdHost
    flow: Flow
    wires: tuple[Wire, ...]
    floods: list[Flood] = field(default_factory=list)
    why: str = ""
    """The stated reason for which something may pass in each fault."""

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """The traffic is under way."""
        with contextlib.ExitStack() as stack:
            for version in (4, 6):
                stack.enter_context(udp_echo(self.receiver, self.receiver.address(version)))
            self.floods = [
                Flood(self.sender, Udp(self.receiver.address(version)), rate=RATE).start() for version in (4, 6)
            ]
            try:
                yield
            finally:
                self.ended()

    def ended(self) -> tuple[int, int]:
        """End the traffic; packets sent and lost."""
        done, self.floods = [flood.stop() for flood in self.floods], []
        return sum(one.sent for one in done), sum(len(one.lost) for one in done)

    def flowing(self, more: int = 40) -> None:
        """Wait until so many packets more have come and gone."""
        for flood in self.floods:
            flood.wait_for(more)

    def clear(self) -> int:
        """Packets of the flow seen in the clear."""
        ends = {(host.name, link) for host, link in self.wires}
        return sum((one.host, one.link) in ends for one in self.net.capture.clear_packets(self.flow))

    def lived(self, fault: str, moment: str, deed: Callable[[], Mended], why: str = "") -> Row:
        """Do something under traffic, let all flow again, and tell. `deed` answers what stands under `back`."""
        self.net.capture.clear()
        with self.traffic():
            self.flowing()
            back, work = deed()
            self.flowing()
            sent, lost = self.ended()
        return told(Row(self.name, fault, moment, self.clear(), sent, lost, back, work, why or self.why))

    def row(self, fault: Fault, moment: str = "under traffic") -> Row:
        """Let a fault happen, and wait until all is as it was."""

        def befall() -> Mended:
            before, worked, begun = mends(self.daemon), processor_time(self.daemon), time.monotonic()
            fault.happen(self.daemon.host)
            if not fault.mended:
                return Mended(0.0)
            whole_again(self.daemon, before)
            back, work = time.monotonic() - begun, processor_time(self.daemon) - worked
            return Mended(back, None if fault.negotiates else work)

        return self.lived(fault.name, moment, befall, fault.why)

    def row_without_daemon(self, fault: Fault) -> Row:
        """The same while the daemon is dead; it starts again later."""

        def befall() -> Mended:
            self.daemon.kill()
            fault.happen(self.daemon.host)
            time.sleep(UNATTENDED)  # nothing is to happen
            begun = time.monotonic()
            self.daemon.start()
            return Mended(time.monotonic() - begun)

        return self.lived(fault.name, "after kill -9", befall)

    def control(self) -> int:
        """The same traffic with the policy off, as the same capture sees it: it must be called last."""
        self.net.capture.clear()
        with self.traffic():
            self.flowing()
            sent, lost = self.ended()
        return told(
            Row(self.name, "none: the policy is off", "", self.clear(), sent, lost, 0.0, why="positive control")
        ).clear


class Spray:
    """Datagrams to an address at the rate, whatever the policy says to them: XFRM refuses already to connect."""

    def __init__(self, host: Host, address: str) -> None:
        self._socket = leaks.udp_socket(host, "::" if ":" in address else "")
        self._to, self._stop, self._sent = (address, PORT), threading.Event(), 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(1 / RATE):
            self._sent += 1
            with contextlib.suppress(PermissionError, BlockingIOError):
                self._socket.sendto(b"blocked", self._to)

    def stop(self) -> int:
        """End it; how many were sent."""
        self._stop.set()
        self._thread.join()
        self._socket.close()
        return self._sent


@dataclass
class Blocked(Scene):
    """Traffic from the daemon's host and to it that the policy blocks: nothing of it may leave or enter."""

    arrived: list[Sink] = field(default_factory=list)
    sprays: list[Spray] = field(default_factory=list)
    entered: int = 0

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Datagrams of both IP versions, both ways."""
        with contextlib.ExitStack() as stack:
            self.entered = 0
            for version in (4, 6):
                here, there = self.sender.address(version), self.receiver.address(version)
                self.arrived.append(stack.enter_context(sink(self.sender, here, PORT)))
                self.sprays += [Spray(self.sender, there), Spray(self.receiver, here)]
            try:
                yield
            finally:
                self.ended()

    def flowing(self, more: int = 40) -> None:
        """Wait until so many packets more have been sent towards the daemon's host."""
        wanted = self._sent() + more
        deadline = time.monotonic() + 30
        while self._sent() < wanted:
            assert time.monotonic() < deadline, "the other host sends nothing"
            time.sleep(0.01)

    def _sent(self) -> int:
        return sum(one.host == self.receiver.name for one in self.net.capture.packets)

    def ended(self) -> tuple[int, int]:
        """What is blocked is lost, and is not counted as such."""
        done, self.sprays = [spray.stop() for spray in self.sprays], []
        self.entered += sum(len(one.drain()) for one in self.arrived)
        self.arrived = []
        return sum(done), 0

    def clear(self) -> int:
        """What left, and what entered."""
        return super().clear() + self.entered
