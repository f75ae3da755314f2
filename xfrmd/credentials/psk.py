# SPDX-License-Identifier: GPL-2.0-or-later
"""Authentication by a shared secret (RFC 7296 2.15)."""

from __future__ import annotations

import hmac
from typing import Final

from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms.compute import prf_compute

KEY_PAD: Final = b"Key Pad for IKEv2"
"""Without a terminating zero."""


def psk_auth(prf: Transform, psk: Secret, signed_octets: bytes) -> bytes:
    """The Authentication Data: prf(prf(psk, "Key Pad for IKEv2"), signed octets). `prf` is the one negotiated.

    `signed_octets` are the sender's: its IKE_SA_INIT message as sent | the other's nonce | prf(SK_p, body of its ID).
    """
    return prf_compute(prf, prf_compute(prf, psk.reveal(), KEY_PAD), signed_octets)


def psk_verify(prf: Transform, psk: Secret, signed_octets: bytes, received: bytes) -> bool:
    """Is `received` the Authentication Data that this secret gives? Takes the same time whatever is wrong with it."""
    return hmac.compare_digest(psk_auth(prf, psk, signed_octets), received)
