# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters as others write them: the smallest equal maps by hand, rules one after the other, and what aerleon makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from bench.filters import OWN, Row
from xfrmd.model.selector import Ports


class _Side(NamedTuple):
    """How a hook of a direction sees the ends of a filter."""

    name: str
    hook: str
    own: str
    remote: str
    own_port: str
    remote_port: str


_SIDES: Final = (
    _Side("out", "postrouting priority 150", "saddr", "daddr", "sport", "dport"),
    _Side("in", "prerouting priority -190", "daddr", "saddr", "dport", "sport"),
)


def by_hand(rows: Iterable[Row]) -> str:
    """A map for each kind of filter, as somebody writes who knows that this host has one address. Single hosts only."""
    kinds: defaultdict[tuple[bool, bool, bool], list[str]] = defaultdict(list)
    for row in rows:
        sport, dport = (ports.first != 0 for ports in (row.sports, row.dports))
        words = [row.remote, row.protocol, str(row.sports.first) * sport, str(row.dports.first) * dport]
        kinds[bool(row.protocol), sport, dport].append(f"{' . '.join(word for word in words if word)} : accept")
    heaviest_first = sorted(kinds, key=lambda kind: (kind[0], kind[1] + kind[2], kind[2]), reverse=True)
    sides = (_maps(side, {kind: kinds[kind] for kind in heaviest_first}) for side in _SIDES)
    return f"table inet hand {{\n{''.join(sides)}}}\n"


def _maps(side: _Side, kinds: dict[tuple[bool, bool, bool], list[str]]) -> str:
    maps = rules = ""
    for number, ((protocol, sport, dport), elements) in enumerate(kinds.items()):
        keys = [f"ip {side.remote}", "meta l4proto" * protocol, f"th {side.own_port}" * sport]
        key = " . ".join(word for word in (*keys, f"th {side.remote_port}" * dport) if word)
        name = f"{side.name}_{number}"
        maps += f"map {name} {{ typeof {key} : verdict; elements = {{ {', '.join(elements)} }} }}\n"
        rules += f"ip {side.own} {OWN[4]} {key} vmap @{name}\n"
    return f"{maps}{_chain(side, rules)}"


def _chain(side: _Side, rules: str) -> str:
    return f"chain {side.name} {{ type filter hook {side.hook}; policy accept;\n{rules}counter\n}}\n"


def linear(rows: Sequence[Row]) -> str:
    """A rule for each filter, in both directions. What no rule matches is counted at the end."""
    sides = (_chain(side, "".join(_rule(side, row) for row in rows)) for side in _SIDES)
    return f"table inet linear {{\n{''.join(sides)}}}\n"


def _rule(side: _Side, row: Row) -> str:
    ip = "ip" if row.family == 4 else "ip6"
    words = [f"{ip} {side.own} {OWN[row.family]} {ip} {side.remote} {row.remote}"]
    ports = [(side.own_port, row.sports), (side.remote_port, row.dports)]
    told = [f"{row.protocol} {name} {_ports(found)}" for name, found in ports if found.last != 65535]
    words += told or ([f"meta l4proto {row.protocol}"] if row.protocol else [])
    return f"{' '.join(words)} accept\n"


def _ports(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def aerleon(rows: Sequence[Row]) -> str:
    """What aerleon's nftables generator makes of a term for each filter, outbound, as it knows no mirrors."""
    from aerleon import api  # noqa: PLC0415 (nothing else here needs it, and it takes its time)
    from aerleon.lib import naming  # noqa: PLC0415

    family = rows[0].family
    networks = {"OWN": {"values": [{"address": OWN[family]}]}}
    services: dict[str, list[dict[str, str]]] = {}
    terms: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        networks[f"R{index}"] = {"values": [{"address": row.remote}]}
        term = {"name": f"t{index}", "source-address": "OWN", "destination-address": f"R{index}", "action": "accept"}
        if row.protocol:
            term["protocol"] = row.protocol
        for word, ports in (("source-port", row.sports), ("destination-port", row.dports)):
            if ports.last != 65535:
                name = f"P{ports.first}_{ports.last}"
                services[name] = [{"protocol": row.protocol, "port": _ports(ports)}]
                term[word] = name
        terms.append(term)
    definitions = naming.Naming()
    definitions.ParseDefinitionsObject({"networks": networks, "services": services}, "")
    header = {"targets": {"nftables": f"{'inet' if family == 4 else 'inet6'} output priority 150 ACCEPT"}}
    policy: Any = {"filename": "bench", "filters": [{"header": header, "terms": terms}]}
    made: Any = api.Generate([policy], definitions)
    return str(next(iter(made.values())))
