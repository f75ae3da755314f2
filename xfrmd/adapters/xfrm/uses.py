# SPDX-License-Identifier: GPL-2.0-or-later
"""What SAs have carried, and nothing else of them: a list of 10,000 peers asks the kernel for 20,000 of these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.selectors import packed_address
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId


class Use(NamedTuple):
    """What one SA has carried so far."""

    octets: int
    packets: int


Found = tuple[bytes, Use]
"""An SA by its `key`, and its use."""


def decode(body: bytes) -> Found:
    """Read XFRM_MSG_NEWSA as the kernel dumps it. KernelError when it is too short."""
    if len(body) < uapi.SA.size:
        raise KernelError(f"XFRM state of {len(body)} octets")
    known, octets, packets = uapi.SA_USE.unpack_from(body)
    return known, Use(octets, packets)


def key(protocol: ProtocolId, spi: int, dst: Address) -> bytes:
    """What tells an SA from others, as the kernel has it."""
    return packed_address(dst) + spi.to_bytes(4) + bytes((uapi.IP_PROTOCOLS[protocol],))


class Uses:
    """All SAs of one moment."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = dict(found)

    def of(self, protocol: ProtocolId, spi: int, dst: Address) -> Use | None:
        """What this SA had carried; None: there was no such."""
        return self._found.get(key(protocol, spi, dst))
