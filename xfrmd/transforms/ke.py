# SPDX-License-Identifier: GPL-2.0-or-later
"""Transform Type 4, key exchange: one row per method (RFC 7296 3.3.2; RFC 2409 6.2, RFC 3526, RFC 5903,
RFC 6954, RFC 8031).
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from xfrmd.model.proposals import Transform, TransformType


class KeKind(enum.Enum):
    """The mathematics behind a key exchange method."""

    MODP = "modp"
    ECP = "ecp"
    MONTGOMERY = "montgomery"
    KEM = "key encapsulation"


class KeRow(NamedTuple):
    """One key exchange method. Lengths in octets."""

    name: str
    v1_id: int | None
    """IKEv1 attribute "Group Description"; None where IKEv1 has none."""
    id: int
    kind: KeKind
    public_len: int
    """Octets of the Key Exchange Data in the KE payload."""
    shared_len: int
    """Octets of the shared secret, leading zeros included."""
    weak: bool = False
    """Windows Server 2003's: only where the policy allows weak algorithms by name."""
    answer_len: int = 0
    """Octets of the responder's Key Exchange Data, where they are others than those of the initiator."""

    @property
    def transform(self) -> Transform:
        """The row as it is offered."""
        return Transform(TransformType.KE, self.id)


# fmt: off
ROWS: Final = (
    #     name         v1 id v2 id kind               public shared
    KeRow("X25519",       None, 31, KeKind.MONTGOMERY, 32,   32),
    KeRow("X448",         None, 32, KeKind.MONTGOMERY, 56,   56),
    KeRow("ECP256",       19,   19, KeKind.ECP,        64,   32),
    KeRow("ECP384",       20,   20, KeKind.ECP,        96,   48),
    KeRow("ECP521",       21,   21, KeKind.ECP,        132,  66),
    KeRow("BRAINPOOL256", 28,   28, KeKind.ECP,        64,   32),
    KeRow("BRAINPOOL384", 29,   29, KeKind.ECP,        96,   48),
    KeRow("BRAINPOOL512", 30,   30, KeKind.ECP,        128,  64),
    KeRow("MODP2048",     14,   14, KeKind.MODP,       256,  256),
    KeRow("MODP3072",     15,   15, KeKind.MODP,       384,  384),
    KeRow("MODP4096",     16,   16, KeKind.MODP,       512,  512),
    KeRow("MODP6144",     17,   17, KeKind.MODP,       768,  768),
    KeRow("MODP8192",     18,   18, KeKind.MODP,       1024, 1024),
    KeRow("MODP1536",     5,    5,  KeKind.MODP,       192,  192, weak=True),
    KeRow("MODP1024",     2,    2,  KeKind.MODP,       128,  128, weak=True),
)
# fmt: on

MLKEM768: Final = 36
MLKEM1024: Final = 37
# fmt: off
KEMS: Final = (
    KeRow("MLKEM768",     None, MLKEM768,  KeKind.KEM, 1184, 32, answer_len=1088),
    KeRow("MLKEM1024",    None, MLKEM1024, KeKind.KEM, 1568, 32, answer_len=1568),
)
# fmt: on
"""Only beside another: FIPS 203, draft-ietf-ipsecme-ikev2-mlkem."""

ALIASES: Final = {
    "CURVE25519": "X25519",
    "CURVE448": "X448",
    "ECDHP256": "ECP256",
    "ECDHP384": "ECP384",
    "ECDHP521": "ECP521",
    "DHGroup14": "MODP2048",
    "DHGroup15": "MODP3072",
    "DHGroup16": "MODP4096",
    "DHGroup17": "MODP6144",
    "DHGroup18": "MODP8192",
    "DHGroup19": "ECP256",
    "DHGroup20": "ECP384",
    "DHGroup21": "ECP521",
    "DHGroup28": "BRAINPOOL256",
    "DHGroup29": "BRAINPOOL384",
    "DHGroup30": "BRAINPOOL512",
    "DHGroup31": "X25519",
    "DHGroup32": "X448",
    "DHGroup2": "MODP1024",
    "DHGroup5": "MODP1536",
    # netsh's names of groups in mmsecmethods, and those of the dialogue
    "2": "MODP1024",
    "3": "MODP2048",
    "5": "MODP1536",
    "Medium": "MODP1024",
    "High": "MODP2048",
    "2048": "MODP2048",
}
