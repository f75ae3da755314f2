# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for every message: it reads as it was written, and octets are a message or the peer's error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.ikev2_strategies import chains, headers
from tests.unit.sealing import build_sealed
from tests.unit.toy_cipher import ToyCipher
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.cardinality import form_of
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import Payload

CIPHERS = st.sampled_from([ToyCipher(), ToyCipher(16, 12, 16), ToyCipher(0, 32, 4)])


@given(headers, chains)
def test_a_clear_message_reads_as_it_was_written(header: Header, chain: tuple[Payload, ...]) -> None:
    octets = build_clear(header, chain)
    message = parse_clear(octets)
    assert message.payloads == chain
    assert message.header._replace(next_payload=0, length=0) == header
    assert build_clear(header, message.payloads) == octets


@given(headers, chains, CIPHERS)
def test_a_sealed_message_reads_as_it_was_written(
    header: Header, chain: tuple[Payload, ...], cipher: ToyCipher
) -> None:
    message = open_sealed(parse_clear(build_sealed(header, chain, cipher, bytes(cipher.iv_len))), cipher)
    assert message.payloads == chain


@given(headers, chains, st.data())
def test_a_changed_message_is_a_message_or_the_peers_error(
    header: Header, chain: tuple[Payload, ...], data: st.DataObject
) -> None:
    octets = bytearray(build_clear(header, chain))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(28, len(octets))) :]
    octets[24:28] = len(octets).to_bytes(4)
    try:
        message = parse_clear(bytes(octets))
        form_of(message)
    except RemoteProtocolError as error:
        assert str(error)  # noqa: PT017 (that it is of this family is the assertion)
        return
    assert parse_clear(build_clear(message.header, message.payloads)).payloads == message.payloads


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_octets_after_a_header_are_a_message_or_the_peers_error(body: bytes, first: int) -> None:
    octets = build_clear(Header.of(b"i" * 8, bytes(8), 34, 0, initiator=True, response=False), [])
    octets = octets[:16] + bytes((first,)) + octets[17:24] + (28 + len(body)).to_bytes(4) + body
    try:
        assert parse_clear(octets).raw == octets
    except RemoteProtocolError as error:
        assert error.notify in (1, 7)  # noqa: PT017 (as above)
