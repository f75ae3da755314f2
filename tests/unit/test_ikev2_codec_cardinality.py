# SPDX-License-Identifier: GPL-2.0-or-later
"""Every form of every message of RFC 7296 appendix C, and what is none."""

from __future__ import annotations

import pytest

from tests.unit.sealing import build_sealed
from tests.unit.toy_cipher import ToyCipher
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2 import cardinality as rows
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import Message, build_clear, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import (
    AuthPayload,
    CertPayload,
    CertreqPayload,
    CpPayload,
    DeletePayload,
    EapPayload,
    IdiPayload,
    IdrPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    UnknownPayload,
    VendorPayload,
    WireProposal,
)
from xfrmd.ike.v2.traffic import TrafficSelector

SAMPLES: dict[str, Payload] = {
    "SA": SaPayload((WireProposal(1, 3, b"abcd", ()),)),
    "KE": KePayload(31, b"k" * 32),
    "N": NoncePayload(b"n" * 32),
    "IDi": IdiPayload(2, b"a"),
    "IDr": IdrPayload(2, b"b"),
    "CERT": CertPayload(4, b"c"),
    "CERTREQ": CertreqPayload(4, b"h" * 20),
    "AUTH": AuthPayload(2, b"p" * 32),
    "TSi": TsiPayload((TrafficSelector(4, 0, 1),)),
    "TSr": TsrPayload((TrafficSelector(4, 0, 1),)),
    "CP": CpPayload(1, ()),
    "EAP": EapPayload(b"\x03\x01\x00\x04"),
    "D": DeletePayload(1),
    "V": VendorPayload(b"v"),
    "?": UnknownPayload(200, False, b""),
    "error": NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN),
    "private error": NotifyPayload(9000),
    "status": NotifyPayload(16388, b"x"),
    "private status": NotifyPayload(50000),
    "COOKIE": NotifyPayload(NotifyType.COOKIE, b"c"),
    "REDIRECT": NotifyPayload(NotifyType.REDIRECT, b"r"),
    "TICKET": NotifyPayload(NotifyType.TICKET_OPAQUE, b"t"),
    "NACK": NotifyPayload(NotifyType.TICKET_NACK),
    "LINK": NotifyPayload(NotifyType.ADDITIONAL_KEY_EXCHANGE, b"link"),
    "REKEY_SA": NotifyPayload(NotifyType.REKEY_SA, b"", 3, b"abcd"),
}
CIPHER = ToyCipher()


def message(exchange: int, response: bool, sealed: bool, names: str) -> Message:
    header = Header.of(b"i" * 8, b"r" * 8, exchange, 1, initiator=True, response=response)
    chain = [SAMPLES[name] for name in names.split(", ") if name]
    if not sealed:
        return parse_clear(build_clear(header, chain))
    return open_sealed(parse_clear(build_sealed(header, chain, CIPHER, bytes(8))), CIPHER)


INIT, AUTH, CHILD, INFO = (ExchangeType(n) for n in (34, 35, 36, 37))
RESUME = ExchangeType.IKE_SESSION_RESUME
REQUEST, RESPONSE = False, True

FORMS = [
    (rows.IKE_SA_INIT_REQUEST, "SA, KE, N"),
    (rows.IKE_SA_INIT_REQUEST, "COOKIE, SA, KE, N, status, status, V, V, ?"),
    (rows.IKE_SA_INIT_REQUEST, "N, KE, SA"),
    (rows.IKE_SA_INIT_RESPONSE, "SA, KE, N, status, CERTREQ, CERTREQ, V"),
    (rows.IKE_SA_INIT_COOKIE, "COOKIE, V"),
    (rows.IKE_SA_INIT_REDIRECT, "REDIRECT, V"),
    (rows.IKE_SA_INIT_REFUSAL, "error"),
    (rows.IKE_SA_INIT_REFUSAL, "status, private error"),
    (rows.RESUME_REQUEST, "N, TICKET"),
    (rows.RESUME_REQUEST, "COOKIE, TICKET, N, status, status, V, ?"),
    (rows.RESUME_RESPONSE, "N, status, V"),
    (rows.RESUME_COOKIE, "COOKIE"),
    (rows.RESUME_NACK, "NACK, V"),
    (rows.RESUME_REFUSAL, "error"),
    (rows.IKE_AUTH_REQUEST, "IDi, AUTH, SA, TSi, TSr"),
    (rows.IKE_AUTH_REQUEST, "IDi, CERT, CERT, status, CERTREQ, IDr, AUTH, CP, SA, TSi, TSr, V, ?"),
    (rows.IKE_AUTH_CHILDLESS_REQUEST, "IDi, AUTH"),
    (rows.IKE_AUTH_EAP_REQUEST, "IDi, IDr, CP, SA, TSi, TSr"),
    (rows.IKE_AUTH_EAP_STEP_REQUEST, "EAP"),
    (rows.IKE_AUTH_EAP_END_REQUEST, "AUTH"),
    (rows.IKE_AUTH_RESPONSE, "IDr, CERT, AUTH, CP, SA, TSi, TSr, status"),
    (rows.IKE_AUTH_CHILD_REFUSAL, "IDr, AUTH, error"),
    (rows.IKE_AUTH_REFUSAL, "error"),
    (rows.IKE_AUTH_EAP_START, "IDr, AUTH, EAP"),
    (rows.IKE_AUTH_EAP_STEP_RESPONSE, "EAP"),
    (rows.IKE_AUTH_EAP_END_RESPONSE, "AUTH, SA, TSi, TSr"),
    (rows.IKE_INTERMEDIATE_REQUEST, "KE"),
    (rows.IKE_INTERMEDIATE_RESPONSE, "KE, status, V"),
    (rows.IKE_INTERMEDIATE_REFUSAL, "error"),
    (rows.FOLLOWUP_REQUEST, "KE, LINK"),
    (rows.FOLLOWUP_RESPONSE, "KE"),
    (rows.FOLLOWUP_RESPONSE, "LINK, KE"),
    (rows.FOLLOWUP_REFUSAL, "status, error"),
    (rows.REKEY_CHILD_REQUEST, "REKEY_SA, SA, N, KE, TSi, TSr"),
    (rows.REKEY_CHILD_REQUEST, "SA, N, TSi, TSr, status, REKEY_SA"),
    (rows.CREATE_CHILD_REQUEST, "SA, N, TSi, TSr"),
    (rows.REKEY_IKE_REQUEST, "SA, N, KE"),
    (rows.CREATE_CHILD_RESPONSE, "SA, N, KE, TSi, TSr"),
    (rows.REKEY_IKE_RESPONSE, "SA, N, KE, V"),
    (rows.CREATE_CHILD_REFUSAL, "error"),
    (rows.INFORMATIONAL_REQUEST, ""),
    (rows.INFORMATIONAL_REQUEST, "D, D, status, error, CP"),
    (rows.INFORMATIONAL_RESPONSE, ""),
    (rows.INFORMATIONAL_RESPONSE, "D, private status"),
]


# rfc 7296: any-order unknown-error unknown-status vendor-id
@pytest.mark.parametrize(("row", "names"), FORMS, ids=[f"{row.name}: {names}" for row, names in FORMS])
def test_a_message_is_recognised_and_fits_its_row(row: rows.Cardinality, names: str) -> None:
    found = message(row.exchange, row.response, row.sealed, names)
    rows.check_cardinality(found, row)
    assert rows.form_of(found) is row


def test_every_row_is_in_the_table_and_has_a_form_here() -> None:
    assert {row.name for row, _ in FORMS} == {row.name for row in rows.TABLE}
    assert len({row.name for row in rows.TABLE}) == len(rows.TABLE)


WRONG = [
    (RESUME, REQUEST, False, "N"),
    (RESUME, REQUEST, False, "TICKET"),
    (RESUME, REQUEST, False, "N, N, TICKET"),
    (RESUME, REQUEST, False, "N, TICKET, SA"),
    (RESUME, REQUEST, False, "N, TICKET, KE"),
    (RESUME, RESPONSE, False, ""),
    (RESUME, RESPONSE, False, "N, SA"),
    (RESUME, RESPONSE, False, "N, N"),
    (RESUME, REQUEST, True, "N, TICKET"),
    (INIT, REQUEST, False, "KE, N"),
    (INIT, REQUEST, False, "SA, N"),
    (INIT, REQUEST, False, "SA, KE"),
    (INIT, REQUEST, False, "SA, SA, KE, N"),
    (INIT, REQUEST, False, "SA, KE, KE, N"),
    (INIT, REQUEST, False, "SA, KE, N, N"),
    (INIT, REQUEST, False, "SA, KE, N, IDi"),
    (INIT, REQUEST, False, "SA, KE, N, D"),
    (INIT, REQUEST, True, "SA, KE, N"),
    (INIT, REQUEST, False, "error"),
    (INIT, RESPONSE, False, "status"),
    (INIT, RESPONSE, False, ""),
    (AUTH, REQUEST, False, "IDi, AUTH, SA, TSi, TSr"),
    (AUTH, REQUEST, True, "AUTH, SA, TSi, TSr"),
    (AUTH, REQUEST, True, "IDi, IDi, AUTH, SA, TSi, TSr"),
    (AUTH, REQUEST, True, "IDi, AUTH, AUTH, SA, TSi, TSr"),
    (AUTH, REQUEST, True, "IDi, AUTH, SA, TSi"),
    (AUTH, REQUEST, True, "IDi, AUTH, TSi, TSr"),
    (AUTH, REQUEST, True, ""),
    (AUTH, RESPONSE, True, "IDi, AUTH, SA, TSi, TSr"),
    (AUTH, RESPONSE, True, "IDr, SA, TSi, TSr"),
    (AUTH, RESPONSE, False, "error"),
    (CHILD, REQUEST, True, "SA, TSi, TSr"),
    (CHILD, REQUEST, True, "SA, N"),
    (CHILD, REQUEST, True, "REKEY_SA, N, TSi, TSr"),
    (CHILD, REQUEST, True, "SA, N, TSi, TSi, TSr"),
    (CHILD, REQUEST, False, "SA, N, TSi, TSr"),
    (CHILD, RESPONSE, True, "SA, N"),
    (CHILD, RESPONSE, True, "status"),
    (INFO, REQUEST, False, "D"),
    (INFO, REQUEST, False, ""),
    (INFO, REQUEST, True, "AUTH"),
    (ExchangeType(99), REQUEST, True, ""),
]


# rfc 7296: rekey-ike-ke informational-protected
@pytest.mark.parametrize(("exchange", "response", "sealed", "names"), WRONG)
def test_what_has_no_form_is_invalid_syntax(exchange: int, response: bool, sealed: bool, names: str) -> None:
    found = message(exchange, response, sealed, names)
    with pytest.raises(RemoteProtocolError) as caught:
        rows.form_of(found)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    for row in rows.TABLE:
        with pytest.raises(RemoteProtocolError, match=row.name):
            rows.check_cardinality(found, row)


def test_a_closed_message_has_no_form() -> None:
    header = Header.of(b"i" * 8, b"r" * 8, INIT, 0, initiator=True, response=False)
    closed = parse_clear(build_sealed(header, [SAMPLES["SA"], SAMPLES["KE"], SAMPLES["N"]], CIPHER, bytes(8)))
    with pytest.raises(RemoteProtocolError, match="not opened"):
        rows.form_of(closed)


def test_faults_are_named() -> None:
    found = message(AUTH, REQUEST, True, "IDi, AUTH, SA, TSi")
    with pytest.raises(RemoteProtocolError, match="IKE_AUTH request: 0 TSr payloads where 1 to 1 may be"):
        rows.check_cardinality(found, rows.IKE_AUTH_REQUEST)
