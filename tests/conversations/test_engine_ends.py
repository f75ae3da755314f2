# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left to do, and what carried traffic, where an IKE SA ends beside another one that ends too."""

from __future__ import annotations

import pytest

from tests.conversations.dialogue import Dialogue, Side, datagrams, established
from tests.conversations.plans import SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.events import Acquire, Delete, Rekey
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
