# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the Security Association Database (RFC 4301 4.4.2), as IKE hands them to the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.model.addresses import Address
from xfrmd.model.proposals import Lifetime, ProtocolId, Transform
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode


@dataclass(frozen=True, slots=True)
class SadEntry:
    """One direction of a child SA."""

    protocol: ProtocolId
    spi: int
    src: Address
    dst: Address
    selector: Selector
    """Traffic this SA may carry, in the direction of this SA."""
    reqid: int
    inbound: bool
    mode: Mode
    encryption: Transform | None
    encryption_key: Secret
    """For AEAD ciphers with the salt appended, as the kernel wants it (RFC 4106 8.1)."""
    integrity: Transform | None
    integrity_key: Secret
    esn: bool
    replay_window: int
    """Packets."""
    soft: Lifetime
    """When the kernel asks for a rekey. Soft and hard limits in seconds and kilobytes, 0 = none."""
    hard: Lifetime
    """When the kernel drops the SA."""
    encap_ports: tuple[int, int] | None = None
    """UDP source and destination port of ESP in UDP (RFC 3948), None for plain ESP."""

    @property
    def key(self) -> tuple[Address, ProtocolId, int]:
        """What tells SAs apart in the kernel: destination, protocol and SPI."""
        return (self.dst, self.protocol, self.spi)
