# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own certificate and key, and authorities that we trust, from the PEM files that a policy names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from xfrmd import limits
from xfrmd.credentials import paths, revocation
from xfrmd.credentials.certificates import Certificate, parse
from xfrmd.errors import CredentialError
from xfrmd.model.pad import RootcaAuth
from xfrmd.model.secret import Secret

_ENCRYPTED: Final = b"ENCRYPTED"


def certificates_of(pem: bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM file in its order. CredentialError when there is none, or one cannot be used."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CredentialError("it holds no certificate in PEM form") from error
    if len(found) > limits.CERTIFICATES:
        raise CredentialError(f"it holds {len(found)} certificates; {limits.CERTIFICATES} at most are taken")
    return tuple(parse(one.public_bytes(Encoding.DER)) for one in found)


def authority_of(pem: bytes) -> Certificate:
    """The one authority of a file. CredentialError for more, and for a certificate that is no authority's."""
    found = certificates_of(pem)
    if len(found) != 1:
        raise CredentialError(f"it holds {len(found)} certificates; write a method for each authority")
    basic = found[0].extension(x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise CredentialError(f"certificate {found[0].subject!r} is not that of an authority (basicConstraints)")
    return found[0]


def key_of(pem: bytes, certificate: Certificate) -> Secret:
    """A private key, as PKCS#8 in DER. CredentialError, without a word of the key, when it is none or is another's."""
    if _ENCRYPTED in pem:
        raise CredentialError("the key is encrypted, and nobody is there to give its password: store it in clear")
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise CredentialError("it holds no private key in PEM form") from error
    of_key, of_certificate = (
        one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in (key.public_key(), certificate.key)
    )
    if of_key != of_certificate:
        raise CredentialError(f"the key is not that of certificate {certificate.subject!r}")
    return Secret(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def assemble(
    authority: Certificate, chain: Sequence[Certificate], key: Secret, *, excluded: bool = False
) -> RootcaAuth:
    """The method of authentication. CredentialError when peers that trust the authority would refuse the chain."""
    paths.find(chain, [authority], None)
    sent = tuple(one.der for one in chain if one.der != authority.der)
    if (size := sum(map(len, sent))) > limits.CERTIFICATES_SENT:
        raise CredentialError(f"its certificates have {size} octets; {limits.CERTIFICATES_SENT} fit into a message")
    return RootcaAuth(authority.der, sent, key, authority.subject, excluded)


@lru_cache(maxsize=64)
def known(der: bytes) -> Certificate:
    """A certificate of ours, or of an authority of ours, which was examined when it was read."""
    return parse(der)


def ending(method: RootcaAuth, when: datetime) -> tuple[str, ...]:
    """What of a method holds no more, or not for much longer: certificates of ours, the authority, revocation lists."""
    if not method.certificates:
        return ()
    soon = when + timedelta(days=limits.CERTIFICATE_ENDS)
    told = [
        f"certificate {one.subject!r} {'expires' if until > when else 'expired'} at {until:%Y-%m-%d %H:%M} UTC"
        for one in map(known, (*method.certificates, method.authority))
        for until in (one.parsed.not_valid_after_utc,)
        if until <= soon
    ]
    lists = map(revocation.known, method.crls)
    told += [
        f"the revocation list of {one.issuer!r} held until {one.next_update:%Y-%m-%d %H:%M} UTC"
        for one in lists
        if one.next_update < when
    ]
    return tuple(told)


def outdated(method: RootcaAuth, when: datetime) -> str:
    """What is wrong with our own certificates at this time, "" when nothing is."""
    try:
        if not paths.in_time(_path(method.certificates, method.authority), when):
            paths.find([known(one) for one in method.certificates], [known(method.authority)], when)
    except CredentialError as error:
        return str(error)
    return ""


@lru_cache(maxsize=64)
def _path(certificates: tuple[bytes, ...], authority: bytes) -> tuple[Certificate, ...]:
    """From ours to the authority, whatever the time: signatures stay what they are. CredentialError."""
    return paths.find([known(one) for one in certificates], [known(authority)], None)
