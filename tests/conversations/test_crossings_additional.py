# SPDX-License-Identifier: GPL-2.0-or-later
"""Rekeys with additional key exchanges (RFC 9370) while the other end rekeys or deletes too: one story a test.

A rekey is two exchanges here, CREATE_CHILD_SA and IKE_FOLLOWUP_KE, and no SA is made before the second. What crosses
may come before the first, between them, or after.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.crossings import HIGH, Crossing, other
from tests.conversations.plans import ENCR_GCM, ESN_OFF, GCM_P256, GCM_X25519, X25519, Settings
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.payloads import DeletePayload
from xfrmd.model.proposals import Transform

MLKEM768 = Transform(6, 36)
ADDITIONAL = Settings(ike=((*GCM_X25519, MLKEM768),), pfs=True, smb=True, fragment_size=4000)
"""Each message is one datagram."""
FIRST_GROUP = replace(ADDITIONAL, ike=((*GCM_X25519, MLKEM768), (*GCM_P256, MLKEM768)))
OTHER_GROUP = replace(ADDITIONAL, ike=((*GCM_P256, MLKEM768), (*GCM_X25519, MLKEM768)))
MORE, LESS = (ENCR_GCM, X25519, MLKEM768, ESN_OFF), (ENCR_GCM, X25519, ESN_OFF)
BUSY, WRONG_KE = NotifyType.TEMPORARY_FAILURE, NotifyType.INVALID_KE_PAYLOAD
CREATE, FOLLOWUP = ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE
INFORMATIONAL = ExchangeType.INFORMATIONAL
who_begins = pytest.mark.parametrize("who", ["a", "b"])
whose_rekey = pytest.mark.parametrize("wish", ["rekey-child", "rekey-ike"])
NONCES = ["who asks", "who is answered", "peer asks", "peer is answered"]
lowest_of_all = pytest.mark.parametrize("lowest", NONCES)


def lead(lowest: str, of: str) -> int:
    return 0 if lowest == of else HIGH


def said(talk: Crossing, sender: str, nth: int = 0) -> ExchangeType:
    """The exchange that a datagram on its way belongs to."""
    return ExchangeType(talk.read(sender, nth).header.exchange)


def follows(talk: Crossing, who: str, wish: str) -> None:
    """One end has had the answer to its CREATE_CHILD_SA, and its IKE_FOLLOWUP_KE is on its way."""
    talk.wish(who, wish)
    talk.arrive(who)
    assert talk.read(other(who)).notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) is not None
    talk.arrive(other(who))
    assert said(talk, who) == FOLLOWUP


def rekeyed(talk: Crossing, wish: str) -> None:
    """All comes to rest with one new IKE SA or child SA pair in place of the old."""
    talk.rest()
    assert (talk.ikes("a") != talk.ike) == (wish == "rekey-ike")
    assert (talk.children("a") != talk.child) == (wish == "rekey-child")


def made_by(talk: Crossing, wish: str) -> str:
    """Who asked for what is there in the end."""
    store = talk.engine("a")._ctx.store
    made = store.ike_sas() if wish == "rekey-ike" else store.all_children()
    (initiator,) = {one.initiator for one in made}
    return "a" if initiator else "b"


def followed(talk: Crossing) -> set[str]:
    """Who has sent an IKE_FOLLOWUP_KE request of its own since the last look."""
    found = set()
    for who in "ab":
        sent = talk.host(who).sent
        found |= {who for one in sent if one.data[18] == FOLLOWUP and not one.data[19] & 0x20}
        sent.clear()
    return found


# One end alone


# rfc 9370: followup
@who_begins
@whose_rekey
def test_a_rekey_makes_nothing_before_its_last_key_exchange(who: str, wish: str) -> None:
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    follows(talk, who, wish)
    assert all(len(host.kernel.sas) == 2 for host in talk.scene.hosts)
    assert talk.ikes(peer) == talk.ike
    talk.arrive(who)
    assert said(talk, peer) == FOLLOWUP
    assert talk.read(peer).notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) is None
    talk.arrive(peer)
    assert talk.read(who).first(DeletePayload) is not None
    rekeyed(talk, wish)


# rfc 7296: child-invalid-ke
@pytest.mark.parametrize("lost", [False, True])
def test_a_rekey_of_the_ike_sa_with_a_group_that_the_peer_likes_less_begins_anew(lost: bool) -> None:
    """The IKE SA has the group that B liked best, and A likes another."""
    talk = Crossing(settings=FIRST_GROUP, theirs=OTHER_GROUP)
    talk.wish("b", "rekey-ike")
    talk.arrive("b")
    assert talk.errors("a") == [WRONG_KE]
    talk.arrive("a")
    talk.arrive("b")
    assert talk.read("a").notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) is not None
    if lost:
        talk.lose("a")
    rekeyed(talk, "rekey-ike")


# rfc 7296: child-invalid-ke
@who_begins
def test_a_rekey_of_a_pair_with_a_group_that_the_peer_does_not_take_begins_anew(who: str) -> None:
    theirs = (ENCR_GCM, Transform(4, 19), MLKEM768, ESN_OFF)
    settings = {who: ((*MORE, Transform(4, 19)),), other(who): (theirs,)}
    one, two = (replace(ADDITIONAL, esp=settings[name]) for name in "ab")
    talk = Crossing(settings=one, theirs=two)
    talk.wish(who, "rekey-child")
    talk.arrive(who)
    assert talk.errors(other(who)) == [WRONG_KE]
    talk.arrive(other(who))
    talk.arrive(who)
    assert talk.read(other(who)).notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) is not None
    rekeyed(talk, "rekey-child")


# rfc 9370: followup
# rfc 7296: retransmit-initiator responder-only-on-repeat
@who_begins
@whose_rekey
@pytest.mark.parametrize("lost", range(6))
def test_a_rekey_of_which_one_message_is_lost_ends_as_if_it_had_come(who: str, wish: str, lost: int) -> None:
    """Of CREATE_CHILD_SA, IKE_FOLLOWUP_KE and the deletion, each the request or the answer."""
    talk = Crossing(settings=ADDITIONAL)
    talk.wish(who, wish)
    for number in range(lost):
        talk.arrive(other(who) if number % 2 else who)
    sender = other(who) if lost % 2 else who
    assert said(talk, sender) == (CREATE, FOLLOWUP, INFORMATIONAL)[lost // 2]
    talk.lose(sender)
    rekeyed(talk, wish)


# Both rekey


# rfc 9370: simultaneous
@who_begins
@whose_rekey
@lowest_of_all
def test_of_two_rekeys_that_cross_the_one_with_the_lowest_nonce_ends_before_anything_is_made(
    who: str, wish: str, lowest: str
) -> None:
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    followed(talk)
    talk.wish(who, wish, lead(lowest, "who asks"))
    talk.wish(peer, wish, lead(lowest, "peer asks"))
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    talk.arrive(peer)
    talk.arrive(who)
    loser = who if lowest.startswith("who") else peer
    assert (talk.flying(loser), talk.flying(other(loser))) == (0, 1)
    assert said(talk, other(loser)) == FOLLOWUP
    rekeyed(talk, wish)
    assert made_by(talk, wish) == other(loser)
    assert followed(talk) == {other(loser)}


# rfc 9370: simultaneous
@who_begins
@whose_rekey
@pytest.mark.parametrize("lost", range(4))
def test_it_is_so_when_a_message_of_the_one_that_goes_on_is_lost(who: str, wish: str, lost: int) -> None:
    """Its IKE_FOLLOWUP_KE and its deletion, each the request or the answer."""
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    talk.wish(who, wish, lead=0)
    talk.wish(peer, wish)
    for sender in (who, peer, peer, who):
        talk.arrive(sender)
    for number in range(lost):
        talk.arrive(who if number % 2 else peer)
    talk.lose(who if lost % 2 else peer)
    rekeyed(talk, wish)
    assert made_by(talk, wish) == peer


# rfc 9370: simultaneous
@who_begins
@whose_rekey
def test_who_has_ended_its_rekey_rekeys_when_nothing_comes_of_the_peers(who: str, wish: str) -> None:
    """For a while nothing comes of what the peer says."""
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    talk.wish(who, wish, lead=0)
    talk.wish(peer, wish)
    for sender in (who, peer, peer, who):
        talk.arrive(sender)
    talk.clear(peer)
    talk.wait(11.0)
    talk.clear(peer)
    assert said(talk, who) == CREATE, "it asks again"
    rekeyed(talk, wish)


# rfc 9370: simultaneous state-not-found
@who_begins
@whose_rekey
def test_what_is_asked_for_again_is_not_measured_by_what_crossed_before(who: str, wish: str) -> None:
    """The peer, whose rekey has ended, forgets what `who` asked for; `who` asks again, with lower nonces."""
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    talk.wish(who, wish)
    talk.wish(peer, wish, lead=1)
    for sender in (who, peer, peer, who):
        talk.arrive(sender)
    (sa,) = talk.engine(peer)._ctx.store.ike_sas()
    sa.following = None
    talk.arrive(who)
    assert talk.errors(peer) == [NotifyType.STATE_NOT_FOUND]
    talk.arrive(peer)
    talk.entropy[who].lead = 0
    while not talk.flying(who):
        talk.wait(0.5)
        talk.clear(peer)
    assert said(talk, who) == CREATE
    talk.arrive(who)
    talk.arrive(peer)
    assert said(talk, who) == FOLLOWUP
    rekeyed(talk, wish)
    assert made_by(talk, wish) == who


# rfc 9370: simultaneous
@who_begins
@whose_rekey
@pytest.mark.parametrize("lowest", ["who asks", "peer is answered"])
@pytest.mark.parametrize("late", ["after the key exchange", "after the deletion"])
def test_an_answer_to_the_one_that_ends_comes_late(who: str, wish: str, lowest: str, late: str) -> None:
    """The peer has gone on, or has done with it, before `who` knows the nonces: its own ends all the same."""
    lowest = {"who asks": "who asks", "peer is answered": "who is answered"}[lowest]
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    followed(talk)
    talk.wish(who, wish, lead(lowest, "who asks"))
    talk.wish(peer, wish, lead(lowest, "peer asks"))
    talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer)
    talk.arrive(who)  # the answer to the peer, which goes on; its answer to `who` is late
    assert said(talk, peer, 1) == FOLLOWUP
    talk.arrive(peer, 1)
    if late == "after the deletion":
        talk.arrive(who)
        talk.arrive(peer, 1)
    talk.arrive(peer)
    rekeyed(talk, wish)
    assert made_by(talk, wish) == peer
    assert followed(talk) == {peer}


# rfc 9370: simultaneous
@who_begins
@whose_rekey
@pytest.mark.parametrize("lowest", ["who asks", "peer asks", "peer is answered"])
@pytest.mark.parametrize("late", ["before the deletion", "after the deletion"])
def test_a_request_comes_late_when_the_peer_has_gone_on_already(who: str, wish: str, lowest: str, late: str) -> None:
    """The peer does not know of the collision when it sends its IKE_FOLLOWUP_KE."""
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    talk.wish(who, wish, lead(lowest, "who asks"))
    talk.wish(peer, wish, lead(lowest, "peer asks"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    talk.arrive(who, 1)
    assert said(talk, peer) == FOLLOWUP
    talk.arrive(who)  # it was late
    talk.arrive(peer)
    if late == "before the deletion":
        talk.arrive(peer)  # what the peer says to it
    else:
        talk.arrive(who)
        talk.arrive(peer, 1)
    rekeyed(talk, wish)


# rfc 9370: simultaneous
@who_begins
@lowest_of_all
@pytest.mark.parametrize("late", ["", "request", "answer"])
def test_of_two_rekeys_of_a_pair_that_cross_one_has_an_additional_key_exchange(
    who: str, lowest: str, late: str
) -> None:
    """Each takes of the other's offer what it likes best itself. What is done first stands, and the other ends."""
    settings = replace(ADDITIONAL, esp=(MORE, LESS))
    talk = Crossing(settings=settings, theirs=replace(settings, esp=(LESS, MORE)))
    peer = other(who)
    talk.wish(who, "rekey-child", lead(lowest, "who asks"))
    talk.wish(peer, "rekey-child", lead(lowest, "peer asks"))
    if late != "request":
        talk.arrive(who, lead=lead(lowest, "who is answered"))
    talk.arrive(peer, lead=lead(lowest, "peer is answered"))
    if late == "":
        talk.arrive(peer)
    elif late == "request":
        talk.arrive(who, 1)
    rekeyed(talk, "rekey-child")


# A deletion by the peer while a key exchange is under way


def refused_between(talk: Crossing, who: str, wish: str, lost: str) -> None:
    """The peer deletes, and so refuses the key exchange of `who`; one of the three messages may be lost."""
    peer = other(who)
    talk.wish(peer, wish)
    if lost == "key exchange":
        talk.lose(who)
    else:
        talk.arrive(who)
        assert talk.errors(peer, 1) == [BUSY]
        if lost:
            talk.lose(peer, 1 if lost == "refusal" else 0)


# rfc 7296: temporary-failure delete-obeyed
@who_begins
@pytest.mark.parametrize("lost", ["", "key exchange", "deletion", "refusal"])
def test_a_pair_that_the_peer_deletes_between_the_exchanges_of_its_rekey_is_gone(who: str, lost: str) -> None:
    talk = Crossing(settings=ADDITIONAL, steady=False)
    follows(talk, who, "rekey-child")
    refused_between(talk, who, "delete-child", lost)
    talk.childless()


# rfc 7296: temporary-failure ike-collisions delete-ike-takes-children
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "rekey-ike"])
@pytest.mark.parametrize("lost", ["", "key exchange", "deletion", "refusal"])
def test_an_ike_sa_that_the_peer_deletes_between_the_exchanges_of_a_rekey_ends(who: str, wish: str, lost: str) -> None:
    talk = Crossing(settings=ADDITIONAL, steady=False)
    follows(talk, who, wish)
    refused_between(talk, who, "delete-ike", lost)
    talk.gone()


# rfc 7296: temporary-failure ike-collisions
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "new-child"])
def test_the_peer_rekeys_the_ike_sa_between_the_exchanges_for_a_child_sa(who: str, wish: str) -> None:
    """RFC 7296 2.25.2: both refuse, so that nothing gets lost between two IKE SAs."""
    talk = Crossing(settings=ADDITIONAL)
    peer = other(who)
    follows(talk, who, wish)
    talk.wish(peer, "rekey-ike")
    talk.arrive(who)
    assert talk.errors(peer, 1) == [BUSY]
    talk.arrive(peer)
    assert talk.errors(who) == [BUSY]
    talk.rest(pairs=2 if wish == "new-child" else 1)
    assert talk.ikes("a") != talk.ike
    assert talk.children("a") != talk.child


# A deletion of our own while a key exchange is under way


# rfc 9370: followup
# rfc 7296: delete-ike-takes-children
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "rekey-ike", "new-child"])
def test_an_ike_sa_that_is_deleted_by_who_rekeys_between_its_exchanges_is_deleted_at_the_peer(
    who: str, wish: str
) -> None:
    """The deletion waits for the answer to IKE_FOLLOWUP_KE, which is known for one."""
    talk = Crossing(settings=ADDITIONAL, steady=False)
    follows(talk, who, wish)
    talk.wish(who, "delete-ike")
    talk.gone()
