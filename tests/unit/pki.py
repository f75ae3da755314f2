# SPDX-License-Identifier: GPL-2.0-or-later
"""A PKI for tests: authorities and certificates, good ones and those with one thing wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from xfrmd.credentials.certificates import Certificate, parse
from xfrmd.credentials.own import assemble
from xfrmd.credentials.revocation import lists_of
from xfrmd.model.pad import CRL_IF_KNOWN, Fetching, RootcaAuth
from xfrmd.model.secret import Secret

NOW = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
KINDS = ("rsa", "p256", "p384", "p521", "ed25519", "ed448")
_CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
Extensions = Iterable[tuple[x509.ExtensionType, bool]]


def new_key(kind: str) -> Any:
    """A fresh private key."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return (ed25519.Ed25519PrivateKey if kind == "ed25519" else ed448.Ed448PrivateKey).generate()


@cache
def key(kind: str, owner: str = "") -> Any:
    """The private key of an owner, the same in all of a test run: RSA keys take a while to make."""
    del owner
    return new_key(kind)


def name_of(text: str) -> x509.Name:
    """A distinguished name of one organization and one common name."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, text)])


def alternative(name: str) -> x509.GeneralName:
    """A subjectAltName as people write it."""
    if "@" in name:
        return x509.RFC822Name(name)
    if name.replace(".", "").isdigit() or ":" in name:
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def usage(*, sign: bool = True, certificates: bool = False) -> x509.KeyUsage:
    """keyUsage: digitalSignature or, without, keyEncipherment; and keyCertSign."""
    return x509.KeyUsage(sign, False, not sign, False, False, certificates, certificates, False, False)


SHA256_RSA, SHA1_RSA = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "05"))


@dataclass(frozen=True)
class Holder:
    """Somebody with a certificate and its key."""

    parsed: x509.Certificate
    key: Any = field(repr=False)

    @property
    def certificate(self) -> Certificate:
        """As xfrmd reads it."""
        return parse(self.der)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.parsed.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.parsed.public_bytes(Encoding.PEM)

    @property
    def by_sha1(self) -> Holder:
        """A certificate with RSA that says to be signed with SHA-1. Its signature is not good any more."""
        return Holder(x509.load_der_x509_certificate(self.der.replace(SHA256_RSA, SHA1_RSA)), self.key)

    @property
    def key_pem(self) -> bytes:
        """The private key."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def secret(self) -> Secret:
        """The private key as the PAD holds it."""
        return Secret(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def issue(
    subject: str | x509.Name,
    *,
    by: Holder | None = None,
    kind: str = "p256",
    san: Iterable[str] = (),
    ca: bool = False,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    purposes: Iterable[x509.ObjectIdentifier] = (),
    more: Extensions = (),
    start: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + 365 * DAY,
    hash_: Any = hashes.SHA256,
    pss: bool = False,
    bare: bool = False,
    own_key: Any = None,
) -> Holder:
    """A certificate; self-signed unless `by` somebody. `bare`: without basicConstraints and keyUsage."""
    name = name_of(subject) if isinstance(subject, str) else subject
    own_key = own_key or key(kind, str(subject))
    signer = own_key if by is None else by.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if by is None else by.parsed.subject)
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if not bare:
        extensions += [
            (x509.BasicConstraints(ca, path_length), True),
            (key_usage or usage(sign=not ca, certificates=ca), True),
        ]
    if names := [alternative(one) for one in san]:
        extensions.append((x509.SubjectAlternativeName(names), False))
    if uses := list(purposes):
        extensions.append((x509.ExtendedKeyUsage(uses), False))
    for extension, critical in (*extensions, *more):
        builder = builder.add_extension(extension, critical)
    plain = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    padded = padding.PSS(padding.MGF1(hash_()), padding.PSS.DIGEST_LENGTH) if pss else None
    return Holder(builder.sign(signer, None if plain else hash_(), rsa_padding=padded), own_key)


def root(name: str = "Root", kind: str = "p256", **more: Any) -> Holder:
    """An authority that signs itself."""
    return issue(name, kind=kind, ca=True, **more)


def method(
    authority: Holder,
    chain: Iterable[Holder],
    *,
    excluded: bool = False,
    crls: Iterable[bytes] = (),
    check: int = CRL_IF_KNOWN,
) -> RootcaAuth:
    """What the PAD holds of an authority, and of a certificate with those between. `crls`: files of lists."""
    chain = tuple(chain)
    made = assemble(authority.certificate, [one.certificate for one in chain], chain[0].secret, excluded=excluded)
    return replace(made, crls=tuple(one for pem in crls for one in lists_of(pem)), crl_check=check)


def asking(made: RootcaAuth, fetch: Fetching | None) -> RootcaAuth:
    """The same method, which fetches what it does not know."""
    return replace(made, fetch=fetch)


def crl(
    by: Holder,
    *revoked: Holder,
    days: tuple[int, int] = (-1, 30),
    now: dt.datetime = NOW,
    more: Extensions = (),
    entry: Extensions = (),
) -> bytes:
    """A revocation list in PEM that holds between these days from `now`."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.parsed.subject)
    builder = builder.last_update(now + days[0] * DAY).next_update(now + days[1] * DAY)
    for one in revoked:
        made = x509.RevokedCertificateBuilder().serial_number(one.parsed.serial_number).revocation_date(NOW - 10 * DAY)
        for extension, critical in entry:
            made = made.add_extension(extension, critical)
        builder = builder.add_revoked_certificate(made.build())
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def answered(
    issuer: Holder,
    about: Holder,
    *,
    by: Holder | None = None,
    revoked: bool = False,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    start: dt.timedelta = -dt.timedelta(hours=1),
    end: dt.timedelta | None = 7 * DAY,
    hash_: Any = None,
    now: dt.datetime = NOW,
    why: x509.ReasonFlags | None = None,
) -> bytes:
    """What an OCSP responder answers: the issuer, or `by` whom it has let."""
    signer = by or issuer
    state = ocsp.OCSPCertStatus.REVOKED if revoked else status
    builder = ocsp.OCSPResponseBuilder().add_response(
        about.parsed,
        issuer.parsed,
        hash_ or hashes.SHA1(),
        state,
        now + start,
        None if end is None else now + end,
        now - DAY if revoked else None,
        why,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.parsed)
    if by is not None:
        builder = builder.certificates([by.parsed])
    plain = isinstance(signer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(signer.key, None if plain else hashes.SHA256()).public_bytes(Encoding.DER)


def places(*lists: str, responders: Iterable[str] = ()) -> Extensions:
    """Where a certificate says that lists and responders are."""
    found: list[tuple[x509.ExtensionType, bool]] = []
    if lists:
        names = [x509.UniformResourceIdentifier(url) for url in lists]
        found.append((x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]), False))
    if asked := [x509.UniformResourceIdentifier(url) for url in responders]:
        kind = AuthorityInformationAccessOID.OCSP
        found.append((x509.AuthorityInformationAccess([x509.AccessDescription(kind, one) for one in asked]), False))
    return found


IPSEC_IKE, CLIENT_AUTH = ExtendedKeyUsageOID.IPSEC_IKE, ExtendedKeyUsageOID.CLIENT_AUTH
