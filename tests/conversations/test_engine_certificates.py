# SPDX-License-Identifier: GPL-2.0-or-later
"""Two engines that know one another by certificates: what is said on the wire, what is refused, what is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import dialogue, plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge
from tests.conversations.plans import Settings
from tests.conversations.scenes import A4, B4
from tests.unit import pki
from tests.unit.pki import DAY, NOW, Holder, issue, method, root
from xfrmd.credentials.certificates import key_hash
from xfrmd.credentials.names import distinguished
from xfrmd.errors import CredentialError
from xfrmd.ike.effects import Effect, RemoveSa
from xfrmd.ike.events import PlanChanged
from xfrmd.ike.saving import proof
from xfrmd.ike.v2.constants import AuthMethodId, CertEncoding, ExchangeType, NotifyType
from xfrmd.ike.v2.message import build_clear, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import (
    AuthPayload,
    CertPayload,
    CertreqPayload,
    IdiPayload,
    IdrPayload,
    Payload,
)
from xfrmd.model.pad import AuthMethod, Identity, IdType, PskAuth, RootcaAuth
from xfrmd.model.plan import Plan
from xfrmd.model.secret import Secret

PSK = PskAuth(Secret(b"a secret that both have besides"))
CA = root()


def host(name: str, *, by: Holder = CA, kind: str = "p256", **more: object) -> Holder:
    more.setdefault("san", [f"{name}.example"])
    return issue(name, by=by, kind=kind, **more)  # type: ignore[arg-type] # passed through


def by(*methods: AuthMethod) -> Settings:
    return Settings(auth=methods)


def pair(a: Holder, b: Holder, /, **changes: dialogue.Change) -> Dialogue:
    """A and B with these certificates, which trust the authority of all."""
    return Dialogue(by(method(CA, [a])), by(method(CA, [b])), **changes)


def forced(holder: Holder, authority: Holder = CA) -> Settings:
    """A host that shows a certificate which its own check of the policy would not have let pass."""
    template = method(CA, [host("template")])
    return by(replace(template, authority=authority.der, certificates=(holder.der,), key=holder.secret))


def naming(*, local: Identity | None = None, remote: Identity | None = None) -> dialogue.Change:
    def change(plan: Plan) -> Plan:
        return replace(plan, pad=tuple(replace(one, local_id=local, remote_id=remote) for one in plan.pad))

    return change


def fqdn(name: str) -> Identity:
    return Identity(IdType.FQDN, name.encode())


def known_as(talk: Dialogue) -> tuple[str, str]:
    """Connect; the identity that each end proved to the other, A's first."""
    talk.connect()
    a, b = (str(side.told("ike-up").fields["remote_id"]) for side in (talk.b, talk.a))
    return a, b


def refused(talk: Dialogue, told_by: Side, why: str) -> None:
    """The negotiation fails, `told_by` says why, and no SA comes of it."""
    talk.talk(talk.acquire())
    notices = [notice for notice in told_by.notices() if notice.code == "auth-failed"]
    assert why in notices[0].message, notices
    assert "rule 'everything'" in notices[0].message
    assert notices[0].remedy
    assert not told_by.installed()
    assert not [one for side in (talk.a, talk.b) for one in side.engine.ike_sas() if one.state == "established"]


@pytest.mark.parametrize("kind", pki.KINDS)
def test_each_kind_of_key(kind: str) -> None:
    ca = root(f"Root {kind}", kind)
    a, b = host("a", by=ca, kind=kind), host("b", by=ca, kind=kind)
    talk = Dialogue(by(method(ca, [a])), by(method(ca, [b])))
    assert known_as(talk) == ("a.example", "b.example")


def test_keys_of_different_kinds() -> None:
    assert known_as(pair(host("a", kind="rsa"), host("b", kind="ed25519"))) == ("a.example", "b.example")


# rfc 7296: four-certificates
def test_a_chain_through_another_authority() -> None:
    one = issue("One", by=CA, ca=True)
    a, b = host("a", by=one), host("b")
    assert known_as(Dialogue(by(method(CA, [a, one])), by(method(CA, [b])))) == ("a.example", "b.example")
    with pytest.raises(CredentialError, match="was issued by 'O=Example, CN=One'"):
        method(CA, [a])


# rfc 7296: end-entity-first
def test_what_is_asked_for_and_what_is_shown() -> None:
    a, b, hidden = host("a"), host("b"), root("Hidden")
    of_a = by(method(CA, [a]), method(hidden, [host("h", by=hidden)], excluded=True))
    talk = Dialogue(of_a, by(method(CA, [b])))
    (request,) = datagrams(talk.acquire())
    clear = parse_clear(request.data)
    announced = clear.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    assert announced is not None
    assert announced.data.hex() == "0002000300040005"
    (answer,) = datagrams(talk.deliver(request))
    clear = parse_clear(answer.data)
    assert clear.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS) is not None
    (asked,) = clear.every(CertreqPayload)
    assert (asked.encoding, asked.key_hashes) == (CertEncoding.X509_SIGNATURE, (key_hash(CA.certificate),))
    (auth,) = datagrams(talk.deliver(answer))
    talk.deliver(auth)
    # B's engine has read it; A's own message is opened with B's keys.
    opened = established(talk.b).agreed_channel.open(parse_clear(auth.data))
    assert [one.data for one in opened.every(CertPayload)] == [a.der]
    (asked,) = opened.every(CertreqPayload)
    assert asked.key_hashes == (key_hash(CA.certificate),)  # the hidden one is left out
    proof, identity = opened.first(AuthPayload), opened.first(IdiPayload)
    assert proof is not None
    assert identity is not None
    assert proof.method == AuthMethodId.DIGITAL_SIGNATURE
    assert identity.identity == fqdn("a.example")
    assert opened.first(IdrPayload) is None


def test_no_authority_is_named_when_all_are_left_out() -> None:
    methods = [method(CA, [host(name)], excluded=True) for name in "ab"]
    talk = Dialogue(by(methods[0]), by(methods[1]))
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    assert parse_clear(answer.data).first(CertreqPayload) is None
    talk.talk(talk.deliver(answer))
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2  # two of us show certificates unasked


# rfc 7427: announce-hashes
def test_who_has_a_preshared_key_alone_says_nothing_of_certificates() -> None:
    talk = Dialogue()
    (request,) = datagrams(talk.acquire())
    assert parse_clear(request.data).notify(NotifyType.SIGNATURE_HASH_ALGORITHMS) is None
    (answer,) = datagrams(talk.deliver(request))
    assert parse_clear(answer.data).first(CertreqPayload) is None


REFUSED = {
    "expired": (lambda: host("b", end=NOW - DAY / 2), "'O=Example, CN=b' expired at 2030-05-31"),
    "not yet valid": (lambda: host("b", start=NOW + DAY), "is valid only from"),
    "of a stranger": (
        lambda: host("b", by=root("Other")),
        "was issued by 'O=Example, CN=Other', which is no authority",
    ),
    "self-signed": (lambda: issue("b", san=["b.example"]), "which is no authority of the rule"),
    "not for IKE": (
        lambda: host("b", purposes=[pki.CLIENT_AUTH]),
        "is not for IKE (extendedKeyUsage",
    ),
}


# rfc 7296: initiator-tells
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_responder_s_certificate_is_refused(case: tuple[object, str]) -> None:
    made, why = case
    assert callable(made)
    talk = Dialogue(by(method(CA, [host("a")])), forced(made()))
    refused(talk, talk.a, why)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_initiator_s_certificate_is_refused(case: tuple[object, str]) -> None:
    made, why = case
    assert callable(made)
    talk = Dialogue(forced(made()), by(method(CA, [host("a")])))
    refused(talk, talk.b, why)
    assert "we said to be b.example and expected whoever its certificate names" in talk.a.told("auth-failed").message


def test_our_own_certificate_that_has_expired_is_told() -> None:
    talk = Dialogue(forced(host("a", end=NOW - DAY / 2)), by(method(CA, [host("b")])))
    refused(talk, talk.b, "expired")
    assert "'O=Example, CN=a' expired" in talk.a.told("own-certificate").message


def test_a_peer_must_be_whom_the_rule_names() -> None:
    """CVE-2015-4171: what a rule demands of the peer was looked at too late."""
    pair(host("a"), host("b"), a=naming(remote=fqdn("B.example"))).connect()
    talk = pair(host("a"), host("b"), b=naming(remote=fqdn("c.example")))
    refused(talk, talk.b, "the rule expects c.example; we are 10.0.0.2, it says to be a.example")


# rfc 7296: identity-fits-key
def test_a_certificate_speaks_only_for_those_it_names() -> None:
    talk = pair(host("a"), host("b"), a=naming(local=fqdn("boss.example")))
    refused(talk, talk.b, "'O=Example, CN=a' carries a.example, O=Example, CN=a, not the identity boss.example")


def test_an_address_must_be_the_peer_s() -> None:
    pair(host("a", san=["10.0.0.1"]), host("b", san=["10.0.0.2"])).connect()
    talk = pair(host("a", san=["10.0.0.9"]), host("b"))
    refused(talk, talk.b, "it says to be 10.0.0.9 and is at 10.0.0.1")
    nine = Identity(IdType.IPV4_ADDR, bytes((10, 0, 0, 9)))
    pair(host("a", san=["10.0.0.9"]), host("b"), b=naming(remote=nine)).connect()


# rfc 7296: id-types
def test_distinguished_names() -> None:
    talk = pair(host("a", san=[]), host("b"), b=naming(remote=distinguished("O=example, CN=A")))
    talk.connect()
    assert talk.b.told("ike-up").fields["remote_id"] == "O=Example, CN=a"


def test_the_responder_shows_the_name_that_is_asked_for() -> None:
    b = host("b", san=["b.example", "service.example"])
    talk = pair(host("a"), b, a=naming(remote=fqdn("service.example")))
    talk.connect()
    assert talk.a.told("ike-up").fields["remote_id"] == "service.example"
    talk = pair(host("a"), b, a=naming(remote=fqdn("nobody.example")))
    refused(talk, talk.b, "it wants to talk to nobody.example")


def test_several_authorities_in_order() -> None:
    """A's first authority is unknown to B: A tries the second. B answers by the authority that A asks for."""
    other, third = root("Other"), root("Third")
    of_a = by(method(other, [host("a", by=other)]), method(CA, [host("a")]))
    of_b = by(method(third, [host("b", by=third)]), method(CA, [host("b")]))
    talk = Dialogue(of_a, of_b)
    talk.connect()
    assert "trying method 2" in talk.a.told("auth-next").message


# rfc 7296: certreq-hashes
def test_the_answer_is_by_an_authority_that_the_initiator_names() -> None:
    """B could answer by the authority of A's certificate, but A asks for the other alone."""
    other = root("Other")
    of_a = by(method(CA, [host("a")], excluded=True), method(other, [host("a", by=other)]))
    of_b = by(method(CA, [host("b")]), method(other, [host("c", by=other)]))
    assert known_as(Dialogue(of_a, of_b))[1] == "c.example"


def test_a_certificate_first_and_a_preshared_key_behind_it() -> None:
    both = by(method(root("Other"), [host("a", by=root("Other"))]), PSK)
    talk = Dialogue(both, by(method(CA, [host("b")]), PSK))
    talk.connect()
    assert "trying method 2" in talk.a.told("auth-next").message
    assert "which is no authority of the rule" in talk.b.told("auth-failed").message


def test_a_preshared_key_is_refused_where_certificates_are_wanted() -> None:
    talk = Dialogue(by(PSK), by(method(CA, [host("b")])))
    refused(talk, talk.b, "it proves itself by SHARED_KEY_MIC, the rule wants a certificate")


def test_files_that_could_not_be_read_are_a_method_that_nobody_meets() -> None:
    unread = by(RootcaAuth(b"", (), Secret(b""), "file /ca.pem"))
    talk = Dialogue(by(method(CA, [host("a")])), unread)
    refused(talk, talk.b, "the files of our certificate have not been read")
    talk = Dialogue(unread, by(method(CA, [host("b")])))
    refused(talk, talk.a, "we cannot prove ourselves to 10.0.0.2 (rule 'everything'): the files of our certificate")


def test_what_is_kept_of_an_authentication_tells_methods_apart() -> None:
    """An SA is adopted by a later run only under the same authorities; our own certificate may be a new one."""
    (entry,) = plans.plan(A4, [B4], by(method(CA, [host("a")]))).pad
    other, renewed = root("Other"), method(CA, [host("a")], excluded=True)
    others: list[AuthMethod] = [method(other, [host("a", by=other)]), PSK]
    marks = {proof(entry, b"key"), *(proof(replace(entry, auth=(one,)), b"key") for one in others)}
    assert len(marks) == 3
    assert proof(replace(entry, auth=(renewed,)), b"key") == proof(entry, b"key")


def test_an_ike_sa_ends_with_the_peer_s_certificate() -> None:
    """Rekeys prove nothing anew: what comes of them ends when the first one would."""
    minutes = Settings(auth=(method(CA, [host("a")]),), ike_seconds=600)
    short = Settings(auth=(method(CA, [host("b", end=NOW + DAY / 48)]),), ike_seconds=600)
    talk = Dialogue(minutes, short)
    talk.connect()
    talk.pass_time(29 * 60)
    (view,) = talk.a.engine.ike_sas()
    assert view.children
    assert talk.a.engine.counters()["rekeyed-ike-sas"] >= 2
    talk.pass_time(90)
    assert (
        "the peer's certificate has expired" in [one for one in talk.a.notices() if one.code == "ike-down"][-1].message
    )
    assert not [one for one in talk.a.engine.ike_sas() if one.state == "established"]
    talk.talk(talk.acquire())
    assert "CN=b' expired at 2030-06-01 00:30:00" in talk.a.told("auth-failed").message


def test_a_renewed_certificate_ends_nothing_and_another_authority_does() -> None:
    talk = pair(host("a"), host("b"))
    talk.connect()
    plan = plans.plan(A4, [B4], by(method(CA, [host("a")], excluded=True)))
    assert not [one for one in talk.a.hear(PlanChanged(plan), talk.now) if isinstance(one, RemoveSa)]
    other = root("Other")
    plan = plans.plan(A4, [B4], by(method(other, [host("a", by=other)])))
    assert [one for one in talk.a.hear(PlanChanged(plan), talk.now) if isinstance(one, RemoveSa)]


def deaf(talk: Dialogue) -> list[Effect]:
    """Both ends have exchanged keys, and neither has heard that the other speaks RFC 7427. What A says next."""
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    established(talk.b, keyed=False).greeting.hashes = frozenset()
    clear = parse_clear(answer.data)
    kept = [one for one in clear.payloads if getattr(one, "notify", 0) != NotifyType.SIGNATURE_HASH_ALGORITHMS]
    old = replace(answer, data=build_clear(clear.header, kept))
    established(talk.b, keyed=False).greeting.response = old.data
    return talk.deliver(old)


# rfc 7296: auth-methods
def test_a_peer_without_rfc_7427() -> None:
    """RSA and ECDSA go on by the older methods."""
    talk = pair(host("a", kind="rsa"), host("b", kind="p384"))
    talk.talk(deaf(talk))
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2


def test_an_edwards_key_and_a_peer_without_rfc_7427() -> None:
    talk = pair(host("a", kind="ed25519"), host("b"))
    assert datagrams(deaf(talk)) == []
    why = "we cannot prove ourselves to 10.0.0.2 (rule 'everything'): the peer does not speak RFC 7427"
    assert why in talk.a.told("auth-failed").message
    talk = pair(host("a"), host("b", kind="ed25519"))
    talk.talk(deaf(talk))
    assert "we cannot prove ourselves to 10.0.0.1" in talk.b.told("auth-failed").message
    assert not talk.b.installed()


def until_auth(talk: Dialogue) -> tuple[Payload, ...]:
    """A and B have exchanged keys, and A's IKE_AUTH is lost: what it said."""
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    (auth,) = datagrams(talk.deliver(answer))
    return open_sealed(parse_clear(auth.data), established(talk.a).agreed_channel._out).payloads


HOSTILE: dict[str, tuple[list[Payload], str]] = {
    "no certificate": ([], "it sends no certificate"),
    "an empty certificate": ([CertPayload(CertEncoding.X509_SIGNATURE, b"")], "no certificate that can be read"),
    "no ASN.1": ([CertPayload(CertEncoding.X509_SIGNATURE, bytes(range(256)))], "no certificate that can be read"),
    "a torn one": ([CertPayload(CertEncoding.X509_SIGNATURE, host("a").der[:-7])], "no certificate that can be read"),
    "something behind it": ([CertPayload(CertEncoding.X509_SIGNATURE, host("a").der + b"!")], "that can be read"),
    "a huge one": ([CertPayload(CertEncoding.X509_SIGNATURE, bytes(9000))], "a certificate of 9000 octets"),
    "its address": ([CertPayload(CertEncoding.HASH_AND_URL_X509, bytes(20) + b"http://a.example/a")], "hash and URL"),
    "nine": ([CertPayload(CertEncoding.X509_SIGNATURE, host("a").der)] * 9, "it sends 9 certificates (8 at most"),
    "another kind": ([CertPayload(CertEncoding.RAW_PUBLIC_KEY, bytes(32))], "it sends no certificate"),
    "a weak key": (
        [CertPayload(CertEncoding.X509_SIGNATURE, host("a", own_key=pki.key("rsa1024")).der)],
        "an RSA key of 1024 bits (2048 to 8192 are taken)",
    ),
    "somebody else's": (
        [CertPayload(CertEncoding.X509_SIGNATURE, host("a", own_key=pki.key("p256", "else")).der)],
        "its signature is not that of its certificate's key (certificate 'O=Example, CN=a')",
    ),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_hostile_certificates_cost_only_their_exchange(case: tuple[list[Payload], str]) -> None:
    certificates, why = case
    talk = pair(host("a"), host("b"))
    rest = [one for one in until_auth(talk) if not isinstance(one, CertPayload | AuthPayload)]
    forged = bytes.fromhex("0c300a06082a8648ce3d040302") + bytes(70)
    payloads = [*rest, *certificates, AuthPayload(AuthMethodId.DIGITAL_SIGNATURE, forged)]
    answer = talk.deliver(forge(talk.a, ExchangeType.IKE_AUTH, payloads, 1))
    assert why in talk.b.told("auth-failed").message
    assert [len(datagrams(answer)), talk.b.installed()] == [1, []]
    assert not [one for one in talk.b.engine.ike_sas() if one.state == "established"]


# rfc 7296: end-entity-first
def test_a_strange_extra_certificate_does_no_harm() -> None:
    """What stands behind the peer's own certificate may be of no importance; when the path fails it is told."""
    a = host("a")
    talk = pair(a, host("b"))
    said = list(until_auth(talk))
    said.insert(2, CertPayload(CertEncoding.X509_SIGNATURE, b"no certificate"))
    talk.deliver(forge(talk.a, ExchangeType.IKE_AUTH, said, 1))
    assert len(talk.b.installed()) == 2
    stranger = host("a", by=root("Other"))
    talk = pair(a, host("b"))
    said = list(until_auth(talk))
    said[1:2] = [CertPayload(CertEncoding.X509_SIGNATURE, one) for one in (stranger.der, b"no certificate")]
    talk.deliver(forge(talk.a, ExchangeType.IKE_AUTH, said, 1))
    message = talk.b.told("auth-failed").message
    assert "which is no authority of the rule" in message
    assert "certificate 2 of those it sends cannot be used: no certificate that can be read" in message
