# SPDX-License-Identifier: GPL-2.0-or-later
"""Transform Type 3, integrity: one row per algorithm (RFC 4868 2.1.1, 2.6; RFC 2404)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd.model.proposals import Transform, TransformType


class IntegRow(NamedTuple):
    """One integrity algorithm, an HMAC cut to its first half, SHA1's to 96 bits. Lengths in octets."""

    name: str
    v1_ike_id: int
    """IKEv1 attribute "Hash Algorithm"."""
    v1_esp_id: int
    """IKEv1 attribute "Authentication Algorithm" of ESP and AH (RFC 2407 4.5)."""
    id: int
    key_len: int
    icv_len: int
    kernel_name: str
    """Name of XFRMA_ALG_AUTH_TRUNC."""
    kernel_trunc_bits: int
    hash: str
    """Name as hashlib knows it."""
    weak: bool = False
    """Windows Server 2003's: only where the policy allows weak algorithms by name."""

    @property
    def transform(self) -> Transform:
        """The row as it is offered."""
        return Transform(TransformType.INTEG, self.id)


# fmt: off
ROWS: Final = (
    #        name      v1 ike v1 esp v2 id key icv kernel          bits hash
    IntegRow("SHA256", 4,     5,     12,   32, 16, "hmac(sha256)", 128, "sha256"),
    IntegRow("SHA384", 5,     6,     13,   48, 24, "hmac(sha384)", 192, "sha384"),
    IntegRow("SHA512", 6,     7,     14,   64, 32, "hmac(sha512)", 256, "sha512"),
    IntegRow("SHA1",   2,     2,     2,    20, 12, "hmac(sha1)",   96,  "sha1", weak=True),
)
# fmt: on
