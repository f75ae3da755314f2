# SPDX-License-Identifier: GPL-2.0-or-later
"""What the AUTH payloads of both ends cover (RFC 7296 2.15, RFC 9242 3.3)."""

from __future__ import annotations

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2 import intermediate
from xfrmd.ike.v2.payloads import IdPayload
from xfrmd.transforms.compute import prf_compute


# rfc 7296: auth-octets
def of_initiator(sa: IkeSa, identity: IdPayload, sk_pi: bytes) -> bytes:
    """What the initiator's AUTH covers. `sk_pi`: with or without a PPK."""
    handshake = sa.greeting
    signed = handshake.request + handshake.nonce_r + prf_compute(sa.agreed_channel.prf, sk_pi, identity.body)
    return signed + intermediate.authenticated(sa)


# rfc 7296: auth-octets
def of_responder(sa: IkeSa, identity: IdPayload) -> bytes:
    """What the responder's AUTH covers."""
    handshake = sa.greeting
    prf = sa.agreed_channel.prf
    signed = handshake.response + handshake.nonce_i + prf_compute(prf, handshake.sk_pr, identity.body)
    return signed + intermediate.authenticated(sa)
