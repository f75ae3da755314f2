# SPDX-License-Identifier: GPL-2.0-or-later
"""Transform Type 2, pseudorandom function: one row per algorithm (RFC 7296 2.13, RFC 4868 2.1.2, RFC 2104)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd.model.proposals import Transform, TransformType


class PrfRow(NamedTuple):
    """One pseudorandom function. Lengths in octets."""

    name: str
    v1_id: int
    """IKEv1 attribute "Hash Algorithm": its HMAC is IKEv1's prf (RFC 2409 4)."""
    id: int
    key_len: int
    """Preferred key length, that of SK_d, SK_pi and SK_pr."""
    out_len: int
    hash: str
    """Name as hashlib knows it."""
    weak: bool = False
    """Windows Server 2003's: only where the policy allows weak algorithms by name."""

    @property
    def transform(self) -> Transform:
        """The row as it is offered."""
        return Transform(TransformType.PRF, self.id)


# fmt: off
ROWS: Final = (
    #      name      v1 id v2 id key out hash
    PrfRow("SHA256", 4,    5,    32, 32, "sha256"),
    PrfRow("SHA384", 5,    6,    48, 48, "sha384"),
    PrfRow("SHA512", 6,    7,    64, 64, "sha512"),
    PrfRow("SHA1",   2,    2,    20, 20, "sha1", weak=True),
)
# fmt: on
