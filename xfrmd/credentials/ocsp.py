# SPDX-License-Identifier: GPL-2.0-or-later
"""OCSP (RFC 6960): a question about one certificate, and the judgement of what came back."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from xfrmd import limits
from xfrmd.credentials import paths
from xfrmd.credentials.certificates import SIGNATURES, Certificate, PublicKey, parse
from xfrmd.errors import CredentialError
from xfrmd.limits import fetching

REQUEST_TYPE: Final = "application/ocsp-request"
_HASHES: Final = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)
"""By which an answer may name the certificate. It is no proof, so SHA-1 is as good as the others."""
_PSS_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ANSWERED: Final = ocsp.OCSPResponseStatus.SUCCESSFUL
_DIGEST: Final = 16
"""Octets by which a certificate under an issuer is remembered."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a responder has said of one certificate."""

    about: bytes
    revoked: bool
    until: datetime
    """How long it is believed. No revocation but a hold is ever taken back (RFC 5280 5.3.1): it lasts as long as the
    certificate.
    """
    said: datetime
    """When it was so (thisUpdate): what was said later counts."""


class Revoked(NamedTuple):
    """A certificate that a responder calls revoked, as lists name it (`revocation.link`), and what was said."""

    link: bytes
    status: Status


def about(certificate: Certificate, issuer: Certificate) -> bytes:
    """A certificate under this issuer and no other of the same name, in short."""
    return hashlib.sha256(hashlib.sha256(issuer.der).digest() + certificate.der).digest()[:_DIGEST]


def request(certificate: Certificate, issuer: Certificate) -> bytes:
    """The question, in DER. It has no nonce: many responders give answers that were signed before (RFC 5019 2.1.1), and
    what they say is bound to its time.
    """
    builder = ocsp.OCSPRequestBuilder()
    # SHA-1 names the certificate, as every responder knows it (RFC 5019 2.1.1); it proves nothing.
    made = builder.add_certificate(certificate.parsed, issuer.parsed, hashes.SHA1()).build()  # noqa: S303
    return made.public_bytes(Encoding.DER)


def judge(der: bytes, certificate: Certificate, issuer: Certificate, when: datetime) -> Status:
    """What an answer says. CredentialError, with the reason, for what is none or proves nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return _judge(ocsp.load_der_ocsp_response(der), certificate, issuer, when)
        except CredentialError:
            raise
        except Exception as error:
            raise CredentialError("an answer of an OCSP responder that cannot be read") from error


def _judge(response: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate, when: datetime) -> Status:
    if response.response_status is not _ANSWERED:
        raise CredentialError(f"the responder answers {response.response_status.name}")
    single = _single(response, certificate, issuer)
    strange = [one.oid.dotted_string for one in (*response.extensions, *response.single_extensions) if one.critical]
    if strange:
        raise CredentialError(f"the answer has a critical extension ({', '.join(strange)})")
    _check_signature(response, issuer, when)
    return _status(single, certificate, issuer, when)


def _single(response: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate) -> ocsp.OCSPSingleResponse:
    """What it says of this certificate. Nobody has asked about others."""
    found = list(itertools.islice(response.responses, 2))
    if len(found) != 1 or not _speaks_of(found[0], certificate, issuer):
        raise CredentialError("the responder speaks of another certificate")
    return found[0]


def _speaks_of(one: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    if one.serial_number != certificate.parsed.serial_number or not isinstance(one.hash_algorithm, _HASHES):
        return False
    name, key = (hashes.Hash(one.hash_algorithm) for _ in range(2))
    name.update(issuer.subject_octets)
    key.update(_key_octets(issuer))
    return one.issuer_name_hash == name.finalize() and one.issuer_key_hash == key.finalize()


def _key_octets(issuer: Certificate) -> bytes:
    """The public key without its algorithm, as OCSP hashes it: the content of subjectPublicKey."""
    key = issuer.key
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def _check_signature(response: ocsp.OCSPResponse, issuer: Certificate, when: datetime) -> None:
    """Signed by the issuer of the certificate, or by whom it has authorized to (RFC 6960 4.2.2.2)."""
    kind = response.signature_algorithm_oid
    pss = kind == SignatureAlgorithmOID.RSASSA_PSS
    if kind not in SIGNATURES or (pss and not isinstance(response.signature_hash_algorithm, _PSS_HASHES)):
        raise CredentialError("the answer is signed by an algorithm that is not taken")
    signers = list(_signers(response, issuer, when))
    if not signers:
        raise CredentialError("the answer is signed by nobody whom the authority has authorized (OCSPSigning)")
    if not any(_signed(response, key) for key in signers):
        raise CredentialError("the signature of the answer is not good")


def _signers(response: ocsp.OCSPResponse, issuer: Certificate, when: datetime) -> Iterator[PublicKey]:
    yield issuer.key
    for one in response.certificates[: limits.CERTIFICATES]:
        try:
            found = parse(one.public_bytes(Encoding.DER))
        except CredentialError:
            continue
        if _is_delegate(found, issuer, when):
            yield found.key


def _is_delegate(one: Certificate, issuer: Certificate, when: datetime) -> bool:
    purposes, usage = one.extension(x509.ExtendedKeyUsage), one.extension(x509.KeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return False
    if usage is not None and not usage.digital_signature:
        return False
    if paths.wrong_alone(one, when):
        return False
    try:
        one.parsed.verify_directly_issued_by(issuer.parsed)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _signed(response: ocsp.OCSPResponse, key: PublicKey) -> bool:
    signature, octets, hash_ = response.signature, response.tbs_response_bytes, response.signature_hash_algorithm
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, octets)
        elif hash_ is None:
            return False
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, octets, ec.ECDSA(hash_))
        elif response.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
            key.verify(signature, octets, padding.PSS(padding.MGF1(hash_), padding.PSS.AUTO), hash_)
        else:
            key.verify(signature, octets, padding.PKCS1v15(), hash_)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _status(single: ocsp.OCSPSingleResponse, one: Certificate, issuer: Certificate, when: datetime) -> Status:
    began, ends = single.this_update_utc, single.next_update_utc
    fresh = timedelta(seconds=fetching.OCSP_FRESH)
    if began > when + timedelta(seconds=fetching.OCSP_SKEW):
        raise CredentialError(f"the answer holds only from {began:%Y-%m-%d %H:%M:%S} UTC on")
    if (ends or began + fresh) < when:
        raise CredentialError(f"the answer held until {ends or began + fresh:%Y-%m-%d %H:%M:%S} UTC")
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise CredentialError("the responder does not know the certificate")
    if single.certificate_status is not ocsp.OCSPCertStatus.REVOKED:
        return Status(about(one, issuer), False, min(ends or when + fresh, when + fresh), began)
    held = single.revocation_reason is x509.ReasonFlags.certificate_hold
    until = (ends or when + fresh) if held else one.parsed.not_valid_after_utc
    return Status(about(one, issuer), True, until, began)
