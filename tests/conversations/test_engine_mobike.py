# SPDX-License-Identifier: GPL-2.0-or-later
"""MOBIKE (RFC 4555): a host gets another address, its IKE SA goes on, and nobody can move it but the host itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge, read
from tests.conversations.plans import ALL_REQID, Settings
from tests.conversations.scenes import A4, B4, ping
from xfrmd import limits
from xfrmd.ike.effects import Effect, RemoveSa, SendDatagram
from xfrmd.ike.events import Acquire, Adopt, Endpoint, PlanChanged, Rekey, SaUsed
from xfrmd.ike.saved import decode
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import Identity, IdType, PskAuth
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector

ROAMER = Identity(IdType.FQDN, b"roamer.example")
A2, STRANGE = Address.parse("10.0.9.9"), Address.parse("192.0.2.7")
ANYWHERE = Prefix.parse("10.0.0.0/16")


def roaming(plan: Plan) -> Plan:
    """A is known by a name."""
    return replace(plan, pad=tuple(replace(one, local_id=ROAMER) for one in plan.pad))


def welcoming(plan: Plan) -> Plan:
    """B has A anywhere in a network."""
    protect = tuple(replace(one, selectors=(Selector(Prefix.host(B4), ANYWHERE),)) for one in plan.protect)
    return replace(
        plan, protect=protect, pad=tuple(replace(one, remote=ANYWHERE, remote_id=ROAMER) for one in plan.pad)
    )


def connected() -> Dialogue:
    talk = Dialogue(a=roaming, b=welcoming)
    talk.connect()
    return talk


def leave(talk: Dialogue) -> list[Effect]:
    """The address of A is gone."""
    plan = roaming(plans.plan(A4, [B4]))
    return talk.a.hear(PlanChanged(replace(plan, protect=(), pad=())), talk.now)


def arrive(talk: Dialogue, address: Address = A2) -> list[Effect]:
    """A has another one, and traffic leaves from it."""
    talk.a.own = address
    talk.a.hear(PlanChanged(roaming(plans.plan(address, [B4]))), talk.now)
    return talk.a.hear(Acquire(ALL_REQID, ping(address, B4)), talk.now)


def spis(side: Side) -> list[bytes]:
    return [sa.local_spi for sa in side.engine.ike_sas()]


# rfc 4555: announce update nat-detection-again
def test_the_ike_sa_goes_on_at_another_address_and_its_traffic_gets_new_child_sas() -> None:
    talk = connected()
    before, old = (spis(talk.a), spis(talk.b)), talk.b.engine.ike_sas()[0].children[0]
    leave(talk)
    talk.now = 5.0
    talk.talk(arrive(talk))
    assert (spis(talk.a), spis(talk.b)) == before
    (there,), (here,) = talk.b.engine.ike_sas(), talk.a.engine.ike_sas()
    assert (here.extensions, there.extensions) == (("moves", "fragments"), ("follows", "fragments"))
    assert there.remote.address == here.local.address == A2
    assert there.children[0].spi_out == here.children[0].spi_in
    assert there.children[0].selectors[0].dst == Prefix.host(A2)
    removed = {effect.spi for effect in talk.b.effects if isinstance(effect, RemoveSa)}
    assert {old.spi_in, old.spi_out} <= removed
    assert talk.a.told("moved").fields["new"] == talk.b.told("moved").fields["new"] == str(A2)
    talk.pass_time(limits.HOMELESS + 10)
    assert (spis(talk.a), spis(talk.b)) == before


def test_after_a_move_the_next_rekey_and_the_next_move_do_as_well() -> None:
    talk = connected()
    for number, address in enumerate((A2, A4, A2)):
        leave(talk)
        talk.talk(arrive(talk, address))
        asking = (talk.a, talk.b)[number % 2]
        talk.talk(asking.hear(Rekey(established(asking).spi), talk.now))
        assert talk.b.engine.ike_sas()[0].remote.address == address
        assert len(talk.b.engine.ike_sas()) == len(talk.a.engine.ike_sas()) == 1


def test_an_address_that_comes_back_is_no_move() -> None:
    talk = connected()
    before = spis(talk.a)
    talk.talk(leave(talk))
    talk.talk(arrive(talk, A4))
    assert spis(talk.a) == before
    assert not [notice for notice in talk.a.notices() if notice.code == "moved"]
    talk.pass_time(limits.HOMELESS + 10)
    assert spis(talk.a) == before


def test_a_host_that_gets_no_other_address_gives_up() -> None:
    talk = connected()
    leave(talk)
    talk.now = limits.HOMELESS + 30
    talk.a.own = STRANGE
    talk.pass_time(90.0)
    assert spis(talk.a) == []


@pytest.mark.parametrize("why", ["an address as identity", "a policy that has the peer in one place"])
def test_who_is_known_by_an_address_does_not_move(why: str) -> None:
    talk = (
        Dialogue()
        if why.startswith("an")
        else Dialogue(
            a=roaming, b=lambda plan: replace(plan, pad=tuple(replace(one, remote_id=ROAMER) for one in plan.pad))
        )
    )
    talk.connect()
    before = spis(talk.a)
    leave(talk)
    assert spis(talk.a) == before
    assert talk.a.engine.ike_sas()[0].state == "deleting"


def update(*more: Payload) -> list[Payload]:
    return [NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES), *more]


def sent_from(datagram: SendDatagram, address: Address) -> SendDatagram:
    return replace(datagram, local=Endpoint(address, 500))


def answer(talk: Dialogue, datagram: SendDatagram) -> tuple[SendDatagram, list[int]]:
    """The first that is sent when it arrives, and its notifications."""
    (found,) = datagrams(talk.deliver(datagram))[:1]
    message = read(talk.b if datagram.remote.address == A4 else talk.a, found)
    return found, [one.notify for one in message.every(NotifyPayload)]


def test_an_address_that_the_policy_does_not_have_is_refused_and_nothing_moves() -> None:
    talk = connected()
    request = sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, update()), STRANGE)
    found, said = answer(talk, request)
    assert said == [NotifyType.UNACCEPTABLE_ADDRESSES]
    assert found.remote.address == STRANGE, "whoever asks is answered where it is"
    assert talk.b.engine.ike_sas()[0].remote.address == A4
    assert talk.b.told("move-refused").remedy


def test_another_secret_for_the_new_address_is_another_authentication() -> None:
    talk = connected()
    plan = welcoming(plans.plan(B4, [A4]))
    other = replace(plan.pad[0], remote=Prefix.host(A2), auth=(PskAuth(Secret(b"another")),))
    talk.b.hear(PlanChanged(replace(plan, pad=(other, *plan.pad))), 1.0)
    request = sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, update()), A2)
    assert answer(talk, request)[1] == [NotifyType.UNACCEPTABLE_ADDRESSES]
    assert talk.b.engine.ike_sas()[0].remote.address == A4


def test_a_message_from_elsewhere_that_does_not_say_so_moves_nothing() -> None:
    talk = connected()
    found, said = answer(talk, sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, []), A2))
    assert said == []
    assert found.remote.address == A2
    assert talk.b.engine.ike_sas()[0].remote.address == A4
    later = sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, [], 3), A4)
    assert answer(talk, later)[0].remote.address == A4


# rfc 4555: no-nats-allowed
def test_a_nat_on_the_way_is_refused_where_the_peer_allows_none() -> None:
    talk = connected()
    path = A4.packed + B4.packed + (500).to_bytes(2) * 2
    payload = NotifyPayload(NotifyType.NO_NATS_ALLOWED, path)
    translated = sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, update(payload)), A2)
    assert answer(talk, translated)[1] == [NotifyType.UNEXPECTED_NAT_DETECTED]
    assert talk.b.engine.ike_sas()[0].remote.address == A4
    plain = forge(talk.a, ExchangeType.INFORMATIONAL, update(payload), 3)
    assert NotifyType.UNEXPECTED_NAT_DETECTED not in answer(talk, plain)[1]


# rfc 4555: cookie2
def test_the_new_address_is_asked_and_a_wrong_cookie_ends_the_ike_sa() -> None:
    talk = connected()
    effects = talk.deliver(sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, update()), A2))
    _, asked = datagrams(effects)[:2]
    assert asked.remote.address == A2
    cookie = read(talk.a, asked).notify(NotifyType.COOKIE2)
    assert cookie is not None
    wrong = NotifyPayload(NotifyType.COOKIE2, bytes(len(cookie.data)))
    lie = sent_from(forge(talk.a, ExchangeType.INFORMATIONAL, [wrong], 0, response=True), A2)
    talk.deliver(lie)
    assert talk.b.engine.ike_sas()[0].state == "deleting"


# rfc 4555: cookie2
def test_cookies_of_any_peer_are_repeated_and_those_of_wrong_sizes_are_not() -> None:
    talk = Dialogue()
    talk.connect()
    for number, (size, repeated) in enumerate(((7, False), (8, True), (64, True), (65, False))):
        payload = NotifyPayload(NotifyType.COOKIE2, bytes(size))
        _, said = answer(talk, forge(talk.b, ExchangeType.INFORMATIONAL, [payload], number))
        assert (said == [NotifyType.COOKIE2]) is repeated


def test_a_move_in_the_middle_of_a_request_repeats_it_from_the_new_address_first() -> None:
    talk = connected()
    pair = talk.a.engine.ike_sas()[0].children[0]
    talk.a.hear(SaUsed(pair.spi_out, ProtocolId.ESP, B4, 1), 1.0)
    (lost,) = datagrams(talk.a.hear(SaUsed(pair.spi_out, ProtocolId.ESP, B4, 2), 40.0))
    talk.now = 41.0
    leave(talk)
    moved = arrive(talk)
    first = datagrams(moved)[0]
    assert first.data == lost.data
    assert first.local.address == A2
    talk.talk(moved)
    assert talk.b.engine.ike_sas()[0].remote.address == A2
    assert talk.b.engine.ike_sas()[0].children


def test_the_peer_that_did_not_begin_moves_nobody() -> None:
    """B says that it is elsewhere: A, which began, does not follow, and drops it."""
    talk = connected()
    request = replace(forge(talk.b, ExchangeType.INFORMATIONAL, update()), local=Endpoint(A2, 500))
    assert talk.deliver(request) == []
    assert talk.a.engine.ike_sas()[0].remote.address == B4


def test_settings_without_names_say_nothing_of_mobike() -> None:
    talk = Dialogue(Settings())
    talk.connect()
    assert not established(talk.a).lineage.moves
    assert not established(talk.b).lineage.follows


# rfc 4555: update
@pytest.mark.parametrize("answered", [False, True])
def test_a_move_in_the_middle_of_a_rekey_of_the_ike_sa_is_told_by_the_new_one(answered: bool) -> None:
    talk = connected()
    (asked,) = datagrams(talk.a.hear(Rekey(established(talk.a).spi), talk.now))
    if answered:  # and the answer is lost
        talk.deliver(asked)
    talk.now = 0.5
    leave(talk)
    talk.talk(arrive(talk))
    talk.pass_time(5.0)
    (there,), (here,) = talk.b.engine.ike_sas(), talk.a.engine.ike_sas()
    assert there.remote.address == here.local.address == A2
    assert [child.spi_in for child in there.children] == [child.spi_out for child in here.children] != []


# rfc 4555: update
def test_a_move_that_a_crash_kept_from_being_told_is_told_by_the_next_run() -> None:
    talk = connected()
    talk.a.hear(Rekey(established(talk.a).spi), talk.now)
    leave(talk)
    arrive(talk)  # nothing of this is sent: the rekey is not answered yet
    records = {record.name: record.content.reveal() for record in talk.a.engine.changes() if record.content}
    talk.a = Side(A2, roaming(plans.plan(A2, [B4])), 3, talk.wall)
    talk.talk(talk.a.hear(Adopt(decode(records.values()), {}), talk.now))
    talk.pass_time(5.0)
    talk.talk(talk.a.hear(Acquire(ALL_REQID, ping(A2, B4)), talk.now))
    talk.pass_time(5.0)
    (there,), (here,) = talk.b.engine.ike_sas(), talk.a.engine.ike_sas()
    assert there.remote.address == here.local.address == A2
    assert [child.spi_in for child in there.children] == [child.spi_out for child in here.children] != []
