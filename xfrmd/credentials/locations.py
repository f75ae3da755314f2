# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of revocation lists and OCSP responders: plain HTTP, as both are signed (RFC 5280 4.2.1.13, RFC 6960 A)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from xfrmd.limits import fetching

_HOST: Final = (
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?"
)
_AUTHORITY: Final = rf"(?P<host>{_HOST}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
_PLACE: Final = re.compile(_AUTHORITY, re.ASCII)
_URL: Final = re.compile(rf"(?i:http)://{_AUTHORITY}(?P<target>[/?][!$-;=?-Z_a-z~\[\]]*)?", re.ASCII)
_HTTP: Final = 80
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""IPv4 behind NAT64 (RFC 6052)."""
_NAME: Final = 253


class Place(NamedTuple):
    """Host and port. The host is a name in lower case or an address, without brackets."""

    host: str
    port: int

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host as an address; None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTP else f"{host}:{self.port}"


class Location(NamedTuple):
    """What an http: address names."""

    place: Place
    target: str
    """Path and query, as a request has them."""


def place_of(text: str) -> Place:
    """A host, with a port behind it where that is not 80. ValueError for anything else."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[: fetching.URL]!r} is no host")
    return _place(found)


def location_of(url: str) -> Location:
    """What an address names. ValueError, in words for people, for other schemes, users and fragments."""
    shown = ascii(url[:100])
    if len(url) > fetching.URL:
        raise ValueError(f"an address of {len(url)} characters ({shown}...; {fetching.URL} at most are taken)")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"{shown} is no http:// address of a host and a path")
    target = found["target"] or "/"
    return Location(_place(found), target if target[0] == "/" else f"/{target}")


def is_unfit(address: IPv4Address | IPv6Address) -> bool:
    """Is it an address that no name may lead to: this host's own, the link's, or one of nobody?"""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = inner or address
    zero = isinstance(address, IPv4Address) and address in _THIS_NETWORK
    return (
        zero
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not (isinstance(address, IPv6Address) and address in _TRANSLATED))
    )


def _place(found: re.Match[str]) -> Place:
    host = found["host"].lower().rstrip(".")
    port = int(found["port"]) if found["port"] else _HTTP
    if not 0 < port < 65536:
        raise ValueError(f"{port} is no port")
    if host.startswith("["):
        host = str(IPv6Address(host.strip("[]")))  # its own ValueError says enough
    elif host.rpartition(".")[2].isdigit():  # a name never ends in a number
        host = str(IPv4Address(host))
    elif len(host) > _NAME:
        raise ValueError(f"a name of {len(host)} characters")
    return Place(host, port)
