# SPDX-License-Identifier: GPL-2.0-or-later
"""SAD entries to XFRM states and back. Keys go in; nothing here reads one out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.selectors import covering_block, packed_address, selector_fields, unpacked_address
from xfrmd.errors import KernelError, LocalProtocolError
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.transforms import catalog

_SPI: Final = struct.Struct(">I")
_PORT_PAIR: Final = struct.Struct(">HH")


NO_LIMIT: Final = Lifetime(0)


class ObservedSa(NamedTuple):
    """An SA as the kernel has it, without its keys."""

    protocol: ProtocolId
    spi: int
    src: Address
    dst: Address
    reqid: int
    mode: int
    octets: int
    """Carried so far."""
    packets: int
    added: int
    """Seconds of the epoch."""
    used: int
    """First use, seconds of the epoch; 0 for never."""
    replay_failures: int
    integrity_failures: int
    soft: Lifetime = NO_LIMIT
    """When the kernel tells that the SA is to be replaced."""
    soft_packets: int = uapi.INFINITE
    """Or after so many packets."""

    @property
    def ours(self) -> bool:
        """Its reqid is one of ours."""
        return limits.REQID_FIRST <= self.reqid <= limits.REQID_LAST

    def due(self, now: float) -> bool:
        """Is its soft lifetime over? The kernel tells that only once. `now` in seconds of the epoch."""
        late = bool(self.soft.seconds) and now >= self.added + self.soft.seconds
        late = late or self.packets >= self.soft_packets
        return late or (bool(self.soft.kilobytes) and self.octets >= self.soft.kilobytes * 1024)

    def __str__(self) -> str:
        return f"{self.protocol.name} {self.spi:08x} {self.src} -> {self.dst} reqid {self.reqid}"


def encode(sa: SadEntry) -> bytes:
    """Body of XFRM_MSG_NEWSA and XFRM_MSG_UPDSA. LocalProtocolError for what the kernel has no name for."""
    # A state's selector knows port masks only. Where the negotiated range has none, the smallest block around it stands
    # here: policies and the packet filter hold the exact range.
    narrow = sa.selector._replace(sport=covering_block(sa.selector.sport), dport=covering_block(sa.selector.dport))
    fixed = uapi.SA.pack(
        *selector_fields(narrow),
        packed_address(sa.dst),
        _SPI.pack(sa.spi),
        uapi.IP_PROTOCOLS[sa.protocol],
        packed_address(sa.src),
        *_lifetimes(sa),
        *(0,) * 4,
        *(0,) * 3,
        0,
        sa.reqid,
        uapi.FAMILIES[sa.dst.family],
        sa.mode,
        0,
        _flags(sa),
    )
    return b"".join((fixed, *_algorithms(sa), *_encapsulation(sa), *_replay(sa)))


def _flags(sa: SadEntry) -> int:
    """AH ends on a multiple of 4 octets in IPv4, of 8 in IPv6 (RFC 4302 3.3.3.2.1); the kernel has to be told."""
    short = sa.protocol is ProtocolId.AH and sa.dst.family == 4
    return uapi.STATE_ICMP | (uapi.STATE_ESN if sa.esn else 0) | (uapi.STATE_ALIGN4 if short else 0)


def _lifetimes(sa: SadEntry) -> tuple[int, ...]:
    """Limits as the kernel wants them: octets, packets, seconds since added, since first use (none). Packets have one
    where their numbers have 32 bits: the kernel sends none after the last number (RFC 4303 3.3.3).
    """
    octets = tuple(limit.kilobytes * 1024 or uapi.INFINITE for limit in (sa.soft, sa.hard))
    packets = (uapi.INFINITE, uapi.INFINITE) if sa.esn else (limits.PACKETS_SOFT, limits.PACKETS_HARD)
    return (*octets, *packets, sa.soft.seconds, sa.hard.seconds, 0, 0)


def _algorithms(sa: SadEntry) -> list[bytes]:
    encr = catalog.encr_row(sa.encryption) if sa.encryption else None
    integ = catalog.integ_row(sa.integrity) if sa.integrity else None
    if (sa.encryption and not encr) or (sa.integrity and not integ):
        raise LocalProtocolError(f"SA {sa.spi:08x}: a transform without a name in the kernel")
    found = []
    if encr and encr.aead:
        head = _named(sa.encryption_key.reveal(), encr.kernel_name, encr.kernel_icv_bits)
        found.append(netlink.attribute(uapi.Attr.ALG_AEAD, head))
    elif encr:
        key = sa.encryption_key.reveal()
        head = uapi.ALGORITHM.pack(encr.kernel_name.encode(), len(key) * 8) + key
        found.append(netlink.attribute(uapi.Attr.ALG_CRYPT, head))
    if integ:
        head = _named(sa.integrity_key.reveal(), integ.kernel_name, integ.kernel_trunc_bits)
        found.append(netlink.attribute(uapi.Attr.ALG_AUTH_TRUNC, head))
    return found


def _named(key: bytes, name: str, icv_bits: int) -> bytes:
    return uapi.ALGORITHM_ICV.pack(name.encode(), len(key) * 8, icv_bits) + key


def _replay(sa: SadEntry) -> list[bytes]:
    """The window goes into the ESN form even without ESN: the older form ends at 32 packets."""
    words = (sa.replay_window + 31) // 32
    state = uapi.REPLAY_ESN.pack(words, 0, 0, 0, 0, sa.replay_window)
    return [netlink.attribute(uapi.Attr.REPLAY_ESN_VAL, state)] if sa.replay_window or sa.esn else []


def _encapsulation(sa: SadEntry) -> list[bytes]:
    if sa.encap_ports is None:
        return []
    template = uapi.ENCAP.pack(uapi.ENCAP_ESPINUDP, _PORT_PAIR.pack(*sa.encap_ports), bytes(16))
    found = [netlink.attribute(uapi.Attr.ENCAP, template)]
    if sa.inbound:  # kernels before 5.17 do not know it, and tell of each packet
        found.append(netlink.attribute(uapi.Attr.MTIMER_THRESH, struct.pack("=I", int(limits.MAPPING_INTERVAL))))
    return found


def encode_ports(sa: SadEntry, entropy: Callable[[int], bytes]) -> bytes:
    """Body of the XFRM_MSG_UPDSA that gives an SA other UDP ports. LocalProtocolError as `encode`.

    The kernel takes ports, selector and lifetimes and leaves keys and counters as they are, yet wants keys in the
    message. Random ones serve: the real ones need not be at hand, and none that anybody knows could ever be installed.
    """
    encr = catalog.encr_row(sa.encryption) if sa.encryption else None
    integ = catalog.integ_row(sa.integrity) if sa.integrity else None
    keys = [Secret(entropy(row.key_len)) if row else Secret(b"") for row in (encr, integ)]
    return encode(replace(sa, encryption_key=keys[0], integrity_key=keys[1]))


def encode_id(protocol: ProtocolId, spi: int, dst: Address) -> bytes:
    """Body of XFRM_MSG_DELSA and XFRM_MSG_GETSA."""
    family = uapi.FAMILIES[dst.family]
    return uapi.SA_ID.pack(packed_address(dst), _SPI.pack(spi), family, uapi.IP_PROTOCOLS[protocol])


def decode(body: bytes) -> ObservedSa | None:
    """Read XFRM_MSG_NEWSA as the kernel dumps it. None for other protocols and for larval states (they have no SPI)."""
    if len(body) < uapi.SA.size:
        raise KernelError(f"XFRM state of {len(body)} octets")
    values = uapi.SA.unpack_from(body)
    daddr, spi, protocol, saddr = values[9:13]
    octets, packets, added, used = values[21:25]
    soft_octets, soft_packets, soft_seconds = values[13], values[15], values[17]
    _, replay, integrity, _, reqid, family, mode, _, _ = values[25:]
    version = uapi.VERSIONS.get(family)
    if version is None or protocol not in uapi.PROTOCOL_IDS or not any(spi):
        return None
    return ObservedSa(
        protocol=uapi.PROTOCOL_IDS[protocol],
        spi=int.from_bytes(spi),
        src=unpacked_address(version, saddr),
        dst=unpacked_address(version, daddr),
        reqid=reqid,
        mode=mode,
        octets=octets,
        packets=packets,
        added=added,
        used=used,
        replay_failures=replay,
        integrity_failures=integrity,
        soft=Lifetime(soft_seconds, 0 if soft_octets == uapi.INFINITE else soft_octets // 1024),
        soft_packets=soft_packets,
    )
