# SPDX-License-Identifier: GPL-2.0-or-later
"""Refusals and edges of prf, prf+, ciphers and key derivation; the right answers are in tests/vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.model.proposals import Transform, TransformType
from xfrmd.transforms import catalog, encr
from xfrmd.transforms.compute import IkeCipher, prf_compute, prf_plus
from xfrmd.transforms.keymat import child_keys, ike_keys

PRF = catalog.prf("SHA256")
GCM = catalog.encryption("AES128-GCM")
CBC = catalog.encryption("AES128")
SHA256 = catalog.integrity("SHA256")
UNKNOWN = [Transform(TransformType.ENCR, 2), Transform(TransformType.PRF, 1), Transform(TransformType.INTEG, 1)]


IKE = [row for row in encr.ROWS if row.ike]
"""Those that protect IKE."""


def cipher_of(row: encr.EncrRow) -> IkeCipher:
    key = bytes(range(row.key_len))
    return IkeCipher.new(row.transform, key) if row.aead else IkeCipher.new(row.transform, key, SHA256, bytes(32))


@pytest.mark.parametrize("row", IKE, ids=lambda r: r.name)
@pytest.mark.parametrize("blocks", [0, 1, 7, 1000])
def test_what_is_sealed_is_opened(row: encr.EncrRow, blocks: int) -> None:
    cipher = cipher_of(row)
    plaintext = bytes(blocks * cipher.block_len)
    sealed = cipher.seal(bytes(cipher.iv_len), plaintext, b"header")
    assert len(sealed) == len(plaintext) + cipher.icv_len
    assert cipher.open(bytes(cipher.iv_len), sealed, b"header") == plaintext
    assert cipher_of(row).open(bytes(cipher.iv_len), sealed, b"header") == plaintext, "the other end's cipher does too"


@pytest.mark.parametrize("row", IKE, ids=lambda r: r.name)
def test_sizes_that_cannot_be_are_the_peer_s_fault(row: encr.EncrRow) -> None:
    cipher = cipher_of(row)
    sealed = cipher.seal(bytes(cipher.iv_len), bytes(16), b"")
    for iv_len in range(20):
        if iv_len != cipher.iv_len:
            with pytest.raises(RemoteProtocolError):
                cipher.open(bytes(iv_len), sealed, b"")
    for length in range(len(sealed)):
        with pytest.raises(RemoteProtocolError):
            cipher.open(bytes(cipher.iv_len), sealed[:length], b"")


def test_an_authentic_ciphertext_of_broken_blocks_is_refused() -> None:
    """CBC would raise below us: only its own sender could make the ICV fit, and even then nothing escapes."""
    cipher = cipher_of(next(row for row in encr.ROWS if row.name == "AES128"))
    for length in (1, 15, 17):
        body = bytes(length)
        icv = prf_compute(PRF, bytes(32), b"aad" + bytes(16) + body)[:16]
        with pytest.raises(RemoteProtocolError, match="blocks"):
            cipher.open(bytes(16), body + icv, b"aad")
    for length in (0, 8):
        icv = prf_compute(PRF, bytes(32), b"aad" + bytes(length) + bytes(16))[:16]
        with pytest.raises(RemoteProtocolError, match="blocks"):
            cipher.open(bytes(length), bytes(16) + icv, b"aad")


@given(st.sampled_from(IKE), st.binary(max_size=20), st.binary(max_size=80), st.binary(max_size=40))
def test_octets_that_nobody_sealed_are_the_peer_s_fault(
    row: encr.EncrRow, iv: bytes, sealed: bytes, aad: bytes
) -> None:
    with pytest.raises(RemoteProtocolError):
        cipher_of(row).open(iv, sealed, aad)


@pytest.mark.parametrize(
    ("encryption", "encr_key", "integrity", "integ_key"),
    [
        (GCM, bytes(16), None, b""),  # the salt is missing
        (GCM, bytes(20), SHA256, bytes(32)),
        (CBC, bytes(16), None, b""),
        (CBC, bytes(16), SHA256, bytes(31)),
        (CBC, bytes(20), SHA256, bytes(32)),
        (CBC, bytes(16), Transform(TransformType.INTEG, 1), bytes(16)),
        (Transform(TransformType.ENCR, 2), bytes(8), SHA256, bytes(32)),
    ],
)
def test_ciphers_that_cannot_be_made(
    encryption: Transform, encr_key: bytes, integrity: Transform | None, integ_key: bytes
) -> None:
    with pytest.raises(LocalProtocolError):
        IkeCipher.new(encryption, encr_key, integrity, integ_key)


def test_unknown_algorithms_are_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="PRF 1"):
        prf_compute(UNKNOWN[1], b"", b"")
    with pytest.raises(LocalProtocolError, match="PRF 1"):
        ike_keys(UNKNOWN[1], GCM, None, ni=b"", nr=b"", shared=b"", spi_i=b"", spi_r=b"")
    with pytest.raises(LocalProtocolError, match="ENCR 2"):
        ike_keys(PRF, UNKNOWN[0], None, ni=b"", nr=b"", shared=b"", spi_i=b"", spi_r=b"")
    with pytest.raises(LocalProtocolError, match="INTEG 1"):
        child_keys(PRF, b"", ni=b"", nr=b"", shared=None, encr=CBC, integ=UNKNOWN[2])


# rfc 7296: prf-plus
@pytest.mark.parametrize("length", [0, -1, 255 * 32 + 1])
def test_prf_plus_has_bounds(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        prf_plus(PRF, b"key", b"seed", length)


def test_keys_are_never_shown() -> None:
    ike = ike_keys(PRF, GCM, None, ni=b"i", nr=b"r", shared=b"z", spi_i=b"1" * 8, spi_r=b"2" * 8)
    child = child_keys(PRF, ike.sk_d, ni=b"i", nr=b"r", shared=None, encr=GCM, integ=None)
    for shown in (repr(ike), str(ike), f"{ike}", repr(child), str(child)):
        assert ike.sk_d.hex() not in shown
        assert "b'" not in shown
        assert "\\x" not in shown


def test_directions_have_different_keys() -> None:
    keys = ike_keys(PRF, CBC, SHA256, ni=b"i", nr=b"r", shared=b"z", spi_i=b"1" * 8, spi_r=b"2" * 8)
    parts = [keys.sk_d, keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er, keys.sk_pi, keys.sk_pr]
    assert len(set(parts)) == 7
