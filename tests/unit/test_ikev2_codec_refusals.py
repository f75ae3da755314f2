# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies that are refused: each truncated, oversized or wrong in one place. All are INVALID_SYNTAX (RFC 7296 2.21)."""

from __future__ import annotations

import pytest

from tests.unit.test_ikev2_codec_payloads import CASES, datagram
from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import parse_clear

TRANSFORM = "00 00 0008 02 00 0005"
MORE = "03 00 0008 02 00 0005"
RANGE = "07 06 0010 0000 ffff 0a010000 0a01ffff"

REFUSED: list[tuple[str, int, str]] = [
    ("SA without proposals", 33, ""),
    ("SA cut in a proposal", 33, "00 00 0010"),
    ("proposal shorter than its head", 33, "00 00 0007 01 01 00 00"),
    ("proposal length zero", 33, "00 00 0000 01 01 00 00"),
    ("proposal longer than the payload", 33, "00 00 0011 01 01 00 01" + TRANSFORM),
    ("proposal with octets left over", 33, "00 00 0011 01 01 00 01" + TRANSFORM + "00"),
    ("SA with octets left over", 33, "00 00 0010 01 01 00 01" + TRANSFORM + "00"),
    ("proposal that is neither last nor not", 33, "01 00 0010 01 01 00 01" + TRANSFORM),
    ("a further proposal promised", 33, "02 00 0010 01 01 00 01" + TRANSFORM),
    ("a proposal that nobody promised", 33, "00 00 0008 01 01 00 00 00 00 0008 02 01 00 00"),
    ("SPI longer than the proposal", 33, "00 00 0010 01 01 ff 01" + TRANSFORM),
    ("fewer transforms than counted", 33, "00 00 0010 01 01 00 02" + MORE),
    ("more transforms than counted", 33, "00 00 0018 01 01 00 01" + TRANSFORM + TRANSFORM),
    ("first transform marked last", 33, "00 00 0018 01 01 00 02" + TRANSFORM + TRANSFORM),
    ("last transform marked first", 33, "00 00 0018 01 01 00 02" + MORE + MORE),
    ("too many transforms", 33, f"00 00 {8 + 65 * 8:04x} 01 01 00 41" + MORE * 64 + TRANSFORM),
    ("too many proposals", 33, "02 00 0008 01 01 00 00" * 64 + "00 00 0008 01 01 00 00"),
    ("transform shorter than its head", 33, "00 00 0010 01 01 00 01 00 00 0007 02 00 0005"),
    ("transform longer than its proposal", 33, "00 00 0010 01 01 00 01 00 00 000c 02 00 0005"),
    ("attribute cut short", 33, "00 00 0012 01 01 00 01 00 00 000a 01 00 0014 800e"),
    ("long attribute cut short", 33, "00 00 0014 01 01 00 01 00 00 000c 01 00 0014 000e 0001"),
    ("too many attributes", 33, "00 00 0114 01 01 00 01 00 00 010c 01 00 0014" + "800e0080" * 65),
    ("KE without a method", 34, "001f"),
    ("ID without a type", 35, ""),
    ("ID cut in its head", 36, "01 0000"),
    ("CERT without an encoding", 37, ""),
    ("CERTREQ without an encoding", 38, ""),
    ("AUTH cut in its head", 39, "02 0000"),
    ("nonce too short", 40, "66" * 15),
    ("nonce too long", 40, "66" * 257),
    ("nonce empty", 40, ""),
    ("notify cut in its head", 41, "00 00 40"),
    ("notify SPI longer than the payload", 41, "03 05 4009 01020304"),
    ("delete cut in its head", 42, "01 00"),
    ("delete of the IKE SA with SPI size", 42, "01 08 0000"),
    ("delete of the IKE SA with a count", 42, "01 00 0001"),
    ("delete with SPIs of eight octets", 42, "03 08 0001 0102030405060708"),
    ("delete with SPIs of no octets", 42, "03 00 ffff"),
    ("delete with fewer SPIs than counted", 42, "03 04 0002 01020304"),
    ("delete with more SPIs than counted", 42, "03 04 0001 01020304 05060708"),
    ("delete with too many SPIs", 42, "03 04 0401" + "01020304" * 1025),
    ("TS cut in its head", 44, "01"),
    ("TS without selectors", 44, "00 000000"),
    ("fewer selectors than counted", 45, "02 000000" + RANGE),
    ("more selectors than counted", 45, "01 000000" + RANGE + RANGE),
    ("too many selectors", 44, "41 000000" + RANGE * 65),
    ("selector shorter than its head", 44, "01 000000 07 06 0003 0000 ffff 0a010000 0a01ffff"),
    ("selector of the other family's length", 44, "01 000000 08 06 0010 0000 ffff 0a010000 0a01ffff"),
    ("selector longer than its fields", 44, "01 000000 07 06 0011 0000 ffff 0a010000 0a01ffff 00"),
    ("addresses in the wrong order", 44, "01 000000 07 06 0010 0000 ffff 0a020000 0a01ffff"),
    ("ports in the wrong order", 44, "01 000000 07 06 0010 0002 0001 0a010000 0a01ffff"),
    ("CP cut in its head", 47, "01 0000"),
    ("CP attribute cut short", 47, "01 000000 0001"),
    ("CP attribute longer than the payload", 47, "01 000000 0001 0005 0a000001"),
    ("too many CP attributes", 47, "01 000000" + "0001 0000" * 65),
    ("EAP cut in its head", 48, "02 01 00"),
    ("EAP shorter than it says", 48, "02 01 0007 01 61"),
    ("EAP longer than it says", 48, "02 01 0005 01 61"),
    ("fragment without numbers", 53, "0001"),
    ("fragment zero", 53, "0000 0001 00"),
    ("fragment beyond the last", 53, "0003 0002 00"),
    ("too many fragments", 53, f"0001 {limits.PAYLOADS + 1:04x} 00"),
]  # fmt: skip


# rfc 7296: nonce-size id-no-terminator
@pytest.mark.parametrize(("kind", "body"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_wrong_body_is_refused(kind: int, body: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_clear(datagram(kind, bytes.fromhex(body)))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    assert "payload: " in str(caught.value)


OPEN_ENDED = {34, 35, 36, 37, 38, 39, 43, 47, 200}
"""Payloads that end in data or attributes of any length: cutting that is no fault of syntax."""


@pytest.mark.parametrize(("kind", "body"), [(case[1], case[2]) for case in CASES if case[1] not in OPEN_ENDED])
def test_no_part_of_a_structured_payload_is_taken_for_the_whole(kind: int, body: str) -> None:
    octets = bytes.fromhex(body)
    if kind in (40, 41):
        octets = octets[:16] if kind == 40 else octets[: 4 + octets[1]]
    for size in range(len(octets)):
        with pytest.raises(RemoteProtocolError):
            parse_clear(datagram(kind, octets[:size]))
    assert parse_clear(datagram(kind, octets)).payloads
