# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left to do, and what carried traffic, where an IKE SA ends beside another one that ends too."""

from __future__ import annotations

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established
from tests.conversations.plans import ALL_REQID, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.events import Acquire, Delete, Initiate, Rekey
from xfrmd.ike.ike_sa import IkeState
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.ike.v2.message import parse_clear


def asked_for(effects: list[Effect], exchange: ExchangeType) -> list[SendDatagram]:
    """Requests of this exchange that are sent."""
    heads = [(one, parse_clear(one.data).header) for one in datagrams(effects)]
    return [one for one, head in heads if head.exchange == exchange and not head.is_response]


def rekeyed(talk: Dialogue, by: Side) -> None:
    """The IKE SA has a successor, asked for by this end; its deletion of the old one has not arrived."""
    request = datagrams(by.hear(Rekey(established(by).spi), talk.now))
    answer = datagrams(talk.deliver(request[0]))
    talk.deliver(answer[0])


@pytest.mark.parametrize(("by_us", "left"), [(True, IkeState.DELETING), (False, IkeState.REPLACED)])
def test_the_end_of_a_successor_does_not_leave_its_tasks_to_an_ike_sa_that_ends(by_us: bool, left: IkeState) -> None:
    """The one that it has replaced is not deleted yet: nothing can be asked under it any more."""
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    rekeyed(talk, talk.a if by_us else talk.b)
    old, new = talk.a.engine._ctx.store.ike_sas()
    assert old.state is left
    lost = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now)
    assert asked_for(lost, ExchangeType.CREATE_CHILD_SA)
    deletion = asked_for(talk.b.hear(Delete(new.peer_spi), talk.now), ExchangeType.INFORMATIONAL)
    effects = talk.deliver(deletion[0])
    assert asked_for(effects, ExchangeType.IKE_SA_INIT)
    talk.talk(effects)
    assert not old.lineage.children
    assert {sa.reqid for sa in talk.a.installed()} >= {SMB_REQID}


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_what_was_asked_for_once_more_does_not_wait_for_the_one_that_was_made_at_once(seed: int) -> None:
    """Both ask at once, the operator does too, and the child SA that was to stay is deleted before it is used."""
    settings, talk = Settings(smb=True), Dialogue()
    talk.a = Side(A4, plans.plan(A4, [B4], settings), 2 * seed, talk.wall)
    talk.b = Side(B4, plans.plan(B4, [A4], settings), 2 * seed + 1, talk.wall)
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now))
    ours, theirs = datagrams(talk.acquire(talk.a)), datagrams(talk.acquire(talk.b))
    (answer,) = datagrams(talk.deliver(theirs[0]))
    twin = next(one for one in talk.a.engine._ctx.store.all_children() if one.state is ChildState.AWAITED)
    talk.a.hear(Initiate(ALL_REQID, A4, B4), talk.now)
    while asked_for(list(ours), ExchangeType.CREATE_CHILD_SA):
        ours = datagrams(talk.deliver(datagrams(talk.deliver(ours[0]))[0]))
    talk.deliver(answer)
    talk.deliver(datagrams(talk.b.hear(Delete(twin.spi_out.to_bytes(4)), talk.now))[0])
    talk.talk(talk.acquire(talk.a))
    talk.pass_time(10.0)
    assert [one for one in talk.a.engine._ctx.store.all_children() if one.sends and one.reqid == ALL_REQID]
