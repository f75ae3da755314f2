# SPDX-License-Identifier: GPL-2.0-or-later
"""Where two sides' traffic first differs, as an operator reads it."""

from __future__ import annotations

import pytest

from xfrmd.ike.refusals import difference
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import ANY_PORT, TCP, UDP, Ports, Selector


def flow(src: str, dst: str, protocol: int = 0, port: int | None = None) -> Selector:
    ports = ANY_PORT if port is None else Ports(port, port)
    return Selector(Prefix.parse(src), Prefix.parse(dst), protocol, ANY_PORT, ports)


NET = flow("10.2.0.0/24", "10.3.0.0/24")
HOSTS = ("10.2.0.1", "10.3.0.1")
HOSTS_UDP = flow(*HOSTS, UDP)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([NET], [flow("fd02::/64", "fd03::/64")], "IP version: ours 4, theirs 6"),
        ([NET], [flow("10.9.0.0/24", "10.3.0.0/24")], "addresses here: ours 10.2.0.0/24, theirs 10.9.0.0/24"),
        ([NET], [flow("10.2.0.0/25", "10.4.0.1")], "addresses there: ours 10.3.0.0/24, theirs 10.4.0.1"),
        ([flow("10.2.0.0/24", "10.3.0.0/24", TCP)], [HOSTS_UDP], "protocol: ours tcp, theirs udp"),
        ([flow(*HOSTS, TCP, 80)], [flow(*HOSTS, TCP, 443)], "ports there: ours 80, theirs 443"),
        ([flow("10.9.0.1", "10.3.0.1"), flow(*HOSTS, TCP)], [HOSTS_UDP], "protocol: ours tcp, theirs udp"),
        ([NET], [NET], "they overlap; the part in common is not what was asked for"),
        ([], [NET], "one side has no negotiate filter between these hosts"),
    ],
)
def test_the_first_difference_is_that_of_the_closest_pair(
    ours: list[Selector], theirs: list[Selector], told: str
) -> None:
    assert difference(ours, theirs) == told


def test_only_the_first_few_are_compared() -> None:
    assert difference([NET] * 500, [flow("10.9.0.0/24", "10.3.0.0/24")] * 500).startswith("addresses here")
