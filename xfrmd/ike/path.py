# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands between us and a peer: translators of addresses (RFC 7296 2.23)."""

from __future__ import annotations

from typing import Final, NamedTuple

NAT_T_PORT: Final = 4500
"""Where IKE and ESP in UDP go together once a NAT is known of (RFC 7296 2.23, RFC 3948)."""


class Nat(NamedTuple):
    """Which end is behind a NAT, as far as the hashes of IKE_SA_INIT tell, and whether we act as if one were."""

    here: bool = False
    """Our own address is translated."""
    there: bool = False
    """The peer's is, or it says so."""
    forced: bool = False
    """The policy wants ESP in UDP whatever stands between (`forceencapsulation`)."""

    @property
    def encapsulates(self) -> bool:
        """Does ESP travel in UDP?"""
        return self.here or self.there or self.forced

    @property
    def translates(self) -> bool:
        """Do the two ends see different addresses, as far as we know?"""
        return self.here or self.there

    def __str__(self) -> str:
        ends = ("ours" if self.here else "", "the peer's" if self.there else "")
        return " and ".join(end for end in ends if end) or ("forced" if self.forced else "")


NO_NAT: Final = Nat()
