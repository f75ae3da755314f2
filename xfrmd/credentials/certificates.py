# SPDX-License-Identifier: GPL-2.0-or-later
"""X.509 certificates (RFC 5280) as values: parsed once and wholly, so that nothing malformed is met later."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import SignatureAlgorithmOID

from xfrmd import limits
from xfrmd.errors import CredentialError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

SIGNATURES: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.RSASSA_PSS,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
        SignatureAlgorithmOID.ED448,
    }
)
"""How certificates and revocation lists may be signed; PSS with a hash of SHA-2."""
_TOLD: Final = 200
"""Characters of the library's own words."""
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_RSA_EXPONENTS: Final = (65537, 2**32)
"""With an exponent of 3 a sloppy padding check anywhere is a forgery; huge ones cost time."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """One certificate. `parse` makes it."""

    der: bytes
    parsed: x509.Certificate
    key: PublicKey
    extensions: Mapping[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]
    subject: str
    """Whose it is, for people. Nothing in it can disturb a terminal or a journal."""

    @property
    def subject_octets(self) -> bytes:
        """The subject in DER."""
        return self.parsed.subject.public_bytes()

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """The extension of this kind, None when it has none."""
        found = self.extensions.get(kind.oid)
        return found.value if found is not None and isinstance(found.value, kind) else None


def parse(der: bytes) -> Certificate:
    """Read one DER certificate. CredentialError with a reason for what is none, or uses what is not taken here."""
    if len(der) > limits.CERTIFICATE_SIZE:
        raise CredentialError(f"a certificate of {len(der)} octets (at most {limits.CERTIFICATE_SIZE} are taken)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what the library only warns of is as malformed as the rest
        try:
            found = x509.load_der_x509_certificate(der)
            extensions = {one.oid: one for one in found.extensions}
            subject = text_of(found.subject) or f"number {found.serial_number:x}"
            for part in ("issuer", "not_valid_before_utc", "not_valid_after_utc"):
                getattr(found, part)  # what cannot be read shows here
            key = found.public_key()
        except Exception as error:
            why = _plain(str(error))[:_TOLD] or type(error).__name__
            raise CredentialError(f"no certificate that can be read: {why}") from error
    return Certificate(der, found, _usable(key), extensions, subject)


def _usable(key: object) -> PublicKey:
    """CredentialError for kinds and sizes of keys that prove nothing (RFC 8247 4, NIST SP 800-131A)."""
    if isinstance(key, rsa.RSAPublicKey):
        least, most = limits.RSA_BITS
        if not least <= key.key_size <= most:
            raise CredentialError(f"an RSA key of {key.key_size} bits ({least} to {most} are taken)")
        exponent = key.public_numbers().e
        if not _RSA_EXPONENTS[0] <= exponent < _RSA_EXPONENTS[1]:
            raise CredentialError("an RSA key with an exponent below 65537 or above 2^32")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise CredentialError(f"a key on the curve {key.curve.name} (P-256, P-384 and P-521 are taken)")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key
    raise CredentialError("a kind of key that cannot sign here (RSA, ECDSA, Ed25519 and Ed448 can)")


def text_of(name: x509.Name) -> str:
    """A distinguished name in the order of the certificate, as `openssl x509 -subject` shows it."""
    parts = (" + ".join(_plain(one.rfc4514_string()) for one in rdn) for rdn in name.rdns)
    return ", ".join(parts)[: limits.NOTICE_TEXT]


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


@lru_cache(maxsize=64)
def key_hash(certificate: Certificate) -> bytes:
    """SHA-1 of the SubjectPublicKeyInfo, by which CERTREQ names an authority (RFC 7296 3.7). It proves nothing.
    Those of authorities of ours are asked for again and again.
    """
    spki = certificate.parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(spki, usedforsecurity=False).digest()
