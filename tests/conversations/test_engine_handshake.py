# SPDX-License-Identifier: GPL-2.0-or-later
"""Single steps of IKE_SA_INIT and IKE_AUTH: order of effects, what strangers cannot do, what operators are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.dialogue import Change, Dialogue, at_port, datagrams, kinds
from tests.conversations.plans import ALL_REQID, ENCR_GCM, P256, PRF, X25519, Settings
from tests.conversations.scenes import A4, B4
from xfrmd import limits
from xfrmd.ike.effects import AskUsed, DropHeld, SendDatagram
from xfrmd.ike.events import DatagramReceived, Endpoint, SaUsed, TimerFired
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.header import HEADER
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload, SaPayload, WireProposal
from xfrmd.limits import floods
from xfrmd.model.addresses import Address
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId

STRANGER = Endpoint(Address.parse("10.0.0.66"), 500)


def identities(local: str = "", remote: str = "") -> Change:
    def change(plan: Plan) -> Plan:
        ours = Identity(IdType.FQDN, local.encode()) if local else None
        theirs = Identity(IdType.FQDN, remote.encode()) if remote else None
        return replace(plan, pad=tuple(replace(e, local_id=ours, remote_id=theirs) for e in plan.pad))

    return change


def no_rules(plan: Plan) -> Plan:
    return replace(plan, pad=())


def as_response(request: SendDatagram, notify: int, data: bytes = b"") -> SendDatagram:
    """A forged refusal of a request, in the clear."""
    header = parse_clear(request.data).header
    octets = build_clear(header._replace(flags=0x20, spi_r=bytes(8)), [NotifyPayload(notify, data)])
    return SendDatagram(request.remote, request.local, octets)


def counters(side: object) -> dict[str, int]:
    found: dict[str, int] = side.engine.counters()  # type: ignore[attr-defined]
    return found


# rfc 7296: both-receive-first
def test_both_sides_take_packets_before_they_send_them() -> None:
    talk = Dialogue()
    init = talk.acquire()
    assert kinds(init) == ["send"]
    answer = talk.deliver(datagrams(init)[0])
    assert kinds(answer) == ["send"]
    auth = talk.deliver(datagrams(answer)[0])
    assert kinds(auth) == ["send"]
    accepted = talk.deliver(datagrams(auth)[0])
    assert kinds(accepted) == ["in", "out", "send", "ReleaseHeld"], "no packet waits: the first one's answer can go"
    done = talk.deliver(datagrams(accepted)[0])
    assert kinds(done) == ["in", "out", "ReleaseHeld"]


def test_packets_that_wait_at_the_responder_leave_when_the_initiator_has_had_time_to_set_up_its_end() -> None:
    talk = Dialogue()
    talk.acquire(talk.b)  # its own IKE_SA_INIT is lost
    answer = talk.deliver(datagrams(talk.acquire())[0])
    auth = talk.deliver(datagrams(answer)[0])
    assert kinds(talk.deliver(datagrams(auth)[0])) == ["in", "send"]
    assert kinds(talk.b.hear(TimerFired(), limits.PEER_READY - 0.01)) == []
    assert kinds(talk.b.hear(TimerFired(), limits.PEER_READY)) == ["out", "ReleaseHeld"]


def test_a_packet_of_the_initiators_shows_that_its_end_is_set_up() -> None:
    talk = Dialogue()
    talk.acquire(talk.b)  # its own IKE_SA_INIT is lost
    answer = talk.deliver(datagrams(talk.acquire())[0])
    talk.deliver(datagrams(talk.deliver(datagrams(answer)[0]))[0])
    inbound = talk.b.installed()[0]
    assert talk.acquire(talk.b) == [AskUsed(ProtocolId.ESP, inbound.spi, talk.b.own)]
    used = SaUsed(inbound.spi, ProtocolId.ESP, talk.b.own, 84)
    assert kinds(talk.b.hear(used, talk.now)) == ["out", "ReleaseHeld"]


def test_keys_lifetimes_and_spis_of_the_pair() -> None:
    talk = Dialogue()
    talk.connect()
    (in_b, out_b), (in_a, out_a) = talk.b.installed(), talk.a.installed()
    assert (in_a.spi, in_a.encryption_key) == (out_b.spi, out_b.encryption_key)
    assert (in_b.spi, in_b.encryption_key) == (out_a.spi, out_a.encryption_key)
    assert in_a.encryption_key != out_a.encryption_key
    assert len(in_a.encryption_key) == 20, "128 bits and the salt"
    assert min(in_a.spi, in_b.spi) >= 256
    for sa in (in_a, out_a, in_b, out_b):
        assert sa.hard.seconds == 3600
        earliest = 3600 * limits.SOFT_SHARE * (1 - limits.REKEY_JITTER)
        assert earliest <= sa.soft.seconds <= 3600 * limits.SOFT_SHARE
        assert (sa.replay_window, sa.reqid) == (limits.REPLAY_WINDOW, ALL_REQID)


def test_no_key_and_no_secret_is_shown() -> None:
    talk = Dialogue()
    talk.connect()
    shown = repr((talk.a.effects, talk.a.engine.snapshot(), [str(n) for n in talk.a.notices()]))
    for sa in talk.a.installed():
        key = sa.encryption_key.reveal()
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
    assert "correct horse" not in shown


# rfc 7296: responder-only-on-repeat init-repeat-told-apart
def test_a_repeated_request_gets_the_same_octets_and_costs_nothing() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    answers = [talk.deliver(init) for _ in range(3)]
    assert len({datagrams(answer)[0].data for answer in answers}) == 1
    auth = datagrams(talk.deliver(datagrams(answers[0])[0]))[0]
    first = talk.deliver(auth)
    again = talk.deliver(auth)
    assert kinds(again) == ["send"]
    assert datagrams(again)[0].data == datagrams(first)[0].data
    assert counters(talk.b)["repeated"] == 3


# rfc 7296: init-repeat-told-apart
def test_another_request_with_a_known_spi_is_dropped() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    talk.deliver(init)
    clear = parse_clear(init.data)
    other = build_clear(clear.header, clear.payloads[::-1])
    assert talk.deliver(replace(init, data=other)) == []
    assert talk.b.engine.snapshot().half_open == 1


# rfc 7296: many-answers
@pytest.mark.parametrize(
    "notify",
    [
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.AUTHENTICATION_FAILED,
        NotifyType.INVALID_SYNTAX,
        NotifyType.INVALID_MAJOR_VERSION,
        NotifyType.INVALID_SPI,
    ],
)
def test_a_refusal_in_the_clear_ends_nothing_but_is_told_once(notify: NotifyType) -> None:
    talk = Dialogue()
    init = talk.acquire()
    for _ in range(3):
        assert kinds(talk.deliver(as_response(datagrams(init)[0], notify))) == []
    assert [notice.level for notice in talk.a.notices()] == [4]
    talk.talk(init)
    assert len(talk.a.installed()) == 2


# rfc 7296: init-error-not-trusted
def test_a_refusal_in_the_clear_is_the_reason_told_when_nothing_else_comes() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    talk.deliver(as_response(init, NotifyType.NO_PROPOSAL_CHOSEN))
    while talk.now < 100 and not any(isinstance(effect, DropHeld) for effect in talk.a.effects):
        talk.now += 1.0
        talk.a.hear(TimerFired(), talk.now)
    assert 60 < talk.now < 75
    assert [notice.code for notice in talk.a.notices()] == ["no-proposal", "no-proposal"]
    assert "gave up" in talk.a.notices()[1].message
    assert [failure.notice.code for failure in talk.a.engine.snapshot().failures] == ["no-proposal"]


# rfc 7296: auth-sealed informational-protected clear-notify-no-action
def test_clear_messages_do_nothing_to_an_established_sa() -> None:
    talk = Dialogue()
    talk.connect()
    sa = talk.a.engine.ike_sas()[0]
    before = talk.a.engine.ike_sas()
    for exchange in (34, 35, 36, 37):
        for flags in (0x00, 0x08, 0x20, 0x28):
            for number in (0, 1, 2):
                init = parse_clear(next(e for e in talk.a.effects if isinstance(e, SendDatagram)).data)
                header = init.header._replace(
                    spi_i=sa.local_spi, spi_r=sa.remote_spi, exchange=exchange, flags=flags, message_id=number
                )
                octets = build_clear(header, [NotifyPayload(NotifyType.AUTHENTICATION_FAILED)])
                assert kinds(talk.deliver(SendDatagram(sa.remote, sa.local, octets))) == []
    assert talk.a.engine.ike_sas() == before


# rfc 7296: cookie-bounded
def test_a_cookie_loop_ends() -> None:
    talk = Dialogue()
    request = datagrams(talk.acquire())[0]
    sent = 0
    for number in range(20):
        sent += len(datagrams(talk.deliver(as_response(request, NotifyType.COOKIE, bytes([number])))))
    assert sent == limits.INIT_RESTARTS


# rfc 7296: invalid-ke-retry
def test_a_group_we_never_offered_is_not_used() -> None:
    talk = Dialogue()
    request = datagrams(talk.acquire())[0]
    assert talk.deliver(as_response(request, NotifyType.INVALID_KE_PAYLOAD, (14).to_bytes(2))) != []
    assert datagrams(talk.deliver(as_response(request, NotifyType.INVALID_KE_PAYLOAD, (31).to_bytes(2)))) == []


def test_datagrams_from_another_address_touch_no_sa() -> None:
    talk = Dialogue()
    init = talk.acquire()
    answer = talk.deliver(datagrams(init)[0])
    data = datagrams(answer)[0].data
    assert talk.a.hear(DatagramReceived(Endpoint(A4, 500), STRANGER, data), 0.0) == []
    assert counters(talk.a)["dropped-stranger"] == 1


# rfc 7296: spi-nonzero
def test_the_peers_spi_must_fit_too() -> None:
    talk = Dialogue()
    talk.connect()
    sa = talk.a.engine.ike_sas()[0]
    init = parse_clear(datagrams(talk.a.effects)[0].data)
    header = init.header._replace(spi_i=sa.local_spi, spi_r=b"not this", exchange=37, flags=0x00, message_id=0)
    assert talk.deliver(SendDatagram(sa.remote, sa.local, build_clear(header, []))) == []
    assert counters(talk.a)["dropped-unknown-spi"] == 1


def test_the_key_exchange_chosen_must_be_the_one_that_was_made() -> None:
    talk = Dialogue(Settings(ike=((ENCR_GCM, PRF, X25519, P256),)))
    answer = datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0]
    clear = parse_clear(answer.data)
    lie = [
        SaPayload((WireProposal.of(1, ProtocolId.IKE, b"", (ENCR_GCM, PRF, P256)),)) if isinstance(p, SaPayload) else p
        for p in clear.payloads
    ]
    assert talk.deliver(replace(answer, data=build_clear(clear.header, lie))) == []
    assert kinds(talk.deliver(answer)) == ["send"]


# rfc 7296: cookie-stateless
def test_a_cookie_must_be_ours() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    payloads = [p for p in clear.payloads if not isinstance(p, NotifyPayload)]
    for number in range(1, floods.HALF_OPEN_COOKIE + 1):
        talk.deliver(replace(init, data=build_clear(clear.header._replace(spi_i=number.to_bytes(8)), payloads)))
    for cookie in (b"", bytes(16), bytes(64)):
        told = [NotifyPayload(NotifyType.COOKIE, cookie), *payloads]
        answer = datagrams(talk.deliver(replace(init, data=build_clear(clear.header, told))))[0]
        assert parse_clear(answer.data).notify(NotifyType.COOKIE)
    assert talk.b.engine.snapshot().half_open == floods.HALF_OPEN_COOKIE
    assert counters(talk.b)["dropped-bad-cookie"] == 3
    talk.talk([init])
    assert talk.b.installed(), "the honest one comes through"


def test_half_open_sas_are_bounded_whatever_cookies_come() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    payloads = [p for p in clear.payloads if not isinstance(p, NotifyPayload)]
    for number in range(1, floods.HALF_OPEN_LAST + 10):
        header = clear.header._replace(spi_i=number.to_bytes(8))
        effects = talk.deliver(replace(init, data=build_clear(header, payloads)))
        cookie = parse_clear(datagrams(effects)[0].data).notify(NotifyType.COOKIE)
        assert (cookie is not None) == (number > floods.HALF_OPEN_COOKIE)
        if cookie is not None:
            talk.deliver(replace(init, data=build_clear(header, [cookie, *payloads])))
    assert talk.b.engine.snapshot().half_open == floods.HALF_OPEN_LAST
    assert counters(talk.b)["dropped-full"] == 9


# rfc 7296: any-source-port follow-authentic-only
def test_an_authentic_message_from_another_port_moves_the_sa_there() -> None:
    talk = Dialogue()
    answer = talk.deliver(datagrams(talk.acquire())[0])
    auth = datagrams(talk.deliver(datagrams(answer)[0]))[0]
    accepted = talk.deliver(at_port(auth, 4500))
    assert datagrams(accepted)[0].local.port == datagrams(accepted)[0].remote.port == 4500
    assert talk.b.engine.ike_sas()[0].remote.port == 4500


# rfc 7296: id-types pki-and-psk
def test_identities_of_the_policy_are_used_and_checked() -> None:
    talk = Dialogue(a=identities("a.example", "b.example"), b=identities("b.example", "a.example"))
    talk.connect()
    sa = talk.a.engine.ike_sas()[0]
    assert (sa.local_id, sa.remote_id) == ("a.example", "b.example")


# rfc 7296: identity-fits-key
@pytest.mark.parametrize(
    ("a", "b", "who", "expected"),
    [
        (identities("a.example"), identities("", "other.example"), "b", "other.example"),
        (identities("", "b.example"), identities("other.example"), "b", "b.example"),
    ],
)
def test_an_unexpected_identity_is_refused_and_both_are_told(a: Change, b: Change, who: str, expected: str) -> None:
    talk = Dialogue(a=a, b=b)
    talk.talk(talk.acquire())
    assert talk.a.installed() == talk.b.installed() == []
    assert expected in (talk.a if who == "a" else talk.b).told("auth-failed").message
    assert talk.a.told("auth-failed").remedy
    assert talk.a.engine.ike_sas() == talk.b.engine.ike_sas() == ()


# rfc 7296: identity-fits-key initiator-tells
def test_the_initiator_checks_the_responder_too() -> None:
    talk = Dialogue(b=identities("b.example"))
    talk.talk(talk.acquire())
    assert talk.a.installed() == []
    assert "expects 10.0.0.2" in talk.a.told("auth-failed").message
    assert "b.example" in talk.a.told("auth-failed").message
    assert [n.code for n in talk.b.notices()][-1] == "ike-down"
    assert talk.b.engine.ike_sas() == ()


def test_a_stranger_is_refused_and_told_of_once_a_minute() -> None:
    talk = Dialogue(b=no_rules)
    init = datagrams(talk.acquire())[0]
    for _ in range(5):
        answer = talk.deliver(init)
    assert parse_clear(datagrams(answer)[0].data).notify(NotifyType.NO_PROPOSAL_CHOSEN)
    assert str(A4) in talk.b.told("no-rule").message


def test_refusals_in_the_clear_are_limited() -> None:
    talk = Dialogue(b=no_rules)
    init = datagrams(talk.acquire())[0]
    refused, talk.now = 0, 10.0
    for number in range(1, 3 * floods.CLEAR_ANSWERS):
        event = DatagramReceived(init.remote, init.local, number.to_bytes(8, "little") + init.data[8:])
        (answer,) = datagrams(talk.b.hear(event, talk.now))
        refused += parse_clear(answer.data).notify(NotifyType.COOKIE) is None
    assert refused == floods.CLEAR_ANSWERS
    assert parse_clear(datagrams(talk.deliver(init))[0].data).notify(NotifyType.COOKIE)
    talk.now += floods.COOKIE_LINGER
    assert parse_clear(datagrams(talk.deliver(init))[0].data).notify(NotifyType.NO_PROPOSAL_CHOSEN)


# rfc 7296: major-version
def test_a_later_version_is_told_which_we_speak_and_an_earlier_is_not() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    for version, answers in ((0x10, 0), (0x30, 1), (0x21, 1)):
        octets = init.data[:17] + bytes([version]) + init.data[18:]
        answer = datagrams(talk.b.hear(DatagramReceived(init.remote, init.local, octets), 0.0))
        assert len(answer) == answers, version
        if version == 0x30:
            assert parse_clear(answer[0].data).notify(NotifyType.INVALID_MAJOR_VERSION)
    assert counters(talk.b)["dropped-version"] == 2


def test_datagrams_that_are_no_ike_are_counted_and_forgotten() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    before = talk.b.engine.next_deadline()
    for octets in (b"", b"\x00", init.data[: HEADER.size - 1], bytes(limits.DATAGRAM_SIZE + 1)):
        assert talk.b.hear(DatagramReceived(init.remote, init.local, octets), 0.0) == []
    assert counters(talk.b)["dropped-no-ike"] == 4
    assert (talk.b.engine.next_deadline(), talk.b.engine.ike_sas()) == (before, ())


def test_half_open_sas_are_forgotten() -> None:
    talk = Dialogue()
    talk.deliver(datagrams(talk.acquire())[0])
    assert talk.b.engine.snapshot().half_open == 1
    talk.b.hear(TimerFired(), floods.HALF_OPEN_LIFETIME - 1)
    assert talk.b.engine.snapshot().half_open == 1
    talk.b.hear(TimerFired(), floods.HALF_OPEN_LIFETIME)
    assert (talk.b.engine.snapshot().half_open, talk.b.engine.ike_sas()) == (0, ())
    assert talk.b.engine.next_deadline() is None or talk.b.hear(TimerFired(), 1000.0) == []
    assert talk.b.engine.next_deadline() is None


def test_garbage_for_a_half_open_sa_does_not_end_it() -> None:
    talk = Dialogue()
    answer = talk.deliver(datagrams(talk.acquire())[0])
    auth = datagrams(talk.deliver(datagrams(answer)[0]))[0]
    for at in range(HEADER.size + 4, len(auth.data), 7):
        broken = auth.data[:at] + bytes([auth.data[at] ^ 0x55]) + auth.data[at + 1 :]
        assert talk.deliver(replace(auth, data=broken)) == []
    assert counters(talk.b)["dropped-not-authentic"] > 5
    assert "in" in kinds(talk.deliver(auth))
    assert talk.b.engine.ike_sas()[0].remote_id == str(A4)
    assert talk.a.own == A4
    assert talk.b.own == B4
