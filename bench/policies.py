# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of any size for measurements, as YAML and as the smallest equal ruleset that a person would write."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

HOST: Final = "192.168.1.5"
FACTS: Final = 'interfaces:\n  - {name: eth0, addresses: ["192.168.1.5/24"]}\n'
_PORTS: Final = (22, 80, 443, 445, 3389)
_TAIL: Final = """filteractions:
  - {{name: act, action: {action}}}
policies:
  - name: Bench
    assign: yes
    rules:
      - {{name: many, filterlist: many, filteraction: act{psk}}}
"""


def _remote(index: int) -> str:
    return f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"


def _rows(count: int) -> Iterator[tuple[str, str]]:
    """The filters: YAML of each, and its class in the hand-written ruleset."""
    for index in range(count):
        remote, kind = _remote(index), index % 4
        if kind == 0:
            yield f"{{srcaddr: me, dstaddr: {remote}, protocol: tcp, dstport: {_PORTS[index // 4 % 5]}}}", "pd"
        elif kind == 1:
            yield f"{{srcaddr: {remote}, dstaddr: me, protocol: udp, dstport: {1000 + index % 5000}}}", "ps"
        elif kind == 2:
            yield f"{{srcaddr: me, dstaddr: {remote}}}", "a"
        else:
            yield f"{{srcaddr: me, dstaddr: {remote}, protocol: tcp, srcport: 20, dstport: {1 + index % 1000}}}", "psd"


def many(count: int, action: str = "permit") -> str:
    """A policy of so many mirrored filters between this host and single others, in four classes a direction."""
    lines = "".join(f"      - {row}\n" for row, _ in _rows(count))
    psk = ", psk: 'a secret of the bench'" if action == "negotiate" else ""
    return f"version: 1\nfilterlists:\n  - name: many\n    filters:\n{lines}{_TAIL.format(action=action, psk=psk)}"


def by_hand(count: int) -> str:
    """What somebody who knows that this host has one address would write for the same filters."""
    elements: dict[str, list[str]] = {name: [] for name in ("pd", "ps", "a", "psd")}
    for index in range(count):
        remote, kind = _remote(index), index % 4
        if kind == 0:
            elements["pd"].append(f"{remote} . tcp . {_PORTS[index // 4 % 5]} : accept")
        elif kind == 1:
            elements["ps"].append(f"{remote} . udp . {1000 + index % 5000} : accept")
        elif kind == 2:
            elements["a"].append(f"{remote} : accept")
        else:
            elements["psd"].append(f"{remote} . tcp . 20 . {1 + index % 1000} : accept")
    return "table inet hand {\n" + "".join(_side(side, elements) for side in ("out", "in")) + "}\n"


_KEYS: Final = {
    "out": {
        "psd": "ip daddr . meta l4proto . th sport . th dport",
        "pd": "ip daddr . meta l4proto . th dport",
        "ps": "ip daddr . meta l4proto . th sport",
        "a": "ip daddr",
    },
    "in": {
        "psd": "ip saddr . meta l4proto . th dport . th sport",
        "pd": "ip saddr . meta l4proto . th sport",
        "ps": "ip saddr . meta l4proto . th dport",
        "a": "ip saddr",
    },
}


def _side(side: str, elements: dict[str, list[str]]) -> str:
    maps = "".join(
        f"map {side}_{name} {{ typeof {key} : verdict; elements = {{ {', '.join(elements[name])} }} }}\n"
        for name, key in _KEYS[side].items()
        if elements[name]
    )
    own = f"ip saddr {HOST}" if side == "out" else f"ip daddr {HOST}"
    rules = "".join(f"{own} {key} vmap @{side}_{name}\n" for name, key in _KEYS[side].items() if elements[name])
    hook = "postrouting priority 150" if side == "out" else "prerouting priority -190"
    return f"{maps}chain {side} {{ type filter hook {hook}; policy accept;\n{rules}}}\n"


_FORMS: Final = (
    "",
    ", protocol: udp",
    ", protocol: udp, dstport: {port}",
    ", protocol: udp, srcport: {port}",
    ", protocol: udp, srcport: {port}, dstport: {port}",
)


def classes(filters: int, count: int, family: int) -> str:
    """Permit filters in so many classes a direction, none of which speaks of the addresses of the measured packets."""
    bits = 32 if family == 4 else 128
    lengths = range(bits, bits - (count + len(_FORMS) - 1) // len(_FORMS), -1)
    shapes = [(length, form) for length in lengths for form in _FORMS][:count]
    rows = []
    for index in range(filters):
        length, form = shapes[index % count]
        start = (10 << 24) if family == 4 else (0xFD00_0010 << 96)
        value = start + ((index // count) << (bits - length)) % (1 << (bits - 9))
        prefix = ipaddress.ip_network((value >> (bits - length) << (bits - length), length))
        port = 1024 + index // count % 60000
        rows.append(f'      - {{srcaddr: me, dstaddr: "{prefix}"{form.format(port=port)}}}\n')
    return (
        "version: 1\nfilterlists:\n  - name: many\n    filters:\n"
        + "".join(rows)
        + _TAIL.format(action="permit", psk="")
    )


def linear(filters: int, family: int) -> str:
    """The same kind of filters as rules of one chain, as most generators write them."""
    ip, any_port = ("ip", 1024) if family == 4 else ("ip6", 1024)
    base = 10 << 24 if family == 4 else 0xFD00_0010 << 96
    rules = "".join(
        f"{ip} daddr {ipaddress.ip_address(base + index)} udp dport {any_port + index % 60000} counter accept\n"
        for index in range(filters)
    )
    chain = "type filter hook postrouting priority 150; policy accept;"
    return f"table inet linear {{ chain out {{ {chain}\n{rules}}}\n}}\n"


def wildcard(filters: int) -> str:
    """Negotiate filters with `any` at one end, a port each that has no neighbour: a linear list in the kernel."""
    rows = "".join(
        f"      - {{srcaddr: me, dstaddr: any, protocol: tcp, dstport: {1025 + 2 * index}}}\n"
        for index in range(filters)
    )
    tail = _TAIL.format(action="negotiate", psk=", psk: 'a secret of the bench'")
    return f"version: 1\nfilterlists:\n  - name: many\n    filters:\n{rows}{tail}"
