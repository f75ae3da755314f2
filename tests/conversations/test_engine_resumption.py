# SPDX-License-Identifier: GPL-2.0-or-later
"""Session resumption (RFC 5723): what was lost goes on from a ticket, once, under the policy that holds now."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, Side, datagrams, established, forge, read, same
from tests.conversations.plans import ALL_REQID, GCM_P256, GCM_X25519, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from tests.conversations.test_engine_additional import MLKEM768
from tests.conversations.test_engine_crash import question
from tests.unit.pki import DAY, NOW, crl, issue, method, root
from xfrmd import limits
from xfrmd.ike.effects import Effect, OpenClear, RevokeTickets, SendDatagram
from xfrmd.ike.events import (
    Acquire,
    Adopt,
    CrashSecrets,
    Delete,
    Endpoint,
    Goodbye,
    PlanChanged,
    TicketKeys,
    TimerFired,
)
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.saved import decode
from xfrmd.ike.session import Held
from xfrmd.ike.tickets import NAME
from xfrmd.ike.v2 import ticketing
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.constants import ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, build_clear, parse_clear
from xfrmd.ike.v2.payloads import NoncePayload, NotifyPayload, Payload
from xfrmd.limits import floods
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import CRL_ALWAYS, CRL_IF_KNOWN, Identity, IdType, Ppk
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.transforms.keymat import ike_keys

KEY, OTHER_KEY = Secret(bytes([1]) * 32), Secret(bytes([2]) * 32)
CA = root()
A, B = issue("a", by=CA, san=["a.example"]), issue("b", by=CA, san=["b.example"])


class Story:
    """A, which has a ticket of B's, and B, which loses everything but its keys."""

    def __init__(
        self, settings: Settings | None = None, other: Settings | None = None, a: Change = same, b: Change = same
    ) -> None:
        self.settings, self.change = settings or Settings(), (a, b)
        self.other = other or self.settings
        self.talk = Dialogue(settings, other, a, b)
        self.talk.b.hear(TicketKeys((KEY,)), 0.0)
        self.talk.connect()

    def plan(self, settings: Settings | None = None) -> Plan:
        """B's."""
        return self.change[1](plans.plan(B4, [A4], settings or self.other))

    def lose(self, keys: tuple[Secret, ...] = (KEY,), plan: Plan | None = None, *, also_a: bool = True) -> None:
        """B starts with nothing, and A gives its IKE SA up."""
        talk = self.talk
        talk.b = Side(B4, plan or self.plan(), 77, talk.wall)
        talk.b.hear(TicketKeys(keys), talk.now)
        for sa in talk.a.engine.ike_sas() if also_a else ():
            found = talk.a.engine._ctx.store.ike_sa(sa.local_spi)
            assert found is not None
            kept = dict(talk.a.engine._ctx.store.tickets.held)
            talk.a.hear(Delete(None), talk.now)
            talk.a.engine._ctx.store.tickets.held.update(kept)

    def held(self) -> Held | None:
        """A's ticket."""
        return self.talk.a.engine._ctx.store.tickets.held.get(B4)

    def resume(self) -> list[SendDatagram]:
        """A's traffic asks again, and everything is said. What was sent."""
        first = self.talk.acquire()
        return datagrams(first) + datagrams(self.talk.talk(first))


def exchanges(sent: list[SendDatagram]) -> list[int]:
    return [one.data[18] for one in sent]


RESUMED = [ExchangeType.IKE_SESSION_RESUME] * 2 + [ExchangeType.IKE_AUTH] * 2
WHOLE = [ExchangeType.IKE_SA_INIT] * 2 + [ExchangeType.IKE_AUTH] * 2
REFUSED = [ExchangeType.IKE_SESSION_RESUME] * 2 + WHOLE


def works(talk: Dialogue) -> None:
    """One IKE SA and one pair, the same at both ends."""
    (a,), (b,) = talk.a.engine.ike_sas(), talk.b.engine.ike_sas()
    assert a.state == b.state == "established"
    assert (a.local_spi, a.remote_spi) == (b.remote_spi, b.local_spi)
    (one,), (other,) = a.children, b.children
    assert (one.spi_in, one.spi_out) == (other.spi_out, other.spi_in)


# rfc 7296: critical-in-auth
@pytest.mark.parametrize("suite", [GCM_P256, (*GCM_X25519, MLKEM768)], ids=["plain", "additional"])
def test_an_error_after_ike_auth_ends_a_resumed_ike_sa_whatever_key_exchanges_the_one_before_had(
    suite: tuple[Transform, ...],
) -> None:
    """IKE_SESSION_RESUME is one exchange, with no additional ones behind it."""
    story = Story(Settings(ike=(suite,)))
    story.lose()
    assert exchanges(story.resume()) == RESUMED
    talk = story.talk
    talk.deliver(forge(talk.a, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)]))
    assert talk.b.engine.ike_sas() == ()


# rfc 5723: resume ticket-asked
def test_what_was_lost_goes_on_from_a_ticket_without_a_key_exchange() -> None:
    story = Story()
    talk = story.talk
    assert "ticket" in talk.a.engine.ike_sas()[0].extensions
    assert "ticket-given" in talk.b.engine.ike_sas()[0].extensions
    story.lose()
    sent = story.resume()
    assert exchanges(sent) == RESUMED
    first = parse_clear(sent[0].data)
    assert {payload.type for payload in first.payloads} == {PayloadType.NONCE, PayloadType.NOTIFY}
    works(talk)
    assert talk.a.told("resumed").fields["peer"] == "10.0.0.2"
    assert talk.b.told("resumed").message
    (a,), (b,) = talk.a.engine.ike_sas(), talk.b.engine.ike_sas()
    assert {"resumed", "ticket"} <= set(a.extensions)
    assert {"resumed", "ticket-given"} <= set(b.extensions)
    assert (a.proofs.remote.method, b.proofs.remote.method) == ("psk", "psk")


# rfc 5723: keys auth
def test_keys_and_proofs_are_those_of_the_rfc() -> None:
    """Computed here from RFC 5723 5.1 and RFC 7296 2.13 to 2.15, with nothing but HMAC."""
    story = Story()
    held = story.held()
    assert held is not None
    old = held.session.sk_d.reveal()
    assert old == established(story.talk.b).agreed_channel.saved().sk_d.reveal()
    story.lose()
    sent = story.resume()
    request, response = parse_clear(sent[0].data), parse_clear(sent[1].data)
    ni, nr = (message.first(NoncePayload) for message in (request, response))
    assert ni is not None
    assert nr is not None
    nonces = ni.data + nr.data
    seed = nonces + response.header.spi_i + response.header.spi_r

    def prf(key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")

    skeyseed, stream, block = prf(old, b"Resumption" + nonces), b"", b""
    for number in range(1, 8):
        block = prf(skeyseed, block + seed + bytes([number]))
        stream += block
    keys = established(story.talk.a).agreed_channel.saved()
    assert keys.sk_d.reveal() == stream[:32]
    ei, er = stream[32:52], stream[52:72]  # AES128-GCM with its salt
    assert (keys.sk_ei.reveal(), keys.sk_er.reveal()) == (ei, er)
    sk_pi = stream[72:104]
    auth = read(story.talk.b, sent[2])
    identity = bytes((IdType.IPV4_ADDR, 0, 0, 0)) + A4.packed
    octets = sent[0].data + nr.data + prf(sk_pi, identity)
    assert prf(sk_pi, octets) in auth.plaintext


@pytest.mark.parametrize("lost", range(4))
def test_each_message_may_be_lost(lost: int) -> None:
    story = Story()
    talk = story.talk
    story.lose()
    waiting, count = datagrams(talk.acquire()), 0
    while waiting:
        one = waiting.pop(0)
        count += 1
        if count != lost + 1:
            waiting += datagrams(talk.deliver(one))
    talk.pass_time(2.0)
    works(talk)
    assert talk.a.told("resumed").message
    assert talk.b.told("resumed").message


# rfc 5723: nack
def test_a_silent_peer_is_asked_for_the_full_exchange_and_may_be_shown_the_ticket_another_time() -> None:
    story = Story()
    talk, before = story.talk, story.held()
    story.lose()
    talk.acquire()
    sent: list[Effect] = []
    while talk.now < 8.0:
        talk.now += 0.1
        sent += talk.a.engine.handle(TimerFired(), talk.now)
    found = exchanges(datagrams(sent))
    assert len(found) > limits.RESUME_TRIES
    assert found[: limits.RESUME_TRIES - 1] == [ExchangeType.IKE_SESSION_RESUME] * (limits.RESUME_TRIES - 1)
    assert set(found[limits.RESUME_TRIES - 1 :]) == {ExchangeType.IKE_SA_INIT}
    assert story.held() == before
    last = datagrams(sent)[-1]
    talk.talk(talk.deliver(last))
    works(talk)
    assert story.held() != before
    story.lose()
    assert exchanges(story.resume()) == RESUMED


# rfc 5723: nack sealed
@pytest.mark.parametrize("keys", [(OTHER_KEY,), (), (OTHER_KEY, KEY)])
def test_a_ticket_under_a_key_that_is_no_more_leads_to_the_full_exchange(keys: tuple[Secret, ...]) -> None:
    story = Story()
    story.lose(keys)
    sent = story.resume()
    works(story.talk)
    if KEY in keys:
        assert exchanges(sent) == RESUMED
        return
    assert exchanges(sent) == REFUSED
    assert story.talk.a.told("ticket-refused").message
    assert "none of ours" in story.talk.b.told("ticket-not-taken").message
    assert not [one for one in story.talk.a.notices() if one.code == "auth-failed"]


# rfc 5723: sealed
def test_a_ticket_is_not_to_be_changed_at_any_place() -> None:
    story = Story()
    held, tickets = story.held(), story.talk.b.engine._ctx.store.tickets
    assert held is not None
    assert tickets.open(held.ticket) is not None
    assert held.session.sk_d.reveal() not in held.ticket
    assert held.session.sk_d.reveal().hex().encode() not in held.ticket
    for at in range(len(held.ticket)):
        changed = held.ticket[:at] + bytes([held.ticket[at] ^ 1]) + held.ticket[at + 1 :]
        assert tickets.open(changed) is None
    for length in (0, 1, NAME, NAME + 1, len(held.ticket) - 1):
        assert tickets.open(held.ticket[:length]) is None
    assert tickets.open(held.ticket + b"\0") is None
    assert tickets.open(bytes(limits.TICKET_GIVEN + 1)) is None


# rfc 5723: once
def test_a_ticket_counts_once_also_after_a_restart_that_knows_of_it() -> None:
    story = Story()
    talk, old = story.talk, story.held()
    story.lose()
    talk.b.engine.changes()
    story.resume()
    assert old is not None
    records = [one.content.reveal() for one in talk.b.engine.changes() if one.content is not None]
    assert story.held() != old
    for restarted in (False, True):
        if restarted:
            talk.b = Side(B4, story.plan(), 78, talk.wall)
            talk.b.hear(Adopt(decode(records), {}), talk.now)
            talk.b.hear(TicketKeys((KEY,)), talk.now)
        answer = shown(talk, old.ticket)
        assert answer.notify(NotifyType.TICKET_NACK) is not None
        assert "used before" in talk.b.told("ticket-not-taken").message


def shown(talk: Dialogue, ticket: bytes, port: int = 4242) -> ClearMessage:
    """What B answers to whoever shows this ticket."""
    header = Header.of(b"stranger", bytes(8), ExchangeType.IKE_SESSION_RESUME, 0, initiator=True, response=False)
    payloads: list[Payload] = [NoncePayload(bytes(32)), NotifyPayload(NotifyType.TICKET_OPAQUE, ticket)]
    datagram = SendDatagram(Endpoint(A4, port), Endpoint(B4, 500), build_clear(header, payloads))
    (answer,) = datagrams(talk.deliver(datagram))
    return parse_clear(answer.data)


# rfc 5723: once
def test_who_has_the_ticket_and_not_the_key_gets_nothing_and_takes_nothing() -> None:
    """It is seen on the wire when it is used. Its owner may use it all the same."""
    story = Story()
    talk = story.talk
    story.lose()
    (mine,) = datagrams(talk.acquire())
    ticket = parse_clear(mine.data).notify(NotifyType.TICKET_OPAQUE)
    assert ticket is not None
    answer = shown(talk, ticket.data)
    assert answer.notify(NotifyType.TICKET_NACK) is None
    half_open = next(one for one in talk.b.engine._ctx.store._by_spi.values() if one.spi_i == b"stranger")
    thief = guessed(half_open)
    forged = SendDatagram(Endpoint(A4, 4242), Endpoint(B4, 500), thief)
    assert datagrams(talk.deliver(forged)) == []
    assert not talk.b.installed()
    talk.talk([mine])
    assert talk.a.told("resumed").message
    assert [sa.state for sa in talk.b.engine.ike_sas()].count("established") == 1
    talk.pass_time(floods.HALF_OPEN_LIFETIME + 1)
    works(talk)


def guessed(sa: IkeSa) -> bytes:
    """An IKE_AUTH request under keys of a guessed SK_d."""
    suite = sa.agreed_suite
    assert suite.prf is not None
    keys = ike_keys(
        suite.prf,
        suite.cipher,
        suite.integrity,
        ni=sa.greeting.nonce_i,
        nr=sa.greeting.nonce_r,
        shared=b"Resumption",
        spi_i=sa.spi_i,
        spi_r=sa.spi_r,
        old=(suite.prf, bytes(32)),
    )
    header = Header.of(sa.spi_i, sa.spi_r, ExchangeType.IKE_AUTH, 1, initiator=True, response=False)
    return Channel.of(suite, suite.prf, keys, True, bytes).seal(header, [])


# rfc 5723: lifetime
def test_nobody_shows_or_takes_a_ticket_whose_time_is_over() -> None:
    story = Story()
    talk = story.talk
    story.lose()
    talk.now = limits.TICKET_LIFETIME + 1
    assert exchanges(story.resume()) == WHOLE
    story = Story()
    late = Story()
    story.lose()
    story.talk.b.engine._ctx.wall = lambda: NOW.timestamp() + limits.TICKET_LIFETIME + 1
    assert exchanges(story.resume()) == REFUSED
    assert "its time is over" in story.talk.b.told("ticket-not-taken").message
    late.lose()
    late.talk.b.engine._ctx.wall = lambda: NOW.timestamp() - 1
    assert exchanges(late.resume()) == REFUSED


def test_a_chain_of_resumptions_ends_a_day_after_the_last_real_proof() -> None:
    story = Story()
    talk = story.talk
    found = []
    for _ in range(6):
        talk.pass_time(limits.TICKET_LIFETIME * 0.8)
        story.lose()
        found.append(exchanges(story.resume())[0] == ExchangeType.IKE_SESSION_RESUME)
        assert talk.b.engine.ike_sas()[0].state == "established"
    assert found[:3] == [True, True, True]
    assert False in found
    session = story.held()
    assert session is None or session.session.authenticated > NOW.timestamp()


OTHERWISE = {
    "another preshared key": Settings(psk=b"another"),
    "other algorithms": Settings(ike=(GCM_P256,)),
}


def otherwise(why: str, plan: Plan) -> Plan:
    """B's policy, changed."""

    def each(**changes: object) -> Plan:
        return replace(plan, pad=tuple(replace(one, **changes) for one in plan.pad))  # type: ignore[arg-type]

    def main_mode(**changes: object) -> Plan:
        pad = [replace(one, main_mode=replace(one.main_mode, **changes)) for one in plan.pad]  # type: ignore[arg-type]
        return replace(plan, pad=tuple(pad))

    if why == "another name of the peer":
        return each(remote_id=Identity(IdType.FQDN, b"a.example"))
    if why == "another name of ours":
        return each(local_id=Identity(IdType.FQDN, b"b.example"))
    if why == "a postquantum key":
        return each(ppk=Ppk(b"office", KEY, required=False))
    if why == "no resumption":
        return main_mode(resumption=False)
    assert why == "master key PFS"
    return main_mode(quick_modes=1)


# rfc 5723: checked-anew
@pytest.mark.parametrize(
    "why",
    [
        *OTHERWISE,
        "another name of the peer",
        "another name of ours",
        "a postquantum key",
        "no resumption",
        "master key PFS",
    ],
)
def test_another_policy_takes_no_ticket_of_the_one_before(why: str) -> None:
    story = Story()
    plan = story.plan(OTHERWISE[why]) if why in OTHERWISE else otherwise(why, story.plan())
    story.lose(plan=plan)
    sent = story.resume()
    assert exchanges(sent)[:3] == REFUSED[:3], why
    assert story.talk.b.told("ticket-not-taken").message
    assert not [one for one in story.talk.b.notices() if one.code == "resumed"]


# rfc 5723: checked-anew
@pytest.mark.parametrize("why", [*OTHERWISE, "another name of the peer", "no resumption", "master key PFS"])
def test_nor_does_who_holds_one_show_it_under_another_policy(why: str) -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    assert kept is not None
    story.lose()
    plan = plans.plan(A4, [B4], OTHERWISE.get(why, Settings()))
    talk.a.hear(PlanChanged(plan if why in OTHERWISE else otherwise(why, plan)), talk.now)
    talk.a.engine._ctx.store.tickets.held[B4] = kept
    (first,) = datagrams(talk.acquire())
    assert first.data[18] == ExchangeType.IKE_SA_INIT


def test_a_filter_that_wants_forward_secrecy_gets_a_key_exchange() -> None:
    story = Story(Settings(pfs=True))
    story.lose()
    assert exchanges(story.resume()) == WHOLE
    lax = Story(Settings(), Settings(pfs=True))
    lax.lose()
    sent = lax.resume()
    assert exchanges(sent)[:4] == RESUMED
    assert not lax.talk.b.engine.ike_sas()[0].children, "B's filter wants it"


def test_master_key_pfs_has_no_tickets() -> None:
    def once(plan: Plan) -> Plan:
        return otherwise("master key PFS", plan)

    talk = Dialogue(a=once)
    talk.b.hear(TicketKeys((KEY,)), 0.0)
    talk.connect()
    assert not talk.a.engine._ctx.store.tickets.held


def by_certificates(check: int = CRL_IF_KNOWN, *lists: bytes) -> Story:
    return Story(
        Settings(auth=(method(CA, [A]),)),
        Settings(auth=(method(CA, [B], crls=lists, check=check),)),
    )


# rfc 5723: checked-anew
def test_certificates_are_looked_at_anew() -> None:
    story = by_certificates()
    before = story.talk.b.engine.ike_sas()[0].proofs.remote
    story.lose()
    assert exchanges(story.resume()) == RESUMED
    assert story.talk.b.engine.ike_sas()[0].proofs.remote == before
    revoked = Settings(auth=(method(CA, [B], crls=(crl(CA, A),)),))
    story.lose(plan=story.plan(revoked))
    assert exchanges(story.resume())[:3] == REFUSED[:3]
    assert "may be revoked" in story.talk.b.told("ticket-not-taken").message
    assert not story.talk.b.engine.ike_sas()


def test_a_ticket_is_not_good_for_longer_than_a_certificate() -> None:
    soon = issue("a", by=CA, san=["a.example"], end=NOW + 0.1 * DAY)
    story = Story(Settings(auth=(method(CA, [soon]),)), Settings(auth=(method(CA, [B]),)))
    held = story.held()
    assert held is not None
    assert held.session.until == (NOW + 0.1 * DAY).timestamp()
    story.lose()
    assert exchanges(story.resume()) == RESUMED
    (b,) = story.talk.b.engine.ike_sas()
    story.talk.pass_time(0.1 * 86400 + 60)
    assert b.local_spi not in [sa.local_spi for sa in story.talk.b.engine.ike_sas()]


def test_where_everybody_must_be_known_not_to_be_revoked_nobody_gets_a_ticket() -> None:
    story = by_certificates(CRL_ALWAYS, crl(CA))
    assert story.held() is None
    story.lose()
    assert exchanges(story.resume()) == WHOLE


@pytest.mark.parametrize("who", ["a", "b"])
def test_what_an_operator_ends_does_not_go_on(who: str) -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    assert kept is not None
    side = getattr(talk, who)
    talk.talk(side.hear(Delete(established(side).spi), talk.now))
    if who == "a":
        assert story.held() is None
        return
    assert story.held() == kept, "A may be shown the door, or B be going down: it asks"
    assert exchanges(story.resume()) == REFUSED
    assert "ended on purpose" in talk.b.told("ticket-not-taken").message


# rfc 5723: once
@pytest.mark.parametrize("restarted", [False, True])
def test_what_the_policy_drops_does_not_come_back_with_it(restarted: bool) -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    without = replace(story.plan(), pad=(), protect=())
    if restarted:
        records = [one.content.reveal() for one in talk.b.engine.changes() if one.content is not None]
        talk.b = Side(B4, without, 77, talk.wall)
        talk.b.hear(Adopt(decode(records), {}), talk.now)
        talk.b.hear(TicketKeys((KEY,)), talk.now)
    else:
        talk.talk(talk.b.hear(PlanChanged(without), talk.now))
    talk.b.hear(PlanChanged(story.plan()), talk.now)
    assert kept is not None
    assert shown(talk, kept.ticket).notify(NotifyType.TICKET_NACK) is not None
    assert "ended on purpose" in talk.b.told("ticket-not-taken").message


# rfc 5723: once
@pytest.mark.parametrize("again", [False, True], ids=["", "in another run"])
def test_what_was_given_for_all_that_an_operator_ends_counts_no_more_under_its_key_either(again: bool) -> None:
    """Should the disk not take another key, or not yet."""
    story = Story()
    talk, kept = story.talk, story.held()
    talk.talk(talk.b.hear(Delete(None), talk.now))
    assert story.held() == kept
    if again:
        records = [one.content.reveal() for one in talk.b.engine.changes() if one.content is not None]
        talk.b = Side(B4, story.plan(), 77, talk.wall)
        talk.b.hear(Adopt(decode(records), {}), talk.now)
    talk.b.hear(TicketKeys((KEY,)), talk.now)
    assert exchanges(story.resume()) == REFUSED
    assert "ended on purpose" in talk.b.told("ticket-not-taken").message
    works(talk)


# rfc 5723: once
def test_with_all_that_an_operator_ends_goes_what_was_given_for_ike_sas_that_are_no_more() -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    assert kept is not None
    talk.talk(talk.a.hear(Delete(established(talk.a).spi), talk.now))
    assert talk.b.engine.ike_sas() == ()
    assert shown(talk, kept.ticket).notify(NotifyType.TICKET_NACK) is None, "its end does not spend it"
    effects = talk.b.hear(Delete(None), talk.now)
    assert RevokeTickets() in effects
    for keys in ((), (OTHER_KEY,)):
        assert shown(talk, kept.ticket).notify(NotifyType.TICKET_NACK) is not None
        talk.b.hear(TicketKeys(keys), talk.now)
    assert shown(talk, kept.ticket).notify(NotifyType.TICKET_NACK) is not None
    story.resume()
    works(talk)
    assert story.held() not in (None, kept)


def test_a_host_that_goes_down_and_comes_back_takes_the_tickets_that_it_has_given() -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    effects = talk.b.hear(Goodbye(), talk.now)
    talk.talk(effects)
    assert RevokeTickets() not in effects
    assert talk.a.engine.ike_sas() == talk.b.engine.ike_sas() == ()
    assert story.held() == kept
    story.lose()
    assert exchanges(story.resume()) == RESUMED


def test_a_postquantum_key_stays_in_the_keys() -> None:
    def having(plan: Plan) -> Plan:
        return replace(plan, pad=tuple(replace(one, ppk=Ppk(b"office", KEY)) for one in plan.pad))

    story = Story(a=having, b=having)
    story.lose()
    assert exchanges(story.resume()) == RESUMED
    assert [sa.proofs.ppk for sa in story.talk.b.engine.ike_sas()] == ["office"]


# rfc 5723: fresh-keys
def test_a_resumed_ike_sa_gets_a_key_exchange_of_its_own_soon_and_another_ticket() -> None:
    story = Story()
    talk = story.talk
    story.lose()
    story.resume()
    before, ticket = talk.a.engine.ike_sas()[0], story.held()
    talk.pass_time(3 * limits.RESUMED_REKEY)
    (after,) = talk.a.engine.ike_sas()
    assert after.local_spi != before.local_spi
    assert story.held() not in (None, ticket)
    works(talk)
    whole = Story()
    whole.talk.pass_time(3 * limits.RESUMED_REKEY)
    assert whole.talk.a.engine.ike_sas()[0].created == 0.0


def test_under_load_a_cookie_is_asked_for_before_a_ticket_is_looked_at() -> None:
    story = Story()
    talk = story.talk
    story.lose()
    held = story.held()
    assert held is not None
    for port in range(floods.HALF_OPEN_COOKIE):
        assert shown(talk, held.ticket, 2000 + port).first(NoncePayload) is not None
    sent = story.resume()
    assert exchanges(sent) == [ExchangeType.IKE_SESSION_RESUME] * 2 + RESUMED
    asked, again = parse_clear(sent[1].data), parse_clear(sent[2].data)
    assert asked.notify(NotifyType.COOKIE) is not None
    assert again.payloads[0] == asked.payloads[0]
    assert [sa.state for sa in talk.b.engine.ike_sas()].count("established") == 1


def test_a_ticket_that_is_held_outlives_the_process_and_is_gone_when_it_was_used() -> None:
    story = Story()
    talk = story.talk
    records = {one.name: one.content for one in talk.a.engine.changes()}
    name = next(one for one in records if one.startswith("ticket "))
    content = records[name]
    assert content is not None
    saved = decode([content.reveal()])
    talk.b = Side(B4, story.plan(), 77, talk.wall)
    talk.b.hear(TicketKeys((KEY,)), talk.now)
    talk.a = Side(A4, plans.plan(A4, [B4]), 78, talk.wall)
    talk.a.hear(Adopt(saved, {}), talk.now)
    (first,) = datagrams(talk.acquire())
    assert {one.name: one.content for one in talk.a.engine.changes()}[name] is None
    assert exchanges(datagrams(talk.talk([first]))) == RESUMED[1:]
    works(talk)


def test_a_peer_that_gives_none_is_as_before() -> None:
    talk = Dialogue()
    talk.connect()
    assert not talk.a.engine._ctx.store.tickets.held
    answer = talk.talk([forge(talk.a, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.TICKET_REQUEST)])])
    assert read(talk.a, datagrams(answer)[0]).payloads == ()


# rfc 5723: once
def test_a_ticket_of_what_the_peer_no_longer_knows_counts_no_more() -> None:
    """The peer has lost all, its ticket too, and says so by INITIAL_CONTACT: who shows that ticket later is another."""
    story = Story()
    talk, old = story.talk, story.held()
    assert old is not None
    talk.now = 5.0
    talk.a = Side(A4, plans.plan(A4, [B4], story.settings), 55, talk.wall)
    assert exchanges(story.resume()) == WHOLE
    works(talk)
    talk.a = Side(A4, plans.plan(A4, [B4], story.settings), 66, talk.wall)
    talk.a.engine._ctx.store.tickets.held[B4] = old
    assert exchanges(story.resume())[:6] == REFUSED


def test_who_asks_for_tickets_again_and_again_is_told_no() -> None:
    story = Story()
    talk = story.talk
    talk.now = limits.TICKET_INTERVAL + 1
    kinds = []
    for number in range(3):
        asked = forge(talk.a, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.TICKET_REQUEST)], 2 + number)
        (answer,) = read(talk.a, datagrams(talk.deliver(asked))[0]).payloads
        assert isinstance(answer, NotifyPayload)
        kinds.append(answer.notify)
    assert kinds == [NotifyType.TICKET_LT_OPAQUE, NotifyType.TICKET_NACK, NotifyType.TICKET_NACK]
    assert len(talk.b.engine._ctx.store.tickets.spent) == 1


@pytest.mark.parametrize("data", [b"", b"\0\0\0\1", b"\0\0\0\0ticket", b"\0\0\7\0" + bytes(limits.TICKET_SIZES[1] + 1)])
def test_a_ticket_that_is_none_is_not_kept(data: bytes) -> None:
    story = Story()
    before = story.held()
    sa = established(story.talk.a)
    message = read(story.talk.a, forge(story.talk.b, ExchangeType.INFORMATIONAL, [], 0))
    lying = replace(message, payloads=(NotifyPayload(NotifyType.TICKET_LT_OPAQUE, data),))
    ticketing.taken(story.talk.a.engine._ctx, sa, lying)
    assert story.held() == before


def test_nothing_of_a_ticket_is_told_or_shown() -> None:
    story = Story()
    held = story.held()
    assert held is not None
    secret = held.session.sk_d.reveal().hex()
    story.lose()
    story.resume()
    told = " ".join(
        f"{one.message} {one.fields} {one.remedy}" for one in story.talk.a.notices() + story.talk.b.notices()
    )
    assert secret not in told + repr(held) + repr(story.talk.a.engine.snapshot())
    assert held.ticket.hex()[:32] not in told


def test_traffic_of_several_filters_goes_on_under_one_resumed_ike_sa() -> None:
    story = Story(Settings(smb=True))
    talk = story.talk
    story.lose()
    first = talk.acquire() + talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now)
    talk.talk(first)
    (a,), (b,) = talk.a.engine.ike_sas(), talk.b.engine.ike_sas()
    assert {child.reqid for child in a.children} == {child.reqid for child in b.children} == {ALL_REQID, SMB_REQID}


def test_a_refusal_takes_all_that_wait_along_to_the_full_exchange() -> None:
    story = Story(Settings(smb=True))
    talk = story.talk
    story.lose((OTHER_KEY,))
    first = talk.acquire() + talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now)
    talk.talk(first)
    (a,) = talk.a.engine.ike_sas()
    assert {child.reqid for child in a.children} == {ALL_REQID, SMB_REQID}


def test_esp_in_udp_is_found_out_anew() -> None:
    story = Story(Settings(encapsulate=True))
    story.lose()
    assert exchanges(story.resume()) == RESUMED
    assert {sa.encap_ports for sa in story.talk.b.installed()} == {(4500, 4500)}
    works(story.talk)


def test_a_crash_that_a_token_tells_of_is_over_with_the_ticket() -> None:
    talk = Dialogue()
    talk.b.hear(CrashSecrets((OTHER_KEY,)), 0.0)
    talk.b.hear(TicketKeys((KEY,)), 0.0)
    talk.connect()
    talk.b = Side(B4, plans.plan(B4, [A4]), 77, talk.wall)
    talk.b.hear(CrashSecrets((OTHER_KEY,)), talk.now)
    talk.b.hear(TicketKeys((KEY,)), talk.now)
    talk.talk([question(talk)])
    assert talk.a.told("peer-crashed").message
    assert talk.b.told("resumed").message
    works(talk)


def test_a_peer_at_another_address_is_known_by_its_name_only() -> None:
    """Else whoever has the ticket and the key could be anybody's address."""
    story = Story()
    held, other = story.held(), Address.parse("10.0.0.9")
    assert held is not None
    story.talk.b = Side(B4, plans.plan(B4, [A4, other]), 77, story.talk.wall)
    story.talk.b.hear(TicketKeys((KEY,)), 0.0)
    header = Header.of(b"elsewher", bytes(8), ExchangeType.IKE_SESSION_RESUME, 0, initiator=True, response=False)
    payloads: list[Payload] = [NoncePayload(bytes(32)), NotifyPayload(NotifyType.TICKET_OPAQUE, held.ticket)]
    datagram = SendDatagram(Endpoint(other, 500), Endpoint(B4, 500), build_clear(header, payloads))
    (answer,) = datagrams(story.talk.deliver(datagram))
    assert parse_clear(answer.data).notify(NotifyType.TICKET_NACK) is not None
    assert "another address" in story.talk.b.told("ticket-not-taken").message


@pytest.mark.parametrize("refused", [True, False])
def test_a_refused_ticket_does_not_open_a_soft_filter_and_silence_does_as_ever(refused: bool) -> None:
    """A refusal shows that somebody there speaks IKE, whoever it is from."""
    story = Story(Settings(soft=True))
    talk = story.talk
    story.lose((OTHER_KEY,))
    (shows,) = datagrams(talk.acquire())
    effects: list[Effect] = []
    if refused:
        (nack,) = datagrams(talk.deliver(shows))
        effects += talk.deliver(nack)
        assert exchanges(datagrams(effects)) == [ExchangeType.IKE_SA_INIT]
    while talk.now < 2 * limits.SOFT_WAIT + 1:
        talk.now += 0.25
        effects += talk.a.hear(TimerFired(), talk.now)
    opened = [one for one in effects if isinstance(one, OpenClear)]
    assert bool(opened) is not refused


def test_a_host_that_is_known_by_its_name_resumes_from_another_address() -> None:
    """And nobody who has lost its address and its SAs at once need begin anew."""
    moved, name = Address.parse("10.0.0.8"), Identity(IdType.FQDN, b"roamer.example")

    def roaming(plan: Plan) -> Plan:
        return replace(plan, pad=tuple(replace(one, local_id=name) for one in plan.pad))

    def welcoming(plan: Plan) -> Plan:
        anywhere = Prefix.parse("10.0.0.0/24")
        protect = tuple(replace(one, selectors=(Selector(Prefix.host(B4), anywhere),)) for one in plan.protect)
        pad = tuple(replace(one, remote=anywhere, remote_id=name) for one in plan.pad)
        return replace(plan, protect=protect, pad=pad)

    story = Story(a=roaming, b=welcoming)
    talk = story.talk
    story.lose()
    talk.a.own = moved
    talk.a.hear(PlanChanged(roaming(plans.plan(moved, [B4]))), talk.now)
    assert exchanges(story.resume()) == RESUMED
    assert [sa.remote.address for sa in talk.b.engine.ike_sas()] == [moved]
    works(talk)


def test_a_ticket_that_does_not_fit_this_time_is_kept_for_another() -> None:
    story = Story()
    talk, kept = story.talk, story.held()
    story.lose()
    talk.a.hear(PlanChanged(otherwise("no resumption", plans.plan(A4, [B4]))), talk.now)
    (first,) = datagrams(talk.acquire())
    assert first.data[18] == ExchangeType.IKE_SA_INIT
    assert story.held() == kept
    talk.talk([first])
    assert story.held() is None, "of the IKE SA before this one"


def test_a_session_ends_when_what_was_proved_ends_whatever_ends_it() -> None:
    story = Story()
    talk = story.talk
    for side in (talk.a, talk.b):
        established(side).lineage.believed_until = 500.0
    talk.now = limits.TICKET_INTERVAL + 1
    asked = forge(talk.a, ExchangeType.INFORMATIONAL, [NotifyPayload(NotifyType.TICKET_REQUEST)])
    (answer,) = read(talk.a, datagrams(talk.deliver(asked))[0]).payloads
    assert isinstance(answer, NotifyPayload)
    session = talk.b.engine._ctx.store.tickets.open(answer.data[4:])
    assert session is not None
    assert session.until == pytest.approx(NOW.timestamp() + 500.0)
    assert int.from_bytes(answer.data[:4]) == 500 - int(talk.now)


# rfc 5723: nack
def test_who_answers_the_ticket_in_the_peers_name_only_costs_time() -> None:
    story = Story()
    talk = story.talk
    story.lose()
    (shows,) = datagrams(talk.acquire())
    asked = parse_clear(shows.data).header
    header = Header.of(asked.spi_i, b"stranger", ExchangeType.IKE_SESSION_RESUME, 0, initiator=False, response=True)
    forged = SendDatagram(Endpoint(B4, 500), Endpoint(A4, 500), build_clear(header, [NoncePayload(bytes(32))]))
    (auth,) = datagrams(talk.deliver(forged))
    assert auth.data[8:16] == b"stranger"
    talk.pass_time(25.0)
    works(talk)
    assert talk.a.engine.ike_sas()[0].created < 22.0
