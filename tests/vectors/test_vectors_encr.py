# SPDX-License-Identifier: GPL-2.0-or-later
"""Ciphers as IKE uses them, against published answers."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.transforms import catalog, encr
from xfrmd.transforms.compute import IkeCipher


class Answer(NamedTuple):
    """Octets as hex; an AEAD's key has its salt appended and its ciphertext the ICV."""

    source: str
    key: str
    iv: str
    plaintext: str
    aad: str
    ciphertext: str


def spelled_out(size: int) -> Answer:
    """AES-CCM as RFC 3610 2 has it, over single blocks: a nonce of 11 octets, an ICV of 16 (RFC 4309 4)."""
    key, nonce, aad, text = bytes(range(size)), b"saltivivivi", b"from the header to the IV", b"an IKE message or two"
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    first = bytes([0x40 | 7 << 3 | 3]) + nonce + len(text).to_bytes(4)
    covered = first + padded(len(aad).to_bytes(2) + aad) + padded(text)
    tag = bytes(16)
    for place in range(0, len(covered), 16):
        tag = block(xor(tag, covered[place : place + 16]))
    stream = [block(b"\x03" + nonce + counter.to_bytes(4)) for counter in range(3)]
    sealed = xor(text, b"".join(stream[1:])) + xor(tag, stream[0])
    return Answer("RFC 3610", (key + nonce[:3]).hex(), nonce[3:].hex(), text.hex(), aad.hex(), sealed.hex())


def padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 16)


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


GCM_KEY = "feffe9928665731c6d6a8f9467308308"
GCM_SALT, GCM_IV = "cafebabe", "facedbaddecaf888"
GCM_PLAINTEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
NIST_PLAINTEXT = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
NIST_IV = "000102030405060708090a0b0c0d0e0f"

ANSWERS = {
    "AES128-GCM": Answer(
        "McGrew, Viega: The Galois/Counter Mode of Operation, test case 4",
        GCM_KEY + GCM_SALT,
        GCM_IV,
        GCM_PLAINTEXT,
        GCM_AAD,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
    ),
    "AES192-GCM": Answer(
        "as above, test case 10",
        GCM_KEY + GCM_KEY[:16] + GCM_SALT,
        GCM_IV,
        GCM_PLAINTEXT,
        GCM_AAD,
        "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c"
        "7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda27102519498e80f1478f37ba55bd6d27618c",
    ),
    "AES256-GCM": Answer(
        "as above, test case 16",
        GCM_KEY + GCM_KEY + GCM_SALT,
        GCM_IV,
        GCM_PLAINTEXT,
        GCM_AAD,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    ),
    "AES128": Answer(
        "RFC 3602 4, case 4",
        "56e47a38c5598974bc46903dba290349",
        "8ce82eefbea0da3c44699ed7db51b7d9",
        bytes(range(0xA0, 0xE0)).hex(),
        "",
        "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e"
        "35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
    ),
    "AES192": Answer(
        "NIST SP 800-38A F.2.3, first block",
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        NIST_IV,
        NIST_PLAINTEXT[:32],
        "",
        "4f021db243bc633d7178183a9fa071e8",
    ),
    "AES256": Answer(
        "NIST SP 800-38A F.2.5, first two blocks",
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        NIST_IV,
        NIST_PLAINTEXT,
        "",
        "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
    ),
    "CHACHA20-POLY1305": Answer(
        "RFC 7634 appendix B: an IKEv2 INFORMATIONAL with one notify",
        bytes(range(0x80, 0xA0)).hex() + "a0a1a2a3",
        "1011121314151617",
        "0000000c000040010000000a00",
        "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
        "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2",
    ),
    "AES128-CTR": Answer(
        "RFC 3686 6, test vector 1",
        "ae6852f8121067cc4bf7a5765577f39e" + "00000030",
        "0000000000000000",
        b"Single block msg".hex(),
        "",
        "e4095d4fb7a7b3792d6175a3261311b8",
    ),
    "AES192-CTR": Answer(
        "RFC 3686 6, test vector 4",
        "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515" + "00000048",
        "36733c147d6d93cb",
        b"Single block msg".hex(),
        "",
        "4b55384fe259c9c84e7935a003cbe928",
    ),
    "AES256-CTR": Answer(
        "RFC 3686 6, test vector 7",
        "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104" + "00000060",
        "db5672c97aa8f0b2",
        b"Single block msg".hex(),
        "",
        "145ad01dbf824ec7560863dc71e3e0c0",
    ),
    **{f"AES{size}-CCM": spelled_out(size // 8) for size in (128, 192, 256)},
    "3DES": Answer(
        "NIST's example values for TDES in CBC mode, three keys",
        "0123456789abcdef23456789abcdef01456789abcdef0123",
        "f69f2445df4f9b17",
        NIST_PLAINTEXT,
        "",
        "2079c3d53aa763e193b79e2569ab5262516570481f25b50f73c0bda85c8e0da7",
    ),
}
INTEG_KEY = bytes(range(32))
IKE = [row for row in encr.ROWS if row.ike]


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def cipher_of(row: encr.EncrRow) -> IkeCipher:
    key = octets(ANSWERS[row.name].key)
    if row.aead:
        return IkeCipher.new(row.transform, key)
    return IkeCipher.new(row.transform, key, catalog.integrity("SHA256"), INTEG_KEY)


def sealed_answer(row: encr.EncrRow) -> bytes:
    """The published ciphertext, with CBC's HMAC by RFC 7296 3.14 computed here by other means."""
    answer = ANSWERS[row.name]
    ciphertext = octets(answer.ciphertext)
    if row.aead:
        return ciphertext
    covered = octets(answer.aad) + octets(answer.iv) + ciphertext
    return ciphertext + hmac.new(INTEG_KEY, covered, hashlib.sha256).digest()[:16]


def test_every_row_has_its_answer() -> None:
    assert {row.name for row in IKE} == set(ANSWERS)


def test_null_does_not_protect_ike() -> None:
    null = next(row for row in encr.ROWS if not row.ike)
    with pytest.raises(LocalProtocolError, match="does not protect IKE"):
        IkeCipher.new(null.transform, b"", catalog.integrity("SHA256"), INTEG_KEY)


@pytest.mark.parametrize("row", IKE, ids=lambda r: r.name)
def test_seal(row: encr.EncrRow) -> None:
    answer = ANSWERS[row.name]
    sealed = cipher_of(row).seal(octets(answer.iv), octets(answer.plaintext), octets(answer.aad))
    assert sealed.hex() == sealed_answer(row).hex(), answer.source


@pytest.mark.parametrize("row", IKE, ids=lambda r: r.name)
def test_open(row: encr.EncrRow) -> None:
    answer = ANSWERS[row.name]
    opened = cipher_of(row).open(octets(answer.iv), sealed_answer(row), octets(answer.aad))
    assert opened.hex() == answer.plaintext, answer.source


@pytest.mark.parametrize("row", IKE, ids=lambda r: r.name)
def test_open_refuses_one_wrong_bit_anywhere(row: encr.EncrRow) -> None:
    answer, cipher, sealed = ANSWERS[row.name], cipher_of(row), sealed_answer(row)
    iv, aad = octets(answer.iv), octets(answer.aad) or b"aad"
    if not answer.aad:
        sealed = cipher.seal(iv, octets(answer.plaintext), aad)

    def flipped(data: bytes, place: int) -> bytes:
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    wrong = [(flipped(iv, place), sealed, aad) for place in range(len(iv))]
    wrong += [(iv, flipped(sealed, place), aad) for place in range(len(sealed))]
    wrong += [(iv, sealed, flipped(aad, place)) for place in range(len(aad))]
    for case in wrong:
        with pytest.raises(RemoteProtocolError) as caught:
            cipher.open(*case)
        assert caught.value.notify == 0, "nobody is answered whose message is not authentic"
