# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters of any number for measurements, and the policy that they make. All speak of this host and somebody else."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from xfrmd.compiler.expand import SPACING, Generic, generic_filters
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import ANY_PORT, Ports
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.words import AddressWord, PolicySet

OWN: Final = {4: "192.168.1.5", 6: "fd00:5::5"}
FACTS: Final = 'interfaces:\n  - {name: v0, addresses: ["192.168.1.5/24", "fd00:5::5/64"]}\n'
SOURCE_PORTS: Final = (5000, 5001, 5002, 5003)
"""Those that filters with a source port speak of: few, as each is a socket of the measurement."""
_PROTOCOLS: Final = {"tcp": 6, "udp": 17}


class Row(NamedTuple):
    """A mirrored filter between `me` and `remote`, as packets that leave see it."""

    remote: str
    """An address, a subnet, or `any`."""
    protocol: str = ""
    sports: Ports = ANY_PORT
    dports: Ports = ANY_PORT

    @property
    def family(self) -> int:
        """IP version; 4 for `any`."""
        return 6 if ":" in self.remote else 4


def _one(port: int) -> Ports:
    return Ports(port, port)


def hosts(count: int) -> Iterator[Row]:
    """Filters with a single host each, in four classes."""
    for index in range(count):
        remote = f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"
        yield (
            Row(remote, "tcp", dports=_one((22, 80, 443, 445, 3389)[index // 4 % 5])),
            Row(remote, "udp", sports=_one(1000 + index % 5000)),
            Row(remote),
            Row(remote, "tcp", _one(20), _one(1 + index % 1000)),
        )[index % 4]


def _forms(port: int) -> tuple[Row, ...]:
    """Ten kinds of filter that differ in what they say of ports, without their remote."""
    ranges = [Ports(port & -width, (port & -width) + width - 1) for width in (2, 8, 32, 128)]
    source = _one(SOURCE_PORTS[port % len(SOURCE_PORTS)])
    return (
        Row("", "udp", dports=_one(port)),
        Row("", "udp"),
        Row("", "udp", source),
        Row("", "udp", source, _one(port)),
        Row(""),
        *(Row("", "udp", dports=block) for block in ranges),
        Row("", "udp", source, ranges[0]),
    )


def classed(filters: int, classes: int, family: int) -> Iterator[Row]:
    """Filters in so many classes: forms of ports, each with the same few prefix lengths."""
    bits, start = (32, 10 << 24) if family == 4 else (128, 0xFD00_0010 << 96)
    forms = min(classes, 10)
    for index in range(filters):
        kind, place = index % classes, index // classes
        free = kind // forms
        value = start + (place << free)
        remote = ipaddress.ip_network((value, bits - free))
        yield _forms(1024 + place * 131 % 60000)[kind % forms]._replace(remote=str(remote))


def wildcards(count: int) -> Iterator[Row]:
    """Filters with `any` at one end and a port that has no neighbour."""
    return (Row("any", "tcp", dports=_one(1025 + 2 * index)) for index in range(count))


def _yaml_row(row: Row) -> str:
    words = [f"dstaddr: {row.remote!r}"]
    words += [f"protocol: {row.protocol}"] if row.protocol else []
    words += [
        f"{name}: {ports}" for name, ports in (("srcport", row.sports), ("dstport", row.dports)) if ports[1] != 65535
    ]
    return f"      - {{srcaddr: me, {', '.join(words)}}}\n"


def policy_text(rows: Sequence[Row], action: str = "permit") -> str:
    """The policy file."""
    psk = ", psk: 'a secret of the bench'" if action == "negotiate" else ""
    return f"""version: 1
filterlists:
  - name: many
    filters:
{"".join(map(_yaml_row, rows))}filteractions:
  - {{name: act, action: {action}}}
policies:
  - name: Bench
    assign: yes
    rules:
      - {{name: many, filterlist: many, filteraction: act{psk}}}
"""


def read(text: str) -> tuple[PolicySet, HostFacts]:
    """A policy file read, with the facts of the measured host."""
    return load(text, "bench.yaml", lambda _: b"a secret of the bench"), load_facts(FACTS, "facts.yaml")


def generics(rows: Sequence[Row], action: str = "permit") -> tuple[PolicySet, HostFacts, list[Generic]]:
    """What reading the policy file of these rows gives, without reading all of it."""
    policy, facts = read(policy_text(rows[:1], action))
    assert policy.assigned is not None
    (like,) = generic_filters([policy.assigned])
    return policy, facts, [generic(like, number, row) for number, row in enumerate(rows)]


def generic(like: Generic, number: int, row: Row) -> Generic:
    """A filter of the rule of another one."""
    made = dataclasses.replace(
        like.filter,
        dst=AddressWord.ANY if row.remote == "any" else (_prefix(row.remote),),
        protocol=_PROTOCOLS.get(row.protocol, 0),
        sports=(row.sports,),
        dports=(row.dports,),
    )
    return like._replace(number=number * SPACING, filter=made)


def _prefix(text: str) -> Prefix:
    return Prefix.parse(text) if "/" in text else Prefix.host(Address.parse(text))
