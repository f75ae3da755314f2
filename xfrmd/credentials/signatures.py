# SPDX-License-Identifier: GPL-2.0-or-later
"""Authentication by digital signatures (RFC 7427, 8420), and by the older methods 1 and 9 to 11 (RFC 7296, 4754).

Algorithm identifiers are compared as octets with those of RFC 7427 appendix A: nothing of a stranger is decoded here.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

from xfrmd.credentials.certificates import PublicKey
from xfrmd.errors import CredentialError
from xfrmd.model.secret import Secret

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


class HashId(enum.IntEnum):
    """Hash algorithms as SIGNATURE_HASH_ALGORITHMS names them (RFC 7427 7, RFC 8420 3)."""

    SHA2_256 = 2
    SHA2_384 = 3
    SHA2_512 = 4
    IDENTITY = 5
    """The message itself is signed: Ed25519 and Ed448."""


RSA_SIGNATURE: Final = 1
DIGITAL_SIGNATURE: Final = 14
"""Numbers of authentication methods (RFC 7296 3.8); 9 to 11 stand with their curves."""
METHODS: Final = frozenset({RSA_SIGNATURE, 9, 10, 11, DIGITAL_SIGNATURE})
_HASHES: Final[dict[HashId, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    HashId.SHA2_256: hashes.SHA256(),
    HashId.SHA2_384: hashes.SHA384(),
    HashId.SHA2_512: hashes.SHA512(),
}
_CLASSIC_ECDSA: Final = {
    9: ("secp256r1", HashId.SHA2_256),
    10: ("secp384r1", HashId.SHA2_384),
    11: ("secp521r1", HashId.SHA2_512),
}
_FITTING: Final = {curve: (method, hash_) for method, (curve, hash_) in _CLASSIC_ECDSA.items()}
"""By curve: its old method, and the hash of its strength."""


class _Scheme(NamedTuple):
    """A signature algorithm. `kind`: "pkcs1", "pss", "ecdsa", "ed25519" or "ed448"."""

    kind: str
    hash: HashId


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((tag, len(body))) + body


def _oid(octets: str) -> bytes:
    return _der(0x06, bytes.fromhex(octets))


_NULL: Final = b"\x05\x00"
_HASH_OIDS: Final = {hash_: f"6086480165030402{last:02x}" for hash_, last in zip(_HASHES, (1, 2, 3), strict=True)}
_LAST: Final = {HashId.SHA2_256: (0x0B, 2), HashId.SHA2_384: (0x0C, 3), HashId.SHA2_512: (0x0D, 4)}


def _pss(hash_: HashId, *, null: bytes, trailer: bytes) -> bytes:
    """RSASSA-PSS with MGF1 of the same hash and a salt as long as it (RFC 4055 3.1)."""
    inner = _der(0x30, _oid(_HASH_OIDS[hash_]), null)
    mgf = _der(0x30, _oid("2a864886f70d010108"), inner)
    salt = _der(0x02, bytes((_HASHES[hash_].digest_size,)))
    parameters = _der(0x30, _der(0xA0, inner), _der(0xA1, mgf), _der(0xA2, salt), trailer)
    return _der(0x30, _oid("2a864886f70d01010a"), parameters)


# rfc 7427: pss
def _identifiers() -> Iterator[tuple[bytes, _Scheme]]:
    """All that are understood. Of several spellings of one scheme the last is the one that we send.

    For PSS that is the one without a trailer field: DER leaves defaults out, and libreswan knows no other. RFC 7427
    A.4.3 has the trailer in its example.
    """
    for hash_, (rsa_last, ecdsa_last) in _LAST.items():
        yield _der(0x30, _oid(f"2a864886f70d0101{rsa_last:02x}"), _NULL), _Scheme("pkcs1", hash_)
        yield _der(0x30, _oid(f"2a8648ce3d0403{ecdsa_last:02x}")), _Scheme("ecdsa", hash_)
        for null in (b"", _NULL):
            for trailer in (_der(0xA3, b"\x02\x01\x01"), b""):
                yield _pss(hash_, null=null, trailer=trailer), _Scheme("pss", hash_)
    yield _der(0x30, _oid("2b6570")), _Scheme("ed25519", HashId.IDENTITY)
    yield _der(0x30, _oid("2b6571")), _Scheme("ed448", HashId.IDENTITY)


_SCHEMES: Final = dict(_identifiers())
_IDENTIFIERS: Final = {scheme: octets for octets, scheme in _SCHEMES.items()}
_SHA1: Final = (_der(0x30, _oid("2a864886f70d010105"), _NULL), _der(0x30, _oid("2a8648ce3d0401")))


# rfc 7427: announce-hashes
def announcement() -> bytes:
    """The data of SIGNATURE_HASH_ALGORITHMS: what we verify (RFC 7427 4)."""
    return b"".join(one.to_bytes(2) for one in HashId)


# rfc 7427: unknown-hashes-ignored
def announced(data: bytes) -> frozenset[int]:
    """The hash algorithms that a peer verifies."""
    return frozenset(int.from_bytes(data[at : at + 2]) for at in range(0, len(data) - 1, 2))


@lru_cache(maxsize=16)
def _private(key: Secret) -> _PrivateKey:
    """A private key in PKCS#8, which was examined when it was read."""
    found = load_der_private_key(key.reveal(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(found, _PrivateKey)
    return found


def understood() -> tuple[bytes, ...]:
    """The AlgorithmIdentifiers of the signatures that we make and verify, each in one spelling."""
    return tuple(_IDENTIFIERS.values())


# rfc 7427: method-14 algorithm-identifier
def sign(key: Secret, octets: bytes, hashes_: Iterable[int], identifiers: Container[bytes] = ()) -> tuple[int, bytes]:
    """The authentication method and the Authentication Data. `key` is PKCS#8 in DER.

    `hashes_`: what the peer has announced; none, and the older methods are used, which have none for Ed25519 and
    Ed448. `identifiers`: what it has announced besides (RFC 9593), of which one is used if there is one that we know.
    CredentialError when the key cannot sign in a way that the peer takes.
    """
    private, theirs = _private(key), frozenset(hashes_)
    if not theirs:
        return _sign_classic(private, octets)
    usual = _choose(private, theirs)
    scheme = next((one for one in _wanted(usual, theirs) if _IDENTIFIERS[one] in identifiers), usual)
    identifier = _IDENTIFIERS[scheme]
    return DIGITAL_SIGNATURE, bytes((len(identifier),)) + identifier + _signature(private, scheme, octets)


# rfc 7427: announced-hash-only
def _choose(private: _PrivateKey, theirs: frozenset[int]) -> _Scheme:
    """RFC 8247 4.1.1: PSS for RSA keys; the hash of the key's strength where the peer has it."""
    if isinstance(private, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        kind = "ed25519" if isinstance(private, ed25519.Ed25519PrivateKey) else "ed448"
        if HashId.IDENTITY in theirs:
            return _Scheme(kind, HashId.IDENTITY)
        raise CredentialError(f"the peer does not announce the identity hash, without which {kind} cannot sign")
    is_rsa = isinstance(private, rsa.RSAPrivateKey)
    best = HashId.SHA2_256 if isinstance(private, rsa.RSAPrivateKey) else _FITTING[private.curve.name][1]
    for hash_ in (best, *_HASHES):
        if hash_ in theirs:
            return _Scheme("pss" if is_rsa else "ecdsa", hash_)
    raise CredentialError("the peer announces no hash algorithm of the SHA-2 family")


def _wanted(usual: _Scheme, theirs: frozenset[int]) -> Iterator[_Scheme]:
    """What a key can do, the best first: a peer may verify less than its hashes let one think."""
    yield usual
    for kind in ("pss", "pkcs1") if usual.kind == "pss" else ("ecdsa",) if usual.kind == "ecdsa" else ():
        yield from (_Scheme(kind, hash_) for hash_ in _HASHES if hash_ in theirs)


def _sign_classic(private: _PrivateKey, octets: bytes) -> tuple[int, bytes]:
    if isinstance(private, rsa.RSAPrivateKey):
        return RSA_SIGNATURE, _signature(private, _Scheme("pkcs1", HashId.SHA2_256), octets)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        method, hash_ = _FITTING[private.curve.name]
        size = (private.curve.key_size + 7) // 8
        parts = decode_dss_signature(_signature(private, _Scheme("ecdsa", hash_), octets))
        return method, b"".join(part.to_bytes(size) for part in parts)
    raise CredentialError("the peer does not speak RFC 7427, without which Ed25519 and Ed448 cannot sign")


def _padding(scheme: _Scheme) -> padding.AsymmetricPadding:
    if scheme.kind == "pss":
        hash_ = _HASHES[scheme.hash]
        return padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    return padding.PKCS1v15()


def _signature(private: _PrivateKey, scheme: _Scheme, octets: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(octets, _padding(scheme), _HASHES[scheme.hash])
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(octets, ec.ECDSA(_HASHES[scheme.hash]))
    return private.sign(octets)


def verify(key: PublicKey, method: int, octets: bytes, data: bytes) -> str:
    """Why this Authentication Data is not the signature of that key over these octets; "" when it is."""
    if method == DIGITAL_SIGNATURE:
        return _verify_digital(key, octets, data)
    if method == RSA_SIGNATURE and isinstance(key, rsa.RSAPublicKey):
        # RFC 7296 3.8 names no hash: those that we take are tried.
        schemes = [_Scheme("pkcs1", hash_) for hash_ in _HASHES]
        if any(_good(key, scheme, octets, data) for scheme in schemes):
            return ""
        return _why_not_classic(key, octets, data)
    curve, hash_ = _CLASSIC_ECDSA.get(method, ("", HashId.SHA2_256))
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == curve:
        size = (key.curve.key_size + 7) // 8
        if len(data) == 2 * size:
            signature = encode_dss_signature(int.from_bytes(data[:size]), int.from_bytes(data[size:]))
            return "" if _good(key, _Scheme("ecdsa", hash_), octets, signature) else _FORGED
        return _FORGED
    return "its authentication method does not go with the key of its certificate"


def told(method: int, data: bytes) -> str:
    """The algorithm of a signature, for people."""
    if method == DIGITAL_SIGNATURE:
        scheme = _SCHEMES.get(data[1 : 1 + data[0]]) if data else None
        if scheme is None:
            return "an algorithm that is not known"
        return scheme.kind if scheme.hash is HashId.IDENTITY else f"{scheme.kind} with {scheme.hash.name}"
    if method == RSA_SIGNATURE:
        return "pkcs1, without RFC 7427"
    return f"ecdsa with {_CLASSIC_ECDSA[method][1].name}, without RFC 7427"


_FORGED: Final = "its signature is not that of its certificate's key"


def _why_not_classic(key: rsa.RSAPublicKey, octets: bytes, data: bytes) -> str:
    try:
        key.verify(data, octets, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 (to tell why it is refused)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return _FORGED
    return "it signs with SHA-1, which is not taken (let it use RFC 7427 signatures)"


# rfc 7427: no-sha1
def _verify_digital(key: PublicKey, octets: bytes, data: bytes) -> str:
    size = data[0] if data else 0
    identifier, signature = data[1 : 1 + size], data[1 + size :]
    if not size or len(identifier) < size:
        return "its signature names no algorithm"
    scheme = _SCHEMES.get(identifier)
    if scheme is None:
        if identifier in _SHA1:
            return "it signs with SHA-1, which is not taken"
        return f"it signs with an algorithm that is not taken ({identifier[:64].hex()})"
    if scheme.kind not in _kinds(key):
        return f"it signs by {scheme.kind}, which does not go with the key of its certificate"
    return "" if _good(key, scheme, octets, signature) else _FORGED


# rfc 7427: key-fits
def _kinds(key: PublicKey) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        return ("pkcs1", "pss")
    if isinstance(key, ec.EllipticCurvePublicKey):
        return ("ecdsa",)
    return ("ed25519",) if isinstance(key, ed25519.Ed25519PublicKey) else ("ed448",)


def _good(key: PublicKey, scheme: _Scheme, octets: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, octets, _padding(scheme), _HASHES[scheme.hash])
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, octets, ec.ECDSA(_HASHES[scheme.hash]))
        else:
            key.verify(signature, octets)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
