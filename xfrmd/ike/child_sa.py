# SPDX-License-Identifier: GPL-2.0-or-later
"""Child SAs: pairs of ESP SAs, what they carry and where they are in their life."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from xfrmd.errors import LocalProtocolError
from xfrmd.ike.narrow import Agreed
from xfrmd.ike.select import Suite
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector


class ChildState(enum.Enum):
    """Where a child SA is in its life."""

    MADE = "made"
    """Agreed, not in the kernel yet."""
    AWAITED = "awaited"
    """Asked for by the peer: inbound only, until the peer shows that it is ready (RFC 7296 2.8) or has had its time."""
    INSTALLED = "installed"
    REKEYING = "rekeying"
    """In use, and a successor is asked for."""
    SILENT = "silent"
    """Replaced by a rekey of the peer's: inbound only, until the peer deletes it."""
    DELETING = "deleting"
    """Outbound gone; the peer is told to delete its end too."""
    LINGERING = "lingering"
    """Deleted by both; inbound stays for packets that are still under way."""
    GONE = "gone"


_S = ChildState
LEGAL: Final = {
    _S.MADE: {_S.AWAITED, _S.INSTALLED, _S.DELETING, _S.GONE},
    _S.AWAITED: {_S.INSTALLED, _S.DELETING, _S.LINGERING, _S.GONE},
    _S.INSTALLED: {_S.REKEYING, _S.SILENT, _S.DELETING, _S.LINGERING, _S.GONE},
    _S.REKEYING: {_S.INSTALLED, _S.SILENT, _S.DELETING, _S.LINGERING, _S.GONE},
    _S.SILENT: {_S.DELETING, _S.LINGERING, _S.GONE},
    _S.DELETING: {_S.LINGERING, _S.GONE},
    _S.LINGERING: {_S.GONE},
    _S.GONE: set[ChildState](),
}
"""Which state may follow which."""


@dataclass(slots=True, eq=False)
class ChildSa:
    """One child SA. It holds no keys: those go to the kernel and are forgotten."""

    spi_in: int
    """Ours: what the peer sends with, and what tells this child SA apart."""
    spi_out: int
    local: Address
    remote: Address
    agreed: Agreed
    selectors: tuple[Selector, ...]
    """Outbound packets it carries: agreed.traffic as selectors."""
    suite: Suite
    lifetime: Lifetime
    """The hard one, of the proposal that was chosen; 0 = no limit."""
    initiator: bool
    """Did we ask for it?"""
    lowest_nonce: bytes
    """The lower of the two nonces of the exchange that made it (RFC 7296 2.8.1)."""
    created: float
    successor: ChildSa | None = None
    """What a rekey of the peer's has made to replace this one."""
    predecessor: ChildSa | None = None
    """The other way, while we wait for the peer to be ready."""
    pending_out: SadEntry | None = None
    """The outbound SA of an AWAITED child SA, not installed yet."""
    octets_in: int = 0
    octets_out: int = 0
    protocol: ProtocolId = ProtocolId.ESP
    ports: tuple[int, int] | None = None
    """UDP ports of ESP in UDP, ours and the peer's; None for plain ESP."""
    _state: ChildState = field(default=ChildState.MADE, init=False)

    @property
    def state(self) -> ChildState:
        """Where it is in its life."""
        return self._state

    def begin(self, state: ChildState) -> None:
        """The state of a child SA of an earlier run."""
        self._state = state

    def enter(self, state: ChildState) -> None:
        """The one way to change the state. LocalProtocolError for a step that no life has."""
        if state not in LEGAL[self._state]:
            raise LocalProtocolError(f"a child SA goes from {self._state.value} to {state.value}")
        self._state = state

    @property
    def reqid(self) -> int:
        """Of the negotiate filter whose traffic it carries."""
        return self.agreed.protect.reqid

    @property
    def sends(self) -> bool:
        """Is its outbound SA in the kernel?"""
        return self._state in (ChildState.INSTALLED, ChildState.REKEYING)

    def carries(self, packet: Selector) -> bool:
        """Does its outbound SA take this packet now?"""
        return self.sends and self.covers(packet)

    def covers(self, packet: Selector) -> bool:
        """Is this packet for its outbound SA, now or as soon as it sends?"""
        return any(selector.contains(packet) for selector in self.selectors)
