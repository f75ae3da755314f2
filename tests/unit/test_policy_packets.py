# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets in words."""

from __future__ import annotations

import pytest

from xfrmd.policy import PolicyErrors
from xfrmd.policy.packets import parse_packet

GOOD = [
    (
        "direction=out src=10.1.0.5 sport=40000 dst=10.1.2.3 dport=445 protocol=tcp",
        False,
        "10.1.0.5:40000 -> 10.1.2.3:445 tcp",
    ),
    ("protocol=6 dport=22 dst=fd00::1 src=fd00::2 direction=in", True, "[fd00::2]:49152 -> [fd00::1]:22 tcp"),
    ("direction=in src=10.0.0.1 dst=10.0.0.2 protocol=icmp", True, "10.0.0.1 -> 10.0.0.2 icmp type 8 code 0"),
    (
        "direction=in src=10.0.0.1 dst=10.0.0.2 protocol=icmp type=3 code=4",
        True,
        "10.0.0.1 -> 10.0.0.2 icmp type 3 code 4",
    ),
    ("direction=out src=::1 dst=::2 protocol=ICMP type=echo-reply", False, "::1 -> ::2 icmpv6 type 129 code 0"),
    ("direction=out src=10.0.0.1 dst=10.0.0.2 protocol=esp", False, "10.0.0.1:0 -> 10.0.0.2:0 esp"),
    ("direction=out src=10.0.0.1 dst=10.0.0.2 protocol=99", False, "10.0.0.1:0 -> 10.0.0.2:0 99"),
]


@pytest.mark.parametrize(("words", "inbound", "text"), GOOD, ids=[row[0] for row in GOOD])
def test_good(words: str, inbound: bool, text: str) -> None:
    packet = parse_packet(words.split())
    assert (packet.inbound, str(packet.selector)) == (inbound, text)


ENDS = "direction=out src=10.0.0.1 dst=10.0.0.2"
BAD = [
    ("src=10.0.0.1 dst=10.0.0.2 protocol=esp", 39, "has no direction", "direction=out"),
    (f"{ENDS}", 40, "has no protocol", "protocol=tcp"),
    (f"{ENDS} protocol=tcp", 53, "has no dport", "dport=445"),
    (f"{ENDS} protocol=tpc", 41, "protocol=tpc is not possible", "did you mean 'tcp'?"),
    (f"{ENDS} protocol=any", 41, "a packet has one protocol", "protocol=tcp"),
    (f"{ENDS} protocol=256", 41, "not possible", "0 to 255"),
    (f"{ENDS} protocol=tcp dport=65536", 54, "dport=65536 is not possible", "0 to 65535"),
    (f"{ENDS} protocol=tcp dport=٣", 54, "is not possible", "0 to 65535"),
    (f"{ENDS} protocol=tcp dport=1 type=8", 62, "protocol tcp has no type", "remove type"),
    (f"{ENDS} protocol=icmp sport=8", 55, "protocol icmp has no sport", "remove sport"),
    (f"{ENDS} protocol=gre dport=8", 54, "protocol gre has no dport", "remove dport"),
    (f"{ENDS} proto=esp protocol=esp", 41, "a packet has no 'proto'", "did you mean 'protocol'?"),
    (f"{ENDS} src=10.0.0.1 protocol=esp", 41, "src stands twice", "remove one"),
    (f"{ENDS} tcp protocol=esp", 41, "'tcp' is no key=value", "dst=10.1.2.3"),
    ("direction=up src=10.0.0.1 dst=10.0.0.2 protocol=esp", 1, "'up' is no direction", "direction=in"),
    ("direction=in src=10.0.0.x dst=10.0.0.2 protocol=esp", 14, "'10.0.0.x' is no address", "src="),
    ("direction=in src=10.0.0.1 dst=fd00::2 protocol=esp", 27, "different IP versions", "one version"),
]


@pytest.mark.parametrize(("words", "column", "message", "remedy"), BAD, ids=[row[0] for row in BAD])
def test_bad(words: str, column: int, message: str, remedy: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        parse_packet(words.split())
    (problem,) = caught.value.problems
    assert problem.at == ("packet", 1, column)
    assert message in problem.message
    assert remedy in problem.remedy


def test_all_that_is_wrong_is_told_at_once_and_bounded() -> None:
    with pytest.raises(PolicyErrors) as caught:
        parse_packet(["x=1", "y", *["z"] * 100_000])
    assert 4 <= len(caught.value.problems) < 100
