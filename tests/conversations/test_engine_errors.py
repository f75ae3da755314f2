# SPDX-License-Identifier: GPL-2.0-or-later
"""Error notifications by the letter of RFC 7296 2.21 and 3.10.1: which of them end what, in requests and in answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge, kinds, read
from tests.conversations.plans import SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from tests.conversations.test_engine_peers import child_request
from xfrmd.ike.effects import DropHeld, InstallSa, SendDatagram
from xfrmd.ike.events import Acquire, Adopt, Delete, Event, Rekey, TimerFired
from xfrmd.ike.ike_sa import IkeState, Task, TaskKind
from xfrmd.ike.saved import decode
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import HEADER, parse_header
from xfrmd.ike.v2.message import SealedMessage, build_clear, parse_clear
from xfrmd.ike.v2.payloads import (
    AuthPayload,
    DeletePayload,
    IdiPayload,
    IdrPayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    UnknownPayload,
)
from xfrmd.ike.v2.proof import identity_of
from xfrmd.model.proposals import ProtocolId

CREATE, INFORMATIONAL = ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL
UNKNOWN_ERROR, PRIVATE_ERROR, UNKNOWN_STATUS, PRIVATE_STATUS = 8191, 16383, 40959, 65535
CRITICAL = UnknownPayload(200, critical=True, body=b"")
FATAL = (NotifyType.INVALID_SYNTAX, NotifyType.AUTHENTICATION_FAILED)


@pytest.fixture
def talk() -> Dialogue:
    """A, who has asked B for an SA."""
    dialogue = Dialogue(Settings(smb=True))
    dialogue.connect()
    return dialogue


def answered(talk: Dialogue, exchange: int, payloads: list[Payload]) -> list[Payload]:
    """What B says to a request of A's."""
    effects = talk.deliver(forge(talk.a, exchange, payloads))
    return list(read(talk.a, datagrams(effects)[0]).payloads)


def change(talk: Dialogue, answer: SendDatagram, *more: Payload) -> SendDatagram:
    """B's answer to A with these payloads beside its own."""
    whole, oldest = read(talk.a, answer), talk.b.engine._ctx.store.ike_sas()[0]
    return replace(answer, data=oldest.agreed_channel.seal(whole.header, [*whole.payloads, *more]))


def asks_for_smb(talk: Dialogue) -> SendDatagram:
    """A wants one more child SA; B's answer, on its way."""
    asked = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    return datagrams(talk.deliver(datagrams(asked)[0]))[0]


def proves(talk: Dialogue) -> SendDatagram:
    """A has sent IKE_AUTH: what it is."""
    answer = datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0]
    return datagrams(talk.deliver(answer))[0]


def said(talk: Dialogue, effects: list[object]) -> SealedMessage:
    """The one message that A sends to B."""
    (one,) = [effect for effect in effects if isinstance(effect, SendDatagram)]
    return read(talk.b, one)


# Errors that a request has


# rfc 7296: unknown-error unknown-status
@pytest.mark.parametrize("kind", [UNKNOWN_ERROR, PRIVATE_ERROR, UNKNOWN_STATUS, PRIVATE_STATUS])
def test_a_notification_that_is_not_known_is_ignored_in_a_request(talk: Dialogue, kind: int) -> None:
    assert answered(talk, INFORMATIONAL, [NotifyPayload(kind, b"anything")]) == []
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["established"]


# rfc 7296: invalid-syntax-fatal critical-in-auth
@pytest.mark.parametrize("kind", [*FATAL, NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD])
def test_an_error_after_ike_auth_ends_the_ike_sa_without_a_delete_payload(talk: Dialogue, kind: int) -> None:
    assert answered(talk, INFORMATIONAL, [NotifyPayload(kind)]) == []
    assert talk.b.engine.ike_sas() == ()
    assert kinds(talk.b.effects).count("RemoveSa") == 2


# rfc 7296: critical-in-auth
def test_later_a_critical_payload_that_the_peer_does_not_know_ends_nothing(talk: Dialogue) -> None:
    assert answered(talk, INFORMATIONAL, []) == []
    effects = talk.deliver(
        forge(
            talk.a,
            INFORMATIONAL,
            [NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")],
            established(talk.a).window.next_id + 1,
        )
    )
    assert read(talk.a, datagrams(effects)[0]).payloads == ()
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["established"]


def critical(talk: Dialogue, number: int, *, response: bool = False) -> SendDatagram:
    """A tells B that it does not know a critical payload."""
    said_by_a: list[Payload] = [NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")]
    return forge(talk.a, INFORMATIONAL, said_by_a, number, response=response)


# rfc 7296: critical-in-auth
@pytest.mark.parametrize("restarted", [False, True])
def test_a_rekeyed_ike_sa_has_no_exchange_that_follows_ike_auth(talk: Dialogue, restarted: bool) -> None:
    """Its message IDs began with CREATE_CHILD_SA, and nothing of them tells what is third."""
    first = established(talk.b).spi
    talk.talk(talk.a.hear(Rekey(established(talk.a).spi), 0.0))
    if restarted:
        records = [one.content.reveal() for one in talk.b.engine.changes() if one.content is not None]
        talk.b = Side(B4, plans.plan(B4, [A4], Settings(smb=True)), 77, talk.wall)
        talk.b.hear(Adopt(decode(records), {}), 0.0)
    for number in range(4):
        assert datagrams(talk.deliver(critical(talk, number)))
        assert established(talk.b).state is IkeState.ESTABLISHED, number
    assert established(talk.b).spi != first


# rfc 7296: critical-in-auth
def test_an_answer_is_no_exchange_of_the_initiator_that_follows_ike_auth(talk: Dialogue) -> None:
    """Both ends count their own requests from 0: the answer to our third one has the number of its third."""
    sa = established(talk.b)
    for _ in range(3):
        sa.tasks.append(Task(TaskKind.LIVENESS))
    talk.b.engine._ctx.touch(sa)
    talk.b.hear(TimerFired(), 0.0)
    for number in range(3):
        assert sa.window.next_id == number + 1
        talk.deliver(critical(talk, number, response=True))
        assert sa.state is IkeState.ESTABLISHED, number


@pytest.mark.parametrize("kind", [NotifyType.INVALID_SPI, NotifyType.TS_UNACCEPTABLE, NotifyType.TEMPORARY_FAILURE])
def test_other_errors_in_a_request_end_nothing(talk: Dialogue, kind: int) -> None:
    assert answered(talk, INFORMATIONAL, [NotifyPayload(kind)]) == []
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["established"]


# rfc 7296: critical-in-auth unknown-critical
def test_an_unknown_critical_payload_in_ike_auth_makes_no_ike_sa() -> None:
    """RFC 7296 2.21.2; the same payload that is not critical is skipped."""
    for critical in (True, False):
        talk = Dialogue()
        proves(talk)
        ours = IdiPayload.of(identity_of(A4))
        asked = [one for one in child_request() if not isinstance(one, NoncePayload)]
        marked: list[Payload] = [UnknownPayload(200, critical=critical, body=b"x"), ours]
        marked += [AuthPayload(2, bytes(32)), *asked]
        answer = read(talk.a, datagrams(talk.deliver(forge(talk.a, ExchangeType.IKE_AUTH, marked, 1)))[0])
        why = NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD if critical else NotifyType.AUTHENTICATION_FAILED
        assert [one.notify for one in answer.every(NotifyPayload)] == [why]
        assert talk.b.engine.snapshot().half_open == 0
        assert talk.b.engine.ike_sas() == ()


# rfc 7296: unknown-critical
def test_an_unknown_critical_payload_in_ike_sa_init_is_named_in_the_clear_and_nothing_is_kept() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    marked = SendDatagram(init.local, init.remote, build_clear(clear.header, [*clear.payloads, CRITICAL]))
    answer = parse_clear(datagrams(talk.deliver(marked))[0].data)
    assert answer.payloads == (NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8"),)
    assert talk.b.engine.ike_sas() == ()


# Errors in answers


# rfc 7296: invalid-syntax-fatal
@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize("task", ["child", "rekey-child", "rekey-ike", "delete-child"])
def test_an_answer_that_ends_the_ike_sa_is_believed_at_once(talk: Dialogue, task: str, kind: int) -> None:
    """RFC 7296 2.21.3: fatal in both peers. Not one packet more is sent with what the peer no longer has."""
    sa = talk.a.engine.ike_sas()[0]
    spi = sa.children[0].spi_in.to_bytes(4)
    wishes: dict[str, Event] = {
        "child": Acquire(SMB_REQID, tcp(A4, B4, 445)),
        "rekey-child": Rekey(spi),
        "rekey-ike": Rekey(sa.local_spi),
        "delete-child": Delete(spi),
    }
    (request,) = datagrams(talk.a.hear(wishes[task], 0.0))
    header = parse_header(request.data)
    effects = talk.deliver(forge(talk.b, header.exchange, [NotifyPayload(kind)], header.message_id, response=True))
    assert talk.a.engine.ike_sas() == ()
    assert talk.a.told("ended-by-error").remedy
    assert datagrams(effects) == [], "it is not told what it has said"
    assert kinds(talk.a.effects).count("RemoveSa") == 2
    assert any(isinstance(effect, DropHeld) for effect in effects) is (task == "child")


# rfc 7296: unknown-error
@pytest.mark.parametrize("kind", [UNKNOWN_ERROR, PRIVATE_ERROR])
def test_an_unknown_error_is_a_failure_of_what_was_asked_for_and_of_no_more(talk: Dialogue, kind: int) -> None:
    """RFC 7296 3.10.1."""
    asks_for_smb(talk)
    number = established(talk.a).window.next_id - 1
    effects = talk.deliver(forge(talk.b, CREATE, [NotifyPayload(kind)], number, response=True))
    assert not any(isinstance(effect, InstallSa) for effect in effects)
    assert talk.a.told("child-refused").fields["answer"] == f"NotifyType {kind}"
    assert [sa.state for sa in talk.a.engine.ike_sas()] == ["established"]
    assert len(talk.a.engine.ike_sas()[0].children) == 1


# rfc 7296: unknown-error
@pytest.mark.parametrize("kind", [UNKNOWN_ERROR, NotifyType.TS_UNACCEPTABLE])
def test_a_child_sa_beside_an_error_is_not_taken_and_deleted_at_the_peer(talk: Dialogue, kind: int) -> None:
    """ "The request has failed entirely", whatever else the answer has."""
    answer = change(talk, asks_for_smb(talk), NotifyPayload(kind))
    effects = talk.deliver(answer)
    assert not any(isinstance(effect, InstallSa) for effect in effects)
    deleted = said(talk, list(effects)).first(DeletePayload)
    assert deleted is not None
    assert [spi.hex() for spi in deleted.spis] == [
        f"{entry.spi:08x}" for entry in talk.b.installed()[-2:] if not entry.inbound
    ]
    talk.talk(effects)
    assert [len(side.engine.ike_sas()[0].children) for side in (talk.a, talk.b)] == [1, 1]


# rfc 7296: unknown-error
@pytest.mark.parametrize("wish", ["child", "ike"])
def test_a_rekey_whose_answer_has_an_unknown_error_leaves_all_as_it_was(talk: Dialogue, wish: str) -> None:
    before = talk.a.engine.ike_sas()[0]
    spi = before.children[0].spi_in.to_bytes(4) if wish == "child" else before.local_spi
    answer = datagrams(talk.deliver(datagrams(talk.a.hear(Rekey(spi), 0.0))[0]))[0]
    effects = talk.deliver(change(talk, answer, NotifyPayload(UNKNOWN_ERROR)))
    assert not any(isinstance(effect, InstallSa) for effect in effects)
    (after,) = talk.a.engine.ike_sas()
    assert (after.local_spi, after.state) == (before.local_spi, "established")
    assert [child.spi_in for child in after.children] == [child.spi_in for child in before.children]


# rfc 7296: unknown-status
@pytest.mark.parametrize("kind", [UNKNOWN_STATUS, PRIVATE_STATUS])
def test_an_unknown_status_beside_a_child_sa_is_ignored(talk: Dialogue, kind: int) -> None:
    talk.deliver(change(talk, asks_for_smb(talk), NotifyPayload(kind, bytes(100))))
    assert len(talk.a.engine.ike_sas()[0].children) == 2


# rfc 7296: refused-child-keeps-ike unknown-error
@pytest.mark.parametrize("kind", [UNKNOWN_ERROR, NotifyType.FAILED_CP_REQUIRED])
def test_an_error_beside_the_proof_in_ike_auth_is_one_of_the_child_sa(kind: int) -> None:
    talk = Dialogue()
    answer = datagrams(talk.deliver(proves(talk)))[0]
    effects = talk.deliver(change(talk, answer, NotifyPayload(kind)))
    assert not any(isinstance(effect, InstallSa) for effect in effects)
    assert [sa.state for sa in talk.a.engine.ike_sas()] == ["established"]


# rfc 7296: temporary-failure
def test_a_child_sa_of_ike_auth_that_the_peer_has_no_time_for_is_asked_for_again_under_the_ike_sa() -> None:
    talk = Dialogue()
    answer = datagrams(talk.deliver(proves(talk)))[0]
    talk.b.hear(Delete(talk.b.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)), 0.0)
    whole = read(talk.a, answer)
    proof = [one for one in whole.payloads if isinstance(one, IdrPayload | AuthPayload)]
    busy: list[Payload] = [*proof, NotifyPayload(NotifyType.TEMPORARY_FAILURE)]
    talk.deliver(forge(talk.b, ExchangeType.IKE_AUTH, busy, 1, response=True))
    assert [len(sa.children) for sa in talk.a.engine.ike_sas()] == [0]
    talk.pass_time(10.0)
    assert [len(sa.children) for sa in talk.a.engine.ike_sas()] == [1]


# rfc 7296: critical-in-auth
@pytest.mark.parametrize("kind", [*FATAL, NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD])
def test_an_error_of_ike_auth_makes_no_ike_sa_even_beside_a_proof(kind: int) -> None:
    """RFC 7296 2.21.2: these three are the only ones."""
    talk = Dialogue()
    answer = datagrams(talk.deliver(proves(talk)))[0]
    effects = talk.deliver(change(talk, answer, NotifyPayload(kind)))
    assert talk.a.installed() == []
    if kind == NotifyType.INVALID_SYNTAX:  # B can do without a child SA, and may want that (RFC 6023): asked anew so
        assert [sa.state for sa in talk.a.engine.ike_sas()] == ["connecting"]
        assert [parse_header(one.data).exchange for one in datagrams(effects)] == [ExchangeType.IKE_SA_INIT]
        return
    assert talk.a.engine.ike_sas() == ()
    assert datagrams(effects) == []
    assert talk.a.told("auth-failed").fields["answer"] == NotifyType(kind).name


# rfc 7296: initiator-tells
def test_whoever_refuses_ike_auth_without_an_error_of_it_is_told_that_there_is_no_ike_sa() -> None:
    """It may hold the IKE SA for made, without having proved anything."""
    talk = Dialogue()
    datagrams(talk.deliver(proves(talk)))
    refusal = forge(talk.b, ExchangeType.IKE_AUTH, [NotifyPayload(NotifyType.TS_UNACCEPTABLE)], 1, response=True)
    told = said(talk, list(talk.deliver(refusal)))
    assert told.payloads == (NotifyPayload(NotifyType.AUTHENTICATION_FAILED), DeletePayload(ProtocolId.IKE))


# Answers that are wrong


# rfc 7296: response-malformed initiator-tells
@pytest.mark.parametrize(
    ("wrong", "error"),
    [(CRITICAL, NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD), (NoncePayload(bytes(32)), NotifyType.INVALID_SYNTAX)],
)
def test_a_malformed_answer_to_ike_auth_is_told_in_a_request_of_its_own(wrong: Payload, error: NotifyType) -> None:
    talk = Dialogue()
    answer = datagrams(talk.deliver(proves(talk)))[0]
    effects = talk.deliver(change(talk, answer, wrong))
    assert talk.a.installed() == []
    told = said(talk, list(effects))
    assert [type(one) for one in told.payloads] == [NotifyPayload, DeletePayload]
    assert told.first(NotifyPayload) == NotifyPayload(error)
    assert any(isinstance(effect, DropHeld) for effect in effects)
    talk.talk(effects)
    assert (talk.a.engine.ike_sas(), talk.b.engine.ike_sas()) == ((), ())


# rfc 7296: response-malformed
@pytest.mark.parametrize("wrong", [CRITICAL, TsiPayload(()), SaPayload(()), IdrPayload(2, b"x"), AuthPayload(2, b"x")])
def test_a_malformed_answer_leaves_nothing_behind_and_no_packet_that_waits_for_ever(
    talk: Dialogue, wrong: Payload
) -> None:
    effects = talk.deliver(change(talk, asks_for_smb(talk), wrong))
    assert any(isinstance(effect, DropHeld) for effect in effects)
    talk.talk(effects)
    assert (talk.a.engine.ike_sas(), talk.b.engine.ike_sas()) == ((), ())
    for side in (talk.a, talk.b):
        assert kinds(side.effects).count("RemoveSa") == len(side.installed())
    talk.pass_time(100.0)
    talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), talk.now))
    assert len(talk.a.engine.ike_sas()) == 1, "traffic may ask again after a while"


# Hints


# rfc 7296: clear-notify-no-action no-death-by-hearsay
@pytest.mark.parametrize("kind", [NotifyType.INVALID_IKE_SPI, NotifyType.INVALID_MAJOR_VERSION, *FATAL, UNKNOWN_ERROR])
def test_an_answer_in_the_clear_ends_nothing(talk: Dialogue, kind: int) -> None:
    (request,) = datagrams(talk.a.hear(Rekey(talk.a.engine.ike_sas()[0].local_spi), 0.0))
    asked = parse_header(request.data)
    clear = build_clear(asked._replace(flags=0x20), [NotifyPayload(kind)])
    assert talk.deliver(SendDatagram(request.remote, request.local, clear)) == []
    talk.talk([request])
    assert [sa.state for sa in talk.a.engine.ike_sas()] == ["established"]
    assert len(talk.a.engine.ike_sas()) == 1


# Versions and flags


# rfc 7296: major-version clear-notify-form
def test_a_later_version_gets_ours_under_its_own_spis_and_numbers(talk: Dialogue) -> None:
    """RFC 7296 1.5: SPIs, Message ID and exchange type are those of the request; a response is never answered."""
    (request,) = datagrams(talk.a.hear(Rekey(talk.a.engine.ike_sas()[0].local_spi), 0.0))
    asked = parse_header(request.data)
    for flags, answers in ((asked.flags, 1), (asked.flags | 0x20, 0)):
        octets = request.data[:17] + bytes((0x35, request.data[18], flags)) + request.data[20:]
        effects = talk.deliver(SendDatagram(request.local, request.remote, octets))
        assert len(datagrams(effects)) == answers
        for one in datagrams(effects):
            answer = parse_clear(one.data)
            assert answer.payloads == (NotifyPayload(NotifyType.INVALID_MAJOR_VERSION),)
            assert answer.header[:2] == asked[:2]
            assert (answer.header.exchange, answer.header.message_id) == (asked.exchange, asked.message_id)
            assert (answer.header.version, answer.header.flags) == (0x20, 0x20), "the other role, no version flag"
    assert [sa.state for sa in talk.b.engine.ike_sas()] == ["established"]


# rfc 7296: minor-version flags reserved-zero
def test_a_higher_minor_version_the_version_flag_and_reserved_bits_change_nothing() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    assert init.data[17] == 0x20
    assert init.data[19] == 0x08, "we set none of them"
    octets = bytearray(init.data)
    octets[17], octets[19] = 0x2F, 0xDF  # minor version 15, all flags but that of a response
    octets[HEADER.size + 1] |= 0x7F  # the reserved bits of the first payload
    answer = datagrams(talk.deliver(SendDatagram(init.local, init.remote, bytes(octets))))[0]
    header = parse_clear(answer.data).header
    assert (header.version, header.flags) == (0x20, 0x20)


# rfc 7296: minor-version flags
def test_sealed_messages_may_have_them_too(talk: Dialogue) -> None:
    sa = established(talk.a)
    (request,) = datagrams([forge(talk.a, INFORMATIONAL, [])])
    header = parse_header(request.data)._replace(version=0x21, flags=0xDF)
    octets = sa.agreed_channel.seal(header, [])
    effects = talk.deliver(SendDatagram(request.local, request.remote, octets))
    assert read(talk.a, datagrams(effects)[0]).payloads == ()
