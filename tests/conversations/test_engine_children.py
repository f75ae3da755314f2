# SPDX-License-Identifier: GPL-2.0-or-later
"""Single steps in the life of child SAs: refusals, rekeys, lifetimes, deletion, changes of the plan, liveness."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, Side, datagrams, kinds, quick_modes
from tests.conversations.plans import ALL_REQID, ENCR_CBC, ENCR_GCM, ESN_OFF, INTEG, SMB_REQID, X25519, Settings
from tests.conversations.scenes import A4, B4, ping, tcp
from xfrmd import limits
from xfrmd.ike import negotiate
from xfrmd.ike.effects import DropHeld, InstallSa, RemoveSa
from xfrmd.ike.events import (
    Acquire,
    Delete,
    Goodbye,
    Initiate,
    PlanChanged,
    Rekey,
    SaExpired,
    SaFailed,
    SaUsed,
    TimerFired,
)
from xfrmd.ike.views import ChildSaView
from xfrmd.model.addresses import Address
from xfrmd.model.pad import PskAuth
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret
from xfrmd.model.spd import Mode

GCM_ONLY = Settings(esp=((ENCR_GCM, ESN_OFF),))
CBC_ONLY = Settings(esp=((ENCR_CBC, INTEG, ESN_OFF),))
ESP = ProtocolId.ESP


def without_filters(plan: Plan) -> Plan:
    return replace(plan, protect=())


def tunnel(plan: Plan) -> Plan:
    ends = (B4, A4)
    return replace(plan, protect=tuple(replace(p, mode=Mode.TUNNEL, tunnel=ends) for p in plan.protect))


def child(side: Side) -> ChildSaView:
    found = [one for sa in side.engine.ike_sas() for one in sa.children]
    assert len(found) == 1, found
    return found[0]


def used(spi: int, dst: Address, octets: int) -> SaUsed:
    return SaUsed(spi, ESP, dst, octets)


# rfc 7296: refused-child-keeps-ike failed-child-keeps-ike
@pytest.mark.parametrize(
    ("settings", "other", "change", "code", "words"),
    [
        (GCM_ONLY, CBC_ONLY, None, "no-proposal", ("AES128-GCM", "AES256/SHA256")),
        (GCM_ONLY, GCM_ONLY, without_filters, "no-filter", ("10.0.0.1 ",)),
        (GCM_ONLY, GCM_ONLY, tunnel, "mode-mismatch", ("transport", "tunnel")),
    ],
)
def test_a_refused_child_leaves_the_ike_sa_and_tells_both(
    settings: Settings, other: Settings, change: Change | None, code: str, words: tuple[str, ...]
) -> None:
    talk = Dialogue(settings, other, b=change) if change else Dialogue(settings, other)
    talk.talk(talk.acquire())
    assert talk.a.installed() == talk.b.installed() == []
    assert talk.a.engine.ike_sas()[0].state == talk.b.engine.ike_sas()[0].state == "established"
    told = talk.b.told(code)
    for word in words:
        assert word in told.message
    failure = talk.a.engine.snapshot().failures[-1].notice
    assert failure.code in {code, "no-proposal"}
    assert failure.remedy
    assert [effect.reqid for effect in talk.a.effects if isinstance(effect, DropHeld)] == [ALL_REQID]


def test_both_operators_see_both_offers_for_the_child() -> None:
    talk = Dialogue(GCM_ONLY, CBC_ONLY)
    talk.talk(talk.acquire())
    for side in (talk.a, talk.b):
        message = side.told("no-proposal").message
        assert "AES128-GCM" in message
        assert "AES256/SHA256" in message


def test_after_a_refusal_traffic_may_ask_again_but_not_at_once() -> None:
    talk = Dialogue(GCM_ONLY, CBC_ONLY)
    talk.talk(talk.acquire())
    talk.now = limits.RETRY_AFTER_FAILURE - 1
    assert kinds(talk.acquire()) == ["DropHeld"]
    talk.now = limits.RETRY_AFTER_FAILURE + 1
    again = talk.acquire()
    assert kinds(again) == ["send"]
    assert datagrams(again)[0].data[18] == 36, "under the IKE SA that is there"


# rfc 7296: failed-child-keeps-ike
def test_pfs_that_only_one_side_wants() -> None:
    strict, lax = replace(GCM_ONLY, smb=True, pfs=True), replace(GCM_ONLY, smb=True)
    talk = Dialogue(strict, lax)
    talk.connect()
    asked = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 1.0)
    talk.talk(asked)
    assert len(talk.a.installed()) == 4, "more forward secrecy than we ask for is welcome"
    other = Dialogue(lax, strict)
    other.connect()
    other.talk(other.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 1.0))
    assert len(other.a.installed()) == 2
    assert "key exchange: ours X25519, theirs none" in other.b.told("no-proposal").message
    assert X25519 in other.b.engine.ike_sas()[0].transforms


def test_a_second_packet_of_the_same_filter_joins_and_one_with_an_sa_just_goes() -> None:
    talk = Dialogue()
    first = talk.acquire()
    assert talk.acquire() == []
    assert talk.a.hear(Acquire(ALL_REQID, tcp(A4, B4, 80)), 0.0) == []
    talk.talk(first)
    assert kinds(talk.acquire()) == ["ReleaseHeld"]
    assert talk.a.engine.snapshot().negotiating == 0


def test_an_acquire_of_a_filter_that_is_gone_drops_its_packet() -> None:
    talk = Dialogue()
    assert kinds(talk.a.hear(Acquire(0x58460099, ping(A4, B4)), 0.0)) == ["DropHeld"]


def test_the_operator_needs_no_traffic_and_gets_no_second_sa() -> None:
    talk = Dialogue()
    talk.talk(talk.a.hear(Initiate(ALL_REQID, A4, B4), 0.0))
    assert len(talk.a.installed()) == 2
    assert talk.a.hear(Initiate(ALL_REQID, A4, B4), 0.0) == []


def test_quick_modes_per_main_mode() -> None:
    talk = Dialogue(Settings(smb=True), a=quick_modes(1))
    talk.connect()
    asked = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 1.0)
    assert datagrams(asked)[0].data[18] == 34, "a new IKE SA"
    talk.talk(asked)
    assert [len(sa.children) for sa in talk.a.engine.ike_sas()] == [1, 1]
    old = talk.a.engine.ike_sas()[0]
    rekeyed = talk.a.hear(Rekey(old.children[0].spi_in.to_bytes(4)), 2.0)
    assert datagrams(rekeyed)[0].data[18] == 34
    talk.talk(rekeyed)
    talk.pass_time(20.0)
    assert [len(sa.children) for sa in talk.a.engine.ike_sas()] == [1, 1]
    assert old.local_spi not in {sa.local_spi for sa in talk.a.engine.ike_sas()}, "spent and empty, so deleted"
    assert len(talk.b.engine.ike_sas()) == 2


def test_quick_modes_are_counted_before_they_are_made() -> None:
    talk = Dialogue(Settings(smb=True), a=quick_modes(1))
    first = talk.acquire()
    second = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    assert [d.data[18] for d in datagrams(first + second)] == [34, 34]
    more = Dialogue(Settings(smb=True), a=quick_modes(2))
    more.acquire()
    assert more.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0) == []


def test_a_packet_that_the_narrowed_sa_does_not_carry_asks_for_its_own() -> None:
    def smb_only(plan: Plan) -> Plan:
        return replace(plan, protect=tuple(p for p in plan.protect if p.reqid == SMB_REQID))

    talk = Dialogue(Settings(), Settings(smb=True), b=smb_only)
    first = talk.a.hear(Acquire(ALL_REQID, tcp(A4, B4, 445)), 0.0)
    assert talk.acquire() == []
    talk.talk(first)
    assert len(talk.a.installed()) == 2
    assert talk.a.installed()[1].selector.dport == tcp(A4, B4, 445).dport
    for side in (talk.a, talk.b):
        assert side.told("no-filter").remedy, "the ping was asked for too, and B protects none"
    assert [effect.reqid for effect in talk.a.effects if isinstance(effect, DropHeld)] == [ALL_REQID]


def test_a_demand_whose_ike_sas_end_under_it_is_given_up() -> None:
    talk = Dialogue()
    talk.acquire()
    want = talk.a.engine._ctx.demand.every()[0]
    want.tries = limits.WANT_TRIES
    talk.a.engine._ctx.out = []
    negotiate.start(talk.a.engine._ctx, want)
    assert kinds(talk.a.engine._ctx.out) == ["DropHeld"]


# rfc 7296: rekey-then-delete
def test_the_order_of_a_rekey_at_the_one_who_asks() -> None:
    talk = Dialogue()
    talk.connect()
    old = child(talk.a)
    asked = talk.a.hear(SaExpired(old.spi_in, ESP, A4, hard=False), 10.0)
    assert talk.a.hear(SaExpired(old.spi_out, ESP, B4, hard=False), 10.0) == [], "both directions tell of it"
    answer = talk.deliver(datagrams(asked)[0])
    assert kinds(answer) == ["in", "send"], "the one who answers does not send with it yet"
    done = talk.deliver(datagrams(answer)[0])
    assert kinds(done) == ["in", "out", "ReleaseHeld", "RemoveSa", "send"]
    assert [e.spi for e in done if isinstance(e, RemoveSa)] == [old.spi_out]
    deleted = talk.deliver(datagrams(done)[0])
    assert kinds(deleted) == ["out", "ReleaseHeld", "RemoveSa", "send"], "now it does, and no longer with the old one"
    talk.talk(deleted)
    assert [e for e in talk.pass_time(limits.OLD_SA_LINGER - 0.1) if isinstance(e, RemoveSa)] == []
    late = [e.spi for e in talk.pass_time(0.2) if isinstance(e, RemoveSa)]
    assert sorted(late) == sorted([old.spi_in, old.spi_out]), "late packets of both were taken until then"


# rfc 7296: both-receive-first
def test_packets_on_the_new_pair_show_that_the_peer_is_ready() -> None:
    talk = Dialogue()
    talk.connect()
    talk.deliver(datagrams(talk.a.hear(Rekey(child(talk.a).spi_in.to_bytes(4)), 1.0))[0])
    new = talk.b.installed()[-1]
    assert new.inbound
    assert talk.b.hear(used(new.spi, B4, 0), 2.0) == []
    assert kinds(talk.b.hear(used(new.spi, B4, 100), 2.0)) == ["out", "ReleaseHeld", "RemoveSa"]


def test_a_peer_that_never_shows_readiness_is_believed_in_the_end() -> None:
    talk = Dialogue()
    talk.connect()
    talk.deliver(datagrams(talk.a.hear(Rekey(child(talk.a).spi_in.to_bytes(4)), 0.0))[0])
    talk.b.hear(TimerFired(), limits.PEER_READY)
    assert kinds(talk.b.hear(TimerFired(), limits.SUCCESSOR_WAIT - 1)) == []
    assert kinds(talk.b.hear(TimerFired(), limits.SUCCESSOR_WAIT)) == ["out", "ReleaseHeld", "RemoveSa"]


def test_a_hard_expiry_ends_the_pair_at_both_ends() -> None:
    talk = Dialogue()
    talk.connect()
    old = child(talk.a)
    effects = talk.a.hear(SaExpired(old.spi_out, ESP, B4, hard=True), 1.0)
    assert kinds(effects) == ["RemoveSa", "send"]
    assert kinds(talk.talk(effects)) == ["RemoveSa", "RemoveSa", "send", "RemoveSa"]
    assert [sa.children for side in (talk.a, talk.b) for sa in side.engine.ike_sas()] == [(), ()]
    again = talk.acquire()
    talk.talk(again)
    assert child(talk.a).spi_in != old.spi_in


def test_a_refused_sa_takes_its_pair_with_it_and_is_not_asked_for_at_once() -> None:
    talk = Dialogue()
    talk.connect()
    pair = child(talk.a)
    effects = talk.a.hear(SaFailed(pair.spi_out, ESP, B4, "EINVAL: no such cipher"), 1.0)
    assert kinds(effects) == ["DropHeld", "RemoveSa", "send"]
    talk.talk(effects)
    assert "no such cipher" in talk.a.told("sa-refused").message
    assert [sa.children for side in (talk.a, talk.b) for sa in side.engine.ike_sas()] == [(), ()]
    talk.now = 2.0
    assert kinds(talk.acquire()) == ["DropHeld"]


def test_unknown_spis_from_the_kernel_do_nothing() -> None:
    talk = Dialogue()
    talk.connect()
    spi = child(talk.a).spi_in
    for event in (
        SaExpired(1, ESP, A4, hard=True),
        SaExpired(spi, ESP, Address.parse("10.9.9.9"), hard=True),
        SaFailed(1, ESP, A4, "x"),
        used(1, A4, 1),
        Rekey(b"\x00\x00\x00\x01"),
        Rekey(b"12345678"),
        Delete(b"12345678"),
        Delete(b"x"),
    ):
        assert talk.a.hear(event, 1.0) == [], event


@pytest.mark.parametrize("kind", ["child", "ike"])
def test_the_operator_deletes(kind: str) -> None:
    talk = Dialogue()
    talk.connect()
    sa = talk.a.engine.ike_sas()[0]
    spi = sa.local_spi if kind == "ike" else sa.children[0].spi_in.to_bytes(4)
    talk.talk(talk.a.hear(Delete(spi), 1.0))
    for side in (talk.a, talk.b):
        assert len(side.engine.ike_sas()) == (1 if kind == "child" else 0)
        assert not any(one.children for one in side.engine.ike_sas())
        removed = {e.spi for e in side.effects if isinstance(e, RemoveSa)}
        assert removed == {entry.spi for entry in side.installed()}


def test_the_end_of_the_daemon_is_told_once_to_every_peer() -> None:
    talk = Dialogue()
    talk.connect()
    effects = talk.a.hear(Goodbye(), 5.0)
    assert sorted(kinds(effects)) == ["RemoveSa", "RemoveSa", "send"]
    assert (talk.a.engine.ike_sas(), talk.a.engine.next_deadline()) == ((), None)
    talk.talk(effects)
    assert talk.b.engine.ike_sas() == ()


def test_a_new_plan_keeps_what_it_still_wants() -> None:
    settings = Settings(smb=True)
    talk = Dialogue(settings)
    talk.connect()
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 1.0))
    plan = plans.plan(A4, [B4], settings)
    assert talk.a.hear(PlanChanged(plan), 2.0) == []
    fewer = plans.plan(A4, [B4], Settings())
    effects = talk.a.hear(PlanChanged(fewer), 3.0)
    talk.talk(effects)
    assert [one.reqid for sa in talk.a.engine.ike_sas() for one in sa.children] == [ALL_REQID]
    assert [one.reqid for sa in talk.b.engine.ike_sas() for one in sa.children] == [ALL_REQID]


def test_a_new_plan_with_another_secret_or_without_the_peer_ends_the_ike_sa() -> None:
    for plan in (
        plans.plan(A4, [B4], Settings(psk=b"new")),
        plans.plan(A4, [Address.parse("10.0.0.3")], Settings()),
    ):
        talk = Dialogue()
        talk.connect()
        talk.talk(talk.a.hear(PlanChanged(plan), 1.0))
        assert talk.a.engine.ike_sas() == talk.b.engine.ike_sas() == ()


def test_a_new_plan_drops_what_waits_for_a_filter_that_is_gone() -> None:
    talk = Dialogue()
    talk.acquire()
    effects = talk.a.hear(PlanChanged(without_filters(plans.plan(A4, [B4], Settings()))), 1.0)
    assert "DropHeld" in kinds(effects)
    assert talk.a.engine.snapshot().negotiating == 0


def test_several_secrets_the_first_is_ours_and_any_may_be_the_peers() -> None:
    def two_secrets(plan: Plan) -> Plan:
        old, new = PskAuth(Secret(b"correct horse battery staple")), PskAuth(Secret(b"new"))
        return replace(plan, pad=tuple(replace(e, auth=(new, old)) for e in plan.pad))

    talk = Dialogue(b=two_secrets)
    talk.connect()


# rfc 7296: liveness
def test_silence_after_traffic_of_ours_is_asked_about() -> None:
    talk = Dialogue()
    talk.connect()
    pair = child(talk.a)
    for second in (10, 20, 30, 39):
        assert talk.a.hear(used(pair.spi_out, B4, second * 100), float(second)) == []
    asked = talk.a.hear(used(pair.spi_out, B4, 4100), 41.0)
    assert kinds(asked) == ["send"]
    talk.now = 41.0
    talk.talk(asked)
    assert talk.a.hear(used(pair.spi_out, B4, 5000), 60.0) == []


def test_who_is_heard_or_has_nothing_to_say_is_not_asked() -> None:
    talk = Dialogue()
    talk.connect()
    pair = child(talk.a)
    for second in range(10, 300, 10):
        assert talk.a.hear(used(pair.spi_out, B4, second), float(second)) == []
        assert talk.a.hear(used(pair.spi_in, A4, second), float(second)) == []
    quiet = Dialogue()
    quiet.connect()
    for second in range(10, 300, 10):
        assert quiet.a.hear(used(child(quiet.a).spi_out, B4, 0), float(second)) == []


# rfc 7296: dead-ends-children
def test_a_dead_peer_is_given_up_and_asked_for_again_by_traffic() -> None:
    talk = Dialogue()
    talk.connect()
    pair = child(talk.a)
    talk.a.hear(used(pair.spi_out, B4, 1), 40.0)
    assert kinds(talk.a.hear(used(pair.spi_out, B4, 2), 75.0)) == ["send"]
    now = 75.0
    while talk.a.engine.ike_sas():
        now += 1.0
        talk.a.hear(TimerFired(), now)
    assert 60 < now - 75 < 75
    assert talk.a.told("peer-down").remedy
    removed = [e.spi for e in talk.a.effects if isinstance(e, RemoveSa)]
    assert sorted(removed) == sorted([pair.spi_in, pair.spi_out])
    talk.now = now
    assert kinds(talk.acquire()) == ["send"]


# rfc 7296: initial-contact
def test_initial_contact_replaces_what_a_peer_has_lost() -> None:
    talk = Dialogue()
    talk.connect()
    old = child(talk.b)
    talk.now = 100.0
    talk.a = Side(A4, plans.plan(A4, [B4], Settings()), 77)
    talk.talk(talk.acquire())
    assert len(talk.b.engine.ike_sas()) == 1
    removed = {e.spi for e in talk.b.effects if isinstance(e, RemoveSa)}
    assert removed == {old.spi_in, old.spi_out}
    assert child(talk.b).spi_out == child(talk.a).spi_in


# rfc 7296: children-inherited
def test_the_lifetime_of_an_ike_sa_brings_a_new_one_and_the_children_stay() -> None:
    talk = Dialogue(Settings(ike_seconds=1000))
    talk.connect()
    before, pair = talk.a.engine.ike_sas()[0], child(talk.a)
    assert before.rekey_at is not None
    assert 800 <= before.rekey_at <= 900
    effects = talk.pass_time(950.0)
    assert not any(isinstance(effect, InstallSa | RemoveSa) for effect in effects)
    after = talk.a.engine.ike_sas()
    assert len(after) == len(talk.b.engine.ike_sas()) == 1
    assert after[0].local_spi != before.local_spi
    assert child(talk.a) == pair


def test_an_empty_ike_sa_beside_another_goes_after_a_while() -> None:
    """The peer has given up on it without our knowing."""
    talk = Dialogue(Settings(smb=True), a=quick_modes(1))
    talk.connect()
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0))
    stale = talk.b.engine.ike_sas()[0]
    assert len(talk.b.engine.ike_sas()) == 2
    talk.b.hear(Delete(stale.children[0].spi_in.to_bytes(4)), 0.0)
    deletion = datagrams(talk.b.effects)[-1]
    confirmed = datagrams(talk.deliver(deletion))[0]
    talk.a = Side(A4, plans.plan(A4, [B4], Settings()), 55)  # it knows of nothing any more
    talk.deliver(confirmed)
    assert [len(sa.children) for sa in talk.b.engine.ike_sas()] == [0, 1]
    talk.pass_time(limits.EMPTY_IKE_SA - 1)
    assert len(talk.b.engine.ike_sas()) == 2
    talk.pass_time(2.0)
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["deleting", "established"]
    talk.pass_time(80.0)
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["established"]
