# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking DNS, by dnspython: it draws ids and source ports at random, drops answers that fit no question, follows at
most 16 CNAMEs and asks again over TCP where an answer was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from xfrmd import limits
from xfrmd.adapters.names.table import Answered, Failed, Half
from xfrmd.model.addresses import Address

_SIZE: Final = 1232
"""Octets of an answer that pass without fragments (the size that DNS servers agreed on in 2020)."""


async def ask(name: str, servers: Sequence[str]) -> tuple[Half, Half]:
    """The IPv4 and the IPv6 addresses of a name, from the first of the servers that answers."""
    if not servers:
        return (Failed("this host has no name server"),) * 2
    import dns.asyncresolver  # noqa: PLC0415 - costs 0.2 s and 10 MB: only policies with names pay

    resolver = dns.asyncresolver.Resolver(configure=False)
    try:
        resolver.nameservers = list(servers)
    except ValueError:  # an address with a strange zone
        return (Failed("a name server has no usable address"),) * 2
    resolver.timeout, resolver.lifetime = limits.NAME_TRY, limits.NAME_LIFETIME
    resolver.use_edns(0, 0, _SIZE)
    v4, v6 = await asyncio.gather(_half(resolver, name, "A"), _half(resolver, name, "AAAA"))
    return v4, v6


async def _half(resolver: Any, name: str, kind: str) -> Half:
    import dns.exception  # noqa: PLC0415
    import dns.name  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    asked = dns.name.from_text(name, dns.name.root)
    try:
        answer = await resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
    except dns.resolver.NXDOMAIN as error:
        return Answered((), _ttl(_chain(error, asked)))
    except dns.resolver.LifetimeTimeout:
        return Failed("the name servers do not answer")
    except dns.resolver.NoNameservers:
        return Failed("the name servers refuse the question or fail")
    except (dns.exception.DNSException, OSError, ValueError) as error:
        return Failed(f"the question failed: {type(error).__name__}")
    found = tuple(Address.parse(one.address) for one in answer.rrset or ())
    return Answered(found, _ttl(answer.chaining_result))


def _chain(error: Any, asked: object) -> Any:
    """What the answer "no such name" holds."""
    return error.response(asked).resolve_chaining()


def _ttl(chain: Any) -> float:
    """The shortest TTL on the way to an answer, or how long there is to be none (RFC 2308 5)."""
    return float(chain.minimum_ttl)
