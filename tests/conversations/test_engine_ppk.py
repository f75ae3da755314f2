# SPDX-License-Identifier: GPL-2.0-or-later
"""Postquantum preshared keys (RFC 8784) between two engines: in use, left out where that is allowed, demanded."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, Side, datagrams, established
from tests.conversations.plans import ALL_REQID, GCM_X25519, Settings
from tests.conversations.scenes import A4, B4, ping
from tests.unit import pki
from tests.unit.pki import issue, method, root
from xfrmd.ike.events import Acquire, Adopt, Rekey
from xfrmd.ike.saved import KernelSa, decode
from xfrmd.ike.saving import proof
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.message import parse_clear
from xfrmd.model.pad import Ppk
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import Transform, TransformType
from xfrmd.model.secret import Secret
from xfrmd.transforms.keymat import with_ppk

KEY, OTHER = Secret(bytes(range(32))), Secret(bytes(32))
CA = root()
HYBRID = Settings(ike=((*GCM_X25519, Transform(6, 36)),))


def having(key: Secret = KEY, name: bytes = b"office", *, required: bool = True) -> Change:
    """A rule with a PPK."""

    def change(plan: Plan) -> Plan:
        return replace(plan, pad=tuple(replace(one, ppk=Ppk(name, key, required)) for one in plan.pad))

    return change


def none(plan: Plan) -> Plan:
    """A rule without."""
    return plan


def used(talk: Dialogue) -> tuple[str, str]:
    """The PPK that the IKE SA of each end was made with."""
    (a,), (b,) = talk.a.engine.ike_sas(), talk.b.engine.ike_sas()
    return a.proofs.ppk, b.proofs.ppk


def optional(key: Secret = KEY, name: bytes = b"office") -> Change:
    return having(key, name, required=False)


WORKS = {
    "both demand it": (having(), having(), "office"),
    "the initiator demands it": (having(), optional(), "office"),
    "the responder demands it": (optional(), having(), "office"),
    "both can do without": (optional(), optional(), "office"),
    "the responder has none": (optional(), none, ""),
    "the initiator has none": (none, optional(), ""),
    "another name": (optional(), optional(name=b"elsewhere"), ""),
}
A, B = (issue(name, by=CA, san=[f"{name}.example"]) for name in "ab")
CERTIFICATES = Settings(auth=(method(CA, [A]),))
OTHERS = Settings(auth=(method(CA, [B]),))


# rfc 8784: identity no-ppk-auth
@pytest.mark.parametrize("settings", [(None, None), (CERTIFICATES, OTHERS)], ids=["psk", "rootca"])
@pytest.mark.parametrize("case", WORKS.values(), ids=WORKS)
def test_a_ppk_in_use_and_left_out(
    case: tuple[Change, Change, str], settings: tuple[Settings | None, Settings | None]
) -> None:
    a, b, name = case
    talk = Dialogue(*settings, a=a, b=b)
    talk.connect()
    assert used(talk) == (name, name)
    ours, theirs = talk.a.installed(), talk.b.installed()
    assert {one.encryption_key for one in ours} == {one.encryption_key for one in theirs}
    (sa,) = talk.a.engine.ike_sas()
    talk.talk(talk.a.hear(Rekey(sa.local_spi), talk.now))
    assert used(talk) == (name, name)  # it stays in the keys
    (child,) = (talk.a.engine.ike_sas()[0]).children
    talk.talk(talk.a.hear(Rekey(child.spi_in.to_bytes(4)), talk.now))
    assert len(talk.a.installed()) == len(talk.b.installed()) == 4


REFUSED = {
    "the initiator has none": (none, having(), "b", "ppk-missing", "does not use a postquantum preshared key"),
    "the responder has none": (having(), none, "a", "ppk-missing", "does not use a postquantum preshared key"),
    "another name": (having(), having(name=b"x\x1b"), "b", "auth-failed", r"key 'x\x1b', the peer uses 'office'"),
    "it insists": (
        having(),
        optional(name=b"x"),
        "b",
        "auth-failed",
        "it insists on the postq",
    ),
    "the responder insists": (
        optional(),
        having(name=b"x"),
        "b",
        "auth-failed",
        "preshared key 'x'",
    ),
    "another key": (having(), having(OTHER), "b", "auth-failed", "its preshared key is not ours"),
    "another key, not demanded": (optional(), optional(OTHER), "b", "auth-failed", "its preshared key is not ours"),
}


# rfc 8784: mandatory
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_ppk_that_is_demanded_fails_closed(case: tuple[Change, Change, str, str, str]) -> None:
    a, b, told_by, code, why = case
    talk = Dialogue(a=a, b=b)
    talk.talk(talk.acquire())
    talk.pass_time(400.0)
    side = talk.a if told_by == "a" else talk.b
    found = [one for one in side.notices() if one.code == code]
    assert found
    assert why in found[0].message
    assert found[0].remedy
    assert not talk.a.installed()
    assert not talk.b.installed()


# rfc 8784: use-ppk
def test_what_is_said_in_the_clear() -> None:
    talk = Dialogue(a=having(), b=having())
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    for one in (request, answer):
        found = parse_clear(one.data).notify(NotifyType.USE_PPK)
        assert found is not None
        assert found.data == b""
    (proved,) = datagrams(talk.deliver(answer))
    assert b"office" not in request.data + answer.data + proved.data
    plain = Dialogue(b=having(required=False))
    (request,) = datagrams(plain.a.hear(Acquire(ALL_REQID, ping(A4, B4)), 0.0))
    (answer,) = datagrams(plain.deliver(request))
    assert parse_clear(answer.data).notify(NotifyType.USE_PPK) is None


# rfc 8784: keys-mixed
def test_the_keys_are_those_of_the_rfc() -> None:
    """prf+(PPK, key): T1 | T2 with T1 = prf(PPK, key | 1), T2 = prf(PPK, T1 | key | 2) (RFC 8784 3, RFC 7296 2.13)."""
    for number, name, size in ((5, "sha256", 32), (7, "sha512", 64)):
        prf, key = Transform(TransformType.PRF, number), bytes(range(100, 100 + size))
        first = hmac.digest(KEY.reveal(), key + b"\x01", name)
        assert with_ppk(prf, KEY, key) == first
        first = hmac.digest(KEY.reveal(), key + key + b"\x01", name)
        second = hmac.digest(KEY.reveal(), first + key + key + b"\x02", name)
        assert with_ppk(prf, KEY, key + key) == first + second


# rfc 8784: keys-mixed
# rfc 9242: auth-covers
@pytest.mark.parametrize("case", WORKS.values(), ids=WORKS)
def test_beside_additional_key_exchanges_it_is_mixed_into_the_last_keys(case: tuple[Change, Change, str]) -> None:
    """IKE_INTERMEDIATE is covered by AUTH under the keys without the PPK, SK_d of its last step goes in with it."""
    a, b, name = case
    talk = Dialogue(HYBRID, a=a, b=b)
    waiting, before = datagrams(talk.acquire()), b""
    while waiting:
        one = waiting.pop(0)
        if parse_clear(one.data).header.exchange == ExchangeType.IKE_AUTH and not before:
            _, before = established(talk.a).agreed_channel.heritage
        waiting += datagrams(talk.deliver(one))
    assert used(talk) == (name, name)
    prf, sk_d = established(talk.a).agreed_channel.heritage
    assert before
    assert sk_d == (with_ppk(prf, KEY, before) if name else before)
    assert sk_d == established(talk.b).agreed_channel.heritage[1]
    ours, theirs = talk.a.installed(), talk.b.installed()
    assert {one.spi for one in ours} == {one.spi for one in theirs}


def test_another_ppk_is_another_way_to_authenticate() -> None:
    plain = plans.plan(A4, [B4])
    changes = (having(), having(OTHER), having(name=b"x"), optional(), none)
    entries = [change(plain).pad[0] for change in changes]
    assert len({one.peers for one in entries}) == len({proof(one, b"sk_d") for one in entries}) == len(changes)


def restarted(talk: Dialogue, plan: Plan) -> None:
    """A dies and goes on under a plan, with what was kept of it."""
    kept = [one.content.reveal() for one in talk.a.engine.changes() if one.content is not None]
    kernel = {one.key: KernelSa(due=False, soft=one.soft, added=0.0) for one in talk.a.installed()}
    talk.a = Side(A4, plan, 3, talk.wall)
    talk.talk(talk.a.hear(Adopt(decode(kept), kernel), talk.now))


def test_proofs_and_keys_outlive_the_process() -> None:
    talk = Dialogue(CERTIFICATES, OTHERS, a=having(), b=having())
    talk.connect()
    (before,) = talk.a.engine.ike_sas()
    restarted(talk, having()(plans.plan(A4, [B4], CERTIFICATES)))
    (after,) = talk.a.engine.ike_sas()
    assert after.proofs == before.proofs
    assert after.proofs.remote.subject == "O=Example, CN=b"
    assert after.proofs.ppk == "office"
    talk.talk(talk.a.hear(Rekey(after.children[0].spi_in.to_bytes(4)), talk.now))
    ours, theirs = ({one.encryption_key for one in side.installed()} for side in (talk.a, talk.b))
    assert len(ours) == 2
    assert ours < theirs  # the new pair, from the SK_d that the PPK has made


@pytest.mark.parametrize("what", ["another key", "no key", "revoked"])
def test_under_another_plan_a_restart_ends_what_it_no_longer_believes(what: str) -> None:
    talk = Dialogue(CERTIFICATES, OTHERS, a=having(), b=having())
    talk.connect()
    held = pki.crl(CA, B)
    settings = Settings(auth=(method(CA, [A], crls=[held] if what == "revoked" else []),))
    change = {"another key": having(OTHER), "no key": none, "revoked": having()}[what]
    restarted(talk, change(plans.plan(A4, [B4], settings)))
    assert not talk.a.engine.ike_sas()
    assert not talk.b.engine.ike_sas()
