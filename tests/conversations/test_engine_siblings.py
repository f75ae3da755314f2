# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that asks for everything at once: heavier filters of ours get their SAs too, asked for by us."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, Side, datagrams, quick_modes
from tests.conversations.plans import ALL_REQID, ENCR_CBC, ENCR_GCM, ESN_OFF, INTEG, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, ping, tcp
from xfrmd import limits
from xfrmd.ike.effects import DropHeld
from xfrmd.ike.events import Acquire, Initiate, Rekey
from xfrmd.model.plan import Plan

ASKS_FOR_ALL = Initiate(ALL_REQID, A4, B4)
WIDE, BOTH = Settings(), Settings(smb=True)


def rules(side: Side) -> list[int]:
    """reqids of all child SAs."""
    return sorted(child.reqid for sa in side.engine.ike_sas() for child in sa.children)


def asked(change: Change | None = None) -> Dialogue:
    """A knows one wide filter, B a narrow one as well; A's operator asks for all traffic."""
    talk = Dialogue(WIDE, BOTH, b=change or (lambda plan: plan))
    talk.talk(talk.a.hear(ASKS_FOR_ALL, 0.0))
    return talk


def test_the_responder_asks_for_what_its_heavier_filters_take_out_of_a_wide_proposal() -> None:
    talk = asked()
    assert rules(talk.b) == [ALL_REQID, SMB_REQID, SMB_REQID], "as client and as server"
    assert rules(talk.a) == [ALL_REQID] * 3, "A's one filter holds them all"
    assert len(talk.b.engine.ike_sas()) == 1


def test_a_proposal_that_a_packet_leads_comes_from_somebody_with_filters_of_its_own() -> None:
    talk = Dialogue(WIDE, BOTH)
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A4, B4)), 0.0))
    assert rules(talk.b) == [ALL_REQID]


def test_what_is_there_already_is_not_asked_for_again_and_a_rekey_asks_for_nothing() -> None:
    talk = asked()
    wide = next(child for sa in talk.a.engine.ike_sas() for child in sa.children if child.selectors[0].protocol == 0)
    effects = talk.a.hear(Rekey(wide.spi_in.to_bytes(4)), 1.0)
    talk.talk(effects)
    talk.pass_time(10.0)
    assert rules(talk.b) == [ALL_REQID, SMB_REQID, SMB_REQID]


def test_a_peer_that_has_been_asked_for_the_narrow_one_before_is_not_asked_twice() -> None:
    talk = Dialogue(BOTH, BOTH)
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0))
    talk.talk(talk.a.hear(ASKS_FOR_ALL, 0.0))
    assert rules(talk.b) == [ALL_REQID, SMB_REQID, SMB_REQID], "one for the other direction, no second for this one"


def test_a_limit_of_quick_modes_holds_for_them_too() -> None:
    talk = asked(quick_modes(1))
    assert rules(talk.b) == [ALL_REQID, SMB_REQID, SMB_REQID]
    assert sorted(len(sa.children) for sa in talk.b.engine.ike_sas()) == [1, 2], "the second under an IKE SA of its own"


@pytest.mark.parametrize("bound", [0, 1])
def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    monkeypatch.setattr(limits, "SIBLINGS", bound)
    assert rules(asked().b) == [ALL_REQID, *[SMB_REQID] * bound]


def test_a_peer_that_refuses_them_is_told_of_and_left_alone() -> None:
    def other_methods(plan: Plan) -> Plan:
        """The narrow filter's action wants what A does not have."""
        cbc = plans.plan(B4, [A4], Settings(esp=((ENCR_CBC, INTEG, ESN_OFF),), smb=True)).protect[1]
        return replace(plan, protect=(plan.protect[0], cbc))

    talk = Dialogue(Settings(esp=((ENCR_GCM, ESN_OFF),)), BOTH, b=other_methods)
    talk.talk(talk.a.hear(ASKS_FOR_ALL, 0.0))
    assert rules(talk.b) == [ALL_REQID]
    assert [one.reqid for one in talk.b.effects if isinstance(one, DropHeld)] == [SMB_REQID] * 2
    assert {notice.code for notice in talk.b.notices()} >= {"no-proposal"}


def test_the_answer_comes_before_what_we_ask_for() -> None:
    talk = Dialogue(WIDE, BOTH)
    answers = talk.deliver(datagrams(talk.a.hear(ASKS_FOR_ALL, 0.0))[0])
    answers = talk.deliver(datagrams(answers)[0])
    response, request = datagrams(talk.deliver(datagrams(answers)[0]))
    assert (response.data[18], response.data[19] & 0x20, request.data[18]) == (35, 0x20, 36)
