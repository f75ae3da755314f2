# SPDX-License-Identifier: GPL-2.0-or-later
"""Message IDs near their end, and peers whose window is larger than ours (RFC 7296 2.2, 2.3)."""

from __future__ import annotations

import pytest

from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge, read
from xfrmd import limits
from xfrmd.ike.events import Rekey
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import parse_header
from xfrmd.ike.v2.payloads import NotifyPayload

INFORMATIONAL = ExchangeType.INFORMATIONAL


@pytest.fixture
def talk() -> Dialogue:
    dialogue = Dialogue()
    dialogue.connect()
    return dialogue


def at(talk: Dialogue, number: int) -> None:
    """A has made so many requests under the IKE SA."""
    established(talk.a).window.next_id = number
    established(talk.b).window._expected = number


def request(talk: Dialogue, side: Side) -> int:
    """An exchange that A begins, or B: the message ID of its request."""
    spi = side.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)
    asked = side.hear(Rekey(spi), talk.now)
    number = parse_header(datagrams(asked)[0].data).message_id
    talk.talk(asked)
    return number


# rfc 7296: message-id-wrap message-id
def test_an_ike_sa_is_rekeyed_before_its_message_ids_are_used_up(talk: Dialogue) -> None:
    before = established(talk.a)
    at(talk, limits.MESSAGE_IDS_SOFT - 2)
    assert request(talk, talk.a) == limits.MESSAGE_IDS_SOFT - 2
    talk.pass_time(1.0)
    (after,) = talk.a.engine.ike_sas()
    assert after.local_spi != before.spi
    assert request(talk, talk.a) < 5, "they begin anew"
    assert [len(side.engine.ike_sas()) for side in (talk.a, talk.b)] == [1, 1]


# rfc 7296: message-id-wrap
def test_those_of_the_peer_count_as_well_and_one_end_is_enough(talk: Dialogue) -> None:
    """B is a peer that never rekeys: it goes on and on."""
    before = established(talk.a)
    established(talk.a).window._expected = limits.MESSAGE_IDS_SOFT
    effects = talk.deliver(forge(talk.b, INFORMATIONAL, [], limits.MESSAGE_IDS_SOFT))
    assert [parse_header(one.data).exchange for one in datagrams(effects)] == [
        INFORMATIONAL,
        ExchangeType.CREATE_CHILD_SA,
    ]
    assert before.task is not None


# rfc 7296: message-id-wrap
def test_who_could_not_rekey_ends_the_ike_sa_and_no_message_id_comes_twice(talk: Dialogue) -> None:
    established(talk.a).window._expected = limits.MESSAGE_IDS_HARD
    effects = talk.deliver(forge(talk.b, INFORMATIONAL, [], limits.MESSAGE_IDS_HARD))
    assert "used up" in talk.a.told("ike-down").message
    talk.talk(effects)
    assert talk.a.engine.ike_sas() == ()


# rfc 7296: one-outstanding
def test_a_larger_window_of_the_peer_is_taken_note_of_and_not_needed(talk: Dialogue) -> None:
    said = NotifyPayload(NotifyType.SET_WINDOW_SIZE, (8).to_bytes(4))
    answer = datagrams(talk.deliver(forge(talk.b, INFORMATIONAL, [said])))[0]
    assert read(talk.b, answer).payloads == ()
    sa = talk.a.engine.ike_sas()[0]
    first = talk.a.hear(Rekey(sa.children[0].spi_in.to_bytes(4)), 0.0)
    assert talk.a.hear(Rekey(sa.local_spi), 0.0) == [], "one request is outstanding"
    talk.talk(first)
    assert len(talk.a.engine.ike_sas()[0].children) == 1


# rfc 7296: message-id
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_requests_that_a_peer_sends_ahead_of_our_window_are_taken_when_they_come_again(
    talk: Dialogue, order: tuple[int, ...]
) -> None:
    """It believes in a larger window than we have said: each is answered once, in the order of its IDs."""
    number = established(talk.b).window.next_id
    requests = [forge(talk.b, INFORMATIONAL, [], number + at) for at in range(3)]
    answers: list[int] = []
    for _ in range(3):
        for at in order:
            heard = parse_header(requests[at].data).message_id
            for one in datagrams(talk.deliver(requests[at])):
                answers.append(parse_header(one.data).message_id)
                assert answers[-1] == heard
    assert sorted(set(answers)) == [number, number + 1, number + 2]
    assert [sa.state for sa in talk.a.engine.ike_sas()] == ["established"]
