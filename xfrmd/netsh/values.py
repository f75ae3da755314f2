# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of netsh's tags. Each reader takes the text behind a tag and returns its value, or raises BadValue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from xfrmd.model.addresses import Prefix, range_to_prefixes
from xfrmd.model.secret import Secret
from xfrmd.policy.addresses import NETSH_SERVERS, dns_name, ip, mask_length
from xfrmd.policy.problems import did_you_mean, quoted
from xfrmd.policy.words import Action, AddressWord, ConnectionType


class BadValue(Exception):  # noqa: N818 (the value is bad, our program is not)
    """A value that its tag does not take: what is wrong, and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


Reader = Callable[[str], Any]

_RANGE: Final = re.compile(r"([0-9A-Fa-f.:]+)-([0-9A-Fa-f.:]+)", re.ASCII)
ADDRESS_WORDS: Final = {"me": AddressWord.ME, "any": AddressWord.ANY, **NETSH_SERVERS}
SERVERS: Final = frozenset(NETSH_SERVERS.values())
PROTOCOLS: Final = {"any": 0, "icmp": 1, "tcp": 6, "udp": 17, "raw": 255}
_ADDRESS_FORMS: Final = "write me, any, an address, a DNS name with a dot, or WINS, DNS, DHCP, GATEWAY"


def choice(words: Mapping[str, Any]) -> Reader:
    """One of a few words, without regard to case."""
    listed = ", ".join(words)

    def read(text: str) -> Any:
        found = words.get(text.casefold())
        if found is None:
            raise BadValue(f"{quoted(text)} is none of {listed}", did_you_mean(text, words, f"write {listed}"))
        return found

    return read


def number(low: int, high: int) -> Reader:
    """A decimal number in a range, both ends included."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise BadValue(f"{quoted(text)} is no number", f"write a number from {low} to {high}")
        value = int(text)
        if not low <= value <= high:
            raise BadValue(f"{value} is not between {low} and {high}", f"write a number from {low} to {high}")
        return value

    return read


def name(text: str) -> str:
    """The name of an object."""
    if not text.strip():
        raise BadValue("this name is empty", "write a name")
    return text


def string(text: str) -> str:
    """Text as it stands."""
    return text


_FLAGS: Final = {"yes": True, "no": False, "y": True, "n": False}


def flag(text: str) -> bool:
    """Yes or no."""
    found = _FLAGS.get(text.casefold())
    if found is None:
        raise BadValue(f"{quoted(text)} is not yes or no", "write yes or no")
    return found


action = choice({one.value: one for one in Action})
conntype = choice({one.value: one for one in ConnectionType})
port = number(0, 65_535)


class RawAddress(NamedTuple):
    """A literal address as written; its mask may stand in another tag."""

    family: int
    value: int


class DnsName(NamedTuple):
    """A DNS name."""

    name: str


RawEnd = AddressWord | RawAddress | tuple[Prefix, ...] | DnsName
"""One end of a filter as `srcaddr` or `dstaddr` names it; the tuple is a range."""


def address(text: str) -> RawEnd:
    """A word, an address, a range (newer Windows writes them), or a DNS name."""
    word = ADDRESS_WORDS.get(text.casefold())
    if word is not None:
        return word
    literal = ip(text)
    if literal is not None:
        return RawAddress(literal.family, literal.value)
    if "/" in text:
        raise BadValue(f"{quoted(text)} has its mask in the address", "write the mask as srcmask= or dstmask=")
    match = _RANGE.fullmatch(text)
    first, last = (ip(match[1]), ip(match[2])) if match else (None, None)
    if first is not None and last is not None:
        if first.family != last.family or first.value > last.value:
            raise BadValue(f"{text} is no range of addresses", "write the lower address first, both of one IP version")
        return range_to_prefixes(first.family, first.value, last.value)
    return DnsName(_dns_name(text))


def _dns_name(text: str) -> str:
    found = dns_name(text)
    if found is None:
        raise BadValue(f"{quoted(text)} is no address", _ADDRESS_FORMS)
    return found


def tunnel(text: str) -> RawAddress | DnsName | None:
    """Where a tunnel ends. None for 0.0.0.0, which is netsh's word for no tunnel."""
    literal = ip(text)
    if literal is not None:
        return RawAddress(literal.family, literal.value) if literal.value else None
    return DnsName(_dns_name(text))


def mask(text: str) -> str:
    """A mask or prefix length, for IPv4 or IPv6."""
    if mask_length(text, 4) is None and mask_length(text, 6) is None:
        raise BadValue(f"{quoted(text)} is no mask", "write 255.255.0.0 or 16")
    return text


def protocol(text: str) -> int:
    """A protocol by one of netsh's names or by number."""
    found = PROTOCOLS.get(text.casefold())
    if found is not None:
        return found
    if not text.isdigit():
        raise BadValue(f"{quoted(text)} is no protocol of netsh", "write ANY, ICMP, TCP, UDP, RAW or a number")
    return int(number(0, 255)(text))


class Kerberos(NamedTuple):
    """Authentication by Kerberos."""


class Psk(NamedTuple):
    """Authentication by a shared secret."""

    secret: Secret


class RootCa(NamedTuple):
    """Authentication by a certificate of this authority, with netsh's options behind it."""

    text: str


Authentication = Kerberos | Psk | RootCa


def kerberos(text: str) -> Kerberos | None:
    """Kerberos; None when it is switched off."""
    return Kerberos() if flag(text) else None


def psk(text: str) -> Psk:
    """A shared secret. Nothing of it is ever told."""
    if not text:
        raise BadValue("the shared secret is empty", "write one: openssl rand -base64 32")
    return Psk(Secret(text.encode()))


def rootca(text: str) -> RootCa:
    """A certification authority; a quotation mark in it is written as a backslash and an apostrophe."""
    if not text.strip():
        raise BadValue("this name of an authority is empty", "write its distinguished name")
    return RootCa(text.replace("\\'", '"'))
