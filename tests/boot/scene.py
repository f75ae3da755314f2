# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy of the booting host and of its peer, and what each packet between them is under it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from lab.booted import NO_NETWORK, Guest, Said, Wire
from lab.packets import ICMP, TCP, UDP, Kind

ENDED = "IKE SA with 10.9.0.2 ended: the peer has deleted it"
BLOCKED, PROTECTED, PERMITTED = 5001, 6001, 7001
TELNET = 23

POLICY = """\
version: 1
filterlists:
  - name: protected
    filters:
      - {srcaddr: me, dstaddr: 10.9.0.1, protocol: udp, srcport: 6001, dstport: 6001}
      - {srcaddr: me, dstaddr: "fd09::1", protocol: udp, srcport: 6001, dstport: 6001}
  - name: blocked
    filters:
      - {srcaddr: any, dstaddr: me, protocol: udp, dstport: 5001}
      - {srcaddr: me, dstaddr: any, protocol: udp, dstport: 5001}
      - {srcaddr: any, dstaddr: me, protocol: tcp, dstport: 23}
      - {srcaddr: me, dstaddr: any, protocol: icmp}
filteractions:
  - {name: protect, action: negotiate}
  - {name: block, action: block}
policies:
  - name: Booted
    assign: yes
    rules:
      - {name: to the peer, filterlist: protected, filteraction: protect, psk: {credential: secret_peer}}
      - {name: never, filterlist: blocked, filteraction: block}
"""
PEER_POLICY = """\
version: 1
filterlists:
  - name: protected
    filters:
      - {srcaddr: me, dstaddr: 10.9.0.2, protocol: udp, srcport: 6001, dstport: 6001}
      - {srcaddr: me, dstaddr: "fd09::2", protocol: udp, srcport: 6001, dstport: 6001}
filteractions:
  - {name: protect, action: negotiate}
policies:
  - name: Peer
    assign: yes
    rules:
      - {name: to the host, filterlist: protected, filteraction: protect, psk: {file: /lab/share/psk}}
"""


def meant(packet: Wire) -> str:
    """What POLICY says of a packet that is not protected: "blocked", "protected", "permitted"; "" for any other."""
    seen = packet.packet
    if seen.kind is not Kind.CLEAR:
        return ""
    if seen.protocol == UDP:
        return {BLOCKED: "blocked", PROTECTED: "protected", PERMITTED: "permitted"}.get(
            next((port for port in seen.ports if port in (BLOCKED, PROTECTED, PERMITTED)), 0), ""
        )
    if (seen.protocol == TCP and TELNET in seen.ports) or seen.protocol == ICMP:
        return "blocked"
    return ""


def leaked(wire: Iterable[Wire]) -> Counter[str]:
    """Packets that the host sent in the clear and POLICY forbids, counted by what they are."""
    return Counter(str(each.packet) for each in wire if each.sent and meant(each) in ("blocked", "protected"))


def entered(said: Iterable[Said]) -> Counter[int]:
    """Datagrams of the attacker that a program of the host received though POLICY forbids them, by port."""
    return Counter(each.port for each in said if each.kind == "A" and each.port in (BLOCKED, PROTECTED))


def told(host: Guest) -> int:
    """How often the peer outside heard that the host's IKE SA ends."""
    return (host.share / "outside.log").read_text(errors="replace").count(ENDED)


def until(wanted: Callable[[], object], what: str, timeout: float = 40.0) -> None:
    """Return once something is so. AssertionError when it is not in time, on a machine with much else to do."""
    deadline = time.monotonic() + timeout
    while not wanted():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.1)


def await_answers(host: Guest, port: int, since: float, *, version: int = 4, count: int = 10) -> None:
    """Return once so many datagrams of a flow that were sent since then were answered."""

    def enough() -> bool:
        mine = [each for each in host.said(since) if (each.port, each.version) == (port, version)]
        sent, back = ({each.number for each in mine if each.kind == kind} for kind in "SR")
        return len(sent & back) >= count

    until(enough, f"{count} answers from port {port}, IPv{version}")


@dataclass(frozen=True, slots=True)
class Row:
    """A time of a host's life. `attacks`: forbidden packets that the attacker sent in it, and `tried`: those that a
    program of the host tried to send, the controls of the zeros. `clear`: those that left in the clear; `came_in`:
    those that a program received; `lost`: permitted datagrams without an answer, of so many `sent`, and `lost_esp`
    protected ones, of as many. `why`: for which stated reason something passed, or was lost.
    """

    HEAD: ClassVar[str] = (
        f"{'fault':44} {'moment':42} {'attacks':>7} {'tried':>5} {'clear':>5} {'in':>4} "
        f"{'sent':>5} {'lost':>4} {'ESP':>4}"
    )
    fault: str
    moment: str
    attacks: int
    tried: int
    clear: int
    came_in: int
    sent: int
    lost: int
    lost_esp: int
    why: str = ""
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        passed = f"{self.attacks:7} {self.tried:5} {self.clear:5} {self.came_in:4}"
        return f"{self.fault:44} {self.moment:42} {passed} {self.sent:5} {self.lost:4} {self.lost_esp:4}  {self.why}"

    def assert_closed(self) -> None:
        """Nothing forbidden passed, though it was tried."""
        assert self.attacks > 0, "nobody attacked: this proves nothing"
        assert (self.clear, self.came_in) == (0, 0), self.examples

    def assert_unharmed(self) -> None:
        """And nothing that is permitted or protected was lost."""
        self.assert_closed()
        assert self.sent > 0
        assert (self.lost, self.lost_esp) == (0, 0)


def judged(fault: str, moment: str, host: Guest, since: float, end: float, why: str = "") -> Row:
    """What happened in that time."""
    wire, said = host.wire(since, end), host.said(since, end)
    tries = {(each.kind, each.port, each.version, each.number) for each in said if each.port in (BLOCKED, PROTECTED)}
    without = {("S", each.port, each.version, each.number) for each in said if each.why == NO_NETWORK}
    clear = leaked(wire)
    return Row(
        fault,
        moment,
        attacks=sum(meant(each) in ("blocked", "protected") for each in wire if not each.sent),
        tried=sum(each[0] == "S" and each not in without for each in tries),
        clear=clear.total(),
        came_in=entered(said).total(),
        sent=sum((each.kind, each.port) == ("S", PERMITTED) for each in said),
        lost=sum(host.lost(PERMITTED, version, since, end) for version in (4, 6)),
        lost_esp=sum(host.lost(PROTECTED, version, since, end) for version in (4, 6)),
        why=why,
        examples=tuple(clear)[:5],
    )
