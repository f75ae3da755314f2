# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the Security Policy Database (RFC 4301 4.4.1), as the kernel's XFRM policies hold them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.selector import Selector


class Direction(enum.IntEnum):
    """XFRM_POLICY_IN, _OUT and _FWD of <linux/xfrm.h>."""

    IN = 0
    OUT = 1
    FWD = 2


class SpdAction(enum.Enum):
    """BYPASS, DISCARD and PROTECT of RFC 4301 4.4.1."""

    BYPASS = "bypass"
    DISCARD = "discard"
    PROTECT = "protect"


class Mode(enum.IntEnum):
    """XFRM_MODE_TRANSPORT and XFRM_MODE_TUNNEL of <linux/xfrm.h>."""

    TRANSPORT = 0
    TUNNEL = 1


@dataclass(frozen=True, slots=True)
class SpdEntry:
    """One XFRM policy. The kernel's selectors know prefixes and port masks only: `selector` holds port blocks whose
    width is a power of two and whose first port is a multiple of it.
    """

    direction: Direction
    selector: Selector
    action: SpdAction
    priority: int
    """XFRM priority: lower is asked first. Always inside our band (limits.PRIORITY_FIRST..PRIORITY_LAST)."""
    reqid: int = 0
    """Stable number of the filter whose SAs may carry this traffic; 0 unless PROTECT."""
    mode: Mode = Mode.TRANSPORT
    optional: bool = False
    """`level use`: clear packets are let in as well. Inbound only (Windows `inpass`)."""
    tunnel: tuple[Address, Address] | None = None
    """Outer source and destination of a tunnel."""
    protocol: ProtocolId = ProtocolId.ESP
    """Of the SAs; ESP unless PROTECT."""

    @property
    def key(self) -> tuple[Direction, Selector]:
        """What the kernel tells policies apart by."""
        return (self.direction, self.selector)
