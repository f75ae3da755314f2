# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts that somebody else's generator writes: aerleon's `windows_ipsec`, from its own policies, imported and asked
packet by packet what the policy says.

aerleon's policies go by the first term that matches, Windows by the most specific filter. So the terms here are random
but ordered by how specific they are, with no two alike in that, and both must decide alike.
"""

from __future__ import annotations

import os
import random
from typing import NamedTuple

import pytest
from aerleon.lib import naming, policy, windows_ipsec

from tests.unit.compiler_cases import HOST
from tests.unit.netsh_cases import errors_of, imported
from xfrmd.compiler.oracle import decide
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Verdict
from xfrmd.model.selector import ICMP, TCP, UDP, Packet, Ports, Selector

POLICIES = max(5, int(os.environ.get("XFRMD_WORLDS", "500")) // 40)
PACKETS = 100
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}
LENGTHS = (0, 8, 12, 16, 20, 24, 32)
PORTS = (Ports(445, 445), Ports(8000, 8003), Ports(1000, 1000), Ports(65535, 65535))


class Term(NamedTuple):
    """A term of an aerleon policy."""

    src: Prefix
    dst: Prefix
    protocol: str
    port: Ports | None
    accept: bool

    @property
    def specific(self) -> tuple[int, int]:
        """How specific it is: no two terms of a policy are alike in this."""
        return (self.src.length + self.dst.length, max(self.src.length, self.dst.length))

    def matches(self, packet: Selector) -> bool:
        """Is the packet one that the term speaks of?"""
        ends = self.src.contains(packet.src.address) and self.dst.contains(packet.dst.address)
        layer4 = self.protocol == "any" or PROTOCOLS[self.protocol] == packet.protocol
        return ends and layer4 and (self.port is None or self.port.first <= packet.dport.first <= self.port.last)

    def text(self, number: int) -> str:
        """The term as it stands in a .pol file."""
        lines = [f"term t{number} {{", f"  action:: {'accept' if self.accept else 'deny'}"]
        lines += [f"  source-address:: SRC{number}"] if self.src.length else []
        lines += [f"  destination-address:: DST{number}"] if self.dst.length else []
        lines += [f"  protocol:: {self.protocol}"] if self.protocol != "any" else []
        lines += [f"  destination-port:: PORT{number}"] if self.port else []
        return "\n".join((*lines, "}"))


def _prefix(dice: random.Random) -> Prefix:
    length = dice.choice(LENGTHS)
    value = Address.parse(dice.choice(("10.1.0.5", "10.1.2.3", "10.2.0.9", "192.0.2.1"))).value
    return Prefix(4, value >> (32 - length) << (32 - length), length)


def _term(dice: random.Random) -> Term:
    protocol = dice.choice(("any", "tcp", "tcp", "udp", "icmp"))
    port = dice.choice((None, *PORTS)) if protocol in ("tcp", "udp") else None
    return Term(_prefix(dice), _prefix(dice), protocol, port, dice.random() < 0.5)


def terms(dice: random.Random) -> list[Term]:
    """Terms in the order in which they decide, the last one for all that is left."""
    found = {one.specific: one for one in (_term(dice) for _ in range(8)) if one.specific != (0, 0)}
    last = Term(Prefix.any(4), Prefix.any(4), "any", None, dice.random() < 0.5)
    return [*sorted(found.values(), key=lambda one: one.specific, reverse=True), last]


def written(found: list[Term]) -> str:
    """The script that aerleon writes."""
    names = naming.Naming()
    for number, one in enumerate(found):
        names.ParseNetworkList([f"SRC{number} = {one.src.address}/{one.src.length}"])
        names.ParseNetworkList([f"DST{number} = {one.dst.address}/{one.dst.length}"])
        if one.port:
            ports = str(one.port.first) if one.port.width == 1 else f"{one.port.first}-{one.port.last}"
            names.ParseServiceList([f"PORT{number} = {ports}/{one.protocol}"])
    header = "header {\n  target:: windows_ipsec corp\n}\n"
    text = header + "\n".join(one.text(number) for number, one in enumerate(found))
    return str(windows_ipsec.WindowsIPSec(policy.ParsePolicy(text, names), 2))


def _mended(script: str) -> str:
    """aerleon names the policy by one name where it makes it, and by another in its rules."""
    assert "add policy name=corp-policy" in script
    return script.replace("name=corp-policy", "name=corp")


def _packet(found: list[Term], dice: random.Random) -> Packet:
    one = dice.choice(found)
    src, dst = (_near(end, dice) for end in (one.src, one.dst))
    if src == dst:  # loopback, which no filter is asked about
        dst = Prefix.host(Address.parse("198.51.100.1"))
    protocol = dice.choice((TCP, UDP, ICMP)) if one.protocol == "any" else PROTOCOLS[one.protocol]
    port = 40000 if one.port is None else dice.choice((one.port.first - 1, one.port.first, one.port.last))
    if protocol == ICMP:
        return Packet(dice.random() < 0.5, Selector(src, dst, ICMP, Ports(8, 8), Ports(0, 0)))
    return Packet(dice.random() < 0.5, Selector(src, dst, protocol, Ports(40001, 40001), Ports(port, port)))


def _near(prefix: Prefix, dice: random.Random) -> Prefix:
    """A host at the edges of a block, or in another one."""
    if prefix.length == 0 or dice.random() < 0.2:
        return Prefix.host(Address.parse(dice.choice(("10.1.0.5", "10.1.2.3", "10.9.9.9", "192.0.2.1"))))
    return Prefix.host(Address(4, dice.choice((prefix.value, prefix.last, prefix.value - 1, prefix.last + 1))))


def _turned(packet: Selector) -> Selector:
    if packet.protocol == ICMP:
        return packet._replace(src=packet.dst, dst=packet.src)
    return packet._replace(src=packet.dst, dst=packet.src, sport=packet.dport, dport=packet.sport)


@pytest.mark.timeout(60 + POLICIES)
def test_what_aerleon_writes_decides_as_its_policy_says() -> None:
    verdicts = set()
    for seed in range(POLICIES):
        dice = random.Random(f"aerleon {seed}")
        found = terms(dice)
        policies = imported(_mended(written(found)))
        for _ in range(PACKETS):
            packet = _packet(found, dice)
            ways = (packet.selector, _turned(packet.selector))  # its filters are mirrored
            said = next(one for one in found if any(map(one.matches, ways)))
            verdict = decide(policies, HOST, packet).verdict
            verdicts.add(verdict)
            assert verdict is (Verdict.PERMIT if said.accept else Verdict.BLOCK), (seed, packet, said)
    assert verdicts == {Verdict.PERMIT, Verdict.BLOCK}


def test_as_aerleon_writes_it_the_rules_name_a_policy_that_is_not_there() -> None:
    """And that is told: nothing is made of such a script."""
    script = written(terms(random.Random("aerleon 0")))
    told = errors_of(script)
    assert told
    assert all("there is no policy 'corp' at this point" in one for one in told)
