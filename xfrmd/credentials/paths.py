# SPDX-License-Identifier: GPL-2.0-or-later
"""Is there a path from a certificate to an authority that we trust (RFC 5280 6, with the profile of RFC 4945 5)?

Pure: the certificates, the authorities and the time decide. No fetching, no revocation lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from xfrmd import limits
from xfrmd.credentials import name_constraints
from xfrmd.credentials.certificates import SIGNATURES, Certificate, text_of
from xfrmd.errors import CredentialError

_PSS_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = frozenset(
    kind.oid
    for kind in (
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
        x509.NameConstraints,
        x509.CertificatePolicies,  # no policy is required, so that any will do (RFC 5280 6.1.1)
    )
)
"""Extensions that may be critical; every other critical one makes a certificate unusable (RFC 5280 4.2)."""
_IKE_INTERMEDIATE: Final = x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2")
"""What Windows' authorities write into certificates for IPsec; it means what id-kp-ipsecIKE means."""
_FOR_IKE: Final = (ExtendedKeyUsageOID.IPSEC_IKE, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, _IKE_INTERMEDIATE)


@dataclass(slots=True)
class _Search:
    """One search; `checks` is how many signatures may still be verified."""

    pool: Sequence[Certificate]
    anchors: Sequence[Certificate]
    when: datetime | None
    checks: int = limits.CERTIFICATE_CHECKS
    reasons: list[tuple[int, str]] = field(default_factory=list)
    """Why each attempt failed, with the length of its path."""


def find(
    chain: Sequence[Certificate], anchors: Sequence[Certificate], when: datetime | None
) -> tuple[Certificate, ...]:
    """The path from chain[0] to one of the authorities, both included. CredentialError, which names the certificate
    and what is wrong with it, when there is none.

    `chain`: the certificate of whoever signs, and what is to stand between it and an authority, in any order.
    `when`: None leaves validity periods out, for a look at one's own certificates before they are used.
    """
    if not chain:
        raise CredentialError("there is no certificate")
    if len(chain) > limits.CERTIFICATES:
        raise CredentialError(f"{len(chain)} certificates ({limits.CERTIFICATES} at most are looked at)")
    trusted = {one.der for one in anchors}
    pool = {one.der: one for one in chain[1:] if one.der != chain[0].der and one.der not in trusted}
    search = _Search(tuple(pool.values()), anchors, when)
    path = _extend(search, (chain[0],))
    if path is None:
        raise CredentialError(max(search.reasons, key=lambda one: one[0])[1])
    return path


def in_time(path: Sequence[Certificate], when: datetime) -> bool:
    """Is none of these certificates before or after its time?"""
    return all(one.parsed.not_valid_before_utc <= when <= one.parsed.not_valid_after_utc for one in path)


def _extend(search: _Search, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
    """The path, continued up to an authority and found good; None when nothing leads there (`reasons` tell why)."""
    last = path[-1]
    wrong = wrong_alone(last, search.when)
    if wrong:
        search.reasons.append((len(path), f"certificate {last.subject!r} {wrong}"))
        return None
    issuers = [*search.anchors, *(one for one in search.pool if one not in path)]
    named = [one for one in issuers if one.parsed.subject == last.parsed.issuer]
    if not named:
        trusted = ", ".join(repr(one.subject) for one in search.anchors) or "none"
        issuer = text_of(last.parsed.issuer)
        reason = f"certificate {last.subject!r} was issued by {issuer!r}, which is no authority of the rule ({trusted})"
        search.reasons.append((len(path), reason))
    for issuer_ in named:
        if not _signed(search, last, issuer_, len(path)):
            continue
        if any(issuer_ is anchor for anchor in search.anchors):
            found = (*path, issuer_)
            wrong = _wrong_together(found, search.when)
            if not wrong:
                return found
            search.reasons.append((len(found), wrong))
        elif len(path) < limits.CERTIFICATE_PATH:
            longer = _extend(search, (*path, issuer_))
            if longer is not None:
                return longer
        else:
            search.reasons.append((len(path), f"the path is longer than {limits.CERTIFICATE_PATH} certificates"))
    return None


def _signed(search: _Search, one: Certificate, issuer: Certificate, depth: int) -> bool:
    if search.checks == 0:
        raise CredentialError(f"no path to an authority within {limits.CERTIFICATE_CHECKS} signatures")
    search.checks -= 1
    try:
        one.parsed.verify_directly_issued_by(issuer.parsed)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        reason = f"certificate {one.subject!r} names {issuer.subject!r} as its issuer, whose key has not signed it"
        search.reasons.append((depth, reason))
        return False
    return True


def wrong_alone(one: Certificate, when: datetime | None) -> str:
    """What is wrong with a certificate wherever it stands, "" when nothing is."""
    if when is not None and when < one.parsed.not_valid_before_utc:
        return f"is valid only from {one.parsed.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC on"
    if when is not None and when > one.parsed.not_valid_after_utc:
        return f"expired at {one.parsed.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    if not _strong(one):
        return f"is signed by {one.parsed.signature_algorithm_oid._name}, which is not taken"  # noqa: SLF001 (no other way to its name)
    return _unknown_critical(one)


def _strong(one: Certificate) -> bool:
    kind = one.parsed.signature_algorithm_oid
    if kind == SignatureAlgorithmOID.RSASSA_PSS:
        return isinstance(one.parsed.signature_hash_algorithm, _PSS_HASHES)
    return kind in SIGNATURES


def _unknown_critical(one: Certificate) -> str:
    strange = [oid.dotted_string for oid, found in one.extensions.items() if found.critical and oid not in _UNDERSTOOD]
    return f"has a critical extension that is not understood ({', '.join(strange)})" if strange else ""


def _wrong_together(path: tuple[Certificate, ...], when: datetime | None) -> str:
    """What is wrong with a whole path whose signatures are good, "" when nothing is."""
    leaf, anchor = path[0], path[-1]
    wrong = _wrong_leaf(leaf)
    if wrong:
        return f"certificate {leaf.subject!r} {wrong}"
    between = 0
    for below, issuer in enumerate(path[1:], 1):
        # An authority is trusted for its key, whatever signed its certificate; the rest binds it as the others.
        wrong = (_outdated_or_strange(anchor, when) if issuer is anchor else "") or _wrong_issuer(issuer, between)
        if wrong:
            return f"certificate {issuer.subject!r} {wrong}"
        wrong = name_constraints.broken(issuer, path[:below])
        if wrong:
            return f"{wrong}, says the authority {issuer.subject!r}"
        between += issuer.parsed.subject != issuer.parsed.issuer
    return ""


def _outdated_or_strange(anchor: Certificate, when: datetime | None) -> str:
    if when is not None and not anchor.parsed.not_valid_before_utc <= when <= anchor.parsed.not_valid_after_utc:
        return f"is not valid now (until {anchor.parsed.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC)"
    return _unknown_critical(anchor)


def _wrong_issuer(one: Certificate, between: int) -> str:
    """`between`: certificates of other authorities that stand between it and the first one."""
    basic, usage = one.extension(x509.BasicConstraints), one.extension(x509.KeyUsage)
    if basic is None or not basic.ca:
        return "is not that of an authority (basicConstraints)"
    if usage is not None and not usage.key_cert_sign:
        return "may not sign certificates (keyUsage)"
    if basic.path_length is not None and between > basic.path_length:
        return f"allows {basic.path_length} authorities below it (pathLenConstraint), and there are {between}"
    return ""


def _wrong_leaf(one: Certificate) -> str:
    """RFC 4945 5.1.3.2 (keyUsage) and 5.1.3.12 (extendedKeyUsage)."""
    usage, purposes = one.extension(x509.KeyUsage), one.extension(x509.ExtendedKeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "may not sign (keyUsage has neither digitalSignature nor nonRepudiation)"
    if purposes is not None and not any(purpose in _FOR_IKE for purpose in purposes):
        return "is not for IKE (extendedKeyUsage is there without ipsecIKE)"
    return ""
