# SPDX-License-Identifier: GPL-2.0-or-later
"""One packet in words, for `explain`: `direction=out src=10.1.0.5 sport=40000 dst=10.1.2.3 dport=445 protocol=tcp`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NAMES, WITH_PORTS, Packet, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.policy.addresses import ip
from xfrmd.policy.problems import Problems, did_you_mean, quoted
from xfrmd.policy.protocols import ICMP_TYPES, PROTOCOLS

KEYS: Final = {
    "direction": "in or out, as seen from this host",
    "src": "source address",
    "dst": "destination address",
    "protocol": "name or number of the IP protocol",
    "sport": "source port; 49152 when left out",
    "dport": "destination port",
    "type": "ICMP type, name or number; echo-request when left out",
    "code": "ICMP code; 0 when left out",
}
EPHEMERAL: Final = 49152
"""First dynamic port (RFC 6335 6): stands for a source port that does not matter."""
_EXAMPLE: Final = {"direction": "out", "src": "10.1.0.5", "dst": "10.1.2.3", "protocol": "tcp", "dport": "445"}
_WORDS: Final = 64
"""More words than a packet can have keys; the rest is not looked at."""


class _Words:
    """The words of a packet, each with its place, counted as on one line."""

    def __init__(self, words: Iterable[str], problems: Problems) -> None:
        self._found: dict[str, tuple[str, Span]] = {}
        self.problems = problems
        column = 1
        for word in list(words)[:_WORDS]:
            self._add(word, Span(problems.file, 1, column))
            column += len(word) + 1
        self.end = Span(problems.file, 1, max(1, column - 1))

    def _add(self, word: str, at: Span) -> None:
        key, sign, value = word.partition("=")
        if not sign or not value:
            self.problems.error(at, f"{quoted(word)} is no key=value", f"write words such as dst=10.1.2.3 ({key}=...)")
        elif key not in KEYS:
            remedy = did_you_mean(key, KEYS, f"known are {', '.join(KEYS)}")
            self.problems.error(at, f"a packet has no {quoted(key)}", remedy)
        elif key in self._found:
            self.problems.error(at, f"{key} stands twice", "remove one of the two")
        else:
            self._found[key] = (value, at)

    def error(self, key: str, message: str, remedy: str) -> None:
        """Report about a key, at its place if it was given."""
        self.problems.error(self._found.get(key, ("", self.end))[1], message, remedy)

    def get(self, key: str, *, needed: bool = True) -> str | None:
        """The value of a key; None when absent, which is reported when it is needed."""
        found = self._found.get(key)
        if found is None and needed:
            self.error(key, f"the packet has no {key}", f"add {key}={_EXAMPLE.get(key, '...')} ({KEYS[key]})")
        return found[0] if found else None

    def given(self, *keys: str) -> list[str]:
        """Those of the keys that stand there."""
        return [key for key in keys if key in self._found]

    def number(self, key: str, most: int, names: Mapping[str, int], default: int | None) -> int:
        """A number or name; 0 when it was bad."""
        text = self.get(key, needed=default is None)
        if text is None:
            return default or 0
        if text.casefold() in names:
            return names[text.casefold()]
        if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most:
            return int(text)
        self.error(key, f"{key}={text[:60]} is not possible", did_you_mean(text, names, f"write 0 to {most}"))
        return 0


def _address(words: _Words, key: str) -> Address | None:
    text = words.get(key)
    address = ip(text) if text is not None else None
    if text is not None and address is None:
        words.error(key, f"{quoted(text)} is no address", f"write {key}=10.1.0.5, or an IPv6 address")
    return address


def _layer4(words: _Words, family: int) -> tuple[int, int, int]:
    """Protocol, and its ports or ICMP type and code."""
    before = words.problems.errors
    protocol = words.number("protocol", 255, PROTOCOLS, None)
    if family == 6 and protocol == ICMP:
        protocol = ICMPV6
    if protocol == 0 and words.problems.errors == before:
        words.error("protocol", "a packet has one protocol", "write protocol=tcp")
    if protocol in (ICMP, ICMPV6):
        _refuse(words, ("sport", "dport"), protocol)
        types = ICMP_TYPES[protocol]
        return protocol, words.number("type", 255, types, types["echo-request"]), words.number("code", 255, {}, 0)
    _refuse(words, ("type", "code"), protocol)
    if protocol not in WITH_PORTS:
        _refuse(words, ("sport", "dport"), protocol)
        return protocol, 0, 0
    return protocol, words.number("sport", 65535, {}, EPHEMERAL), words.number("dport", 65535, {}, None)


def _refuse(words: _Words, keys: tuple[str, ...], protocol: int) -> None:
    for key in words.given(*keys) if protocol else ():
        name = PROTOCOL_NAMES.get(protocol, str(protocol))
        words.error(key, f"protocol {name} has no {key}", f"remove {key}, or write another protocol")


def parse_packet(words: Iterable[str], name: str = "packet") -> Packet:
    """Read the words of a packet, in any order. Raises PolicyErrors; places count columns in the words joined by
    blanks, under the file name `name`.
    """
    problems = Problems(name)
    found = _Words(words, problems)
    direction = found.get("direction")
    if direction not in (None, "in", "out"):
        found.error("direction", f"{quoted(direction or '')} is no direction", "write direction=in or direction=out")
    src, dst = _address(found, "src"), _address(found, "dst")
    if src and dst and src.family != dst.family:
        found.error("dst", "src and dst are of different IP versions", "write both in one version")
    protocol, first, second = _layer4(found, src.family if src else 4)
    problems.check()
    assert src is not None and dst is not None  # noqa: PT018 (for the type checker: check() would have raised)
    ports = (Ports(first, first), Ports(second, second))
    return Packet(direction == "in", Selector(Prefix.host(src), Prefix.host(dst), protocol, *ports))
