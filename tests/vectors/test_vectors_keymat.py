# SPDX-License-Identifier: GPL-2.0-or-later
"""Key derivation: NIST's IKEv2 answers (CAVS, SP 800-135 4.1.2) for each prf, and RFC 7296 2.13-2.18 in plain words."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import pytest

from xfrmd.credentials.psk import psk_auth, psk_verify
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms import catalog, encr, integ, prf
from xfrmd.transforms.compute import prf_plus
from xfrmd.transforms.keymat import child_keys, ike_keys


class Cavs(NamedTuple):
    ni: str
    nr: str
    spi_i: str
    spi_r: str
    shared: str
    new_shared: str
    skeyseed: str
    dkm: str
    rekey_skeyseed: str


CAVS = {
    "SHA256": Cavs(
        "3f302be1abcb28e1",
        "8c332ee006064c9b",
        "40dac39e1e1a8640",
        "8619a1cf9a6e4c07",
        "0f4d257d7a58fc4545c7d7a88119eee5d5c9690c5b4c989171d3abbfd99d1d29",
        "25f3b12d6f282739256e39bf54eda53b60ffcf379bb7bcc90c27b4c4c578616c",
        "5f00d1bd2c58ec224b1e6b71fa0f19a1faa7a193952c444411b47c1a9d8ba6fe",
        "0b137d669b0947d7d026d593f0305ad401ff0c471357d695778a9c7f4b4869ece98aca531188d16041b3bb936d2dbb3b"
        "4993a6e768a809160de45d0283f273a6cdf6854379e31be72b8d3d1fa990cf9c5b015ca9f918a7df6253c958114a09d4"
        "e1c19bdcd4db14b29d98db1a74ad405c588662c14a04d0d36aa4ab55e90f8986d12d4aad",
        "2d63f6debc92048b4fef3889c4c99ca67d6496e0fac14a2bca9a2d6566ff2398",
    ),
    "SHA384": Cavs(
        "fd1b572a8e735591",
        "6013b0ef88dacd3d",
        "2116ad07ce61f749",
        "24880e55f11a65b7",
        "d3288cd87565101e88fe3bad918f31939d8dd26ff1071f8b2d7f447524e58d7c",
        "3358f620539473aee8d07e779764c4c6a9aabddc79a28e136b3bac021dbde44a",
        "69fe7a1ac94adaeb711295f5fe004b1a8d6a0b65d05692758ce8ad2f7a45f59d7d0b596f51f7dfcf3330061888f6a94f",
        "4f904c2025c90c817ea5ff9b662a6fdb445a73b57cdf09eacd379b95e1f03cacb04cd6deeda4f952191dd9bc1f7a9502"
        "471a648d74dc06d38112de48a42501f6b1a3ad55c2099cd9a648e5f17e5bf3e34bf9b5953decb768a34f875fe2b78dca"
        "0c2fcca81ec1a412006dfaed38fa06882e61f4c148105fb8e231fdb33c4d484c001721d4",
        "e0548c1682e13bce454026b3b1bdf42985b24e4e7408095a7c529de38c3d1fcb04c9fe6868042a34c9614c6c99e3fcea",
    ),
    "SHA512": Cavs(
        "97c41a9b0a03e74c",
        "a659fd06e1746600",
        "ff43c5c689b95481",
        "e2ba607f30079bb7",
        "276255c3eaace5c6db32b609aa86c0ef07bba4bf2dc4c262995efd95ca607c3f",
        "bb4015f7727b35532021336a9e4a6370ac8729b01fbb8f15d52236820fac4709",
        "d6e74966b75fd2afab48be319d63d97c8a5d2ffe2e320763a462c664b36c3a94"
        "4067d867c3a55fd8a7e5cca64b22e24415987e15549f09a81b455adaa5303df8",
        "22259105314717dc73c210919ee9cb3ded774dc087e866aa3960404c0ed7b8e78e79b993888388e2e5cb238d4bfcb4cd"
        "ee9da074a26e329d6c2f2f660cc9c711c941a2fb3d85a2e5d01e579c8f2c9d00fa6fabe76a137b00c7ff1b2918999065"
        "88c26f073d819063238c4c844f0f8d221b65b76dbc9ed6f6368e5dba86b3e81b60eb44a1",
        "ecdaf3ccb990abc898a453b03fd56f9975275f150e1e571b0560b3cb2ee67289"
        "e82b899cdc2129fd821fe8aebea796f190765c25798f5883f923526551f16a4b",
    ),
}
GCM = catalog.encryption("AES128-GCM")
CBC = catalog.encryption("AES256")
STRONG = [row for row in prf.ROWS if not row.weak]
"""The weak one is held by its RFC's answers and by the definitions below."""


def plain_prf_plus(name: str, key: bytes, seed: bytes, length: int) -> bytes:
    """RFC 7296 2.13: T1 = prf(K, S | 1), Tn = prf(K, Tn-1 | S | n)."""
    out = block = b""
    number = 1
    while len(out) < length:
        block = hmac.new(key, block + seed + bytes([number]), name).digest()
        out += block
        number += 1
    return out[:length]


def test_every_prf_has_its_answer() -> None:
    assert {row.name for row in STRONG} == set(CAVS)


# rfc 7296: skeyseed
@pytest.mark.parametrize("row", STRONG, ids=lambda r: r.name)
def test_keys_of_an_ike_sa(row: prf.PrfRow) -> None:
    case = CAVS[row.name]
    ni, nr, spi_i, spi_r, shared = (bytes.fromhex(t) for t in (case.ni, case.nr, case.spi_i, case.spi_r, case.shared))
    keys = ike_keys(row.transform, GCM, None, ni=ni, nr=nr, shared=shared, spi_i=spi_i, spi_r=spi_r)
    assert prf_plus(row.transform, bytes.fromhex(case.skeyseed), ni + nr + spi_i + spi_r, 132).hex() == case.dkm
    stream = keys.sk_d + keys.sk_ai + keys.sk_ar + keys.sk_ei + keys.sk_er + keys.sk_pi + keys.sk_pr
    assert len(stream) == 3 * row.key_len + 2 * 20
    assert stream[:132] == bytes.fromhex(case.dkm)[: len(stream)]
    assert [len(part) for part in (keys.sk_d, keys.sk_ai, keys.sk_ei, keys.sk_pr)] == [row.key_len, 0, 20, row.key_len]


# rfc 7296: rekey-skeyseed
@pytest.mark.parametrize("row", STRONG, ids=lambda r: r.name)
def test_keys_of_a_rekeyed_ike_sa(row: prf.PrfRow) -> None:
    """The old SA's prf makes SKEYSEED, the new one's the keys (RFC 7296 2.18)."""
    case = CAVS[row.name]
    ni, nr, shared = (bytes.fromhex(text) for text in (case.ni, case.nr, case.new_shared))
    new = catalog.prf("SHA512" if row.name == "SHA256" else "SHA256")
    old_sk_d = bytes.fromhex(case.dkm)[: row.key_len]
    spi_i, spi_r = b"12345678", b"87654321"
    keys = ike_keys(
        new,
        CBC,
        catalog.integrity("SHA384"),
        ni=ni,
        nr=nr,
        shared=shared,
        spi_i=spi_i,
        spi_r=spi_r,
        old=(row.transform, old_sk_d),
    )
    new_row = catalog.prf_row(new)
    assert new_row is not None
    size = new_row.key_len
    expected = plain_prf_plus(
        new_row.hash,
        bytes.fromhex(case.rekey_skeyseed),
        ni + nr + spi_i + spi_r,
        3 * size + 2 * 48 + 2 * 32,
    )
    parts = (keys.sk_d, keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er, keys.sk_pi, keys.sk_pr)
    assert [len(part) for part in parts] == [size, 48, 48, 32, 32, size, size]
    assert b"".join(parts) == expected


def expected_child(row: prf.PrfRow, seed: bytes, sizes: tuple[int, int]) -> list[bytes]:
    """Cut in the order of RFC 7296 2.17: initiator's encryption, integrity, then the responder's."""
    stream = plain_prf_plus(row.hash, b"d" * row.key_len, seed, 2 * sum(sizes))
    parts = []
    for size in (*sizes, *sizes):
        parts.append(stream[:size])
        stream = stream[size:]
    return parts


COMBINATIONS: list[tuple[Transform | None, Transform | None, tuple[int, int]]] = [
    *[(r.transform, None, (r.key_bits // 8 + (3 if "CCM" in r.name else 4), 0)) for r in encr.ROWS if r.aead],
    *[
        (r.transform, i.transform, (r.key_bits // 8 + 4 * ("CTR" in r.name), 20 if i.weak else int(i.name[3:]) // 8))
        for r in encr.ROWS
        if not r.aead
        for i in integ.ROWS
    ],
    (None, catalog.integrity("SHA512"), (0, 64)),  # AH
]


# rfc 7296: child-keymat
@pytest.mark.parametrize("row", prf.ROWS, ids=lambda r: r.name)
@pytest.mark.parametrize("pfs", [False, True])
def test_keys_of_child_sas(row: prf.PrfRow, pfs: bool) -> None:
    shared = b"z" * 32 if pfs else None
    for encryption, integrity, sizes in COMBINATIONS:
        keys = child_keys(
            row.transform,
            b"d" * row.key_len,
            ni=b"i" * 32,
            nr=b"r" * 17,
            shared=shared,
            encr=encryption,
            integ=integrity,
        )
        found = [secret.reveal() for flow in keys for secret in flow]
        assert found == expected_child(row, (shared or b"") + b"i" * 32 + b"r" * 17, sizes)


# rfc 7296: prf-plus
@pytest.mark.parametrize("row", prf.ROWS, ids=lambda r: r.name)
@pytest.mark.parametrize("length", [1, 20, 31, 32, 33, 64, 129, 255 * 20])
def test_prf_plus_is_its_definition(row: prf.PrfRow, length: int) -> None:
    assert prf_plus(row.transform, b"key", b"seed", length) == plain_prf_plus(row.hash, b"key", b"seed", length)


# rfc 7296: auth-octets psk-pad
@pytest.mark.parametrize("row", prf.ROWS, ids=lambda r: r.name)
def test_auth_by_psk(row: prf.PrfRow) -> None:
    """RFC 7296 2.15, written out once more."""
    secret, octets = Secret(b"a shared secret"), b"message | nonce | prf(SK_p, ID)"
    inner = hmac.new(b"a shared secret", b"Key Pad for IKEv2", row.hash).digest()
    right = hmac.new(inner, octets, getattr(hashlib, row.hash)).digest()
    assert psk_auth(row.transform, secret, octets) == right
    assert psk_verify(row.transform, secret, octets, right)
    for wrong in (b"", right[:-1], right + b"\0", right[:-1] + bytes([right[-1] ^ 1])):
        assert not psk_verify(row.transform, secret, octets, wrong)
    assert not psk_verify(row.transform, Secret(b"another"), octets, right)
