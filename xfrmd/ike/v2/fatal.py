# SPDX-License-Identifier: GPL-2.0-or-later
"""Which error notifications end an IKE SA, whoever says them. All others end the exchange that they answer, no more."""

from __future__ import annotations

from typing import Final

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload

_ALWAYS: Final = frozenset({NotifyType.INVALID_SYNTAX, NotifyType.AUTHENTICATION_FAILED})
"""RFC 7296 2.21.3: no Delete payload is needed beside them."""
_AT_FIRST: Final = _ALWAYS | {NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD}
"""In IKE_AUTH and in the INFORMATIONAL exchange that follows it (RFC 7296 2.21.2)."""


# rfc 7296: invalid-syntax-fatal critical-in-auth
def ends(sa: IkeSa, notify: int) -> bool:
    """Does this error end the IKE SA, when it is our answer or the peer's?"""
    return notify in (_ALWAYS if sa.handshake is None else _AT_FIRST)


def said(sa: IkeSa, message: Message) -> NotifyPayload | None:
    """The first notification of an authentic message of the peer's that ends the IKE SA."""
    kinds = _AT_FIRST if sa.handshake is not None or _follows_auth(sa, message) else _ALWAYS
    return next((one for one in message.every(NotifyPayload) if one.notify in kinds), None)


def _follows_auth(sa: IkeSa, message: Message) -> bool:
    """Is it the first request of an initiator that has read our IKE_AUTH response? One exchange for IKE_SA_INIT and one
    for each additional key exchange have come before IKE_AUTH, or IKE_SESSION_RESUME alone (RFC 5723 4.3). Under an IKE
    SA that CREATE_CHILD_SA has made there is none.
    """
    if sa.initiator or sa.rekeyed or message.header.is_response:
        return False
    additional = 0 if sa.lineage.resumed else len(sa.agreed_suite.additional)
    return message.header.message_id == 2 + additional
