# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE SAs that begin without a child SA (RFC 6023): both roles, and who does not take them."""

from __future__ import annotations

from dataclasses import replace

from tests.conversations.dialogue import Dialogue, datagrams, established, kinds, read
from tests.conversations.plans import ALL_REQID, Settings
from tests.conversations.scenes import A4, B4
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import Initiate, InitiateIke
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import AuthPayload, IdrPayload, NotifyPayload, Payload, SaPayload, TsiPayload, TsrPayload
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Address, Prefix

HERE = TrafficSelector.of(Prefix.host(A4))


def alone(talk: Dialogue) -> list[SendDatagram]:
    """A wants an IKE SA and nothing else."""
    return datagrams(talk.a.hear(InitiateIke(A4, B4), talk.now))


# rfc 6023: ike-sa-stands announce
def test_an_ike_sa_stands_without_a_child_and_gets_one_when_traffic_asks() -> None:
    talk = Dialogue()
    (request,) = alone(talk)
    (answer,) = datagrams(talk.deliver(request))
    assert parse_clear(answer.data).notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None
    (auth,) = datagrams(talk.deliver(answer))
    (last,) = datagrams(talk.deliver(auth))
    said = read(talk.a, last)
    assert (said.first(SaPayload), said.first(TsiPayload)) == (None, None)
    assert said.first(IdrPayload) is not None
    assert said.first(AuthPayload) is not None
    assert talk.deliver(last) != []
    for side in (talk.a, talk.b):
        (sa,) = side.engine.ike_sas()
        assert (sa.state, sa.children) == ("established", ())
        assert side.installed() == []
        assert not [one for one in side.notices() if one.remedy]
    asks = talk.acquire()
    assert [one.data[18] for one in datagrams(asks)] == [ExchangeType.CREATE_CHILD_SA]
    talk.talk(asks)
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2
    assert len(talk.a.engine.ike_sas()) == 1


def test_it_lives_as_long_as_any_other_ike_sa() -> None:
    talk = Dialogue(Settings(ike_seconds=600))
    talk.talk(list(alone(talk)))
    first = talk.a.engine.ike_sas()[0].local_spi
    talk.pass_time(3000.0)
    (sa,) = [one for one in talk.a.engine.ike_sas() if one.state == "established"]
    assert sa.local_spi != first, "rekeyed"
    talk.talk(talk.acquire())
    assert talk.a.engine.ike_sas()[0].children


def test_who_has_an_ike_sa_needs_no_other_and_who_has_no_rule_gets_none() -> None:
    talk = Dialogue()
    talk.talk(list(alone(talk)))
    assert alone(talk) == []
    assert talk.a.hear(InitiateIke(A4, Address.parse("10.0.0.77")), 0.0) == []
    talk.talk(talk.a.hear(Initiate(ALL_REQID, A4, B4), 0.0))
    assert talk.a.engine.ike_sas()[0].children


# rfc 6023: only-when-announced
def test_a_peer_that_does_not_announce_it_is_not_asked() -> None:
    """What comes in the clear ends nothing: the peer's own answer may come yet."""
    talk = Dialogue()
    (request,) = alone(talk)
    (answer,) = datagrams(talk.deliver(request))
    clear = parse_clear(answer.data)
    kept = [one for one in clear.payloads if getattr(one, "notify", 0) != NotifyType.CHILDLESS_IKEV2_SUPPORTED]
    assert kinds(talk.deliver(replace(answer, data=build_clear(clear.header, kept)))) == []
    assert talk.a.told("childless-refused").remedy
    talk.talk([answer])
    assert [one.state for one in talk.a.engine.ike_sas()] == ["established"]


def test_a_child_sa_that_nobody_asked_for_ends_the_ike_sa() -> None:
    talk = Dialogue()
    (request,) = alone(talk)
    (answer,) = datagrams(talk.deliver(request))
    (auth,) = datagrams(talk.deliver(answer))
    (last,) = datagrams(talk.deliver(auth))
    said = read(talk.a, last)
    sent = datagrams(Dialogue().acquire())[0]
    payloads = [*said.payloads, *parse_clear(sent.data).every(SaPayload), TsiPayload((HERE,)), TsrPayload((HERE,))]
    sealed = established(talk.b).agreed_channel.seal(said.header, payloads)
    talk.deliver(replace(last, data=sealed))
    assert not [one for one in talk.a.engine.ike_sas() if one.state == "established"]
    assert talk.a.installed() == []


def test_notifies_that_stand_beside_have_their_meaning() -> None:
    """MOBIKE, tokens, AUTH_LIFETIME: all but the child SA."""
    talk = Dialogue(Settings(), Settings(auth_seconds=900))
    talk.talk(list(alone(talk)))
    (sa,) = talk.a.engine._ctx.store.ike_sas()
    assert sa.lineage.term.asked_until is not None


def refusing(talk: Dialogue) -> list[SendDatagram]:
    """B refuses the IKE_AUTH of A because it asks for a child SA, as strongSwan does with `childless = force`."""
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    (auth,) = datagrams(talk.deliver(answer))
    (last,) = datagrams(talk.deliver(auth))
    said = read(talk.a, last)
    payloads: list[Payload] = [
        *said.every(IdrPayload),
        *said.every(AuthPayload),
        NotifyPayload(NotifyType.INVALID_SYNTAX),
    ]
    sealed = established(talk.b).agreed_channel.seal(said.header, payloads)
    talk.b.engine = Dialogue().b.engine  # it has ended the IKE SA
    return datagrams(talk.deliver(replace(last, data=sealed)))


# rfc 6023: only-when-announced
def test_a_peer_that_wants_the_ike_sa_alone_gets_it_so_and_then_the_child_sa() -> None:
    talk = Dialogue()
    again = refusing(talk)
    assert [one.data[18] for one in again] == [ExchangeType.IKE_SA_INIT]
    everything = talk.talk(list(again))
    asked = [one.data[18] for one in datagrams(everything) if not one.data[19] & 0x20]
    assert asked == [ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA]
    (sa,) = [one for one in talk.a.engine.ike_sas() if one.state == "established"]
    assert len(sa.children) == 1
    assert "auth-failed" not in {one.code for one in talk.a.notices()}
