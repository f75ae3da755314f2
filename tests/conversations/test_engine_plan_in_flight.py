# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan changes while a child SA is asked for: what the answer makes is judged by the plan that is in force then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, datagrams, established
from tests.conversations.plans import CBC_X25519, ENCR_CBC, ESN_OFF, INTEG, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd.ike.effects import OpenClear, RemoveSa, SendDatagram
from xfrmd.ike.events import Acquire, DatagramReceived, PlanChanged, Rekey, TimerFired
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload

BOTH = Settings(smb=True)
CBC = ((ENCR_CBC, INTEG, ESN_OFF),)


def asked(talk: Dialogue, what: str) -> list[SendDatagram]:
    """Our request for a child SA of the SMB filter has left."""
    if what == "first":
        (init,) = datagrams(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now))
        (answer,) = datagrams(talk.deliver(init))
        return datagrams(talk.deliver(answer))
    talk.connect()
    effects = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now)
    if what == "rekey":
        talk.talk(effects)
        child = next(one for one in talk.a.engine._ctx.store.all_children() if one.reqid == SMB_REQID)
        effects = talk.a.hear(Rekey(child.spi_in.to_bytes(4)), talk.now)
    return datagrams(effects)


@pytest.mark.parametrize("what", ["first", "new", "rekey"])
def test_a_filter_that_is_gone_gets_no_child_sa(what: str) -> None:
    talk = Dialogue(BOTH)
    request = asked(talk, what)[0]
    changed = talk.a.hear(PlanChanged(plans.plan(A4, [B4], replace(BOTH, smb=False))), talk.now)
    talk.talk([request, *changed])
    talk.pass_time(30.0)
    for side in (talk.a, talk.b):
        removed = {one.spi for one in side.effects if isinstance(one, RemoveSa)}
        left = [sa for sa in side.installed() if sa.reqid == SMB_REQID and sa.spi not in removed]
        assert not left, left


@pytest.mark.parametrize("what", ["first", "new", "rekey"])
def test_algorithms_that_are_gone_are_replaced_at_once(what: str) -> None:
    talk = Dialogue(BOTH)
    request = asked(talk, what)[0]
    changed = talk.a.hear(PlanChanged(plans.plan(A4, [B4], replace(BOTH, esp=CBC))), talk.now)
    talk.talk([request, *changed])
    talk.pass_time(100.0)
    suites = {str(one.suite) for one in talk.a.engine._ctx.store.all_children()}
    assert all("AES256" in one for one in suites), suites
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now))
    assert [one for one in talk.a.engine._ctx.store.all_children() if one.reqid == SMB_REQID and one.sends]


def ike_suites(talk: Dialogue) -> set[str]:
    """What the IKE SAs use that both ends work with."""
    return {str(sa.suite) for side in (talk.a, talk.b) for sa in side.engine._ctx.store.ike_sas() if sa.lives}


@pytest.mark.parametrize("who", ["initiator", "responder", "rekey"])
def test_an_ike_sa_with_algorithms_that_are_gone_is_rekeyed_at_once(who: str) -> None:
    talk, changed = Dialogue(), Settings(ike=(CBC_X25519,))
    if who == "rekey":
        talk.connect()
        waiting = talk.a.hear(Rekey(established(talk.a).spi), talk.now)
    else:
        waiting = talk.deliver(datagrams(talk.acquire())[0])
    side = talk.b if who == "responder" else talk.a
    peer = talk.other(side).own
    waiting += side.hear(PlanChanged(plans.plan(side.own, [peer], changed)), talk.now)
    talk.talk(waiting)
    talk.pass_time(30.0)
    assert len(ike_suites(talk)) == 1
    assert "AES256" in ike_suites(talk).pop()


@pytest.mark.parametrize("change", [{"ike": (CBC_X25519,)}, {"psk": b"another"}], ids=["algorithms", "secret"])
def test_a_peer_that_has_answered_is_known_to_speak_ike_when_its_handshake_begins_anew(change: dict[str, Any]) -> None:
    """Silence after that does not let a soft filter's traffic go in the clear."""
    soft = Settings(soft=True)
    talk = Dialogue(soft)
    (first,) = datagrams(talk.acquire())
    spi = parse_clear(first.data).header.spi_i
    refusal = Header.of(spi, bytes(8), ExchangeType.IKE_SA_INIT, 0, initiator=False, response=True)
    octets = build_clear(refusal, [NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN)])
    talk.a.hear(DatagramReceived(first.local, first.remote, octets), talk.now)
    again = talk.a.hear(PlanChanged(plans.plan(A4, [B4], replace(soft, **change))), talk.now)
    assert datagrams(again)
    for talk.now in (3.0, 3.5, 10.0, 30.0):
        talk.a.hear(TimerFired(), talk.now)
    assert not [one for one in talk.a.effects if isinstance(one, OpenClear)]
