# SPDX-License-Identifier: GPL-2.0-or-later
"""One DHCPv4 lease as a client wrote it down. Everything in it came from the network and is judged by `found`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xfrmd import limits
from xfrmd.model.addresses import Address

Ignored = list[str]
"""What a parser could not read, for the log: nothing that it says makes a lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`interface` is its name or index. `expires` is wall-clock time; None when the client takes the file or the
    address away at the end, so that there is nothing to compare.
    """

    interface: str | int
    address: Address
    servers: tuple[Address, ...] = ()
    wins_servers: tuple[Address, ...] = ()
    expires: float | None = None


def unicast(texts: Iterable[str], ignored: Ignored) -> tuple[Address, ...]:
    """The IPv4 addresses among texts that a server can have, as many as count; empty texts are no mistake."""
    return tuple(_unicast(list(filter(None, texts))[: limits.LEASE_WINS_SERVERS], ignored))


def _unicast(texts: Iterable[str], ignored: Ignored) -> Iterator[Address]:
    for text in texts:
        try:
            address = Address.parse(text)
        except ValueError:
            ignored.append(text)
            continue
        first = address.value >> 24
        if address.family == 4 and 0 < first < 224 and first != 127:
            yield address
        else:
            ignored.append(text)
