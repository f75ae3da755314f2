# SPDX-License-Identifier: GPL-2.0-or-later
"""Digital signatures of RFC 7427 and the older methods: each made and verified, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.unit import pki
from xfrmd.credentials import signatures
from xfrmd.credentials.signatures import DIGITAL_SIGNATURE, HashId
from xfrmd.errors import CredentialError

OCTETS = b"what an AUTH payload covers"
ALL = signatures.announced(signatures.announcement())
# RFC 7427 appendix A, RFC 8420 appendix A; of PSS without the trailer field, whose default DER leaves out.
IDENTIFIERS = {
    "rsa": "3041 06092a864886f70d01010a 3034 a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500 a203020120",
    "p256": "300a 06082a8648ce3d040302",
    "p384": "300a 06082a8648ce3d040303",
    "p521": "300a 06082a8648ce3d040304",
    "ed25519": "3005 06032b6570",
    "ed448": "3005 06032b6571",
}
PKCS1 = bytes.fromhex("300d06092a864886f70d01010b0500")
CLASSIC = {"rsa": (1, 256), "p256": (9, 64), "p384": (10, 96), "p521": (11, 132)}


def holder(kind: str) -> pki.Holder:
    return pki.issue(f"signer {kind}", kind=kind)


# rfc 7427: algorithm-identifier key-fits ecdsa
@pytest.mark.parametrize("kind", pki.KINDS)
def test_each_kind_of_key_signs_as_rfc_7427_writes_it(kind: str) -> None:
    who = holder(kind)
    method, data = signatures.sign(who.secret, OCTETS, ALL)
    identifier = bytes.fromhex(IDENTIFIERS[kind])
    assert (method, data[0], data[1 : 1 + data[0]]) == (DIGITAL_SIGNATURE, len(identifier), identifier)
    assert signatures.verify(who.certificate.key, method, OCTETS, data) == ""
    forged = "its signature is not that of its certificate's key"
    assert signatures.verify(who.certificate.key, method, OCTETS + b"!", data) == forged
    assert signatures.verify(who.certificate.key, method, OCTETS, data[:-1]) == forged
    other = holder("ed25519" if kind != "ed25519" else "rsa")
    assert "does not go with the key" in signatures.verify(other.certificate.key, method, OCTETS, data)


# rfc 7427: pss
def test_pss_is_taken_as_the_example_of_rfc_7427_spells_it() -> None:
    who = holder("rsa")
    _, data = signatures.sign(who.secret, OCTETS, ALL)
    plain = bytes.fromhex(IDENTIFIERS["rsa"])
    spelt = b"\x30\x46" + plain[2:13] + b"\x30\x39" + plain[15:] + bytes.fromhex("a303020101")
    assert data[1 : 1 + len(plain)] == plain
    other = bytes((len(spelt),)) + spelt + data[1 + len(plain) :]
    assert signatures.verify(who.certificate.key, DIGITAL_SIGNATURE, OCTETS, other) == ""


# rfc 7427: method-14
@pytest.mark.parametrize("kind", CLASSIC)
def test_a_peer_without_rfc_7427_gets_the_older_methods(kind: str) -> None:
    who = holder(kind)
    method, data = signatures.sign(who.secret, OCTETS, ())
    assert (method, len(data)) == CLASSIC[kind]
    assert signatures.verify(who.certificate.key, method, OCTETS, data) == ""
    assert signatures.verify(who.certificate.key, method, OCTETS + b"!", data) != ""
    assert signatures.verify(who.certificate.key, method, OCTETS, b"") != ""
    other = 9 if method != 9 else 10
    assert "does not go with the key" in signatures.verify(who.certificate.key, other, OCTETS, data)


@pytest.mark.parametrize("kind", ["ed25519", "ed448"])
def test_edwards_curves_need_rfc_7427_and_the_identity_hash(kind: str) -> None:
    with pytest.raises(CredentialError, match="does not speak RFC 7427"):
        signatures.sign(holder(kind).secret, OCTETS, ())
    with pytest.raises(CredentialError, match="identity hash"):
        signatures.sign(holder(kind).secret, OCTETS, (HashId.SHA2_256,))


# rfc 7427: announced-hash-only
def test_the_hash_is_one_that_the_peer_has() -> None:
    _, data = signatures.sign(holder("p256").secret, OCTETS, (HashId.SHA2_384,))
    assert data[1 : 1 + data[0]] == bytes.fromhex(IDENTIFIERS["p384"])
    assert signatures.verify(holder("p256").certificate.key, DIGITAL_SIGNATURE, OCTETS, data) == ""
    with pytest.raises(CredentialError, match="no hash algorithm of the SHA-2 family"):
        signatures.sign(holder("p256").secret, OCTETS, (1,))


# rfc 7427: pkcs1
def test_pkcs1_is_taken() -> None:
    who = holder("rsa")
    signature = who.key.sign(OCTETS, padding.PKCS1v15(), hashes.SHA256())
    data = bytes((len(PKCS1),)) + PKCS1 + signature
    assert signatures.verify(who.certificate.key, DIGITAL_SIGNATURE, OCTETS, data) == ""
    pss = bytes.fromhex(IDENTIFIERS["rsa"])
    assert signatures.verify(who.certificate.key, DIGITAL_SIGNATURE, OCTETS, bytes((len(pss),)) + pss + signature) != ""


# rfc 7427: no-sha1
def test_sha_1_is_told_and_refused() -> None:
    who = holder("rsa")
    signature = who.key.sign(OCTETS, padding.PKCS1v15(), hashes.SHA1())
    assert "SHA-1" in signatures.verify(who.certificate.key, 1, OCTETS, signature)
    identifier = bytes.fromhex("300d06092a864886f70d0101050500")
    assert "SHA-1" in signatures.verify(
        who.certificate.key, DIGITAL_SIGNATURE, OCTETS, bytes((len(identifier),)) + identifier + signature
    )


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x05", b"\x02\x30\x00", b"\xff" + bytes(255), b"\x0f" + PKCS1])
@pytest.mark.parametrize("kind", ["rsa", "p256", "ed25519"])
@pytest.mark.parametrize("method", [1, 9, 11, 14, 200])
def test_no_octets_do_harm(kind: str, method: int, data: bytes) -> None:
    assert signatures.verify(holder(kind).certificate.key, method, OCTETS, data) != ""


def _cube_root(number: int) -> int:
    """The smallest whole number whose cube is not below."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**3 >= number else (middle + 1, high)
    return low


@pytest.mark.parametrize("padding_octets", [8, 20])
def test_a_signature_that_anybody_can_make_for_an_exponent_of_three(padding_octets: int) -> None:
    """Bleichenbacher's of 2006, and CVE-2018-16151, CVE-2018-16152, CVE-2026-50721: what follows the hash in the padded
    block is looked at, too, so that a cube that begins as it should is no signature.
    """
    secret = rsa.generate_private_key(3, 2048)
    key = secret.public_key()
    honest = secret.sign(OCTETS, padding.PKCS1v15(), hashes.SHA256())
    assert signatures.verify(key, DIGITAL_SIGNATURE, OCTETS, bytes((len(PKCS1),)) + PKCS1 + honest) == ""
    digest = hashlib.sha256(OCTETS).digest()
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
    head = b"\x00\x01" + b"\xff" * padding_octets + b"\x00" + info
    root = _cube_root(int.from_bytes(head.ljust(256, b"\0")))
    assert (root**3).to_bytes(256).startswith(head), "it is a forgery worth the name"
    assert pow(root, 3, key.public_numbers().n) == root**3
    data = bytes((len(PKCS1),)) + PKCS1 + root.to_bytes(256)
    assert signatures.verify(key, DIGITAL_SIGNATURE, OCTETS, data) != ""


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "ed25519", "ed448"])
def test_signatures_of_zeros_and_of_the_neutral_point_are_none(kind: str) -> None:
    """CVE-2013-2944: a signature that was taken though it verified nothing."""
    who = holder(kind)
    method, data = signatures.sign(who.secret, OCTETS, ALL)
    head = data[: 1 + data[0]]
    size = len(data) - len(head)
    for signature in (bytes(size), b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x01" + bytes(size - 1)):
        assert signatures.verify(who.certificate.key, method, OCTETS, head + signature) != ""
    if kind in CLASSIC:
        number, length = CLASSIC[kind]
        assert signatures.verify(who.certificate.key, number, OCTETS, bytes(length)) != ""


def test_a_torn_announcement() -> None:
    assert signatures.announced(b"\x00\x02\x00") == {2}
    assert signatures.announced(b"") == frozenset()
