# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole messages: header, chain, sealing and opening."""

from __future__ import annotations

import pytest

from tests.unit.sealing import build_sealed
from tests.unit.toy_cipher import ToyCipher
from xfrmd import limits
from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header, parse_header
from xfrmd.ike.v2.message import ClearMessage, SealedMessage, build_clear, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import (
    DeletePayload,
    IdiPayload,
    IdPayload,
    IdrPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SkPayload,
    UnknownPayload,
    VendorPayload,
)

SPI_I, SPI_R = b"\x01" * 8, b"\x02" * 8
REQUEST = Header.of(SPI_I, SPI_R, ExchangeType.INFORMATIONAL, 7, initiator=True, response=False)
CIPHERS = [ToyCipher(), ToyCipher(16, 16, 16), ToyCipher(0, 12, 4)]
CONTENTS: list[tuple[Payload, ...]] = [
    (),
    (DeletePayload(1),),
    (NotifyPayload(16393, b"", 3, b"abcd"), VendorPayload(b"x" * 11), UnknownPayload(250, False, b"?")),
]


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_clear(data)
    return caught.value


# rfc 7296: flags
def test_a_header_tells_who_and_what() -> None:
    header = parse_header(build_clear(REQUEST, []))
    assert header == REQUEST._replace(length=28)
    assert (header.from_initiator, header.is_response, header.major) == (True, False, 2)
    answer = Header.of(SPI_I, SPI_R, 37, 7, initiator=False, response=True)
    assert (answer.flags, answer.from_initiator, answer.is_response) == (0x20, False, True)


# rfc 7296: minor-version reserved-zero flags
def test_a_higher_minor_version_and_reserved_flags_are_read() -> None:
    octets = bytearray(build_clear(REQUEST, []))
    octets[17], octets[19] = 0x2F, 0xFF
    assert parse_clear(bytes(octets)).header.flags == 0xFF


def test_payloads_are_found_by_class_and_notify() -> None:
    chain = (NotifyPayload(16388, b"s"), KePayload(31, b"k"), NotifyPayload(16388, b"t"), IdrPayload(1, b"abcd"))
    message = parse_clear(build_clear(REQUEST, chain))
    assert message.payloads == chain
    assert message.first(KePayload) == KePayload(31, b"k")
    assert message.first(NoncePayload) is None
    assert message.first(IdiPayload) is None
    assert message.first(IdPayload) == IdrPayload(1, b"abcd")
    assert message.every(NotifyPayload) == (chain[0], chain[2])
    assert message.notify(16388) == chain[0]
    assert message.notify(16389) is None


# rfc 7296: unknown-uncritical
def test_an_unknown_payload_survives_unless_critical() -> None:
    chain = (UnknownPayload(200, False, b"abc"), NoncePayload(b"n" * 16), UnknownPayload(49, False, b""))
    octets = build_clear(REQUEST, chain)
    assert parse_clear(octets).payloads == chain
    assert build_clear(REQUEST, parse_clear(octets).payloads) == octets
    error = refusal(build_clear(REQUEST, [NoncePayload(b"n" * 16), UnknownPayload(200, True, b"abc")]))
    assert (error.notify, error.data) == (NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("chain", CONTENTS)
def test_what_is_sealed_opens_to_the_same(cipher: ToyCipher, chain: tuple[Payload, ...]) -> None:
    octets = build_sealed(REQUEST, chain, cipher, bytes(cipher.iv_len))
    clear = parse_clear(octets)
    assert isinstance(clear.encrypted, SkPayload)
    assert (len(clear.encrypted.body) - cipher.iv_len - cipher.icv_len) % cipher.block_len == 0
    opened = open_sealed(clear, cipher)
    assert type(opened) is SealedMessage
    assert (opened.payloads, opened.raw, opened.header) == (chain, octets, clear.header)
    assert opened.header.length == len(octets)
    assert octets[29] == 0
    inner = build_clear(REQUEST, chain)[28:]
    assert opened.plaintext == inner


def test_clear_and_sealed_messages_are_no_kind_of_each_other() -> None:
    assert not issubclass(SealedMessage, ClearMessage)
    assert not issubclass(ClearMessage, SealedMessage)


# rfc 7296: icv-covers-all
def test_every_octet_of_a_sealed_message_is_covered() -> None:
    cipher = ToyCipher()
    octets = build_sealed(REQUEST, CONTENTS[2], cipher, b"i" * 8)
    for index in range(len(octets)):
        broken = bytearray(octets)
        broken[index] ^= 0x01
        try:
            clear = parse_clear(bytes(broken))
        except RemoteProtocolError:
            continue
        with pytest.raises(RemoteProtocolError) as caught:
            open_sealed(clear, cipher)
        assert caught.value.notify == 0, f"octet {index}: what is not authentic is not answered"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_sealed_message_cut_short_is_refused_everywhere(cipher: ToyCipher) -> None:
    octets = build_sealed(REQUEST, CONTENTS[1], cipher, bytes(cipher.iv_len))
    for size in range(len(octets)):
        short = bytearray(octets[:size])
        if size >= 32:
            short[24:28] = size.to_bytes(4)
            short[30:32] = (size - 28).to_bytes(2)
        with pytest.raises(RemoteProtocolError):
            open_sealed(parse_clear(bytes(short)), cipher)


def sealed_plaintext(plaintext: bytes, first: int, cipher: ToyCipher) -> ClearMessage:
    """A message with a right ICV over whatever octets."""
    body = 4 + cipher.iv_len + len(plaintext) + cipher.icv_len
    head = bytearray(build_clear(REQUEST._replace(), [])[:28] + bytes((first, 0)) + body.to_bytes(2))
    head[16], head[24:28] = 46, (28 + body).to_bytes(4)
    iv = bytes(cipher.iv_len)
    return parse_clear(bytes(head) + iv + cipher.seal(iv, plaintext, bytes(head)))


@pytest.mark.parametrize(
    ("plaintext", "first", "notify"),
    [
        (b"\x01", 0, NotifyType.INVALID_SYNTAX),
        (b"\x00\x00\x05\x04", 0, NotifyType.INVALID_SYNTAX),
        (b"abc\x00", 0, NotifyType.INVALID_SYNTAX),
        (b"\x00\x00\x00\x08\x01\x04\x00\x00\x00", 41, NotifyType.INVALID_SYNTAX),
        (b"\x00\x00\x00\x04\x00", 40, NotifyType.INVALID_SYNTAX),
        (b"\x00\x00\x00\x08iv__\x00", 46, NotifyType.INVALID_SYNTAX),
        (b"\x00\x00\x00\x0c\x00\x01\x00\x01iv__\x00", 53, NotifyType.INVALID_SYNTAX),
        (b"\x00\x80\x00\x05!\x00", 222, NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD),
    ],
    ids=["padding only", "padding too long", "left over", "notify short", "nonce empty", "SK", "SKF", "critical"],
)
def test_faults_inside_an_authentic_message_have_an_answer(plaintext: bytes, first: int, notify: int) -> None:
    cipher = ToyCipher()
    with pytest.raises(RemoteProtocolError) as caught:
        open_sealed(sealed_plaintext(plaintext, first, cipher), cipher)
    assert caught.value.notify == notify


# rfc 7296: any-padding
def test_any_padding_is_taken_off() -> None:
    cipher = ToyCipher()
    assert open_sealed(sealed_plaintext(b"\x07\x08\x09\x03", 0, cipher), cipher).payloads == ()
    vendor = b"\x00\x00\x00\x06ab"
    assert open_sealed(sealed_plaintext(vendor + b"?" * 255 + b"\xff", 43, cipher), cipher).plaintext == vendor


def test_what_has_no_sk_payload_does_not_open() -> None:
    for clear in (parse_clear(build_clear(REQUEST, [])), sealed_plaintext(b"\x00", 0, ToyCipher())):
        with pytest.raises(RemoteProtocolError) as caught:
            open_sealed(clear, ToyCipher(key=b"other"))
        assert caught.value.notify == 0


def test_clear_payloads_before_an_sk_payload_are_no_part_of_what_is_sealed() -> None:
    cipher, iv = ToyCipher(), bytes(8)
    inner = b"\x00\x00\x00\x06in\x00"
    head = bytearray(build_clear(REQUEST, [VendorPayload(b"out")]))
    head[28] = 46
    body = 4 + 8 + len(inner) + 16
    head += bytes((43, 0)) + body.to_bytes(2)
    head[24:28] = (len(head) - 4 + body).to_bytes(4)
    clear = parse_clear(bytes(head) + iv + cipher.seal(iv, inner, bytes(head)))
    assert clear.payloads == (VendorPayload(b"out"),)
    assert open_sealed(clear, cipher).payloads == (VendorPayload(b"in"),)


def test_a_wrong_iv_is_our_own_error() -> None:
    with pytest.raises(LocalProtocolError):
        build_sealed(REQUEST, [], ToyCipher(), b"short")


def test_a_payload_too_long_for_its_length_is_our_own_error() -> None:
    with pytest.raises(LocalProtocolError):
        build_clear(REQUEST, [VendorPayload(bytes(65532))])


def header_octets(**changes: int) -> bytes:
    octets = bytearray(build_clear(REQUEST, [VendorPayload(b"v")]))
    for name, value in changes.items():
        at, size = {"version": (17, 1), "length": (24, 4), "first": (16, 1), "payload": (30, 2)}[name]
        octets[at : at + size] = value.to_bytes(size)
    return bytes(octets)


# rfc 7296: spi-nonzero length
@pytest.mark.parametrize(
    ("data", "notify"),
    [
        (b"", 0),
        (bytes(27), 0),
        (bytes(limits.DATAGRAM_SIZE + 1), 0),
        (header_octets(version=0x10), NotifyType.INVALID_MAJOR_VERSION),
        (header_octets(version=0x30), NotifyType.INVALID_MAJOR_VERSION),
        (header_octets(length=32), NotifyType.INVALID_SYNTAX),
        (header_octets(length=34), NotifyType.INVALID_SYNTAX),
        (header_octets(length=0xFFFFFFFF), NotifyType.INVALID_SYNTAX),
        (NO_SPI + header_octets()[8:], NotifyType.INVALID_SYNTAX),
        (header_octets(first=0), NotifyType.INVALID_SYNTAX),
        (header_octets(payload=0), NotifyType.INVALID_SYNTAX),
        (header_octets(payload=3), NotifyType.INVALID_SYNTAX),
        (header_octets(payload=4), NotifyType.INVALID_SYNTAX),
        (header_octets(payload=6), NotifyType.INVALID_SYNTAX),
        (header_octets(payload=0xFFFF), NotifyType.INVALID_SYNTAX),
    ],
)
def test_headers_that_are_refused(data: bytes, notify: int) -> None:
    assert refusal(data).notify == notify


# rfc 7296: sk-last
def test_an_sk_payload_must_be_the_last() -> None:
    octets = bytearray(build_clear(REQUEST, [VendorPayload(b"iv"), VendorPayload(b"v")]))
    octets[16] = 46
    assert "left over" in str(refusal(bytes(octets)))


# rfc 7296: size-1280
def test_the_longest_message_is_read() -> None:
    vendor = VendorPayload(bytes(limits.DATAGRAM_SIZE - 32))
    assert parse_clear(build_clear(REQUEST, [vendor])).payloads == (vendor,)


def test_payloads_are_counted() -> None:
    most = [VendorPayload(b"")] * limits.PAYLOADS
    assert len(parse_clear(build_clear(REQUEST, most)).payloads) == limits.PAYLOADS
    assert refusal(build_clear(REQUEST, [*most, VendorPayload(b"")])).notify == NotifyType.INVALID_SYNTAX
