# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of every row against published tables: scapy's copy of IANA's, and sizes as the RFCs print them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pytest
from scapy.contrib.ikev2 import IKEv2TransformAlgorithms

from xfrmd.model.proposals import Transform
from xfrmd.transforms import encr, esn, integ, ke, prf


class Row(Protocol):
    """What the rows of all tables have."""

    @property
    def name(self) -> str: ...

    @property
    def transform(self) -> Transform: ...


# Each table with IANA's name, in scapy's words, of each of its rows.
IANA: dict[tuple[Row, ...], dict[str, str]] = {
    encr.ROWS: {
        "AES128-GCM": "AES-GCM-16ICV",
        "AES192-GCM": "AES-GCM-16ICV",
        "AES256-GCM": "AES-GCM-16ICV",
        "AES128": "AES-CBC",
        "AES192": "AES-CBC",
        "AES256": "AES-CBC",
        "AES128-CCM": "AES-CCM-16",
        "AES192-CCM": "AES-CCM-16",
        "AES256-CCM": "AES-CCM-16",
        "AES128-CTR": "AES-CTR",
        "AES192-CTR": "AES-CTR",
        "AES256-CTR": "AES-CTR",
        "NULL": "NULL",
        "CHACHA20-POLY1305": "ChaCha20-Poly1305",
        "3DES": "3DES",
    },
    prf.ROWS: {
        "SHA256": "PRF_HMAC_SHA2_256",
        "SHA384": "PRF_HMAC_SHA2_384",
        "SHA512": "PRF_HMAC_SHA2_512",
        "SHA1": "PRF_HMAC_SHA1",
    },
    integ.ROWS: {
        "SHA256": "SHA2-256-128",
        "SHA384": "SHA2-384-192",
        "SHA512": "SHA2-512-256",
        "SHA1": "HMAC-SHA1-96",
    },
    ke.ROWS: {
        "X25519": "curve25519gr",
        "ECP256": "256randECPgr",
        "ECP384": "384randECPgr",
        "ECP521": "521randECPgr",
        "X448": "curve448gr",
        "BRAINPOOL256": "brainpoolP256r1gr",
        "BRAINPOOL384": "brainpoolP384r1gr",
        "BRAINPOOL512": "brainpoolP512r1gr",
        "MODP6144": "6144MODPgr",
        "MODP8192": "8192MODPgr",
        "MODP2048": "2048MODPgr",
        "MODP3072": "3072MODPgr",
        "MODP4096": "4096MODPgr",
        "MODP1536": "1536MODPgr",
        "MODP1024": "1024MODPgr",
    },
    esn.ROWS: {"NO-ESN": "No ESN", "ESN": "ESN"},
}


MISSING = {Transform(1, 11): "NULL"}
"""What scapy's copy lacks (RFC 7296 3.3.2)."""


def cases() -> Iterable[tuple[str, Transform, str]]:
    for rows, names in IANA.items():
        assert {row.name for row in rows} == set(names), "every row is named here"
        for row in rows:
            yield row.name, row.transform, names[row.name]


@pytest.mark.parametrize(("name", "transform", "iana"), list(cases()), ids=lambda v: v if isinstance(v, str) else "")
def test_ids_are_those_of_iana(name: str, transform: Transform, iana: str) -> None:
    known = MISSING.get(transform) or IKEv2TransformAlgorithms[int(transform.type)][transform.id]
    assert known == iana


# fmt: off
ENCR_SIZES = {
    #                    key salt iv block icv, octets: RFC 4106 8, RFC 3602 2, RFC 7634 2
    "AES128-GCM":        (16, 4, 8,  1,  16),
    "AES192-GCM":        (24, 4, 8,  1,  16),
    "AES256-GCM":        (32, 4, 8,  1,  16),
    "AES128":            (16, 0, 16, 16, 0),
    "AES192":            (24, 0, 16, 16, 0),
    "AES256":            (32, 0, 16, 16, 0),
    "CHACHA20-POLY1305": (32, 4, 8,  1,  16),
    "AES128-CCM":        (16, 3, 8,  1,  16),  # RFC 4309 2, 4
    "AES192-CCM":        (24, 3, 8,  1,  16),
    "AES256-CCM":        (32, 3, 8,  1,  16),
    "AES128-CTR":        (16, 4, 8,  1,  0),   # RFC 3686 2.1, 3.1, 5.1
    "AES192-CTR":        (24, 4, 8,  1,  0),
    "AES256-CTR":        (32, 4, 8,  1,  0),
    "NULL":              (0,  0, 0,  1,  0),   # RFC 2410 2
    "3DES":              (24, 0, 8,  8,  0),   # RFC 2451 2
}
KE_SIZES = {
    #           public shared, octets: RFC 8031 3.1, RFC 5903 7 and 9, RFC 6954 2.2, RFC 3526
    "X25519":   (32,  32),
    "ECP256":   (64,  32),
    "ECP384":   (96,  48),
    "ECP521":   (132, 66),
    "X448":     (56,  56),
    "BRAINPOOL256": (64,  32),
    "BRAINPOOL384": (96,  48),
    "BRAINPOOL512": (128, 64),
    "MODP6144": (768, 768),
    "MODP8192": (1024, 1024),
    "MODP2048": (256, 256),
    "MODP3072": (384, 384),
    "MODP4096": (512, 512),
    "MODP1536": (192, 192),
    "MODP1024": (128, 128),
}
HMAC_SIZES = {
    #         key = output, ICV, octets: RFC 4868 2.6
    "SHA256": (32, 16),
    "SHA384": (48, 24),
    "SHA512": (64, 32),
    "SHA1":   (20, 12),  # RFC 2404 3
}
# IKEv1: RFC 2409 appendix A with RFC 3602 5.2, RFC 2407 4.4.4 with RFC 4106 8.3, RFC 4868 3, RFC 5903 5.
V1_ENCR = {"AES128-GCM": (None, 20), "AES192-GCM": (None, 20), "AES256-GCM": (None, 20), "AES128": (7, 12),
           "AES192": (7, 12), "AES256": (7, 12), "CHACHA20-POLY1305": (None, None), "3DES": (5, 3),
           "AES128-CCM": (None, 16), "AES192-CCM": (None, 16), "AES256-CCM": (None, 16), "AES128-CTR": (None, 13),
           "AES192-CTR": (None, 13), "AES256-CTR": (None, 13), "NULL": (None, 11)}
V1_HASH = {"SHA256": (4, 5), "SHA384": (5, 6), "SHA512": (6, 7), "SHA1": (2, 2)}
V1_GROUP = {"X25519": None, "ECP256": 19, "ECP384": 20, "ECP521": 21, "X448": None, "BRAINPOOL256": 28,
            "BRAINPOOL384": 29, "BRAINPOOL512": 30, "MODP6144": 17, "MODP8192": 18, "MODP2048": 14,
            "MODP3072": 15, "MODP4096": 16,
            "MODP1536": 5, "MODP1024": 2}
# fmt: on


def test_sizes_of_ciphers() -> None:
    found = {r.name: (r.key_bits // 8, r.salt_len, r.iv_len, r.block_len, r.icv_len) for r in encr.ROWS}
    assert found == ENCR_SIZES
    assert {r.name: r.key_len for r in encr.ROWS} == {name: s[0] + s[1] for name, s in ENCR_SIZES.items()}
    assert {r.name for r in encr.ROWS if r.aead} == {name for name, s in ENCR_SIZES.items() if s[4]}
    without = {r.name for r in encr.ROWS if not r.key_attribute}
    assert without == {"CHACHA20-POLY1305", "3DES", "NULL"}, "RFC 7634 4, RFC 7296 3.3.5"


def test_sizes_of_key_exchanges() -> None:
    assert {r.name: (r.public_len, r.shared_len) for r in ke.ROWS} == KE_SIZES


# rfc 7296: nonce-size
def test_sizes_of_hmacs() -> None:
    assert {r.name: (r.key_len, r.icv_len) for r in integ.ROWS} == HMAC_SIZES
    assert {r.name: (r.key_len, r.out_len) for r in prf.ROWS} == {n: (s[0], s[0]) for n, s in HMAC_SIZES.items()}


def test_numbers_of_ikev1() -> None:
    assert {r.name: (r.v1_ike_id, r.v1_esp_id) for r in encr.ROWS} == V1_ENCR
    assert {r.name: (r.v1_ike_id, r.v1_esp_id) for r in integ.ROWS} == V1_HASH
    assert {r.name: r.v1_id for r in prf.ROWS} == {name: ids[0] for name, ids in V1_HASH.items()}
    assert {r.name: r.v1_id for r in ke.ROWS} == V1_GROUP


def test_the_kernel_is_told_the_same_icv() -> None:
    assert all(r.kernel_icv_bits == 8 * r.icv_len for r in encr.ROWS)
    assert all(r.kernel_trunc_bits == 8 * r.icv_len and r.kernel_name == f"hmac({r.hash})" for r in integ.ROWS)
    assert {r.kernel_name for r in encr.ROWS if r.id == encr.ENCR_AES_GCM_16} == {"rfc4106(gcm(aes))"}
    assert {r.kernel_name for r in encr.ROWS if r.id == encr.ENCR_AES_CBC} == {"cbc(aes)"}


def test_sequence_numbers() -> None:
    assert {r.name: r.sequence_bits for r in esn.ROWS} == {"NO-ESN": 32, "ESN": 64}  # RFC 4303 2.2.1
