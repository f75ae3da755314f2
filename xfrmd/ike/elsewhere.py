# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is somewhere else than the policy says at first: hosts between two addresses, tunnels that were redirected."""

from __future__ import annotations

from typing import NamedTuple

from xfrmd.ike.ike_sa import Lineage
from xfrmd.model.addresses import Address


class Redirected(NamedTuple):
    """A tunnel that ends at another gateway than the policy names (RFC 5685)."""

    end: Address
    """The one that the policy names."""
    last: Address
    """The one that sent us away."""


class RedirectName(NamedTuple):
    """A redirected tunnel, by the gateway where it ends now."""

    gateway: Address


class Elsewhere:
    """All of them. Their number is bounded by what the policy names."""

    __slots__ = ("homeless", "hops", "redirected")

    def __init__(self) -> None:
        self.homeless: dict[Address, Lineage] = {}
        """By the peer's address: IKE SAs that wait for another address of ours."""
        self.redirected: dict[Address, Redirected] = {}
        """By the gateway where the tunnel ends now."""
        self.hops: dict[Address, tuple[float, ...]] = {}
        """When tunnels to these ends of the policy were redirected, as far back as counts."""
