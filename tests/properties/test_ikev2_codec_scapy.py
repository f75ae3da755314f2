# SPDX-License-Identifier: GPL-2.0-or-later
"""scapy as an independent encoder and decoder of IKEv2."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2 as sc

from tests.properties.ikev2_scapy import pairs, scapy_message, scapy_payloads
from tests.properties.ikev2_strategies import spis, u32
from xfrmd.ike.v2 import fragments
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, open_sealed, parse_clear, seal_content
from xfrmd.ike.v2.payloads import Payload, SkfPayload
from xfrmd.model.proposals import Transform
from xfrmd.transforms.compute import IkeCipher

HEADER = Header.of(b"\x01" * 8, b"\x02" * 8, 36, 9, initiator=True, response=False)
KEY, SALT = bytes(range(16)), b"salt"
CIPHER = IkeCipher.new(Transform(1, 20, 128), KEY + SALT)
ICV = 16


@settings(max_examples=150, deadline=None)
@given(spis, st.binary(min_size=8, max_size=8), st.integers(34, 37), u32, st.lists(pairs, min_size=1, max_size=5))
def test_both_write_and_read_the_same_octets(
    spi_i: bytes, spi_r: bytes, exchange: int, number: int, chain: list[tuple[Payload, Any]]
) -> None:
    header = Header.of(spi_i, spi_r, exchange, number, initiator=True, response=False)
    ours = build_clear(header, [payload for payload, _ in chain])
    theirs = scapy_message(header, [part for _, part in chain])
    assert ours == theirs
    assert parse_clear(theirs).payloads == tuple(payload for payload, _ in chain)
    assert scapy_payloads(ours) == [payload for payload, _ in chain]


def closed_by_scapy(header: Header, first: int, content: bytes, iv: bytes, fragment: tuple[int, int] | None) -> bytes:
    """A sealed message whose outside is scapy's, and whose inside is closed by the library (RFC 5282 3)."""

    def message(load: bytes) -> bytes:
        common: dict[str, Any] = {"next_payload": first, "load": load}
        if fragment is None:
            return scapy_message(header, [sc.IKEv2_Encrypted(**common)])
        number, total = fragment
        return scapy_message(header, [sc.IKEv2_Encrypted_Fragment(frag_number=number, frag_total=total, **common)])

    plain = content + b"\0"
    head = message(bytes(len(iv) + len(plain) + ICV))[: -(len(iv) + len(plain) + ICV)]
    return message(iv + AESGCM(KEY).encrypt(SALT + iv, plain, head))


inside = st.lists(pairs, min_size=1, max_size=5)
ivs = st.binary(min_size=8, max_size=8)


@settings(max_examples=100, deadline=None)
@given(inside, ivs)
def test_sealed_messages_are_the_same_outside_and_inside(chain: list[tuple[Payload, Any]], iv: bytes) -> None:
    plain = scapy_message(HEADER, [part for _, part in chain])
    first, content = plain[16], plain[28:]
    ours = seal_content(HEADER._replace(next_payload=46), first, content, CIPHER, iv)
    theirs = closed_by_scapy(HEADER, first, content, iv, None)
    assert ours == theirs
    assert open_sealed(parse_clear(theirs), CIPHER).payloads == tuple(payload for payload, _ in chain)
    closed = sc.IKEv2(ours)[sc.IKEv2_Encrypted]
    assert (closed.next_payload, closed.load[:8]) == (first, iv)


@settings(max_examples=100, deadline=None)
@given(inside, ivs, st.integers(2, 9))
def test_fragments_of_scapy_are_joined_and_ours_are_read(
    chain: list[tuple[Payload, Any]], iv: bytes, total: int
) -> None:
    plain = scapy_message(HEADER, [part for _, part in chain])
    first, content = plain[16], plain[28:]
    size = -(-len(content) // total)
    arrived, whole = fragments.Reassembly(HEADER.message_id), None
    for number in range(1, total + 1):
        part = content[(number - 1) * size : number * size]
        data = closed_by_scapy(HEADER, first if number == 1 else 0, part, iv, (number, total))
        head = number.to_bytes(2) + total.to_bytes(2)
        outer = HEADER._replace(next_payload=53)
        assert seal_content(outer, first if number == 1 else 0, part, CIPHER, iv, head=head) == data
        layer = sc.IKEv2(data)[sc.IKEv2_Encrypted_Fragment]
        assert (layer.frag_number, layer.frag_total, layer.load[:8]) == (number, total, iv)
        clear = parse_clear(data)
        assert isinstance(clear.encrypted, SkfPayload)
        assert whole is None
        whole = arrived.add(clear, clear.encrypted, CIPHER)
    assert whole is not None
    assert whole.payloads == tuple(payload for payload, _ in chain)


# rfc 7296: length
@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_datagram_that_scapy_shortens_is_refused(cut: int) -> None:
    octets = scapy_message(HEADER, [sc.IKEv2_Nonce(nonce=b"n" * 16), sc.IKEv2_KE(group=31, ke=b"k" * 32)])
    if cut == 0:
        assert len(parse_clear(octets).payloads) == 2
        return
    with pytest.raises(Exception, match="length"):
        parse_clear(octets[:-cut])
