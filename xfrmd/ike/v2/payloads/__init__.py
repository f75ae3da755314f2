# SPDX-License-Identifier: GPL-2.0-or-later
"""All payloads of RFC 7296, one class each. A new one is a class and a line in CODECS."""

from __future__ import annotations

from typing import Final

from xfrmd.ike.v2.payloads.cert import CertPayload, CertreqPayload
from xfrmd.ike.v2.payloads.configuration import CpAttribute, CpPayload
from xfrmd.ike.v2.payloads.encrypted import SkfPayload, SkPayload
from xfrmd.ike.v2.payloads.identity import AuthPayload, IdiPayload, IdPayload, IdrPayload
from xfrmd.ike.v2.payloads.ke import KePayload
from xfrmd.ike.v2.payloads.notify import DeletePayload, NotifyPayload
from xfrmd.ike.v2.payloads.opaque import EapPayload, NoncePayload, UnknownPayload, VendorPayload
from xfrmd.ike.v2.payloads.payload import Decodable, Payload
from xfrmd.ike.v2.payloads.sa import Attribute, SaPayload, WireProposal, WireTransform
from xfrmd.ike.v2.payloads.ts import TsiPayload, TsPayload, TsrPayload, UnknownSelector

__all__ = [
    "CODECS",
    "Attribute",
    "AuthPayload",
    "CertPayload",
    "CertreqPayload",
    "CpAttribute",
    "CpPayload",
    "Decodable",
    "DeletePayload",
    "EapPayload",
    "IdPayload",
    "IdiPayload",
    "IdrPayload",
    "KePayload",
    "NoncePayload",
    "NotifyPayload",
    "Payload",
    "SaPayload",
    "SkPayload",
    "SkfPayload",
    "TsPayload",
    "TsiPayload",
    "TsrPayload",
    "UnknownPayload",
    "UnknownSelector",
    "VendorPayload",
    "WireProposal",
    "WireTransform",
]

_KINDS: Final = (
    SaPayload,
    KePayload,
    IdiPayload,
    IdrPayload,
    CertPayload,
    CertreqPayload,
    AuthPayload,
    NoncePayload,
    NotifyPayload,
    DeletePayload,
    VendorPayload,
    TsiPayload,
    TsrPayload,
    CpPayload,
    EapPayload,
)
CODECS: Final[dict[int, type[Decodable]]] = {kind.type: kind for kind in _KINDS}
"""Payload type to class. SK and SKF are no members: only a whole message can hold them."""
