# SPDX-License-Identifier: GPL-2.0-or-later
"""Each payload beside its octets, written down by hand from the figures of RFC 7296 3 and RFC 7383 2.5, both ways."""

from __future__ import annotations

import pytest

from xfrmd.ike.v2.constants import PayloadType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import (
    Attribute,
    AuthPayload,
    CertPayload,
    CertreqPayload,
    CpAttribute,
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
    SkfPayload,
    SkPayload,
    TsiPayload,
    TsrPayload,
    UnknownPayload,
    UnknownSelector,
    VendorPayload,
    WireProposal,
    WireTransform,
)
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.proposals import Transform
from xfrmd.model.selector import Ports

SPI_I, SPI_R = bytes.fromhex("0102030405060708"), bytes.fromhex("1112131415161718")
HEADER = Header.of(SPI_I, SPI_R, 37, 5, initiator=True, response=False)
V4 = TrafficSelector(4, 0x0A010000, 0x0A01FFFF, 6, Ports(445, 445))
V6 = TrafficSelector(6, 0xFD << 120, (0xFD << 120) + 1)

# payload, type, body
CASES: list[tuple[Payload, int, str]] = [
    (
        SaPayload((
            WireProposal(1, 1, b"", (
                WireTransform(1, 20, (Attribute(14, 128),)), WireTransform(2, 5), WireTransform(4, 31))),
        )),
        33,
        ("00 00 0024 01 01 00 03"
        "03 00 000c 01 00 0014 800e 0080"
        "03 00 0008 02 00 0005"
        "00 00 0008 04 00 001f"),
    ),
    (
        SaPayload((
            WireProposal(1, 3, bytes.fromhex("c0ffee01"), (WireTransform(5, 0),)),
            WireProposal(2, 2, bytes.fromhex("c0ffee02"), (WireTransform(3, 12, (Attribute(99, b"abc"),)),)),
            WireProposal(3, 200, b"", ()),
        )),
        33,
        ("02 00 0014 01 03 04 01 c0ffee01 00 00 0008 05 00 0000"
        "02 00 001b 02 02 04 01 c0ffee02 00 00 000f 03 00 000c 0063 0003 616263"
        "00 00 0008 03 c8 00 00"),
    ),
    (KePayload(31, b"\xaa" * 32), 34, "001f 0000" + "aa" * 32),
    (IdiPayload(1, bytes((10, 1, 0, 5))), 35, "01 000000 0a010005"),
    (IdrPayload(2, b"gw.example"), 36, "02 000000" + b"gw.example".hex()),
    (IdrPayload(11, b"", b"\x01\x02\x03"), 36, "0b 010203"),
    (CertPayload(4, b"\x30\x82"), 37, "04 3082"),
    (CertreqPayload(4, b"\x11" * 20 + b"\x22" * 20), 38, "04" + "11" * 20 + "22" * 20),
    (AuthPayload(2, b"\x55" * 32), 39, "02 000000" + "55" * 32),
    (NoncePayload(b"\x66" * 16), 40, "66" * 16),
    (NoncePayload(b"\x66" * 256), 40, "66" * 256),
    (NotifyPayload(16391), 41, "00 00 4007"),
    (NotifyPayload(16393, b"", 3, b"\x01\x02\x03\x04"), 41, "03 04 4009 01020304"),
    (NotifyPayload(17, b"\x00\x13"), 41, "00 00 0011 0013"),
    (NotifyPayload(40999, b"?"), 41, "00 00 a027 3f"),
    (DeletePayload(1), 42, "01 00 0000"),
    (DeletePayload(3, (b"abcd", b"efgh")), 42, "03 04 0002 61626364 65666768"),
    (VendorPayload(b"xfrmd"), 43, b"xfrmd".hex()),
    (VendorPayload(b""), 43, ""),
    (TsiPayload((V4,)), 44, "01 000000 07 06 0010 01bd 01bd 0a010000 0a01ffff"),
    (
        TsrPayload((V6, V4._replace(ports=OPAQUE), UnknownSelector(9, 0, b"\x01\x02"))),
        45,
        "03 000000 08 00 0028 0000 ffff" + "fd" + "00" * 15 + "fd" + "00" * 14 + "01"
        "07 06 0010 ffff 0000 0a010000 0a01ffff"
        "09 00 0006 0102",
    ),
    (CpPayload(1, (CpAttribute(1), CpAttribute(3, b"\x0a\x00\x00\x01"))), 47, "01 000000 0001 0000 0003 0004 0a000001"),
    (CpPayload(4, ()), 47, "04 000000"),
    (EapPayload(bytes.fromhex("02 01 0006 01 61")), 48, "02 01 0006 01 61"),
    (UnknownPayload(200, False, b"whatever"), 200, b"whatever".hex()),
]  # fmt: skip


def datagram(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A message of one payload, put together without the codec."""
    chain = bytes((0, flags)) + (len(body) + 4).to_bytes(2) + body
    return SPI_I + SPI_R + bytes((kind, 0x20, 37, 0x08)) + (5).to_bytes(4) + (28 + len(chain)).to_bytes(4) + chain


# rfc 7296: proposal-numbers notify-spi delete-form
@pytest.mark.parametrize(("payload", "kind", "body"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_a_payload_and_its_octets(payload: Payload, kind: int, body: str) -> None:
    octets = datagram(kind, bytes.fromhex(body))
    assert payload.type == kind
    assert build_clear(HEADER, [payload]) == octets
    assert parse_clear(octets).payloads == (payload,)


def test_every_payload_type_has_a_case() -> None:
    assert {case[1] for case in CASES} == set(PayloadType) - {0, PayloadType.SK, PayloadType.SKF} | {200}


def test_an_sk_payload_stays_closed() -> None:
    clear = parse_clear(datagram(46, b"ciphertext"))
    assert clear.encrypted == SkPayload(0, 32, b"ciphertext")
    assert clear.payloads == ()


def test_an_encrypted_fragment_shows_its_place() -> None:
    clear = parse_clear(datagram(53, bytes.fromhex("0002 0003") + b"ciphertext"))
    assert clear.encrypted == SkfPayload(0, 36, b"ciphertext", 2, 3)


# rfc 7296: critical-ignored
def test_the_critical_bit_of_a_known_payload_is_ignored() -> None:
    assert parse_clear(datagram(40, b"\x66" * 16, flags=0x80)).payloads == (NoncePayload(b"\x66" * 16),)


# rfc 7296: reserved-zero
def test_reserved_bits_are_ignored() -> None:
    assert parse_clear(datagram(43, b"v", flags=0x7F)).payloads == (VendorPayload(b"v"),)
    body = bytes.fromhex("01 ffffff 8001 0000")
    assert parse_clear(datagram(47, body)).payloads == (CpPayload(1, (CpAttribute(1),)),)


# rfc 7296: auth-octets
def test_the_octets_that_auth_covers_are_kept_as_they_came() -> None:
    payload = parse_clear(datagram(35, bytes.fromhex("02 aabbcc 6162"))).first(IdiPayload)
    assert payload is not None
    assert payload.body == bytes.fromhex("02 aabbcc 6162")
    assert payload.identity == Identity(IdType.FQDN, b"ab")
    assert IdiPayload.of(payload.identity).body == bytes.fromhex("02 000000 6162")


# rfc 7296: certreq-hashes
def test_key_hashes_of_authorities() -> None:
    assert CertreqPayload(4, b"\x11" * 20 + b"\x22" * 20).key_hashes == (b"\x11" * 20, b"\x22" * 20)
    assert CertreqPayload(4, b"\x11" * 21).key_hashes == (b"\x11" * 20,)


@pytest.mark.parametrize(
    ("wire", "understood"),
    [
        (WireTransform(1, 20, (Attribute(14, 256),)), Transform(1, 20, 256)),
        (WireTransform(2, 5), Transform(2, 5)),
        (WireTransform(77, 9), Transform(77, 9)),
        (WireTransform(1, 20, (Attribute(14, 0),)), None),
        (WireTransform(1, 20, (Attribute(14, b"\x01\x00"),)), None),
        (WireTransform(1, 20, (Attribute(15, 256),)), None),
        (WireTransform(1, 20, (Attribute(14, 256), Attribute(14, 128))), None),
    ],
)
def test_a_transform_is_understood_only_with_attributes_that_are_known(
    wire: WireTransform, understood: Transform | None
) -> None:
    assert wire.understood == understood
    if understood is not None:
        assert WireTransform.of(understood) == wire


# rfc 7296: unknown-attribute
def test_a_proposal_leaves_out_what_it_does_not_understand() -> None:
    ours = WireProposal.of(1, 3, b"abcd", [Transform(1, 12, 256), Transform(3, 12)])
    assert ours.understood == (Transform(1, 12, 256), Transform(3, 12))
    odd = ours._replace(transforms=(WireTransform(1, 12, (Attribute(99, 1),)), *ours.transforms))
    assert odd.understood == ours.understood
