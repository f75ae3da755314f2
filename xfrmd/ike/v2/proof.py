# SPDX-License-Identifier: GPL-2.0-or-later
"""Proofs of identity in IKE_AUTH (RFC 7296 2.15): ours by a method of the rule, and the judgement of the peer's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.credentials import names, own, paths, revocation, signatures, sources
from xfrmd.credentials.certificates import Certificate, key_hash, parse
from xfrmd.credentials.psk import psk_auth, psk_verify
from xfrmd.errors import CredentialError
from xfrmd.ike import auth_notices, enquiries, notices
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.proven import PSK, Proofs, Proven, by_certificate
from xfrmd.ike.v2.constants import AuthMethodId, CertEncoding, NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import AuthPayload, CertPayload, CertreqPayload, IdPayload, NotifyPayload, Payload
from xfrmd.model.addresses import Address
from xfrmd.model.pad import CRL_ALWAYS, CRL_OFF, AuthMethod, Identity, IdType, PadEntry, PskAuth, RootcaAuth

_ADDRESSES: Final = (IdType.IPV4_ADDR, IdType.IPV6_ADDR)
_BY_URL: Final = (CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE)


class Claim(NamedTuple):
    """Who a peer says to be, its AUTH payload, and the octets that this must cover."""

    identity: IdPayload
    auth: AuthPayload
    octets: bytes


Verdict = tuple[AuthMethod | None, str]
"""The method of the rule by which a peer has proved itself; None, and why it has not."""


def identity_of(address: Address) -> Identity:
    """An address as an identity."""
    return Identity(IdType.IPV4_ADDR if address.family == 4 else IdType.IPV6_ADDR, address.packed)


def _secrets(pad: PadEntry) -> list[PskAuth]:
    return [method for method in pad.auth if isinstance(method, PskAuth)]


def _authorities(pad: PadEntry) -> list[RootcaAuth]:
    """Those whose files have been read."""
    return [method for method in pad.auth if isinstance(method, RootcaAuth) and method.certificates]


# What is said in IKE_SA_INIT


# rfc 7427: announce-hashes
def hash_algorithms(pad: PadEntry) -> list[Payload]:
    """SIGNATURE_HASH_ALGORITHMS (RFC 7427 4), where certificates may be used."""
    if not _authorities(pad):
        return []
    return [NotifyPayload(NotifyType.SIGNATURE_HASH_ALGORITHMS, signatures.announcement())]


# rfc 7296: certreq-hashes
def requests(pad: PadEntry) -> list[Payload]:
    """CERTREQ (RFC 7296 3.7) for the authorities of the rule that may be named; none at all where none may."""
    named = [own.known(one.authority) for one in _authorities(pad) if not one.exclude_ca_name]
    hashes = dict.fromkeys(map(key_hash, named))
    return [CertreqPayload(CertEncoding.X509_SIGNATURE, b"".join(hashes))] if hashes else []


def listen(sa: IkeSa, message: Message) -> None:
    """Remember which hash algorithms the peer verifies."""
    notify = message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    sa.greeting.hashes = signatures.announced(notify.data) if notify is not None else frozenset()


# Ours


# rfc 7296: id-types
def local_identity(sa: IkeSa, method: AuthMethod, wanted: Identity | None = None) -> Identity:
    """Who we are by this method. `wanted`: whom the peer wants to talk to; our certificate may carry that name too."""
    if sa.pad.local_id is not None:
        return sa.pad.local_id
    if isinstance(method, RootcaAuth) and method.certificates:
        certificate = own.known(method.certificates[0])
        if wanted is not None and names.carries(certificate, wanted):
            return wanted
        return next(iter(names.identities(certificate)), identity_of(sa.local.address))
    return identity_of(sa.local.address)


# rfc 7296: pki-and-psk
def make(ctx: Context, sa: IkeSa, method: AuthMethod, octets: bytes) -> list[Payload]:
    """CERT payloads, if any, and AUTH. CredentialError when the peer takes nothing that we can make."""
    if isinstance(method, PskAuth):
        proof = psk_auth(sa.agreed_channel.prf, method.secret, octets)
        _proved(sa, local=Proven(PSK))
        return [AuthPayload(AuthMethodId.SHARED_KEY_MIC, proof)]
    if not method.certificates:
        raise CredentialError("the files of our certificate have not been read")
    outdated = own.outdated(method, ctx.today())
    if outdated:
        ctx.tell(notices.own_certificate(sa, outdated))
    for ends in () if outdated else own.ending(method, ctx.today()):
        ctx.remind(auth_notices.own_ends(sa, ends))
    number, data = signatures.sign(method.key, octets, sa.greeting.hashes, _identifiers(sa))
    ours = [own.known(one) for one in (*method.certificates, method.authority)]
    _proved(sa, local=by_certificate(ours, number, data))
    certificates = [CertPayload(CertEncoding.X509_SIGNATURE, one) for one in method.certificates]
    return [*certificates, AuthPayload(number, data)]


def _identifiers(sa: IkeSa) -> frozenset[bytes]:
    """Signature algorithms that the peer has announced."""
    return frozenset(one for number, one in sa.greeting.accepts or () if number == signatures.DIGITAL_SIGNATURE)


def answering(sa: IkeSa, message: Message, proved: AuthMethod) -> AuthMethod:
    """The method to answer with: by the authority that the initiator asks for, else as it has proved itself."""
    if isinstance(proved, PskAuth):
        return proved
    asked = {
        one for request in message.every(CertreqPayload) if request.encoding == CertEncoding.X509_SIGNATURE
        for one in request.key_hashes
    }  # fmt: skip
    if key_hash(own.known(proved.authority)) in asked:
        return proved
    others = _authorities(sa.pad)
    return next((one for one in others if key_hash(own.known(one.authority)) in asked), proved)


# The peer's


# rfc 7296: identity-fits-key auth-methods
def judge(ctx: Context, sa: IkeSa, message: Message, claim: Claim) -> Verdict:
    """Has the peer proved to be who it says, and may it be that?"""
    number = claim.auth.method
    if number == AuthMethodId.SHARED_KEY_MIC and _secrets(sa.pad):
        return _by_secret(sa, claim)
    if number in signatures.METHODS and _authorities(sa.pad):
        try:
            return _by_certificate(ctx, sa, message, claim), ""
        except CredentialError as error:
            return None, str(error)
    wanted = {PskAuth: "a preshared key", RootcaAuth: "a certificate"}
    words = " or ".join(dict.fromkeys(wanted[type(one)] for one in (*_secrets(sa.pad), *_authorities(sa.pad))))
    if not words:
        return None, "the files of our certificate have not been read"
    return None, f"it proves itself by {AuthMethodId(number).name}, the rule wants {words}"


# rfc 7296: psk-pad
def _by_secret(sa: IkeSa, claim: Claim) -> Verdict:
    expected = sa.pad.remote_id or identity_of(sa.remote.address)
    if claim.identity.identity != expected and not _translated(sa, claim.identity.identity):
        return None, f"the rule expects {names.spoken(expected)}"
    for method in _secrets(sa.pad):
        if psk_verify(sa.agreed_channel.prf, method.secret, claim.octets, claim.auth.data):
            _proved(sa, remote=Proven(PSK))
            return method, ""
    return None, "its preshared key is not ours"


def _by_certificate(ctx: Context, sa: IkeSa, message: Message, claim: Claim) -> AuthMethod:
    """The method whose authority speaks for the peer. CredentialError with the reason when none does."""
    chain, unusable = _chain(sa, message.every(CertPayload))
    methods = {one.authority: one for one in reversed(_authorities(sa.pad))}
    try:
        path = paths.find(chain, [own.known(one) for one in reversed(methods)], ctx.today())
    except CredentialError as error:
        raise CredentialError("; ".join([str(error), *unusable])) from error
    _check_identity(sa, path[0], claim.identity.identity)
    why = signatures.verify(path[0].key, claim.auth.method, claim.octets, claim.auth.data)
    if why:
        raise CredentialError(f"{why} (certificate {path[0].subject!r})")
    method = methods[path[-1].der]
    _check_revoked(ctx, sa, path, method)
    proven = by_certificate(path, claim.auth.method, claim.auth.data)
    _proved(sa, remote=proven)
    assert proven.until is not None
    if proven.until - ctx.wall() < limits.CERTIFICATE_ENDS * 86_400:
        ctx.whisper(auth_notices.peer_ends(sa, proven), sa.remote.address)
    sa.lineage.believed_until = ctx.now + proven.until - ctx.wall()
    return method


def _check_revoked(ctx: Context, sa: IkeSa, path: Sequence[Certificate], method: RootcaAuth) -> None:
    """Windows' `strongcrlcheck`. CredentialError for who is revoked or, where that must be known, may be;
    PostponedError while that is being asked.
    """
    if method.crl_check == CRL_OFF:
        return
    found = revocation.examine(path, ctx.store.learnt.lists_of(method), ctx.today(), enquiries.statuses(ctx, method))
    if found.revoked:
        raise CredentialError(found.revoked)
    if not found.unknown:
        return
    why = enquiries.demand(ctx, sa, sources.about(path, found.lacking, method), method.crl_check)
    unknown = f"{found.unknown} ({why})" if why else found.unknown
    if method.crl_check == CRL_ALWAYS:
        raise CredentialError(f"{unknown}, and strongcrlcheck: 2 wants to know whether its certificate was revoked")
    if method.crls or method.fetch is not None:
        ctx.whisper(auth_notices.revocation_unknown(sa, unknown, method), sa.remote.address)


def _proved(sa: IkeSa, *, local: Proven | None = None, remote: Proven | None = None) -> None:
    """Remember how an end has proved itself."""
    known = sa.lineage.proofs
    sa.lineage.proofs = Proofs(local or known.local, remote or known.remote, known.ppk)


def _translated(sa: IkeSa, identity: Identity) -> bool:
    """Behind a NAT a host knows itself by an address that we do not see; a rule that names nobody takes that one."""
    return sa.pad.remote_id is None and sa.lineage.nat.there and identity.type in _ADDRESSES


# rfc 7296: four-certificates end-entity-first
def _chain(sa: IkeSa, payloads: Iterable[CertPayload]) -> tuple[Sequence[Certificate], list[str]]:
    """The peer's certificates, its own first, and what is wrong with those of the others that are of no use."""
    found = list(payloads)
    if any(one.encoding in _BY_URL for one in found):
        raise CredentialError("it sends the address of its certificate in place of the certificate (hash and URL)")
    octets = [one.data for one in found if one.encoding == CertEncoding.X509_SIGNATURE]
    if not octets:
        unasked = "it was not asked for one, as every rootca of the rule has excludecaname: let it send one unasked"
        raise CredentialError("it sends no certificate" + ("" if requests(sa.pad) else f"; {unasked}"))
    if len(octets) > limits.CERTIFICATES:
        raise CredentialError(f"it sends {len(octets)} certificates ({limits.CERTIFICATES} at most are looked at)")
    try:
        chain, unusable = [parse(octets[0])], []
    except CredentialError as error:
        raise CredentialError(f"its certificate cannot be used: {error}") from error
    for number, one in enumerate(octets[1:], 2):
        try:
            chain.append(parse(one))
        except CredentialError as error:  # it may be of no importance (RFC 7296 3.6)
            unusable.append(f"certificate {number} of those it sends cannot be used: {error}")
    return chain, unusable


# rfc 7296: identity-fits-key
def _check_identity(sa: IkeSa, certificate: Certificate, identity: Identity) -> None:
    """The peer must be whom the rule names, if it names somebody, and whom its certificate names (RFC 4945 3.1)."""
    said, expected = names.spoken(identity), sa.pad.remote_id
    if expected is not None and not names.same(expected, identity):
        raise CredentialError(f"the rule expects {names.spoken(expected)}")
    if not names.carries(certificate, identity):
        carried = ", ".join(map(names.spoken, names.identities(certificate))) or "none"
        raise CredentialError(f"its certificate {certificate.subject!r} carries {carried}, not the identity {said}")
    if (
        identity.type in _ADDRESSES
        and expected is None
        and identity != identity_of(sa.remote.address)
        and not _translated(sa, identity)
    ):
        raise CredentialError(f"it says to be {said} and is at {sa.remote.address}")
