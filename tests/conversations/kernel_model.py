# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of a kernel that IKE sees: SAs that are put in, expire, carry packets and are taken out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xfrmd.ike.effects import RemapSa, RemoveSa
from xfrmd.ike.events import SaExpired
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector

SaKey = tuple[Address, ProtocolId, int]


@dataclass
class InstalledSa:
    """An SA and what the kernel knows of it. `number` counts installations: the kernel prefers the newest."""

    sa: SadEntry
    since: float
    number: int
    asked: bool = False
    """Has its soft expiry been told?"""
    octets: int = 0
    polled: int = 0
    """Octets at the last reading."""


@dataclass
class KernelModel:
    """SAs of one host. `mistakes` are requests that a real kernel would refuse, in words."""

    own: Address
    sas: dict[SaKey, InstalledSa] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    installed: int = 0

    def install(self, sa: SadEntry, now: float) -> None:
        """XFRM_MSG_NEWSA."""
        if sa.key in self.sas:
            self.mistakes.append(f"EEXIST: {sa.key}")
        if sa.inbound != (sa.dst == self.own) or sa.inbound == (sa.src == self.own):
            self.mistakes.append(f"direction: {sa.src} -> {sa.dst}, inbound={sa.inbound}")
        if not 256 <= sa.spi < 1 << 32:
            self.mistakes.append(f"EINVAL: SPI {sa.spi}")
        self.installed += 1
        self.sas[sa.key] = InstalledSa(sa, now, self.installed)

    def remove(self, effect: RemoveSa) -> None:
        """XFRM_MSG_DELSA; ESRCH is no fault."""
        self.sas.pop((effect.dst, effect.protocol, effect.spi), None)

    def remap(self, effect: RemapSa) -> None:
        """XFRM_MSG_UPDSA."""
        key = (effect.dst, effect.protocol, effect.spi)
        if key not in self.sas:
            self.mistakes.append(f"ESRCH: {key}")
        else:
            entry = self.sas[key]
            entry.sa = replace(entry.sa, encap_ports=effect.ports)

    def next_expiry(self) -> float | None:
        """When expire() has something to say."""
        times = [at for entry in self.sas.values() for at in _expiries(entry)]
        return min(times, default=None)

    def expire(self, now: float) -> list[SaExpired]:
        """XFRM_MSG_EXPIRE: soft once, hard with removal."""
        events: list[SaExpired] = []
        for key, entry in list(self.sas.items()):
            sa = entry.sa
            if sa.hard.seconds and now >= entry.since + sa.hard.seconds:
                del self.sas[key]
                events.append(SaExpired(sa.spi, sa.protocol, sa.dst, hard=True))
            elif sa.soft.seconds and not entry.asked and now >= entry.since + sa.soft.seconds:
                entry.asked = True
                events.append(SaExpired(sa.spi, sa.protocol, sa.dst, hard=False))
        return events

    def outbound(self, packet: Selector, reqid: int) -> InstalledSa | None:
        """The SA that takes an outgoing packet whose policy's template has this reqid."""
        fitting = [
            entry
            for entry in self.sas.values()
            if not entry.sa.inbound and entry.sa.reqid == reqid and entry.sa.selector.contains(packet)
        ]
        return max(fitting, key=lambda entry: entry.number, default=None)

    def inbound(self, spi: int, protocol: ProtocolId = ProtocolId.ESP) -> InstalledSa | None:
        """The SA that a packet to us names."""
        return self.sas.get((self.own, protocol, spi))

    def live(self, *, inbound: bool) -> list[SadEntry]:
        """SAs of one direction, oldest first."""
        return [entry.sa for entry in self.sas.values() if entry.sa.inbound == inbound]


def opens(sent: SadEntry, received: SadEntry) -> bool:
    """Can the holder of `received` open what `sent` protects?"""
    return (
        (sent.spi, sent.dst, sent.src, sent.protocol, sent.mode, sent.esn)
        == (received.spi, received.dst, received.src, received.protocol, received.mode, received.esn)
        and (sent.encryption, sent.integrity) == (received.encryption, received.integrity)
        and sent.encryption_key == received.encryption_key
        and sent.integrity_key == received.integrity_key
        and sent.encap_ports == received.encap_ports
    )


def _expiries(entry: InstalledSa) -> list[float]:
    times = [] if entry.asked or not entry.sa.soft.seconds else [entry.since + entry.sa.soft.seconds]
    return times + ([entry.since + entry.sa.hard.seconds] if entry.sa.hard.seconds else [])
