# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask by HTTP whether certificates are revoked: what a rule names, and what certificates name of that.

A peer's certificate comes from a stranger. It chooses among hosts that the operator has named, or that stand in the
certificates that the operator trusts: those of the authority, ours, and those between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from xfrmd.credentials import ocsp, own, revocation
from xfrmd.credentials.certificates import Certificate
from xfrmd.credentials.locations import Place, is_unfit, location_of
from xfrmd.limits import fetching
from xfrmd.model.pad import CRL_OFF, RootcaAuth


@dataclass(frozen=True, slots=True)
class Source:
    """One address. `certificate` b"": it gives a list, of one of these issuers; else a responder, to be asked about
    this certificate of the one issuer. All in DER.
    """

    url: str
    issuers: tuple[bytes, ...]
    certificate: bytes = b""

    @property
    def is_list(self) -> bool:
        """Does it give a list?"""
        return not self.certificate


class Sources(NamedTuple):
    """Whom to ask about a peer's path, and why others that it names are not asked, for people."""

    asked: tuple[Source, ...] = ()
    refused: tuple[str, ...] = ()


News = bytes | ocsp.Status
"""What a source gives: a list in DER, or what is said of a certificate."""


def question(source: Source) -> bytes:
    """The body of the request to a responder."""
    return ocsp.request(own.known(source.certificate), own.known(source.issuers[0]))


def answer(source: Source, octets: bytes, when: datetime) -> News:
    """What came back, once it is proved. CredentialError with the reason when it is not to be believed."""
    issuers = [own.known(one) for one in source.issuers]
    if source.is_list:
        revocation.check(octets, issuers, when)
        return octets
    return ocsp.judge(octets, own.known(source.certificate), issuers[0], when)


def ahead(methods: Iterable[RootcaAuth]) -> tuple[Source, ...]:
    """The lists that these methods will need, whoever comes."""
    found: dict[Source, None] = {}
    for method in methods:
        if method.fetch is None or method.crl_check == CRL_OFF or not method.certificates:
            continue
        trusted = _trusted(method)
        issuers = {one.subject_octets: one.der for one in trusted}
        named = (
            Source(url, (issuers[one.parsed.issuer.public_bytes()],))
            for one in trusted[:-1]
            for url in _list_urls(one)
            if _fit(url) and one.parsed.issuer.public_bytes() in issuers
        )
        found |= dict.fromkeys((*_of_rule(method), *named))
    return tuple(found)


def about(path: Sequence[Certificate], lacking: Iterable[int], method: RootcaAuth) -> Sources:
    """Whom to ask about those certificates of a peer's path (by their number in it) of which nothing is known."""
    if method.fetch is None:
        return Sources()
    allowed, asked, refused = _allowed(method), dict[Source, None](), list[str]()
    for number in lacking:
        one, issuer = path[number], path[number + 1]
        asked |= {Source(url, (issuer.der,), one.der): None for url in method.fetch.responders}
        for url, is_list in (
            *((url, False) for url in _responder_urls(one)),
            *((url, True) for url in _list_urls(one)),
        ):
            why = _why_not(url, allowed)
            if why:
                refused.append(why)
            else:
                asked[Source(url, (issuer.der,), b"" if is_list else one.der)] = None
    asked |= dict.fromkeys(_of_rule(method))
    return Sources(tuple(asked)[: fetching.SOURCES], tuple(dict.fromkeys(refused)))


def asks_nobody(method: RootcaAuth) -> bool:
    """Is there no host that might be asked, whatever a peer's certificate names?"""
    return method.fetch is not None and not _allowed(method)


def is_allowed(source: Source, methods: Iterable[RootcaAuth]) -> bool:
    """May this source still be asked?"""
    place = location_of(source.url).place
    return any(place in _allowed(one) for one in methods if one.fetch is not None and one.crl_check != CRL_OFF)


def _of_rule(method: RootcaAuth) -> Iterator[Source]:
    assert method.fetch is not None
    issuers = tuple(one.der for one in _trusted(method)[1:])
    return (Source(url, issuers) for url in method.fetch.lists)


def _trusted(method: RootcaAuth) -> list[Certificate]:
    """Our own certificate, those between, and the authority."""
    return [own.known(one) for one in (*method.certificates, method.authority)]


def _allowed(method: RootcaAuth) -> frozenset[Place]:
    assert method.fetch is not None
    written = {location_of(url).place for url in (*method.fetch.lists, *method.fetch.responders)}
    named = {
        location_of(url).place
        for one in _trusted(method)
        for url in (*_list_urls(one), *_responder_urls(one))
        if _fit(url)
    }
    return frozenset({*map(Place._make, method.fetch.hosts), *written, *named})


def _fit(url: str) -> bool:
    """May an address that a certificate names, and nobody has written, lead somewhere?"""
    try:
        address = location_of(url).place.address
    except ValueError:
        return False
    return address is None or not is_unfit(address)


def _why_not(url: str, allowed: frozenset[Place]) -> str:
    try:
        place = location_of(url).place
    except ValueError as error:
        return f"its certificate names {error}"
    if place in allowed:
        return ""
    return f"its certificate names {url}, and the rule does not let it choose {place} (fetch: hosts)"


def _list_urls(one: Certificate) -> list[str]:
    """Where a certificate says that its issuer's list is (RFC 5280 4.2.1.13)."""
    points = one.extension(x509.CRLDistributionPoints)
    # A point with its own issuer or reasons speaks of a list that is not taken (see revocation).
    fit = (point for point in points or () if point.crl_issuer is None and point.reasons is None)
    return _urls(name for point in fit for name in point.full_name or ())


def _responder_urls(one: Certificate) -> list[str]:
    """Where a certificate says that its status can be asked (RFC 5280 4.2.2.1)."""
    access = one.extension(x509.AuthorityInformationAccess)
    fit = (entry for entry in access or () if entry.access_method == AuthorityInformationAccessOID.OCSP)
    return _urls(entry.access_location for entry in fit)


def _urls(names: Iterable[x509.GeneralName]) -> list[str]:
    """Those that are http:, as others (ldap:) stand beside them in certificates of Windows."""
    found = (one.value for one in names if isinstance(one, x509.UniformResourceIdentifier))
    return [url for url in found if url[:5].lower() == "http:"][: fetching.NAMED]
