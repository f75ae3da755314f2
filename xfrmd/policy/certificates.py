# SPDX-License-Identifier: GPL-2.0-or-later
"""Authentication by certificates as a rule names it: an authority, our certificate under it, and its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from xfrmd.credentials import own, revocation, sources
from xfrmd.credentials.certificates import Certificate
from xfrmd.credentials.names import carries, distinguished, identities, same, spoken
from xfrmd.errors import CredentialError
from xfrmd.model.pad import CRL_ALWAYS, CRL_OFF, AuthMethod, Fetching, Identity, IdType, RootcaAuth
from xfrmd.model.secret import Secret, SecretRef, StandIn
from xfrmd.model.source import Span
from xfrmd.policy.fetching import FETCH, FETCHING
from xfrmd.policy.identities import reference
from xfrmd.policy.kinds import FLAG, integer, one_of, text
from xfrmd.policy.nodes import MappingNode
from xfrmd.policy.problems import BAD, Problems, quoted
from xfrmd.policy.records import Field, Later, Read, Record


class RootcaRef(NamedTuple):
    """An authority by reference."""

    ca: SecretRef
    certificate: SecretRef
    key: SecretRef
    name: Identity | None
    excluded: bool
    crl: SecretRef | None = None
    check: int | None = None
    """`strongcrlcheck`, None for that of the computer."""
    fetch: Fetching | None = None


def _name(read: Read, problems: Problems) -> Any:
    """The distinguished name of the authority, None when it is not given."""
    value = read["name"]
    if value is None:
        return None
    try:
        return distinguished(value)
    except ValueError:
        remedy = "write it as C=DE, O=Example, CN=Example Root, or leave it out"
        return problems.error(read.place("name"), f"{quoted(value)} is no distinguished name", remedy)


def _build(read: Read, problems: Problems) -> Any:
    name = _name(read, problems) if read.good("name") else BAD
    if not read.whole or name is BAD:
        return BAD
    for word, what in _VAIN.items():
        if read["strongcrlcheck"] == CRL_OFF and read[word] is not None:
            remedy = "remove it, or write strongcrlcheck: 1 or 2"
            problems.warning(read.place(word), f"{word} {what} that strongcrlcheck: 0 never looks at", remedy)
    return RootcaRef(
        read["ca"],
        read["certificate"],
        read["key"],
        name,
        read["excludecaname"],
        read["crl"],
        read["strongcrlcheck"],
        read["fetch"],
    )


_VAIN: Final = {"crl": "names revocation lists", "fetch": "fetches revocation lists"}
AUTHORITY: Final = reference(
    "ca",
    "Where the certificate of an authority is kept.",
    "one certificate in PEM form, which nobody else may write",
    public=True,
)
CERTIFICATE: Final = reference(
    "certificate",
    "Where our own certificate is kept.",
    "it in PEM form, then those between it and the authority; nobody else may write it",
    public=True,
)
KEY: Final = reference(
    "key", "Where the private key of our certificate is kept.", "it in PEM form, not encrypted, readable by xfrmd alone"
)
CRL: Final = reference(
    "crl",
    "Where revocation lists are kept.",
    "those of the authority, and of authorities below it, in PEM form; nobody else may write it",
    public=True,
    lists=True,
)
STRONG_CRL_CHECK: Final = integer(CRL_OFF, CRL_ALWAYS)
ROOTCA: Final = Record(
    "certification authority",
    "Peers have certificates of this authority, and so have we.",
    (
        Field("ca", AUTHORITY.kind(), "the authority's certificate", required=True),
        Field(
            "certificate", CERTIFICATE.kind(), "our certificate, and those between it and the authority", required=True
        ),
        Field("key", KEY.kind(), "the private key of our certificate", required=True),
        Field(
            "name",
            text("a distinguished name", 1),
            "whose certificate the file of the authority must be",
            shown="not looked at",
        ),
        Field(
            "excludecaname",
            FLAG,
            "do not tell peers that we trust this authority",
            default=False,
            shown="no",
            netsh="excludecaname",
        ),
        Field("crl", CRL.kind(), "revocation lists of the authority and of those below it", shown="none"),
        Field(
            "fetch",
            FETCH,
            "fetch revocation lists and ask OCSP responders by HTTP, where the certificates that stand here name them; "
            "or whom else to ask",
            shown="no",
        ),
        Field(
            "strongcrlcheck",
            STRONG_CRL_CHECK,
            "0: revocation is not looked at; 1: who stands in a list is refused; 2: so is everybody of whom no list or "
            "responder tells that holds now",
            shown="that of config",
        ),
    ),
    (Later("certmap", "mapping certificates to accounts", "remove it, and name the peer by the rule's remote_id"),),
    build=_build,
)
RECORDS: Final = (ROOTCA, AUTHORITY, CERTIFICATE, KEY, CRL, FETCHING)
_BY_FILES: Final = ROOTCA.kind()
_BY_NAME: Final = text("a distinguished name, certmap:yes|no and excludecaname:yes|no behind it as netsh has it", 1)
ROOTCA_KIND: Final = one_of(
    (_BY_NAME, _BY_FILES), lambda node: _BY_FILES if isinstance(node, MappingNode) else _BY_NAME
)


def check_identity(local: Identity | None, methods: Iterable[AuthMethod], at: Span, problems: Problems) -> None:
    """Report an identity of ours that a certificate of ours does not carry: no peer would believe it."""
    for method in methods:
        if local is None or not isinstance(method, RootcaAuth) or not method.certificates:
            continue
        certificate = own.known(method.certificates[0])
        if not carries(certificate, local):
            carried = ", ".join(map(spoken, identities(certificate))) or "none"
            message = f"our certificate {certificate.subject!r} does not carry the identity {spoken(local)}"
            problems.error(at, message, f"write one of those it carries ({carried}), or remove local_id")


def unread(ref: RootcaRef) -> RootcaAuth:
    """The method in place of one whose files are not read: nobody meets it."""
    return RootcaAuth(b"", (), Secret(b""), str(ref.ca), ref.excluded)


def load(ref: RootcaRef, read: Callable[[SecretRef], bytes], check: int) -> RootcaAuth:
    """The method of authentication that a reference stands for. Where a StandIn is read, a method that nobody meets.
    `check`: the computer's `strongcrlcheck`.

    Raises CredentialError, which says what is wrong with which file.
    """
    check = check if ref.check is None else ref.check
    contents = [read(one) for one in (ref.ca, ref.certificate, ref.key)]
    listed = read(ref.crl) if ref.crl is not None else None
    if any(isinstance(one, StandIn) for one in contents):
        return unread(ref)
    if check == CRL_ALWAYS and ref.crl is None and ref.fetch is None:
        raise CredentialError("strongcrlcheck: 2 refuses everybody here: name a crl beside the ca, or write fetch: yes")
    authority: Certificate = _of(ref.ca, own.authority_of, contents[0])
    if ref.name is not None and not same(ref.name, Identity(IdType.DER_ASN1_DN, authority.subject_octets)):
        raise CredentialError(f"{ref.ca}: it is the certificate of {authority.subject!r}, not of the name given")
    chain: tuple[Certificate, ...] = _of(ref.certificate, own.certificates_of, contents[1])
    key: Secret = _of(ref.key, lambda pem: own.key_of(pem, chain[0]), contents[2])
    crls = _of(ref.crl, revocation.lists_of, listed) if ref.crl is not None and listed is not None else ()
    try:
        made = own.assemble(authority, chain, key, excluded=ref.excluded)
    except CredentialError as error:
        raise CredentialError(f"{ref.certificate}: {error}") from error
    made = replace(made, crls=crls, crl_check=check, fetch=ref.fetch)
    if sources.asks_nobody(made):
        remedy = "write beside fetch whom to ask: {lists: [...]}, or {hosts: [...]} that certificates of peers name"
        raise CredentialError(
            f"{ref.certificate}: fetch: yes asks nobody, as no certificate in it has http: for a list or a "
            f"responder; {remedy}"
        )
    return made


def _of(ref: SecretRef, make: Callable[[bytes], Any], content: bytes) -> Any:
    try:
        return make(content)
    except CredentialError as error:
        raise CredentialError(f"{ref}: {error}") from error
