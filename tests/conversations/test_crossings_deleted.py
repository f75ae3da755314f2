# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator deletes what a rekey of child SAs has made, or what it replaces, while messages of it are late: one story
a test (RFC 7296 1.4.1, 2.8.1, 2.25.1).
"""

from __future__ import annotations

import pytest

from tests.conversations.crossings import HIGH, Crossing, other
from xfrmd.ike.events import Delete
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.payloads import DeletePayload

who_begins = pytest.mark.parametrize("who", ["a", "b"])
lowest_of_all = pytest.mark.parametrize("lowest", ["who asks", "who is answered", "peer asks", "peer is answered"])


def lead(lowest: str, of: str) -> int:
    return 0 if lowest == of else HIGH


def delete(talk: Crossing, who: str, spi: bytes) -> None:
    """An operator deletes the child SA that has this SPI at that host; the deletion is the last on its way."""
    talk.network.tell(talk.host(who), Delete(spi))
    assert spi in deleted(talk, who, talk.flying(who) - 1)


def deleted(talk: Crossing, sender: str, nth: int = 0) -> set[bytes]:
    """The SPIs in a deletion on its way."""
    return {spi for one in talk.read(sender, nth).every(DeletePayload) for spi in one.spis}


# rfc 7296: delete-obeyed delete-crossing
@who_begins
@pytest.mark.parametrize("first", ["old", "new"])
def test_who_has_answered_a_rekey_deletes_the_new_pair_before_the_old_one_is_gone(who: str, first: str) -> None:
    """Its deletion crosses with that of the old pair."""
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    new = talk.spi(peer)
    talk.arrive(peer)
    delete(talk, peer, new)
    talk.arrive(who if first == "old" else peer)
    talk.arrive(peer if first == "old" else who)
    talk.childless()


# rfc 7296: delete-obeyed
@who_begins
@pytest.mark.parametrize("again", ["a", "b"])
def test_who_has_answered_a_rekey_deletes_the_new_pair_before_its_answer_is_read(who: str, again: str) -> None:
    """The deletion is of a pair that `who` does not know yet: it is not made of the answer that comes late. The old one
    goes on, and either end can rekey it.
    """
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    delete(talk, peer, talk.spi(peer))
    talk.arrive(peer, 1)
    assert deleted(talk, who) == set(), "it knows none of that"
    talk.arrive(who)
    talk.arrive(peer)
    assert talk.children("a") == talk.children("b") == talk.child
    talk.wish(again, "rekey-child")
    talk.rest()
    assert not talk.children("a") & talk.child


# rfc 7296: lowest-nonce delete-obeyed
@who_begins
@lowest_of_all
def test_of_two_rekeys_that_cross_what_stays_is_deleted_before_an_answer_is_read(who: str, lowest: str) -> None:
    """The peer has done with both, and its operator deletes what is left; then its answer to `who` comes. If what was
    left is that answer's, the old pair goes on, and can be rekeyed.
    """
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-child", lead(lowest, "peer asks"))
    asked = talk.spi(peer)
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    answered = talk.spi(peer)
    talk.arrive(who)
    talk.arrive(peer, 1)  # the peer's deletion, of the old pair or of its own
    talk.arrive(who)
    delete(talk, peer, asked if lowest.startswith("who") else answered)
    talk.arrive(peer, 1)
    talk.arrive(who)
    talk.arrive(peer)  # it was late
    if lowest.startswith("who"):
        talk.childless()
    else:
        talk.network.release()
        talk.network.run(talk.network.now + 60.0)
        talk.network.hold()
        assert talk.children("a") == talk.children("b") == talk.child
        talk.wish(peer, "rekey-child")
        talk.rest()
        assert not talk.children("a") & talk.child


# rfc 7296: child-not-found delete-obeyed
@who_begins
def test_a_late_request_for_a_pair_whose_successor_is_deleted_too_finds_none(who: str) -> None:
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.wish(peer, "rekey-child")
    new = talk.spi(peer)
    talk.arrive(peer)
    talk.arrive(who, 1)
    talk.arrive(peer)
    talk.arrive(who, 1)
    delete(talk, peer, new)
    talk.arrive(peer)
    talk.arrive(who, 1)
    talk.arrive(who)  # it was late
    assert talk.errors(peer) == [NotifyType.CHILD_SA_NOT_FOUND]
    talk.childless()


# rfc 7296: lowest-nonce delete-obeyed
@who_begins
def test_of_two_rekeys_that_cross_the_one_that_loses_deletes_the_old_pair_too(who: str) -> None:
    """It is not its part, and its answer to the other comes last."""
    talk = Crossing(steady=False)
    peer = other(who)
    (old,) = talk.host(peer).ike_sas()[0].children
    talk.wish(who, "rekey-child")
    asked = talk.spi(who)
    talk.wish(peer, "rekey-child", lead=0)
    talk.arrive(who)
    talk.arrive(peer)
    talk.arrive(who)
    talk.arrive(peer, 1)
    talk.arrive(who)
    delete(talk, peer, old.spi_in.to_bytes(4))
    talk.arrive(peer, 1)
    talk.arrive(peer)  # it was late
    talk.rest()
    (left,) = talk.host(who).ike_sas()[0].children
    assert left.spi_in.to_bytes(4) == asked
