# SPDX-License-Identifier: GPL-2.0-or-later
"""Handshakes that wait for lists and OCSP responders: at both ends, by each level, and what comes of late answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, Side, datagrams, established
from tests.conversations.plans import Settings
from tests.conversations.scenes import A4, B4
from tests.unit.pki import NOW, Holder, answered, asking, crl, issue, method, places, root
from xfrmd import limits
from xfrmd.credentials import sources
from xfrmd.credentials.ocsp import Revoked, Status
from xfrmd.credentials.revocation import lists_of
from xfrmd.credentials.sources import Source
from xfrmd.ike import resumable
from xfrmd.ike.effects import AskRevocation, Effect, KeepRevoked
from xfrmd.ike.events import PlanChanged, RevocationKept, RevocationLearnt, TicketKeys
from xfrmd.ike.learnt import Learnt, Waiting
from xfrmd.limits import fetching
from xfrmd.model.pad import CRL_ALWAYS, CRL_IF_KNOWN, CRL_OFF, Fetching, Ppk
from xfrmd.model.secret import Secret

CA = root()
LIST, RESPONDER, FOREIGN = "http://crl.example/ca.crl", "http://ocsp.example/", "http://evil.example/x"
A = issue("a", by=CA, san=["a.example"], more=places(LIST, responders=[RESPONDER]))
B = issue("b", by=CA, san=["b.example"], more=places(LIST))
BY_OCSP = issue("b", by=CA, san=["b.example"], more=places(responders=[RESPONDER]))
OF_LIST = Source(LIST, (CA.der,))
PPK = Ppk(b"tomorrow", Secret(bytes(range(32))))


FETCH = Fetching()


def settings(check: int, fetch: Fetching | None = FETCH) -> Settings:
    return Settings(auth=(asking(method(CA, [A], check=check), fetch),))


def with_ppk(ppk: Ppk | None) -> Change:
    return lambda plan: replace(plan, pad=tuple(replace(one, ppk=ppk) for one in plan.pad))


def pair(check: int = CRL_ALWAYS, b: Holder = B, fetch: Fetching | None = FETCH, ppk: Ppk | None = None) -> Dialogue:
    change = with_ppk(ppk)
    return Dialogue(settings(check, fetch), Settings(auth=(method(CA, [b]),)), a=change, b=change)


def asked(effects: list[Effect]) -> list[Source]:
    return [one.source for one in effects if isinstance(one, AskRevocation)]


def begin(talk: Dialogue, initiates: str) -> list[Source]:
    """A handshake up to where A asks."""
    return asked(talk.talk(talk.acquire(getattr(talk, initiates))))


def answer(talk: Dialogue, source: Source, *, octets: bytes = b"", trouble: str = "") -> list[Effect]:
    news = sources.answer(source, octets, talk.a.engine._ctx.today()) if octets else None
    effects = talk.a.hear(RevocationLearnt(source, news, trouble), talk.now)
    return effects + talk.talk(effects)


def der(*revoked: Holder) -> bytes:
    return lists_of(crl(CA, *revoked))[0]


def state(side: Side) -> list[str]:
    return [one.state for one in side.engine.ike_sas()]


BOTH = pytest.mark.parametrize("initiates", ["a", "b"])


@BOTH
@pytest.mark.parametrize("check", [CRL_IF_KNOWN, CRL_ALWAYS])
@pytest.mark.parametrize("ppk", [None, PPK])
def test_a_handshake_waits_for_its_list(initiates: str, check: int, ppk: Ppk | None) -> None:
    talk = pair(check, ppk=ppk)
    assert begin(talk, initiates) == [OF_LIST]
    assert not talk.a.installed()
    answer(talk, OF_LIST, octets=der())
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2
    assert "revocation-unknown" not in {one.code for one in talk.a.notices()}
    talk.pass_time(fetching.REVOCATION_WAIT[1] + 1)
    assert state(talk.a) == ["established"]


@BOTH
@pytest.mark.parametrize("check", [CRL_IF_KNOWN, CRL_ALWAYS])
def test_whom_the_list_names_is_refused(initiates: str, check: int) -> None:
    talk = pair(check)
    begin(talk, initiates)
    answer(talk, OF_LIST, octets=der(B))
    assert "certificate 'O=Example, CN=b' was revoked by" in talk.a.told("auth-failed").message
    assert not talk.a.installed()
    assert not talk.a.engine.ike_sas()


def test_an_answer_ends_a_handshake_that_waits_for_it_too_and_that_one_does_not_go_on() -> None:
    """What follows from the first may end the second: one believed end replaces others of the same peer."""
    talk = pair()
    begin(talk, "b")
    waiting = talk.a.engine._ctx.store.learnt.waiting
    (one,) = waiting.values()
    other = established(talk.b)
    went = []

    def ends_the_other() -> None:
        went.append("one")
        del waiting[other]

    waiting[other] = Waiting({OF_LIST}, one.ends, resume=lambda: went.append("other"))
    one.resume = ends_the_other
    answer(talk, OF_LIST, octets=der())
    assert went == ["one"]


@BOTH
@pytest.mark.parametrize("revoked", [False, True])
def test_a_responder_answers_in_place_of_a_list(initiates: str, revoked: bool) -> None:
    talk = pair(b=BY_OCSP)
    (source,) = begin(talk, initiates)
    assert (source.url, source.certificate) == (RESPONDER, BY_OCSP.der)
    answer(talk, source, octets=answered(CA, BY_OCSP, revoked=revoked))
    assert bool(talk.a.installed()) is not revoked


@BOTH
@pytest.mark.parametrize(("check", "comes_in"), [(CRL_IF_KNOWN, True), (CRL_ALWAYS, False)])
def test_a_source_that_fails(initiates: str, check: int, comes_in: bool) -> None:
    talk = pair(check)
    begin(talk, initiates)
    answer(talk, OF_LIST, trouble="status 500")
    assert bool(talk.a.installed()) is comes_in
    told = talk.a.told("revocation-unknown" if comes_in else "auth-failed").message
    assert f"there is no revocation list of 'O=Example, CN=Root' ({LIST}: status 500)" in told


@BOTH
@pytest.mark.parametrize(("check", "comes_in"), [(CRL_IF_KNOWN, True), (CRL_ALWAYS, False)])
def test_nobody_waits_for_ever(initiates: str, check: int, comes_in: bool) -> None:
    talk = pair(check)
    begin(talk, initiates)
    wait = fetching.REVOCATION_WAIT[check == CRL_ALWAYS]
    talk.pass_time(wait - 0.5)
    assert not talk.a.installed()
    talk.pass_time(1.0)
    assert bool(talk.a.installed()) is comes_in
    told = talk.a.told("revocation-unknown" if comes_in else "auth-failed").message
    assert f"{LIST} does not answer in time" in told
    before = state(talk.a)
    answer(talk, OF_LIST, octets=der())  # too late for this one
    assert state(talk.a) == before


def test_the_list_is_there_for_the_next_one_and_ends_whom_it_names() -> None:
    talk = pair()
    begin(talk, "a")
    answer(talk, OF_LIST, octets=der())
    plan = plans.plan(A4, [B4], settings(CRL_ALWAYS))
    talk.talk(talk.a.hear(PlanChanged(plan), talk.now))
    assert state(talk.a) == ["established"]
    answer(talk, OF_LIST, octets=der(A))
    assert state(talk.a) == ["established"]
    answer(talk, OF_LIST, octets=der(B))
    assert not talk.a.engine.ike_sas()
    assert not talk.b.engine.ike_sas()
    assert not begin(talk, "a")
    assert "was revoked by" in talk.a.told("auth-failed").message


def test_a_request_that_is_repeated_meanwhile_is_answered_once() -> None:
    talk = pair()
    (source,) = begin(talk, "b")
    repeated = talk.pass_time(2.0)
    assert not asked(repeated)
    done = answer(talk, source, octets=der())
    assert len([one for one in datagrams(done) if one.local.address == A4]) == 1
    assert state(talk.a) == state(talk.b) == ["established"]


def test_other_exchanges_go_on_while_one_waits() -> None:
    talk = Dialogue(settings(CRL_ALWAYS), Settings(auth=(method(CA, [B]),)))
    begin(talk, "b")
    assert asked(talk.talk(talk.acquire(talk.a))) == [OF_LIST]  # the one that asks for it, asks once
    answer(talk, OF_LIST, octets=der())
    assert "established" in state(talk.a)
    assert "established" in state(talk.b)


@pytest.mark.parametrize("initiates", ["a", "b"])
def test_hosts_that_only_the_peer_names_are_not_asked(initiates: str) -> None:
    """CVE-2022-40617: hosts that a certificate named were asked before it was trusted."""
    evil = issue(
        "b", by=CA, san=["b.example"], more=places(FOREIGN, "http://127.0.0.1/x", responders=["http://[::1]/"])
    )
    talk = pair(b=evil)
    assert not begin(talk, initiates)
    told = talk.a.told("auth-failed").message
    assert f"its certificate names {FOREIGN}, and the rule does not let it choose evil.example (fetch: hosts)" in told
    talk = pair(b=evil, fetch=Fetching(hosts=(("evil.example", 80),)))
    assert [one.url for one in begin(talk, initiates)] == [FOREIGN]


def test_what_the_rule_names_is_asked_for_whatever_the_certificate_says() -> None:
    bare = issue("b", by=CA, san=["b.example"])
    talk = pair(b=bare, fetch=Fetching(lists=(LIST,), responders=("http://ocsp.other.example:8080/",)))
    found = begin(talk, "a")
    assert {(one.url, one.certificate) for one in found} == {
        (LIST, b""),
        ("http://ocsp.other.example:8080/", bare.der),
    }


@pytest.mark.parametrize(("check", "fetch"), [(CRL_OFF, Fetching()), (CRL_IF_KNOWN, None)])
def test_who_does_not_want_it_asks_nobody(check: int, fetch: Fetching | None) -> None:
    talk = pair(check, fetch=fetch)
    assert not begin(talk, "a")
    assert talk.a.installed()


def test_a_policy_that_changes_while_a_handshake_waits() -> None:
    for initiates in "ab":
        talk = pair()
        begin(talk, initiates)
        other = plans.plan(A4, [B4], Settings(auth=(method(root("Other"), [issue("a", by=root("Other"))]),)))
        effects = talk.a.hear(PlanChanged(other), talk.now)
        talk.talk(effects)
        answer(talk, OF_LIST, octets=der())
        talk.pass_time(limits.NEGOTIATION_LIFETIME)
        assert not talk.a.engine.ike_sas()
        assert not talk.a.engine._ctx.store.learnt.waiting


@pytest.mark.parametrize("by_responder", [False, True])
def test_a_ticket_of_whom_they_call_revoked_counts_no_more(by_responder: bool) -> None:
    b, source = (BY_OCSP, Source(RESPONDER, (CA.der,), BY_OCSP.der)) if by_responder else (B, OF_LIST)
    talk = pair(CRL_IF_KNOWN, b)
    for side in (talk.a, talk.b):
        side.hear(TicketKeys((Secret(bytes(32)),)), talk.now)
    begin(talk, "b")
    if not talk.a.installed():
        answer(talk, source, octets=answered(CA, b, revoked=False) if by_responder else der())
    ctx = talk.a.engine._ctx
    (sa,) = ctx.store.ike_sas()
    proofs, pad, spent = sa.lineage.proofs.remote, sa.pad, len(ctx.store.tickets.spent)
    assert not resumable.may_be_revoked(ctx, proofs, pad)
    answer(talk, source, octets=answered(CA, b, revoked=True) if by_responder else der(b))
    assert not talk.a.engine.ike_sas()
    assert resumable.may_be_revoked(ctx, proofs, pad)
    assert len(ctx.store.tickets.spent) > spent, "the ticket that b was given"
    off = replace(pad, auth=(asking(method(CA, [A], check=CRL_OFF), FETCH),))
    assert not resumable.may_be_revoked(ctx, proofs, off)


def test_older_news_do_not_undo_newer_ones() -> None:
    """Whoever is on the way may show again what once was true, and still holds."""
    talk = pair(CRL_ALWAYS)
    begin(talk, "a")
    answer(talk, OF_LIST, octets=lists_of(crl(CA, B, days=(-1, 30)))[0])
    assert "was revoked by" in talk.a.told("auth-failed").message
    answer(talk, OF_LIST, octets=lists_of(crl(CA, days=(-2, 30)))[0])
    assert not begin(talk, "a")
    assert not talk.a.installed()


def test_what_a_responder_said_later_counts_and_of_two_at_once_the_worse() -> None:
    known, now = Learnt(), NOW
    link, about = b"link", b"about"

    def said(hours: int, *, revoked: bool) -> None:
        when = now + timedelta(hours=hours)
        known.put_status(Status(about, revoked, now + timedelta(hours=9), when), link, now)

    said(1, revoked=True)
    for hours in (0, 1):
        said(hours, revoked=False)
        assert known.revoked
        assert known.statuses[about].revoked
    said(2, revoked=False)
    assert not known.revoked
    said(2, revoked=True)
    assert known.statuses[about].revoked


def another_run(talk: Dialogue, effects: list[Effect]) -> None:
    """A starts anew, with nothing but what it was told to keep of revocations."""
    kept = [one.revoked for one in effects if isinstance(one, KeepRevoked)]
    talk.a = Side(A4, plans.plan(A4, [B4], settings(CRL_IF_KNOWN)), 77, talk.wall)
    if kept:
        talk.a.hear(RevocationKept(kept[-1]), talk.now)


@BOTH
def test_whom_a_responder_has_called_revoked_does_not_come_in_by_its_silence_after_a_restart(initiates: str) -> None:
    talk = pair(CRL_IF_KNOWN, BY_OCSP)
    (source,) = begin(talk, initiates)
    effects = answer(talk, source, octets=answered(CA, BY_OCSP, revoked=True))
    another_run(talk, effects)
    talk.pass_time(3600.0)
    begin(talk, initiates)
    talk.pass_time(fetching.REVOCATION_WAIT[0] + 1)
    assert not talk.a.installed()
    assert not talk.a.engine.ike_sas()
    assert "was revoked by" in talk.a.told("auth-failed").message


def test_what_a_responder_takes_back_is_not_kept_either() -> None:
    talk = pair(CRL_IF_KNOWN, BY_OCSP)
    (source,) = begin(talk, "b")
    first = answer(talk, source, octets=answered(CA, BY_OCSP, revoked=True, start=-timedelta(hours=2)))
    again = answer(talk, source, octets=answered(CA, BY_OCSP, revoked=True, start=-timedelta(hours=2)))
    later = answer(talk, source, octets=answered(CA, BY_OCSP))
    same = answer(talk, source, octets=answered(CA, BY_OCSP, start=-timedelta(minutes=1)))
    kept = [[len(one.revoked) for one in each if isinstance(one, KeepRevoked)] for each in (first, again, later, same)]
    assert kept == [[1], [], [0], []]
    another_run(talk, first + later)
    talk.now = 300.0
    assert begin(talk, "b") == [source]


def test_an_ike_sa_of_whom_an_earlier_run_knows_to_be_revoked_ends() -> None:
    """Should what is left of that run tell of both."""
    talk = pair(CRL_IF_KNOWN, BY_OCSP)
    (source,) = begin(talk, "b")
    answer(talk, source, octets=answered(CA, BY_OCSP))
    assert state(talk.a) == ["established"]
    news = sources.answer(source, answered(CA, BY_OCSP, revoked=True, start=timedelta()), talk.a.engine._ctx.today())
    assert isinstance(news, Status)
    links = established(talk.a).lineage.proofs.remote.links
    talk.talk(talk.a.hear(RevocationKept(tuple(Revoked(one, news) for one in links)), talk.now))
    assert state(talk.a) == state(talk.b) == []


def test_a_mass_of_other_answers_does_not_push_out_who_is_revoked() -> None:
    """CVE-2021-41991: what a mass of certificates did to those that were kept."""
    talk = pair(CRL_IF_KNOWN, BY_OCSP)
    (source,) = begin(talk, "b")
    answer(talk, source, octets=answered(CA, BY_OCSP, revoked=True))
    known, now = talk.a.engine._ctx.store.learnt, talk.a.engine._ctx.today()
    for number in range(fetching.OCSP_KEPT):
        name = number.to_bytes(8)
        known.put_status(Status(name, False, now + timedelta(hours=1), now), name, now)
    assert not any(one.revoked for one in known.statuses.values())
    talk.pass_time(300.0)
    assert begin(talk, "b") == []
    assert ["was revoked by" in one.message for one in talk.a.notices() if one.code == "auth-failed"] == [True, True]


@BOTH
@pytest.mark.parametrize("named", [True, False])
def test_a_list_of_an_earlier_run_that_no_longer_holds_refuses_whom_it_names(initiates: str, named: bool) -> None:
    """The handshake waits for a newer one, which does not come."""
    talk = pair(CRL_IF_KNOWN)
    assert begin(talk, initiates) == [OF_LIST]
    old = lists_of(crl(CA, *([B] if named else []), days=(-9, -2)))[0]
    talk.talk(talk.a.hear(RevocationKept(lists=((LIST, old),)), talk.now))
    talk.pass_time(fetching.REVOCATION_WAIT[0] + 1)
    assert bool(talk.a.installed()) is not named
    told = talk.a.told("auth-failed" if named else "revocation-unknown").message
    assert "was revoked by" in told if named else "held until" in told


def test_an_ike_sa_of_whom_a_list_of_an_earlier_run_names_ends() -> None:
    talk = pair(CRL_IF_KNOWN)
    begin(talk, "b")
    talk.pass_time(fetching.REVOCATION_WAIT[0] + 1)
    assert state(talk.a) == ["established"]
    talk.talk(talk.a.hear(RevocationKept(lists=((LIST, der(A)),)), talk.now))
    assert state(talk.a) == ["established"]
    old = lists_of(crl(CA, B, days=(-1, 5)))[0]
    talk.talk(talk.a.hear(RevocationKept(lists=((LIST, old),)), talk.now))
    assert state(talk.a) == state(talk.b) == []
