# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is somewhere else than the policy says at first: hosts between two addresses, tunnels that were redirected."""

from __future__ import annotations

from typing import NamedTuple

from xfrmd.ike.ike_sa import Lineage
from xfrmd.model.addresses import Address


class RedirectName(NamedTuple):
    """Redirected tunnels, by the gateway where they end now and the one that the policy names."""

    gateway: Address
    end: Address


class Elsewhere:
    """All of them. Their number is bounded by what the policy names."""

    __slots__ = ("homeless", "hops", "redirected")

    def __init__(self) -> None:
        self.homeless: dict[Address, Lineage] = {}
        """By the peer's address: IKE SAs that wait for another address of ours."""
        self.redirected: dict[Address, dict[Address, Address]] = {}
        """By the gateway where tunnels end now (RFC 5685): of each end that the policy names for them the gateway that
        sent us away, the latest last. Never empty.
        """
        self.hops: dict[Address, tuple[float, ...]] = {}
        """When tunnels to these ends of the policy were redirected, as far back as counts."""
