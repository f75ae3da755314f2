# SPDX-License-Identifier: GPL-2.0-or-later
"""Which payloads a message must and may hold, and how often (RFC 7296 1.2-1.5, appendix C). Rows, and one checker.

Notify and Vendor ID payloads may stand in every message, and payloads of unknown type are not looked at (2.5).
The order of payloads is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import FIRST_STATUS, ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.message import ClearMessage, Message, SealedMessage
from xfrmd.ike.v2.payloads import CODECS, NotifyPayload

ANY_ERROR: Final = 0
"""Stands in Cardinality.needs for every error type, known or not (RFC 7296 3.10.1)."""

_JUDGED: Final = frozenset(CODECS) - {PayloadType.NOTIFY, PayloadType.VENDOR}
_ONE: Final = (1, 1)
_MAYBE: Final = (0, 1)
_MANY: Final = (0, limits.PAYLOADS)

_CHILD: Final = {PayloadType.SA: _ONE, PayloadType.TSi: _ONE, PayloadType.TSr: _ONE, PayloadType.CP: _MAYBE}
_NEW_CHILD: Final = _CHILD | {PayloadType.NONCE: _ONE, PayloadType.KE: _MAYBE}
_NEW_IKE: Final = {PayloadType.SA: _ONE, PayloadType.NONCE: _ONE, PayloadType.KE: _ONE}
_WHO_I: Final = {
    PayloadType.IDi: _ONE,
    PayloadType.IDr: _MAYBE,
    PayloadType.CERT: _MANY,
    PayloadType.CERTREQ: _MANY,
}
_WHO_R: Final = {PayloadType.IDr: _ONE, PayloadType.CERT: _MANY}
_PROOF: Final = {PayloadType.AUTH: _ONE}
_EAP: Final = {PayloadType.EAP: _ONE}


@dataclass(frozen=True, slots=True, eq=False)
class Cardinality:
    """What one form of one message consists of. There is one of each."""

    name: str
    exchange: ExchangeType
    response: bool
    payloads: Mapping[PayloadType, tuple[int, int]]
    """Least and greatest number by payload type; a known type that is missing here must not occur."""
    needs: int | None = None
    """A Notify Message Type that must occur, ANY_ERROR for one of them all, None for none."""
    sealed: bool = True


# Section 1.2, C.1
IKE_SA_INIT_REQUEST: Final = Cardinality(
    "IKE_SA_INIT request", ExchangeType.IKE_SA_INIT, response=False, payloads=_NEW_IKE, sealed=False
)
IKE_SA_INIT_RESPONSE: Final = Cardinality(
    "IKE_SA_INIT response",
    ExchangeType.IKE_SA_INIT,
    response=True,
    payloads=_NEW_IKE | {PayloadType.CERTREQ: _MANY},
    sealed=False,
)
IKE_SA_INIT_COOKIE: Final = Cardinality(
    "cookie", ExchangeType.IKE_SA_INIT, response=True, payloads={}, needs=NotifyType.COOKIE, sealed=False
)
# RFC 5685 3
IKE_SA_INIT_REDIRECT: Final = Cardinality(
    "redirect", ExchangeType.IKE_SA_INIT, response=True, payloads={}, needs=NotifyType.REDIRECT, sealed=False
)
IKE_SA_INIT_REFUSAL: Final = Cardinality(
    "IKE_SA_INIT refusal", ExchangeType.IKE_SA_INIT, response=True, payloads={}, needs=ANY_ERROR, sealed=False
)
# Section 1.2, C.2; childless: RFC 6023 3
IKE_AUTH_REQUEST: Final = Cardinality(
    "IKE_AUTH request", ExchangeType.IKE_AUTH, response=False, payloads=_WHO_I | _PROOF | _CHILD
)
IKE_AUTH_CHILDLESS_REQUEST: Final = Cardinality(
    "childless IKE_AUTH request",
    ExchangeType.IKE_AUTH,
    response=False,
    payloads=_WHO_I | _PROOF | {PayloadType.CP: _MAYBE},
)
IKE_AUTH_RESPONSE: Final = Cardinality(
    "IKE_AUTH response", ExchangeType.IKE_AUTH, response=True, payloads=_WHO_R | _PROOF | _CHILD
)
IKE_AUTH_CHILD_REFUSAL: Final = Cardinality(
    "IKE_AUTH response without child SA",
    ExchangeType.IKE_AUTH,
    response=True,
    payloads=_WHO_R | _PROOF | {PayloadType.CP: _MAYBE},
)
IKE_AUTH_REFUSAL: Final = Cardinality(
    "IKE_AUTH refusal", ExchangeType.IKE_AUTH, response=True, payloads={}, needs=ANY_ERROR
)
# Section 2.16, C.3
IKE_AUTH_EAP_REQUEST: Final = Cardinality(
    "IKE_AUTH request that wants EAP", ExchangeType.IKE_AUTH, response=False, payloads=_WHO_I | _CHILD
)
IKE_AUTH_EAP_START: Final = Cardinality(
    "IKE_AUTH response that begins EAP", ExchangeType.IKE_AUTH, response=True, payloads=_WHO_R | _PROOF | _EAP
)
IKE_AUTH_EAP_STEP_REQUEST: Final = Cardinality("EAP response", ExchangeType.IKE_AUTH, response=False, payloads=_EAP)
IKE_AUTH_EAP_STEP_RESPONSE: Final = Cardinality("EAP request", ExchangeType.IKE_AUTH, response=True, payloads=_EAP)
IKE_AUTH_EAP_END_REQUEST: Final = Cardinality(
    "IKE_AUTH request after EAP", ExchangeType.IKE_AUTH, response=False, payloads=_PROOF
)
IKE_AUTH_EAP_END_RESPONSE: Final = Cardinality(
    "IKE_AUTH response after EAP", ExchangeType.IKE_AUTH, response=True, payloads=_PROOF | _CHILD
)
# RFC 5723 4.3
_NONCE_ONLY: Final = {PayloadType.NONCE: _ONE}
RESUME_REQUEST: Final = Cardinality(
    "IKE_SESSION_RESUME request",
    ExchangeType.IKE_SESSION_RESUME,
    response=False,
    payloads=_NONCE_ONLY,
    needs=NotifyType.TICKET_OPAQUE,
    sealed=False,
)
RESUME_RESPONSE: Final = Cardinality(
    "IKE_SESSION_RESUME response",
    ExchangeType.IKE_SESSION_RESUME,
    response=True,
    payloads=_NONCE_ONLY,
    sealed=False,
)
RESUME_COOKIE: Final = Cardinality(
    "cookie for IKE_SESSION_RESUME",
    ExchangeType.IKE_SESSION_RESUME,
    response=True,
    payloads={},
    needs=NotifyType.COOKIE,
    sealed=False,
)
RESUME_NACK: Final = Cardinality(
    "ticket that is not taken",
    ExchangeType.IKE_SESSION_RESUME,
    response=True,
    payloads={},
    needs=NotifyType.TICKET_NACK,
    sealed=False,
)
RESUME_REFUSAL: Final = Cardinality(
    "IKE_SESSION_RESUME refusal",
    ExchangeType.IKE_SESSION_RESUME,
    response=True,
    payloads={},
    needs=ANY_ERROR,
    sealed=False,
)
# RFC 9242 3.2, RFC 9370 2.2.2
_NEXT_KE: Final = {PayloadType.KE: _ONE}
IKE_INTERMEDIATE_REQUEST: Final = Cardinality(
    "IKE_INTERMEDIATE request", ExchangeType.IKE_INTERMEDIATE, response=False, payloads=_NEXT_KE
)
IKE_INTERMEDIATE_RESPONSE: Final = Cardinality(
    "IKE_INTERMEDIATE response", ExchangeType.IKE_INTERMEDIATE, response=True, payloads=_NEXT_KE
)
IKE_INTERMEDIATE_REFUSAL: Final = Cardinality(
    "IKE_INTERMEDIATE refusal", ExchangeType.IKE_INTERMEDIATE, response=True, payloads={}, needs=ANY_ERROR
)
# RFC 9370 2.2.4
FOLLOWUP_REQUEST: Final = Cardinality(
    "IKE_FOLLOWUP_KE request",
    ExchangeType.IKE_FOLLOWUP_KE,
    response=False,
    payloads=_NEXT_KE,
    needs=NotifyType.ADDITIONAL_KEY_EXCHANGE,
)
FOLLOWUP_RESPONSE: Final = Cardinality(
    "IKE_FOLLOWUP_KE response", ExchangeType.IKE_FOLLOWUP_KE, response=True, payloads=_NEXT_KE
)
FOLLOWUP_REFUSAL: Final = Cardinality(
    "IKE_FOLLOWUP_KE refusal", ExchangeType.IKE_FOLLOWUP_KE, response=True, payloads={}, needs=ANY_ERROR
)
# Section 1.3.1, 1.3.3, C.4
REKEY_CHILD_REQUEST: Final = Cardinality(
    "CREATE_CHILD_SA request that rekeys a child SA",
    ExchangeType.CREATE_CHILD_SA,
    response=False,
    payloads=_NEW_CHILD,
    needs=NotifyType.REKEY_SA,
)
CREATE_CHILD_REQUEST: Final = Cardinality(
    "CREATE_CHILD_SA request", ExchangeType.CREATE_CHILD_SA, response=False, payloads=_NEW_CHILD
)
CREATE_CHILD_RESPONSE: Final = Cardinality(
    "CREATE_CHILD_SA response", ExchangeType.CREATE_CHILD_SA, response=True, payloads=_NEW_CHILD
)
CREATE_CHILD_REFUSAL: Final = Cardinality(
    "CREATE_CHILD_SA refusal", ExchangeType.CREATE_CHILD_SA, response=True, payloads={}, needs=ANY_ERROR
)
# Section 1.3.2, C.5
REKEY_IKE_REQUEST: Final = Cardinality(
    "CREATE_CHILD_SA request that rekeys the IKE SA", ExchangeType.CREATE_CHILD_SA, response=False, payloads=_NEW_IKE
)
REKEY_IKE_RESPONSE: Final = Cardinality(
    "CREATE_CHILD_SA response that rekeys the IKE SA", ExchangeType.CREATE_CHILD_SA, response=True, payloads=_NEW_IKE
)
# Section 1.4, C.6
_INFORMATION: Final = {PayloadType.DELETE: _MANY, PayloadType.CP: _MAYBE}
INFORMATIONAL_REQUEST: Final = Cardinality(
    "INFORMATIONAL request", ExchangeType.INFORMATIONAL, response=False, payloads=_INFORMATION
)
INFORMATIONAL_RESPONSE: Final = Cardinality(
    "INFORMATIONAL response", ExchangeType.INFORMATIONAL, response=True, payloads=_INFORMATION
)

TABLE: Final = (
    IKE_SA_INIT_REQUEST,
    IKE_SA_INIT_RESPONSE,
    IKE_SA_INIT_COOKIE,
    IKE_SA_INIT_REDIRECT,
    IKE_SA_INIT_REFUSAL,
    RESUME_REQUEST,
    RESUME_RESPONSE,
    RESUME_COOKIE,
    RESUME_NACK,
    RESUME_REFUSAL,
    IKE_AUTH_REQUEST,
    IKE_AUTH_CHILDLESS_REQUEST,
    IKE_AUTH_EAP_REQUEST,
    IKE_AUTH_EAP_STEP_REQUEST,
    IKE_AUTH_EAP_END_REQUEST,
    IKE_AUTH_RESPONSE,
    IKE_AUTH_CHILD_REFUSAL,
    IKE_AUTH_REFUSAL,
    IKE_AUTH_EAP_START,
    IKE_AUTH_EAP_STEP_RESPONSE,
    IKE_AUTH_EAP_END_RESPONSE,
    IKE_INTERMEDIATE_REQUEST,
    IKE_INTERMEDIATE_RESPONSE,
    IKE_INTERMEDIATE_REFUSAL,
    FOLLOWUP_REQUEST,
    FOLLOWUP_RESPONSE,
    FOLLOWUP_REFUSAL,
    REKEY_CHILD_REQUEST,
    CREATE_CHILD_REQUEST,
    REKEY_IKE_REQUEST,
    CREATE_CHILD_RESPONSE,
    REKEY_IKE_RESPONSE,
    CREATE_CHILD_REFUSAL,
    INFORMATIONAL_REQUEST,
    INFORMATIONAL_RESPONSE,
)
"""All rows. Of those for one exchange and direction the first that fits is what a message is."""

_ROWS: Final[dict[tuple[int, bool, bool], tuple[Cardinality, ...]]] = {
    key: tuple(row for row in TABLE if (row.exchange, row.response, row.sealed) == key)
    for key in {(row.exchange, row.response, row.sealed) for row in TABLE}
}


def check_cardinality(message: Message, row: Cardinality) -> None:
    """Demand that a message is of the form of `row`. Raises RemoteProtocolError with INVALID_SYNTAX."""
    fault = _fault(message, row)
    if fault:
        raise RemoteProtocolError(f"{row.name}: {fault}", NotifyType.INVALID_SYNTAX)


def form_of(message: Message) -> Cardinality:
    """The first row that a message fits. Raises RemoteProtocolError with INVALID_SYNTAX when it is no form at all."""
    header = message.header
    rows = _ROWS.get((header.exchange, header.is_response, isinstance(message, SealedMessage)), ())
    for row in rows:
        if not _fault(message, row):
            return row
    reasons = "; ".join(f"{row.name}: {_fault(message, row)}" for row in rows)
    kind = ExchangeType(header.exchange).name
    raise RemoteProtocolError(reasons or f"{kind} has no such message", NotifyType.INVALID_SYNTAX)


# rfc 7296: any-order vendor-id
def _fault(message: Message, row: Cardinality) -> str:
    """What keeps the message from being of this form, "" when nothing does."""
    header = message.header
    if (header.exchange, header.is_response) != (row.exchange, row.response):
        return f"it is a {ExchangeType(header.exchange).name} {'response' if header.is_response else 'request'}"
    if isinstance(message, SealedMessage) != row.sealed:
        return "it is in the clear" if row.sealed else "it is sealed"
    if isinstance(message, ClearMessage) and message.encrypted is not None:
        return "it has an encrypted payload that was not opened"
    fault = _miscounted(tuple([payload.type for payload in message.payloads]), row)
    if fault:
        return fault
    if row.needs is not None and not any(_meets(p, row.needs) for p in message.every(NotifyPayload)):
        return f"no {NotifyType(row.needs).name if row.needs else 'error'} notification"
    return ""


@lru_cache(maxsize=limits.OFFERS)
def _miscounted(kinds: tuple[int, ...], row: Cardinality) -> str:
    """The same, of the types of its payloads alone: hosts of one kind send the same ones."""
    for kind, (least, most) in row.payloads.items():
        if not least <= kinds.count(kind) <= most:
            return f"{kinds.count(kind)} {kind.name} payloads where {least} to {most} may be"
    for unexpected in _JUDGED.intersection(kinds).difference(row.payloads):
        return f"an unexpected {PayloadType(unexpected).name} payload"
    return ""


# rfc 7296: unknown-error
def _meets(payload: NotifyPayload, needs: int) -> bool:
    return payload.notify < FIRST_STATUS if needs == ANY_ERROR else payload.notify == needs
