# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of worlds whose facts change: other servers and answers, other addresses of their own."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from tests.unit.compiler_cases import facts
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts


def moved(host: HostFacts, dice: random.Random) -> HostFacts:
    """The same host with other servers and answers."""
    pool = [Address(4, 0x0A010200 + dice.randint(1, 12)), Address(6, (0xFD000002 << 96) + dice.randint(1, 200))]
    changes: dict[str, Any] = {
        name: tuple(address for address in pool if dice.random() < 0.7)
        for name in ("dns_servers", "wins_servers", "dhcp_servers", "default_gateways")
        if dice.random() < 0.5
    }
    names = {name: tuple(a for a in pool if dice.random() < 0.7) if dice.random() < 0.5 else known
             for name, known in host.names.items() if dice.random() < 0.9}  # fmt: skip
    return replace(host, **changes, names=names)


OWN: Final = (
    *("10.1.0.5/16", "10.1.0.5/24", "10.1.0.6/24", "10.1.2.3/16", "192.0.2.1/32", "192.0.2.7/31", "10.1.2.9/8"),
    *("fd00:1::5/64", "fd00:1::6/64", "fd00:2::77/48", "fd00:2::1/128"),
)
"""Addresses that filters name, that names answer, and that tunnels end at."""


def addressed(host: HostFacts, dice: random.Random) -> HostFacts:
    """The same host with other addresses: one more or less, or quite others, on interfaces of both kinds."""
    lan, dialup = ([one for one in OWN if dice.random() < share] for share in (0.3, 0.15))
    if dice.random() < 0.6:  # one that comes or goes
        spoken = {f"{one.address}/{one.length}": one for each in host.interfaces for one in each.addresses}
        one = dice.choice(OWN)
        lan = [text for text in spoken if text != one] + ([] if one in spoken else [one])
        dialup = []
    return replace(host, interfaces=facts(*lan, dialup=tuple(dialup)).interfaces)
