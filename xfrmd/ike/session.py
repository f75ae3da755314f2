# SPDX-License-Identifier: GPL-2.0-or-later
"""What of an IKE SA can go on in another one, without a key exchange and a proof of identity (RFC 5723 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xfrmd.ike.proven import Proofs
from xfrmd.ike.select import Suite
from xfrmd.model.addresses import Address
from xfrmd.model.pad import Identity
from xfrmd.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Session:
    """Ours and the peer's as the end sees it that keeps this. Times in seconds since 1970."""

    until: float
    """From then on it is of no use."""
    authenticated: float
    """When both ends have really proved who they are."""
    local: Address
    remote: Address
    local_id: Identity
    remote_id: Identity
    suite: Suite
    sk_d: Secret
    """Of the IKE SA (RFC 7296 2.14): who resumes it must know this."""
    proof: bytes
    """How the peer was authenticated, as saving.proof tells it: by another policy it does not go on."""
    proofs: Proofs


class Held(NamedTuple):
    """A ticket that a peer has given us, and what goes with it."""

    ticket: bytes
    session: Session


class HeldName(NamedTuple):
    """Whose ticket it is: there is one for a peer's address."""

    remote: Address


class SpentName(NamedTuple):
    """A ticket of ours that no longer counts, by its name."""

    name: bytes
