# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificate revocation lists (RFC 5280 5, 6.3): has an authority taken back a certificate that it has issued?

Pure: the lists, the path and the time decide. What a list cannot say (deltas, lists of others' certificates, lists of
some reasons only) it is not asked for.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, SignatureAlgorithmOID

from xfrmd import limits
from xfrmd.credentials import ocsp
from xfrmd.credentials.certificates import SIGNATURES, Certificate, text_of
from xfrmd.credentials.ocsp import Status
from xfrmd.errors import CredentialError

_ISSUER: Final = 16
"""Octets by which an issuer's name is remembered."""
_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")
_PSS_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = (x509.IssuingDistributionPoint.oid, x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid)
_ENTRY_UNDERSTOOD: Final = (CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE)


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """One list, read wholly. `serials` are those of the certificates that its issuer has taken back."""

    parsed: x509.CertificateRevocationList
    serials: frozenset[int]
    users: bool
    """Does it speak of certificates of hosts and people?"""
    authorities: bool
    """Does it speak of certificates of authorities?"""
    next_update: datetime

    @property
    def issuer(self) -> str:
        """Whose list it is, for people."""
        return text_of(self.parsed.issuer)


class Finding(NamedTuple):
    """What lists say of a path. `revoked`: why it is not to be believed; `unknown`: what could not be found out."""

    revoked: str = ""
    unknown: str = ""
    lacking: tuple[int, ...] = ()
    """The certificates, by their numbers in the path, of which nothing is known."""


def lists_of(pem: bytes) -> tuple[bytes, ...]:
    """The lists of a PEM file, each in DER. CredentialError when there is none, or one that cannot be used."""
    found = _PEM.findall(pem)
    if not found:
        raise CredentialError("it holds no revocation list in PEM form (openssl crl -inform DER -in FILE makes it so)")
    if len(found) > limits.CRLS:
        raise CredentialError(f"it holds {len(found)} revocation lists; {limits.CRLS} at most are taken")
    made = []
    for one in found:
        try:
            made.append(x509.load_pem_x509_crl(one).public_bytes(Encoding.DER))
        except ValueError as error:
            raise CredentialError("it holds a revocation list that cannot be read") from error
    for der in made:
        known(der)
    return tuple(made)


@lru_cache(maxsize=limits.CRLS_KNOWN)
def known(der: bytes) -> RevocationList:
    """One list in DER. CredentialError for what is none, and for kinds of lists that are not taken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = x509.load_der_x509_crl(der)
            extensions = {one.oid: one for one in found.extensions}
            serials = frozenset(_serial(one) for one in found)
            issuer, until = text_of(found.issuer), found.next_update_utc
        except CredentialError:
            raise
        except Exception as error:
            raise CredentialError("a revocation list that cannot be read") from error
    if until is None:
        raise CredentialError(f"the revocation list of {issuer!r} does not say until when it holds (nextUpdate)")
    if x509.DeltaCRLIndicator.oid in extensions:
        raise CredentialError(f"the revocation list of {issuer!r} is a delta: name the complete list")
    strange = [oid.dotted_string for oid, one in extensions.items() if one.critical and oid not in _UNDERSTOOD]
    if strange:
        raise CredentialError(f"the revocation list of {issuer!r} has a critical extension ({', '.join(strange)})")
    point = extensions.get(x509.IssuingDistributionPoint.oid)
    users, authorities = _scope(point.value, issuer) if point is not None else (True, True)
    return RevocationList(found, serials, users, authorities, until)


def _serial(entry: x509.RevokedCertificate) -> int:
    strange = [one for one in entry.extensions if one.critical and one.oid not in _ENTRY_UNDERSTOOD]
    if strange:  # certificateIssuer among them: an entry that speaks of another authority's certificate
        raise CredentialError("a revocation list with entries whose critical extensions are not understood")
    return entry.serial_number


def _scope(point: x509.ExtensionType, issuer: str) -> tuple[bool, bool]:
    assert isinstance(point, x509.IssuingDistributionPoint)
    if point.indirect_crl or point.only_some_reasons or point.only_contains_attribute_certs:
        what = "others' certificates, attributes or some reasons only"
        raise CredentialError(f"the revocation list of {issuer!r} speaks of {what}: name the complete list")
    return not point.only_contains_ca_certs, not point.only_contains_user_certs


@lru_cache(maxsize=64)
def link(one: Certificate) -> bytes:
    """A certificate as lists name it: by issuer and number. Short, to be remembered. Our own are asked at each
    handshake.
    """
    number = one.parsed.serial_number
    return _issuer_of(one.parsed.issuer) + number.to_bytes(number.bit_length() // 8 + 1)


def listed(links: Iterable[bytes], lists: Iterable[bytes]) -> bool:
    """Does a list name one of these certificates? Its signature is not looked at: who proves itself anew is."""
    wanted = [(one[:_ISSUER], int.from_bytes(one[_ISSUER:])) for one in links]
    return any(
        number in found.serials and issuer == _issuer_of(found.parsed.issuer)
        for found in map(known, lists)
        for issuer, number in wanted
    )


def _issuer_of(name: x509.Name) -> bytes:
    return hashlib.sha256(name.public_bytes()).digest()[:_ISSUER]


def examine(
    path: Sequence[Certificate], lists: Iterable[bytes], when: datetime, statuses: Iterable[Status] = ()
) -> Finding:
    """What lists and OCSP responders say of a path from a certificate to an authority, both included. The authority
    itself is trusted.

    A list that is out of date still tells what was revoked when it was made: nothing is ever taken back from it but
    a hold, and who is on hold waits for the next list.
    """
    every, said, unknown, lacking = [known(one) for one in lists], tuple(statuses), "", list[int]()
    for number in range(len(path) - 2, -1, -1):  # nearest the authority first: below a revoked one nothing counts
        one, issuer = path[number], path[number + 1]
        about = [found for found in every if _speaks_of(found, one) and _issued(found, issuer)]
        answers = [found for found in said if found.about == ocsp.about(one, issuer)] if said else []
        if any(one.parsed.serial_number in found.serials for found in about) or any(one.revoked for one in answers):
            return Finding(revoked=f"certificate {one.subject!r} was revoked by {issuer.subject!r}")
        if any(found.parsed.last_update_utc <= when <= found.next_update for found in about):
            continue
        if not any(when <= found.until for found in answers):
            unknown = unknown or _missing(issuer, about, when)
            lacking.append(number)
    return Finding(unknown=unknown, lacking=tuple(lacking))


def check(der: bytes, issuers: Sequence[Certificate], when: datetime) -> None:
    """Is this a list of one of these authorities that holds now? CredentialError with the reason when it is not."""
    found = known(der)
    own = [one for one in issuers if one.parsed.subject == found.parsed.issuer]
    if not own:
        wanted = " or ".join(repr(one.subject) for one in issuers)
        raise CredentialError(f"it is a revocation list of {found.issuer!r}, not of {wanted}")
    if not any(_issued(found, one) for one in own):
        raise CredentialError(f"the revocation list of {found.issuer!r} is not signed by its key")
    if not found.parsed.last_update_utc <= when <= found.next_update:
        raise CredentialError(_missing(own[0], [found], when))


def _missing(issuer: Certificate, about: Sequence[RevocationList], when: datetime) -> str:
    if not about:
        return f"there is no revocation list of {issuer.subject!r}"
    newest = max(about, key=lambda one: one.next_update)
    if newest.parsed.last_update_utc > when:
        return f"the revocation list of {newest.issuer!r} is of {newest.parsed.last_update_utc:%Y-%m-%d %H:%M:%S} UTC"
    return f"the revocation list of {newest.issuer!r} held until {newest.next_update:%Y-%m-%d %H:%M:%S} UTC"


def _speaks_of(found: RevocationList, one: Certificate) -> bool:
    basic = one.extension(x509.BasicConstraints)
    return found.authorities if basic is not None and basic.ca else found.users


def _issued(found: RevocationList, issuer: Certificate) -> bool:
    """Is the list this authority's own (RFC 5280 6.3.3 f, g)?"""
    usage = issuer.extension(x509.KeyUsage)
    if found.parsed.issuer != issuer.parsed.subject or (usage is not None and not usage.crl_sign):
        return False
    return _signed(found, issuer)


@lru_cache(maxsize=limits.CRLS_KNOWN)
def _signed(found: RevocationList, issuer: Certificate) -> bool:
    """Remembered, as a list of some megabytes takes a while."""
    kind = found.parsed.signature_algorithm_oid
    pss = kind == SignatureAlgorithmOID.RSASSA_PSS
    if kind not in SIGNATURES or (pss and not isinstance(found.parsed.signature_hash_algorithm, _PSS_HASHES)):
        return False
    try:
        return found.parsed.is_signature_valid(issuer.key)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
