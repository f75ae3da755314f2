# SPDX-License-Identifier: GPL-2.0-or-later
"""Quick crash detection (RFC 6290): a peer that has lost everything but its secret says so, and is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge, kinds, read
from tests.conversations.plans import Settings
from tests.conversations.scenes import A4, B4
from xfrmd import limits
from xfrmd.ike.effects import RemoveSa, SendDatagram
from xfrmd.ike.events import CrashSecrets, DatagramReceived, Endpoint, Rekey, SaUsed, TimerFired
from xfrmd.ike.tokens import TokenMaker
from xfrmd.ike.v2.constants import FLAG_INITIATOR, ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.limits import floods
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret

OLD, NEW, OTHER = (Secret(bytes([number]) * 32) for number in (1, 2, 3))


def remembering(secrets: tuple[Secret, ...] = (OLD,), *, also_a: bool = True) -> Dialogue:
    """Both are connected; B, and A if wanted, have a secret that outlives them."""
    talk = Dialogue()
    talk.b.hear(CrashSecrets(secrets), 0.0)
    if also_a:
        talk.a.hear(CrashSecrets((OTHER,)), 0.0)
    talk.connect()
    return talk


def crash(talk: Dialogue, secrets: tuple[Secret, ...]) -> None:
    """B starts again with nothing but these secrets."""
    talk.b = Side(B4, plans.plan(B4, [A4], Settings()), 77, talk.wall)
    talk.b.hear(CrashSecrets(secrets), talk.now)


def sent(talk: Dialogue, octets: int) -> list[SendDatagram]:
    """A's SA has carried so much, and A says what follows."""
    pair = talk.a.engine.ike_sas()[0].children[0]
    return datagrams(talk.a.hear(SaUsed(pair.spi_out, ProtocolId.ESP, B4, octets), talk.now))


def question(talk: Dialogue) -> SendDatagram:
    """A's traffic has had no answer for a while: it asks for life."""
    sent(talk, 1)
    talk.now += limits.LIVENESS_TOKEN + 1
    (asked,) = sent(talk, 2)
    return asked


def outage(talk: Dialogue) -> float:
    """Seconds from now on until B has SAs with A, while A's traffic runs and its counters are read every 5 s."""
    began, octets = talk.now, 0
    while not talk.b.engine.ike_sas():
        talk.now += 1.0
        octets += 1
        talk.talk(talk.a.hear(TimerFired(), talk.now))
        if talk.a.engine.ike_sas() and octets % 5 == 0:
            talk.talk(list(sent(talk, octets)))
        if not talk.a.engine.ike_sas():
            talk.talk(talk.acquire())
    return talk.now - began


# rfc 6290: token-taken
def test_a_peer_that_crashed_is_known_by_its_token_and_negotiated_with_at_once() -> None:
    talk = remembering()
    old = talk.a.engine.ike_sas()[0]
    crash(talk, (OLD,))
    talk.talk([question(talk)])
    assert talk.a.told("peer-crashed").remedy
    removed = {effect.spi for effect in talk.a.effects if isinstance(effect, RemoveSa)}
    assert removed == {old.children[0].spi_in, old.children[0].spi_out}
    (new,) = talk.a.engine.ike_sas()
    assert new.local_spi != old.local_spi
    assert new.children[0].spi_out == talk.b.engine.ike_sas()[0].children[0].spi_in


def test_the_outage_is_a_fraction_of_that_without_tokens() -> None:
    quick, slow = remembering(), remembering()
    crash(quick, (OLD,))
    crash(slow, ())
    with_token, without = outage(quick), outage(slow)
    assert with_token <= limits.LIVENESS_TOKEN + 10
    assert without > 4 * with_token


# rfc 6290: token-secret
@pytest.mark.parametrize("secrets", [(NEW, OLD), (OLD, NEW)])
def test_a_secret_that_was_followed_by_another_still_counts(secrets: tuple[Secret, ...]) -> None:
    talk = remembering()
    crash(talk, secrets)
    talk.talk([question(talk)])
    assert talk.a.told("peer-crashed").remedy


# rfc 6290: token-taken
@pytest.mark.parametrize("spoiled", ["another secret", "no token", "no error", "another message ID", "a request"])
def test_whoever_does_not_know_the_token_ends_nothing(spoiled: str) -> None:
    talk = remembering()
    crash(talk, (NEW,) if spoiled == "another secret" else (OLD,))
    answer = datagrams(talk.deliver(question(talk)))[0]
    message = parse_clear(answer.data)
    payloads = [
        one
        for one in message.payloads
        if isinstance(one, NotifyPayload)
        and (spoiled != "no token" or one.notify != NotifyType.QUICK_CRASH_DETECTION)
        and (spoiled != "no error" or one.notify != NotifyType.INVALID_IKE_SPI)
    ]
    header = message.header
    if spoiled == "another message ID":
        header = header._replace(message_id=header.message_id + 1)
    if spoiled == "a request":
        header = header._replace(flags=header.flags & ~0x20)
    before = talk.a.engine.ike_sas()
    effects = talk.deliver(replace(answer, data=build_clear(header, payloads)))
    assert effects == []
    assert talk.a.engine.ike_sas() == before


# rfc 6290: no-token-for-live-sa
def test_nobody_gets_the_token_of_an_ike_sa_that_stands() -> None:
    """Also not by asking with SPIs of which one is another, as the token is for both together, nor in our own role."""
    talk = remembering()
    sa = established(talk.b)
    token = established(talk.a).peer_token
    for spi_i, spi_r in ((sa.spi_i, sa.spi_r), (bytes(7) + b"\1", sa.spi_r), (sa.spi_i, bytes(7) + b"\1")):
        header = Header.of(spi_i, spi_r, ExchangeType.INFORMATIONAL, 2, initiator=True, response=False)
        sealed = established(talk.a).agreed_channel.seal(header, [])
        answers = datagrams(talk.b.hear(DatagramReceived(Endpoint(B4, 500), Endpoint(A4, 500), sealed), 1.0))
        assert all(token not in answer.data for answer in answers)
        turned = header._replace(flags=header.flags ^ FLAG_INITIATOR)
        sealed = established(talk.a).agreed_channel.seal(turned, [])
        for side in (talk.a, talk.b):
            answers = datagrams(side.hear(DatagramReceived(Endpoint(side.own, 500), Endpoint(A4, 500), sealed), 1.0))
            assert all(token not in answer.data for answer in answers)
            assert (spi_i, spi_r) != (sa.spi_i, sa.spi_r) or answers == []


def test_a_token_is_for_one_role() -> None:
    """Else who has a live IKE SA's SPIs could have the other end's by a lie about who asks."""
    makers = TokenMaker()
    makers.know((OLD,))
    assert makers.make(bytes(8), bytes(8), initiator=True) != makers.make(bytes(8), bytes(8), initiator=False)


# rfc 6290: token-sent
# rfc 7296: invalid-ike-spi
def test_only_sealed_requests_are_answered_and_only_so_many_a_second() -> None:
    talk = remembering()
    asked = question(talk)
    crash(talk, (OLD,))
    header = parse_clear(asked.data).header
    clear = replace(asked, data=build_clear(header, [NotifyPayload(NotifyType.INVALID_IKE_SPI)]))
    response = replace(asked, data=asked.data[:19] + bytes([header.flags | 0x20]) + asked.data[20:])
    assert talk.deliver(clear) == talk.deliver(response) == []
    answers = [kinds(talk.deliver(asked)) for _ in range(floods.CLEAR_ANSWERS + 10)]
    assert answers.count(["send"]) <= floods.CLEAR_ANSWERS
    assert answers[0] == ["send"]
    (answer,) = datagrams(talk.deliver(asked)) or datagrams(talk.b.effects)[-1:]
    assert len(answer.data) < 2 * len(asked.data)


# rfc 6290: token-exchanged
@pytest.mark.parametrize("asks", ["a", "b"])
def test_tokens_go_on_over_rekeys_from_both_sides(asks: str) -> None:
    talk = remembering()
    side = talk.a if asks == "a" else talk.b
    before = {established(talk.a).peer_token, established(talk.b).peer_token}
    talk.talk(side.hear(Rekey(established(side).spi), 1.0))
    after = established(talk.a).peer_token, established(talk.b).peer_token
    assert all(after)
    assert not before & set(after)
    crash(talk, (OLD,))
    talk.talk([question(talk)])
    assert talk.a.told("peer-crashed").remedy


def test_a_host_without_a_secret_gives_no_token_and_keeps_the_peers() -> None:
    talk = remembering(also_a=False)
    assert established(talk.a).peer_token
    assert established(talk.b).peer_token == b""


def test_a_peer_may_give_another_token_later_and_none_of_a_wrong_size() -> None:
    talk = remembering()
    first = established(talk.a).peer_token
    for number, data in enumerate((b"short", bytes(257), b"another token, of 29 octets..")):
        payload = NotifyPayload(NotifyType.QUICK_CRASH_DETECTION, data)
        answer = datagrams(talk.deliver(forge(talk.b, ExchangeType.INFORMATIONAL, [payload], number)))[0]
        assert read(talk.b, answer).payloads == ()
        assert (established(talk.a).peer_token == first) is (number < 2)
    assert established(talk.a).peer_token == b"another token, of 29 octets.."
