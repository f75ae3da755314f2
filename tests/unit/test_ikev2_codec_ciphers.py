# SPDX-License-Identifier: GPL-2.0-or-later
"""Sealed messages under real transforms, taken apart with the bare primitives: which octets are covered, and where."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.unit.sealing import build_sealed
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import open_sealed, parse_clear
from xfrmd.ike.v2.payloads import DeletePayload
from xfrmd.model.proposals import Transform
from xfrmd.transforms.catalog import encryption, integrity
from xfrmd.transforms.compute import IkeCipher

HEADER = Header.of(b"i" * 8, b"r" * 8, 37, 3, initiator=True, response=False)
INNER = bytes.fromhex("00 00 0008 01 00 0000")
ICVS = {"SHA256": 16, "SHA384": 24, "SHA512": 32}


@pytest.mark.parametrize("name", ["AES128-GCM", "AES256-GCM", "CHACHA20-POLY1305"])
def test_an_aead_authenticates_everything_up_to_the_iv(name: str) -> None:
    size = 16 if "128" in name else 32
    key, salt, iv = b"k" * size, b"salt", b"\0" * 7 + b"\x09"
    octets = build_sealed(HEADER, [DeletePayload(1)], IkeCipher.new(encryption(name), key + salt), iv)
    assert (octets[16], octets[28], octets[32:40]) == (46, 42, iv)
    assert int.from_bytes(octets[24:28]) == len(octets)
    assert int.from_bytes(octets[30:32]) == len(octets) - 28
    aead = ChaCha20Poly1305(key) if name.startswith("CHACHA") else AESGCM(key)
    plaintext = aead.decrypt(salt + iv, octets[40:], octets[:32])
    assert plaintext[:8] == INNER
    assert plaintext[-1] == len(plaintext) - 9


@pytest.mark.parametrize("hash_name", ["SHA256", "SHA384", "SHA512"])
@pytest.mark.parametrize("bits", [128, 256])
def test_an_hmac_covers_everything_before_the_icv(hash_name: str, bits: int) -> None:
    encr_key, iv = b"e" * (bits // 8), bytes(range(16))
    integ_key = b"a" * hashlib.new(hash_name).digest_size
    cipher = IkeCipher.new(encryption(f"AES{bits}"), encr_key, integrity(hash_name), integ_key)
    octets = build_sealed(HEADER, [DeletePayload(1)], cipher, iv)
    icv = ICVS[hash_name]
    assert octets[-icv:] == hmac.digest(integ_key, octets[:-icv], hash_name)[:icv]
    decryptor = Cipher(algorithms.AES(encr_key), modes.CBC(octets[32:48])).decryptor()
    plaintext = decryptor.update(octets[48:-icv])
    assert octets[32:48] == iv
    assert plaintext == INNER + bytes(7) + b"\x07"


def ciphers() -> list[IkeCipher]:
    return [
        IkeCipher.new(encryption("AES128-GCM"), b"k" * 20),
        IkeCipher.new(encryption("AES256"), b"k" * 32, integrity("SHA256"), b"a" * 32),
    ]


# rfc 7296: icv-covers-all
@pytest.mark.parametrize("cipher", ciphers(), ids=["AEAD", "CBC"])
def test_any_changed_octet_is_not_authentic(cipher: IkeCipher) -> None:
    octets = build_sealed(HEADER, [DeletePayload(1)], cipher, bytes(cipher.iv_len))
    assert open_sealed(parse_clear(octets), cipher).payloads == (DeletePayload(1),)
    refused = 0
    for index in range(len(octets)):
        broken = bytearray(octets)
        broken[index] ^= 0x80
        try:
            clear = parse_clear(bytes(broken))
        except RemoteProtocolError:
            continue
        with pytest.raises(RemoteProtocolError) as caught:
            open_sealed(clear, cipher)
        assert caught.value.notify == 0
        refused += 1
    assert refused > 50


def test_transforms_of_proposals_have_the_numbers_of_the_registry() -> None:
    assert encryption("AES128-GCM") == Transform(1, 20, 128)
