# SPDX-License-Identifier: GPL-2.0-or-later
"""Child SAs rekeyed and deleted while the other end does so too, or rekeys or deletes the IKE SA: one story a test.

All orders are lived through elsewhere (test_conversations_interleavings); here each case that is known by a name is one
that can be read, with what is said in it (RFC 7296 2.8.1, 2.25).
"""

from __future__ import annotations

import pytest

from tests.conversations.crossings import HIGH, Crossing, other
from tests.conversations.plans import ENCR_GCM, ESN_OFF, P256, X25519, Settings
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.payloads import DeletePayload

SMB = Settings(smb=True)
ONE_GROUP = Settings(pfs=True, esp=((ENCR_GCM, X25519, P256, ESN_OFF),))
OTHER_GROUP = Settings(pfs=True, esp=((ENCR_GCM, P256, ESN_OFF),))
BUSY, NOT_FOUND, WRONG_KE = (
    NotifyType.TEMPORARY_FAILURE,
    NotifyType.CHILD_SA_NOT_FOUND,
    NotifyType.INVALID_KE_PAYLOAD,
)
who_begins = pytest.mark.parametrize("who", ["a", "b"])
lowest = pytest.mark.parametrize("lowest", ["who asks", "who is answered", "peer asks", "peer is answered"])


def lead(lowest: str, of: str) -> int:
    return 0 if lowest == of else HIGH


def deleted(talk: Crossing, sender: str) -> set[bytes]:
    """The SPIs in a deletion on its way."""
    return {spi for one in talk.read(sender).every(DeletePayload) for spi in one.spis}


# One end alone


# rfc 7296: rekey-then-delete
@who_begins
def test_a_rekey_is_one_exchange_for_the_new_pair_and_one_for_the_end_of_the_old(who: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.arrive(peer)
    assert talk.read(who).first(DeletePayload) is not None
    talk.arrive(who)
    talk.arrive(peer)
    assert (talk.flying("a"), talk.flying("b")) == (0, 0)
    talk.rest()
    assert talk.children("a") != talk.child


# rfc 7296: child-invalid-ke
@who_begins
def test_a_rekey_with_a_group_that_the_peer_does_not_take_is_asked_again_with_the_peers(who: str) -> None:
    talk = Crossing(settings=ONE_GROUP if who == "a" else OTHER_GROUP, theirs=OTHER_GROUP if who == "a" else ONE_GROUP)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    assert talk.errors(other(who)) == [WRONG_KE]
    talk.arrive(other(who))
    talk.arrive(who)
    assert talk.errors(other(who)) == []
    talk.rest()
    assert talk.children("a") != talk.child


@who_begins
def test_a_soft_lifetime_of_a_pair_that_the_peer_has_rekeyed_asks_for_nothing(who: str) -> None:
    talk = Crossing()
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    before = talk.flying(other(who))
    talk.wish(other(who), "soft")
    assert talk.flying(other(who)) == before
    talk.rest()


@who_begins
def test_a_hard_lifetime_of_a_pair_that_the_peer_has_rekeyed_crosses_with_its_deletion(who: str) -> None:
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.arrive(peer)
    talk.wish(peer, "hard")
    talk.arrive(who)
    talk.arrive(peer)
    talk.rest()
    assert talk.children("a") != talk.child


# rfc 7296: rekey-then-delete
@who_begins
def test_whoever_answered_a_rekey_may_delete_the_old_pair_though_it_is_not_its_part(who: str) -> None:
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.wish(peer, "hard")  # its deletion overtakes the answer
    talk.arrive(peer, 1)
    talk.rest()
    assert talk.children("a") != talk.child


# rfc 7296: child-not-found
@who_begins
def test_a_rekey_of_a_pair_that_the_peer_has_lost_leads_to_a_new_one(who: str) -> None:
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.forget_children(peer)
    talk.arrive(who)
    assert talk.errors(peer) == [NOT_FOUND]
    talk.rest()
    assert not talk.children("a") & talk.child


# rfc 7296: retransmit-initiator responder-only-on-repeat
@who_begins
@pytest.mark.parametrize("lost", ["request", "answer", "deletion", "its answer"])
def test_a_rekey_of_which_one_message_is_lost_ends_as_if_it_had_come(who: str, lost: str) -> None:
    talk = Crossing()
    for message, sender in (
        ("request", who),
        ("answer", other(who)),
        ("deletion", who),
        ("its answer", other(who)),
    ):
        if message == "request":
            talk.wish(who, "rekey-child")
        if message == lost:
            talk.lose(sender)
            break
        talk.arrive(sender)
    talk.rest()
    assert talk.children("a") != talk.child


@who_begins
def test_an_old_pair_that_is_never_deleted_is_not_sent_with_for_ever(who: str) -> None:
    """The peer makes the new pair and says no more: after a while its packets are answered by the new one."""
    talk = Crossing(steady=False)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.arrive(other(who))
    talk.clear(who)
    talk.wait(2.0)
    talk.clear(who)
    talk.rest()


# Both rekey the same pair


# rfc 7296: lowest-nonce
@who_begins
@lowest
def test_of_two_new_pairs_the_one_with_the_lowest_nonce_goes_by_its_makers_deletion(who: str, lowest: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-child", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-child", lead(lowest, "peer asks"))
    spis = {who: talk.spi(who), peer: talk.spi(peer)}
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    talk.arrive(peer)
    talk.arrive(who)
    loser = who if lowest.startswith("who") else peer
    winner = other(loser)
    assert deleted(talk, loser) == {spis[loser]}, "its own, which is the redundant one"
    assert len(deleted(talk, winner)) == 1, "the old one"
    talk.rest()
    (left,) = talk.host(winner).ike_sas()[0].children
    assert left.spi_in.to_bytes(4) == spis[winner]


# rfc 7296: lowest-nonce
@who_begins
@lowest
def test_it_is_so_when_one_answer_comes_after_the_others_deletion(who: str, lowest: str) -> None:
    """One end has done with its rekey before it knows of the other's."""
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-child", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-child", lead(lowest, "peer asks"))
    spis = {who: talk.spi(who), peer: talk.spi(peer)}
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    talk.arrive(peer)  # the answer to `who`
    talk.arrive(who, 1)  # its deletion overtakes its answer
    talk.arrive(peer)
    talk.rest()
    winner = peer if lowest.startswith("who") else who
    (left,) = talk.host(winner).ike_sas()[0].children
    assert left.spi_in.to_bytes(4) == spis[winner]


# rfc 7296: temporary-failure
@who_begins
def test_a_late_request_for_a_pair_that_has_a_successor_by_now_is_refused_for_a_while(who: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(peer, "rekey-child")
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.arrive(peer, 1)
    talk.arrive(peer)  # the request that was late: the old pair is being deleted
    assert talk.errors(who, 1) == [BUSY]
    talk.rest()
    assert talk.children("a") != talk.child


# rfc 7296: child-not-found
@who_begins
def test_a_late_request_for_a_pair_that_is_gone_by_now_finds_none_and_asks_no_more(who: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(peer, "rekey-child")
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    talk.arrive(peer, 1)
    talk.arrive(who)
    talk.arrive(peer, 1)  # the deletion is confirmed
    talk.arrive(peer)
    assert talk.errors(who) == [NOT_FOUND]
    talk.rest()


# rfc 7296: child-invalid-ke lowest-nonce
@lowest
def test_both_are_told_another_group_and_cross_again(lowest: str) -> None:
    """The refused requests cross, and so do the ones with the right group."""
    both = Settings(pfs=True, esp=((ENCR_GCM, X25519, P256, ESN_OFF),))
    talk = Crossing(settings=both, theirs=Settings(pfs=True, esp=((ENCR_GCM, P256, X25519, ESN_OFF),)))
    talk.wish("a", "rekey-child", lead(lowest, "who asks"))
    talk.wish("b", "rekey-child", lead(lowest, "peer asks"))
    talk.arrive("a", lead=lead(lowest, "who is answered"))
    talk.arrive("b", lead=lead(lowest, "peer is answered"))
    assert talk.errors("a") == talk.errors("b") == [WRONG_KE]
    talk.rest()
    assert talk.children("a") != talk.child


# rfc 7296: child-invalid-ke
@who_begins
def test_a_request_with_another_group_that_comes_late_meets_the_successor(who: str) -> None:
    peer = other(who)
    settings = {who: ONE_GROUP, peer: OTHER_GROUP}
    talk = Crossing(settings=settings["a"], theirs=settings["b"])
    talk.wish(who, "rekey-child")
    talk.wish(peer, "rekey-child")
    talk.arrive(who)
    assert talk.errors(peer, 1) == [WRONG_KE]
    talk.arrive(peer, 1)  # `who` asks again, and that is late
    talk.arrive(peer)
    talk.arrive(who, 1)
    talk.rest()
    assert talk.children("a") != talk.child


@who_begins
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_of_two_rekeys_that_cross_a_message_is_lost(who: str, lost: str) -> None:
    talk = Crossing()
    talk.wish(who, "rekey-child")
    talk.wish(other(who), "rekey-child")
    if lost == "request":
        talk.lose(who)
        talk.arrive(other(who))
    else:
        talk.arrive(who)
        talk.arrive(other(who))
        talk.lose(other(who))
    talk.rest()
    assert talk.children("a") != talk.child


# A rekey and a deletion


# rfc 7296: temporary-failure delete-obeyed
@who_begins
def test_a_rekey_of_a_pair_that_the_peer_is_deleting_is_refused_and_given_up(who: str) -> None:
    """RFC 7296 2.25.1: who deletes answers TEMPORARY_FAILURE, who rekeys obeys the deletion."""
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-child")
    talk.wish(peer, "delete-child")
    talk.arrive(who)
    assert talk.errors(peer, 1) == [BUSY]
    talk.arrive(peer)
    assert deleted(talk, who), "the answer names the other half"
    talk.network.release()
    talk.network.run(talk.network.now + 30.0)
    assert not talk.children("a") & talk.child
    talk.scene.acquire(talk.scene.a, talk.network.now)
    talk.rest()


@who_begins
@pytest.mark.parametrize("lost", ["rekey", "deletion"])
def test_of_a_rekey_and_a_deletion_that_cross_one_is_lost(who: str, lost: str) -> None:
    talk = Crossing(steady=False)
    talk.wish(who, "rekey-child")
    talk.wish(other(who), "delete-child")
    talk.lose(who if lost == "rekey" else other(who))
    talk.network.release()
    talk.network.run(talk.network.now + 30.0)
    assert not talk.children("a") & talk.child
    if not talk.children("a"):
        talk.scene.acquire(talk.scene.a, talk.network.now)
    talk.rest()


# rfc 7296: delete-crossing
@pytest.mark.parametrize("lost", ["", "a", "b"])
def test_both_delete_the_same_pair(lost: str) -> None:
    """RFC 7296 1.4.1: the answers do not name it again."""
    talk = Crossing(steady=False)
    talk.wish("a", "delete-child")
    talk.wish("b", "delete-child")
    if lost:
        talk.lose(lost)
    else:
        talk.arrive("a")
        talk.arrive("b")
        assert deleted(talk, "a") == deleted(talk, "b") == set()
    talk.childless()


# Child SAs and the IKE SA


# rfc 7296: temporary-failure ike-collisions
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "new-child"])
def test_a_child_sa_that_is_asked_for_while_the_peer_rekeys_the_ike_sa_comes_under_the_new_one(
    who: str, wish: str
) -> None:
    """RFC 7296 2.25.2: both refuse, so that nothing gets lost between two IKE SAs."""
    talk = Crossing(settings=SMB)
    peer = other(who)
    talk.wish(who, wish)
    talk.wish(peer, "rekey-ike")
    talk.arrive(who)
    assert talk.errors(peer, 1) == [BUSY]
    talk.arrive(peer)
    assert talk.errors(who) == [BUSY]
    talk.rest(pairs=2 if wish == "new-child" else 1)
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") != talk.child


# rfc 7296: ike-collisions
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "new-child"])
def test_a_child_sa_that_is_asked_for_under_an_ike_sa_just_rekeyed_is_asked_for_again_under_the_new_one(
    who: str, wish: str
) -> None:
    """The request comes when the peer has the new IKE SA already."""
    talk = Crossing(settings=SMB)
    peer = other(who)
    talk.wish(peer, "rekey-ike")
    talk.arrive(peer)  # answered by `who`, which goes on under the new one
    talk.wish(who, wish)
    talk.arrive(who, 1)
    talk.rest(pairs=2 if wish == "new-child" else 1)
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") != talk.child


# rfc 7296: ike-collisions
@who_begins
def test_a_child_sa_is_deleted_while_the_peer_rekeys_the_ike_sa(who: str) -> None:
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "delete-child")
    talk.wish(peer, "rekey-ike")
    talk.arrive(who)
    talk.arrive(peer)
    talk.network.release()
    talk.network.run(talk.network.now + 60.0)
    assert talk.children("a") == talk.children("b") == set()
    talk.scene.acquire(talk.scene.a, talk.network.now)
    talk.rest()


# rfc 7296: ike-collisions delete-ike-takes-children
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "new-child", "delete-child"])
@pytest.mark.parametrize("first", ["request", "deletion"])
def test_whatever_is_asked_for_a_child_sa_while_the_peer_deletes_the_ike_sa_ends_with_it(
    who: str, wish: str, first: str
) -> None:
    talk = Crossing(steady=False, settings=SMB)
    peer = other(who)
    talk.wish(who, wish)
    talk.wish(peer, "delete-ike")
    if first == "request":
        talk.arrive(who)
        assert talk.errors(peer, 1) == ([] if wish == "delete-child" else [BUSY])
    talk.arrive(peer)
    if wish == "new-child":  # traffic wants it still: under another IKE SA
        talk.network.release()
        talk.network.run(talk.network.now + 60.0)
        assert not talk.ikes("a") & talk.ike
        assert len(talk.children("a")) == 1
        talk.scene.acquire(talk.scene.a, talk.network.now)
        talk.rest(pairs=2)
    else:
        talk.gone()
