# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE SAs rekeyed and deleted while the other end does so too: one story a test (RFC 7296 2.8.2, 2.25.2)."""

from __future__ import annotations

import pytest

from tests.conversations.crossings import HIGH, Crossing, other
from tests.conversations.plans import GCM_P256, GCM_X25519, Settings
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.payloads import DeletePayload
from xfrmd.model.proposals import Transform

BUSY, WRONG_KE = NotifyType.TEMPORARY_FAILURE, NotifyType.INVALID_KE_PAYLOAD
SMB = Settings(smb=True)
FIRST_GROUP, OTHER_GROUP = Settings(ike=(GCM_X25519, GCM_P256)), Settings(ike=(GCM_P256, GCM_X25519))
HYBRID, PLAIN = (*GCM_X25519, Transform(6, 36)), GCM_X25519
FIRST_HYBRID, LAST_HYBRID = Settings(ike=(HYBRID, PLAIN)), Settings(ike=(PLAIN, HYBRID))
who_begins = pytest.mark.parametrize("who", ["a", "b"])
lowest = pytest.mark.parametrize("lowest", ["who asks", "who is answered", "peer asks", "peer is answered"])


def lead(lowest: str, of: str) -> int:
    return 0 if lowest == of else HIGH


def ends_ike(talk: Crossing, sender: str, nth: int = 0) -> bool:
    """Is that a deletion of an IKE SA?"""
    return talk.read(sender, nth).first(DeletePayload) is not None


# One end alone


# rfc 7296: rekey-then-delete children-inherited
@who_begins
def test_a_rekey_is_one_exchange_for_the_new_ike_sa_and_one_for_the_end_of_the_old(who: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-ike")
    talk.arrive(who)
    talk.arrive(peer)
    assert ends_ike(talk, who)
    talk.arrive(who)
    assert talk.read(peer).payloads == ()
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# rfc 7296: child-invalid-ke
def test_a_rekey_with_a_group_that_the_peer_likes_less_is_asked_again_with_the_peers() -> None:
    """The IKE SA has the group that B liked best, and A likes another."""
    talk = Crossing(settings=FIRST_GROUP, theirs=OTHER_GROUP)
    talk.wish("b", "rekey-ike")
    talk.arrive("b")
    assert talk.errors("a") == [WRONG_KE]
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


@who_begins
@pytest.mark.parametrize("lost", ["request", "answer", "deletion", "its answer"])
def test_a_rekey_of_which_one_message_is_lost_ends_as_if_it_had_come(who: str, lost: str) -> None:
    talk = Crossing()
    talk.wish(who, "rekey-ike")
    for message, sender in (
        ("request", who),
        ("answer", other(who)),
        ("deletion", who),
        ("its answer", other(who)),
    ):
        if message == lost:
            talk.lose(sender)
            break
        talk.arrive(sender)
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


@who_begins
def test_whoever_answered_a_rekey_may_delete_the_old_ike_sa_though_it_is_not_its_part(who: str) -> None:
    """It does so when the peer leaves it standing; the child SAs belong to the new one by then."""
    talk = Crossing()
    talk.wish(who, "rekey-ike")
    talk.arrive(who)
    talk.arrive(other(who))
    for _ in range(20):
        talk.clear(who)
        talk.wait(2.0)
        if talk.flying(other(who)):
            break
    assert ends_ike(talk, other(who))
    talk.rest()
    assert talk.children("a") == talk.child


@who_begins
def test_a_deletion_that_overtakes_the_answer_to_a_rekey_ends_both_ike_sas(who: str) -> None:
    """Who answered the rekey is told to delete, and its deletion is of the IKE SA that is current: the new one."""
    talk = Crossing(steady=False)
    talk.wish(who, "rekey-ike")
    talk.arrive(who)
    talk.wish(other(who), "delete-ike")
    talk.network.release()
    talk.network.run(talk.network.now + 100.0)
    assert not talk.ikes("a") & talk.ike
    if talk.ikes("a"):
        talk.rest()
    else:
        talk.gone()


# Both rekey


# rfc 7296: ike-lowest-nonce children-inherited
@who_begins
@lowest
def test_of_two_new_ike_sas_the_one_with_the_lowest_nonce_goes_by_its_makers_deletion(who: str, lowest: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-ike", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-ike", lead(lowest, "peer asks"))
    made = {who: {talk.spi(who)}, peer: {talk.spi(peer)}}
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    made[who].add(talk.spi(peer, 0))
    made[peer].add(talk.spi(who, 0))
    talk.arrive(peer)
    talk.arrive(who)
    loser = who if lowest.startswith("who") else peer
    assert ends_ike(talk, loser)
    assert ends_ike(talk, other(loser))
    assert talk.flying(loser) == 1
    assert talk.flying(other(loser)) == 1
    talk.rest()
    (left,) = talk.host("a").ike_sas()
    assert {left.local_spi, left.remote_spi} == made[other(loser)]
    assert talk.children("a") == talk.child


# rfc 7296: ike-lowest-nonce
@who_begins
@lowest
@pytest.mark.parametrize("late", ["first answer", "second answer"])
def test_it_is_so_when_one_answer_comes_after_the_others_deletion(who: str, lowest: str, late: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(who, "rekey-ike", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-ike", lead(lowest, "peer asks"))
    asked = {who: talk.spi(who), peer: talk.spi(peer)}
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    one, two = (who, peer) if late == "first answer" else (peer, who)
    talk.arrive(two)  # the answer to `one`'s rekey, which knows both now
    talk.arrive(one, 1)  # and deletes, while its own answer is still on its way
    talk.arrive(one)
    talk.rest()
    (left,) = talk.host("a").ike_sas()
    winner = peer if lowest.startswith("who") else who
    assert asked[winner] in (left.local_spi, left.remote_spi)
    assert talk.children("a") == talk.child


# rfc 7296: temporary-failure ike-lowest-nonce
@who_begins
def test_a_late_request_for_an_ike_sa_that_is_rekeyed_by_now_is_refused_and_not_asked_again(who: str) -> None:
    """RFC 7296 2.8.2, 2.25.2: the peer knows why when it has read the other's request."""
    talk = Crossing()
    peer = other(who)
    talk.wish(peer, "rekey-ike")
    talk.wish(who, "rekey-ike")
    talk.arrive(who)
    talk.arrive(peer, 1)
    talk.arrive(peer)  # it was late
    assert talk.errors(who, 1) == [BUSY]
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# rfc 7296: temporary-failure ike-lowest-nonce
@who_begins
def test_a_request_that_comes_when_the_old_ike_sa_is_gone_is_forgotten_with_it(who: str) -> None:
    talk = Crossing()
    peer = other(who)
    talk.wish(peer, "rekey-ike")
    talk.wish(who, "rekey-ike")
    talk.arrive(peer)
    talk.arrive(who, 1)
    assert ends_ike(talk, peer)
    talk.arrive(peer)
    talk.arrive(who, 1)
    assert talk.flying(peer) == 0
    talk.arrive(who)  # it was late: only the new IKE SA is there
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# rfc 9370: simultaneous
@who_begins
@lowest
@pytest.mark.parametrize("late", ["", "request", "answer"])
def test_of_two_rekeys_that_cross_one_has_an_additional_key_exchange(who: str, lowest: str, late: str) -> None:
    """Each takes of the other's offer what it likes best itself: B's rekey goes on with ML-KEM, A's is done at once. If
    A's is done before B's goes on, or B's has the lowest nonce, B's is given up.
    """
    talk = Crossing(settings=FIRST_HYBRID, theirs=LAST_HYBRID)
    peer = other(who)
    for host in talk.scene.hosts:
        host.sent.clear()
    talk.wish(who, "rekey-ike", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-ike", lead(lowest, "peer asks"))
    if late != "request":
        talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    if late == "":
        talk.arrive(peer)
    elif late == "request":
        talk.arrive(who, 1)
    talk.rest()
    requests = [(host.name, one.data[18]) for host in talk.scene.hosts for one in host.sent if not one.data[19] & 0x20]
    goes_on = late == "answer" or (late == "request") == (who == "a")
    loses = late != "request" and lowest.startswith("who" if who == "b" else "peer")
    further = {name for name, kind in requests if kind == ExchangeType.IKE_FOLLOWUP_KE}
    assert further == ({"B"} if goes_on and not loses else set())
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


@who_begins
@pytest.mark.parametrize("lost", ["request", "answer", "both answers"])
def test_of_two_rekeys_that_cross_a_message_is_lost(who: str, lost: str) -> None:
    talk = Crossing()
    talk.wish(who, "rekey-ike")
    talk.wish(other(who), "rekey-ike")
    if lost == "request":
        talk.lose(who)
        talk.arrive(other(who))
    else:
        talk.arrive(who)
        talk.arrive(other(who))
        talk.lose(other(who))
        if lost == "both answers":
            talk.lose(who)
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# rfc 7296: child-invalid-ke ike-lowest-nonce
@lowest
def test_one_of_two_that_cross_is_told_another_group_and_asks_again(lowest: str) -> None:
    talk = Crossing(settings=FIRST_GROUP, theirs=OTHER_GROUP)
    talk.wish("a", "rekey-ike", lead(lowest, "who asks"))
    talk.wish("b", "rekey-ike", lead(lowest, "peer asks"))
    talk.arrive("a", lead=lead(lowest, "who is answered"))
    talk.arrive("b", lead=lead(lowest, "peer is answered"))
    assert (talk.errors("a"), talk.errors("b")) == ([WRONG_KE], [])
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# rfc 7296: child-invalid-ke
@pytest.mark.parametrize("late", [True, False])
def test_a_retry_with_another_group_that_comes_late_meets_the_peers_rekey(late: bool) -> None:
    talk = Crossing(settings=FIRST_GROUP, theirs=OTHER_GROUP)
    talk.wish("b", "rekey-ike")
    talk.wish("a", "rekey-ike")
    talk.arrive("b")
    assert talk.errors("a", 1) == [WRONG_KE]
    talk.arrive("a", 1)
    talk.arrive("a")  # the other rekey; B's retry stands before the answer to it
    talk.arrive("b", 1 if late else 0)
    if late:
        talk.arrive("a")
        talk.arrive("b")
    talk.rest()
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") == talk.child


# A rekey and a deletion


# rfc 7296: ike-collisions
@who_begins
@pytest.mark.parametrize("first", ["rekey", "deletion"])
def test_a_rekey_that_crosses_with_a_deletion_is_refused_and_all_ends(who: str, first: str) -> None:
    """RFC 7296 2.25.2: who deletes refuses; who rekeys obeys, and forgets its rekey."""
    talk = Crossing(steady=False)
    peer = other(who)
    talk.wish(who, "rekey-ike")
    talk.wish(peer, "delete-ike")
    if first == "rekey":
        talk.arrive(who)
        assert talk.errors(peer, 1) == [BUSY]
    talk.arrive(peer)
    talk.gone()


@who_begins
@pytest.mark.parametrize("lost", ["rekey", "deletion", "answer"])
def test_of_a_rekey_and_a_deletion_that_cross_a_message_is_lost(who: str, lost: str) -> None:
    talk = Crossing(steady=False)
    talk.wish(who, "rekey-ike")
    talk.wish(other(who), "delete-ike")
    if lost == "answer":
        talk.arrive(other(who))
        talk.lose(who, 1)
    else:
        talk.lose(who if lost == "rekey" else other(who))
    talk.gone()


# rfc 7296: delete-ike-takes-children informational-answered
@pytest.mark.parametrize("lost", ["", "a", "b", "ab"])
def test_both_delete_the_ike_sa(lost: str) -> None:
    talk = Crossing(steady=False)
    talk.wish("a", "delete-ike")
    talk.wish("b", "delete-ike")
    for sender in lost:
        talk.lose(sender)
    if not lost:
        talk.arrive("a")
        talk.arrive("b")
        assert talk.read("a").payloads == ()
        assert talk.read("b").payloads == ()
    talk.gone()


# rfc 7296: delete-ike-takes-children
@who_begins
@pytest.mark.parametrize("lost", ["", "request", "answer"])
def test_one_end_deletes_the_ike_sa(who: str, lost: str) -> None:
    talk = Crossing(steady=False)
    talk.wish(who, "delete-ike")
    if lost == "request":
        talk.lose(who)
    elif lost == "answer":
        talk.arrive(who)
        talk.lose(other(who))
    talk.gone()


# The IKE SA and child SAs that are asked for; the other end begins in test_crossings_child


# rfc 7296: temporary-failure ike-collisions
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "new-child", "delete-child"])
def test_an_ike_sa_that_the_peer_rekeys_while_a_child_sa_is_asked_for_is_rekeyed_a_little_later(
    who: str, wish: str
) -> None:
    talk = Crossing(settings=SMB, steady=wish != "delete-child")
    peer = other(who)
    talk.wish(peer, wish)
    talk.wish(who, "rekey-ike")
    talk.arrive(who)
    assert talk.errors(peer, 1) == [BUSY]
    talk.arrive(peer, 1)
    talk.network.release()
    talk.network.run(talk.network.now + 60.0)
    assert talk.ikes("a") == talk.ikes("b") != talk.ike
    if wish == "delete-child":
        assert talk.children("a") == talk.children("b") == set()
        talk.scene.acquire(talk.scene.a, talk.network.now)
    talk.rest(pairs=2 if wish == "new-child" else 1)
