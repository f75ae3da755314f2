# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers and structures of <linux/xfrm.h>, as the kernel's own ABI fixes them."""

from __future__ import annotations

import enum
import socket
import struct
from typing import Final

from xfrmd.model.proposals import ProtocolId

NETLINK_XFRM: Final = 6
FAMILIES: Final = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
"""Address family by IP version."""
VERSIONS: Final = {number: version for version, number in FAMILIES.items()}


class Msg(enum.IntEnum):
    """XFRM_MSG_*."""

    NEWSA = 0x10
    DELSA = 0x11
    GETSA = 0x12
    NEWPOLICY = 0x13
    DELPOLICY = 0x14
    GETPOLICY = 0x15
    ACQUIRE = 0x17
    EXPIRE = 0x18
    UPDPOLICY = 0x19
    UPDSA = 0x1A
    POLEXPIRE = 0x1B
    FLUSHSA = 0x1C
    NEWSPDINFO = 0x24
    GETSPDINFO = 0x25
    MAPPING = 0x26


class Attr(enum.IntEnum):
    """XFRMA_*."""

    ALG_CRYPT = 2
    ENCAP = 4
    TMPL = 5
    POLICY_TYPE = 16
    ALG_AEAD = 18
    ALG_AUTH_TRUNC = 20
    MARK = 21
    REPLAY_ESN_VAL = 23
    IF_ID = 31
    MTIMER_THRESH = 32


class SpdAttr(enum.IntEnum):
    """XFRMA_SPD_*."""

    IPV4_HTHRESH = 3
    IPV6_HTHRESH = 4


class Group(enum.IntFlag):
    """Multicast groups as bits of the bind address (1 << (XFRMNLGRP_* - 1))."""

    ACQUIRE = 1 << 0
    EXPIRE = 1 << 1
    SA = 1 << 2
    POLICY = 1 << 3
    MAPPING = 1 << 7


PROTO_ESP: Final = 50
PROTO_AH: Final = 51
IP_PROTOCOLS: Final = {ProtocolId.ESP: PROTO_ESP, ProtocolId.AH: PROTO_AH}
PROTOCOL_IDS: Final = {number: protocol for protocol, number in IP_PROTOCOLS.items()}
POLICY_ALLOW: Final = 0
POLICY_BLOCK: Final = 1
POLICY_ICMP: Final = 2
"""XFRM_POLICY_ICMP in the flags of an out policy: an ICMP error about a packet that came by an SA leaves by its other
one, where no policy speaks of ICMP itself. It quotes that packet, so it would show in the clear what was protected.
"""
SHARE_ANY: Final = 0
STATE_ICMP: Final = 16
STATE_ALIGN4: Final = 64
"""XFRM_STATE_ICMP in the flags of an SA: such errors are taken from it (RFC 4301 6.2)."""
STATE_ESN: Final = 128
"""XFRM_STATE_ESN in the flags of an SA."""
ENCAP_ESPINUDP: Final = 2
INFINITE: Final = (1 << 64) - 1
"""XFRM_INF: no limit in octets or packets."""
ALL_ALGORITHMS: Final = 0xFFFF_FFFF

SELECTOR_FORMAT: Final = "16s16s8sHBBB3xiI"
"""struct xfrm_selector: daddr, saddr, dport dport_mask sport sport_mask (network order, as 8 octets), family,
prefixlen_d, prefixlen_s, proto, ifindex, user."""
LIFETIME_FORMAT: Final = "8Q"
"""struct xfrm_lifetime_cfg: soft octets, hard octets, soft packets, hard packets, then seconds since the SA was added
(soft, hard) and since its first use (soft, hard)."""
CURRENT_FORMAT: Final = "4Q"
"""struct xfrm_lifetime_cur: octets, packets, time added, time of first use (seconds of the epoch)."""
POLICY_FORMAT: Final = SELECTOR_FORMAT + LIFETIME_FORMAT + CURRENT_FORMAT + "IIBBBB4x"
"""struct xfrm_userpolicy_info: ..., priority, index, dir, action, flags, share."""
TEMPLATE_FORMAT: Final = "16sIB3xH2x16sIBBBx3I"
"""struct xfrm_user_tmpl: daddr, spi, proto, family, saddr, reqid, mode, share, optional, aalgos, ealgos, calgos."""
SA_FORMAT: Final = SELECTOR_FORMAT + "16s4sB3x16s" + LIFETIME_FORMAT + CURRENT_FORMAT + "3IIIHBBB7x"
"""struct xfrm_usersa_info: selector, id (daddr, spi, proto), saddr, lifetimes, statistics (3), seq, reqid, family,
mode, replay_window, flags."""

SELECTOR: Final = struct.Struct("=" + SELECTOR_FORMAT)
POLICY: Final = struct.Struct("=" + POLICY_FORMAT)
TEMPLATE: Final = struct.Struct("=" + TEMPLATE_FORMAT)
SA: Final = struct.Struct("=" + SA_FORMAT)
SA_USE: Final = struct.Struct(f"={SELECTOR.size}x21s3x16x64x2Q")
"""Of the same, for the 20,000 that a large host has: id as it stands there (daddr, spi, proto), octets, packets."""
PORTS: Final = struct.Struct(">HHHH")
POLICY_ID: Final = struct.Struct("=" + SELECTOR_FORMAT + "IB3x")
"""struct xfrm_userpolicy_id: selector, index, dir."""
SA_ID: Final = struct.Struct("=16s4sHBx")
"""struct xfrm_usersa_id: daddr, spi, family, proto."""
MAPPING: Final = struct.Struct("=24sI16s16sHH")
"""struct xfrm_user_mapping: id of the inbound SA (as SA_ID), reqid, old and new source address, old and new source port
(network order).
"""
ALGORITHM: Final = struct.Struct("=64sI")
"""struct xfrm_algo: name, key length in bits; the key follows."""
ALGORITHM_ICV: Final = struct.Struct("=64sII")
"""struct xfrm_algo_auth and xfrm_algo_aead: name, key length and ICV length in bits; the key follows."""
ENCAP: Final = struct.Struct("=H4s2x16s")
"""struct xfrm_encap_tmpl: type, source and destination port (network order), original address."""
REPLAY_ESN: Final = struct.Struct("=6I")
"""struct xfrm_replay_state_esn: words in the bitmap, oseq, seq, oseq_hi, seq_hi, window. A bitmap may follow."""

ACQUIRE_SELECTOR: Final = 40
"""struct xfrm_user_acquire begins with id (daddr, spi, proto) and saddr; then come the packet's selector and policy."""
ACQUIRE_SIZE: Final = ACQUIRE_SELECTOR + SELECTOR.size + POLICY.size + 16
EXPIRE_SIZE: Final = SA.size + 8
POLEXPIRE_SIZE: Final = POLICY.size + 8
