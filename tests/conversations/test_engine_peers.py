# SPDX-License-Identifier: GPL-2.0-or-later
"""Authenticated peers that misbehave, or do what we would not: each request gets its answer, and no more follows."""

from __future__ import annotations

import pytest

from tests.conversations.dialogue import Dialogue, datagrams, established, forge, kinds, read
from tests.conversations.plans import GCM_X25519, P256, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd import limits
from xfrmd.ike.effects import InstallSa, RemoveSa
from xfrmd.ike.events import Acquire, Delete, Rekey, SaExpired, TimerFired
from xfrmd.ike.v2.constants import ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.payloads import (
    DeletePayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    UnknownPayload,
    WireProposal,
)
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Prefix
from xfrmd.model.proposals import ProtocolId, Transform

CREATE, INFORMATIONAL = ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL
ESP, IKE = ProtocolId.ESP, ProtocolId.IKE
GCM = (Transform(1, 20, 128), Transform(5, 0))
HERE, THERE = TrafficSelector.of(Prefix.host(A4)), TrafficSelector.of(Prefix.host(B4))


@pytest.fixture
def talk() -> Dialogue:
    """A, who has asked B for an SA."""
    dialogue = Dialogue()
    dialogue.connect()
    return dialogue


def child_request(spi: int = 0x12345678, transforms: tuple[Transform, ...] = GCM) -> list[Payload]:
    """What A says to ask for a child SA for everything."""
    return [
        NotifyPayload(NotifyType.USE_TRANSPORT_MODE),
        SaPayload((WireProposal.of(1, ESP, spi.to_bytes(4), transforms),)),
        NoncePayload(bytes(range(32))),
        TsiPayload((HERE,)),
        TsrPayload((THERE,)),
    ]


def rekey_of(talk: Dialogue, spi: int) -> list[Payload]:
    return [NotifyPayload(NotifyType.REKEY_SA, b"", ESP, spi.to_bytes(4)), *child_request()]


def ask(talk: Dialogue, exchange: int, payloads: list[Payload], number: int | None = None) -> list[int]:
    """Send a request as A; the notifications of B's answer, [] when it has none."""
    effects = talk.deliver(forge(talk.a, exchange, payloads, number))
    answer = datagrams(effects)
    assert len(answer) == 1
    return [notify.notify for notify in read(talk.a, answer[0]).every(NotifyPayload)]


def next_number(talk: Dialogue) -> int:
    return established(talk.a).window.next_id


# rfc 7296: informational-answered
def test_liveness_is_answered_with_nothing(talk: Dialogue) -> None:
    answer = datagrams(talk.deliver(forge(talk.a, INFORMATIONAL, [])))[0]
    assert read(talk.a, answer).payloads == ()


# rfc 7296: invalid-syntax-fatal
@pytest.mark.parametrize("exchange", [ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH, 38, 99, 255])
def test_an_exchange_that_is_none_here_is_invalid_syntax_which_is_fatal_at_both_ends(
    talk: Dialogue, exchange: int
) -> None:
    assert ask(talk, exchange, child_request()) == [NotifyType.INVALID_SYNTAX]
    assert talk.b.engine.ike_sas() == ()


# rfc 7296: unknown-critical
def test_a_critical_payload_that_we_do_not_know_is_named(talk: Dialogue) -> None:
    request = forge(talk.a, INFORMATIONAL, [UnknownPayload(200, critical=True, body=b"")])
    answer = read(talk.a, datagrams(talk.deliver(request))[0])
    notify = answer.notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
    assert notify is not None
    assert notify.data == b"\xc8"
    assert talk.b.engine.ike_sas()[0].state == "established"
    harmless: list[Payload] = [UnknownPayload(200, critical=False, body=b"x")]
    assert ask(talk, INFORMATIONAL, harmless, next_number(talk) + 1) == []


# rfc 7296: invalid-syntax-fatal
def test_a_malformed_request_is_fatal(talk: Dialogue) -> None:
    """RFC 7296 2.21.3."""
    assert ask(talk, CREATE, [NoncePayload(bytes(16))]) == [NotifyType.INVALID_SYNTAX]
    assert talk.b.engine.ike_sas() == ()
    assert "breaks the protocol" in talk.b.told("protocol-error").message
    assert kinds(talk.b.effects).count("RemoveSa") == 2


def test_message_ids_beyond_the_window_are_dropped(talk: Dialogue) -> None:
    for number in (next_number(talk) + 1, 0xFFFFFFFF, 0):
        assert talk.deliver(forge(talk.a, INFORMATIONAL, [], number)) == []
    assert ask(talk, INFORMATIONAL, []) == []


# rfc 7296: delete-form
def test_deleting_what_does_not_exist_is_answered_with_nothing(talk: Dialogue) -> None:
    spis = (bytes(4), b"\xff\xff\xff\xff", established(talk.b).spi[:4])
    answer = datagrams(talk.deliver(forge(talk.a, INFORMATIONAL, [DeletePayload(ESP, spis)])))[0]
    assert read(talk.a, answer).payloads == ()
    assert len(talk.b.engine.ike_sas()[0].children) == 1


# rfc 7296: delete-form
def test_deleting_the_same_twice_in_one_message_is_once(talk: Dialogue) -> None:
    child = talk.b.engine.ike_sas()[0].children[0]
    spi = child.spi_out.to_bytes(4)
    answer = talk.deliver(forge(talk.a, INFORMATIONAL, [DeletePayload(ESP, (spi, spi)), DeletePayload(ESP, (spi,))]))
    assert read(talk.a, datagrams(answer)[0]).payloads == (DeletePayload(ESP, (child.spi_in.to_bytes(4),)),)
    assert kinds(answer) == ["RemoveSa", "RemoveSa", "send"]


# rfc 7296: delete-crossing
def test_a_deletion_that_both_ask_for_is_not_confirmed_twice(talk: Dialogue) -> None:
    """RFC 7296 1.4.1."""
    child = talk.b.engine.ike_sas()[0].children[0]
    talk.b.hear(Delete(child.spi_in.to_bytes(4)), 0.0)
    assert established(talk.b).task is not None
    answer = talk.deliver(forge(talk.a, INFORMATIONAL, [DeletePayload(ESP, (child.spi_out.to_bytes(4),))]))
    assert read(talk.a, datagrams(answer)[0]).payloads == ()


# rfc 7296: rekey-names-sa delete-own-spis
def test_only_the_sender_of_an_sa_names_it(talk: Dialogue) -> None:
    ours = talk.b.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)
    assert ask(talk, INFORMATIONAL, [DeletePayload(ESP, (ours,))]) == []
    assert len(talk.b.engine.ike_sas()[0].children) == 1


# rfc 7296: rekey-names-sa child-not-found
def test_rekey_of_what_does_not_exist(talk: Dialogue) -> None:
    answer = datagrams(talk.deliver(forge(talk.a, CREATE, rekey_of(talk, 0xDEADBEEF))))[0]
    notify = read(talk.a, answer).notify(NotifyType.CHILD_SA_NOT_FOUND)
    assert notify is not None
    assert (notify.protocol, notify.spi) == (ESP, b"\xde\xad\xbe\xef")


# rfc 7296: child-not-found
def test_rekey_of_an_sa_that_is_being_deleted_or_has_a_successor(talk: Dialogue) -> None:
    spi = talk.a.engine.ike_sas()[0].children[0].spi_in
    assert ask(talk, CREATE, rekey_of(talk, spi)) == [NotifyType.USE_TRANSPORT_MODE]
    again = [*rekey_of(talk, spi)[:2], *child_request(0x87654321)[1:]]
    assert ask(talk, CREATE, again, next_number(talk) + 1) == [NotifyType.TEMPORARY_FAILURE]


# rfc 7296: spi-size
def test_spis_that_esp_cannot_have(talk: Dialogue) -> None:
    assert ask(talk, CREATE, child_request(255)) == [NotifyType.INVALID_SYNTAX]


# rfc 7296: ke-group-offered child-invalid-ke
def test_pfs_of_the_peers_own_choice_and_a_wrong_group(talk: Dialogue) -> None:
    with_group = (*GCM, Transform(4, 31))
    request = [*child_request(transforms=with_group), KePayload(19, bytes(64))]
    answer = datagrams(talk.deliver(forge(talk.a, CREATE, request)))[0]
    notify = read(talk.a, answer).notify(NotifyType.INVALID_KE_PAYLOAD)
    assert notify is not None
    assert notify.data == (31).to_bytes(2)


# rfc 7296: ke-length
# rfc 6989: invalid-is-fatal
def test_an_invalid_public_value_is_fatal(talk: Dialogue) -> None:
    request: list[Payload] = [
        SaPayload((WireProposal.of(1, IKE, b"12345678", GCM_X25519),)),
        NoncePayload(bytes(32)),
        KePayload(31, bytes(32)),
    ]
    assert ask(talk, CREATE, request) == [NotifyType.INVALID_SYNTAX]
    assert talk.b.engine.ike_sas() == ()


# rfc 7296: rekey-ike-spi spi-size
@pytest.mark.parametrize("spi", [b"", bytes(8), b"1234"])
def test_a_rekey_of_the_ike_sa_with_an_impossible_spi(talk: Dialogue, spi: bytes) -> None:
    request: list[Payload] = [
        SaPayload((WireProposal.of(1, IKE, spi, GCM_X25519),)),
        NoncePayload(bytes(32)),
        KePayload(31, bytes([9]) + bytes(31)),
    ]
    assert ask(talk, CREATE, request) == [NotifyType.INVALID_SYNTAX]


# rfc 7296: temporary-failure
def test_no_rekey_of_the_ike_sa_while_we_ask_for_a_child_and_no_child_while_we_rekey() -> None:
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    talk.b.hear(Acquire(SMB_REQID, tcp(B4, A4, 445)), 1.0)
    request: list[Payload] = [
        SaPayload((WireProposal.of(1, IKE, b"12345678", GCM_X25519),)),
        NoncePayload(bytes(32)),
        KePayload(31, bytes([9]) + bytes(31)),
    ]
    assert ask(talk, CREATE, request) == [NotifyType.TEMPORARY_FAILURE]
    other = Dialogue()
    other.connect()
    other.b.hear(Rekey(other.b.engine.ike_sas()[0].local_spi), 1.0)
    assert ask(other, CREATE, child_request()) == [NotifyType.TEMPORARY_FAILURE]


# rfc 7296: temporary-failure
def test_temporary_failure_is_tried_again_later_and_not_at_once() -> None:
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    rekey = talk.b.hear(Rekey(talk.b.engine.ike_sas()[0].local_spi), 0.0)
    refused = talk.talk(talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0))
    assert kinds(refused) == ["send"], "B says no, A says nothing"
    due = talk.a.engine.next_deadline()
    assert due is not None
    assert limits.BUSY_RETRY <= due <= 2 * limits.BUSY_RETRY
    talk.talk(rekey)
    talk.pass_time(2.5)
    assert len(talk.a.installed()) == 4
    assert len(talk.a.engine.ike_sas()) == 1


# rfc 7296: no-additional-sas
def test_no_additional_sas_means_another_ike_sa() -> None:
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    number = next_number(talk) - 1
    full = forge(talk.b, CREATE, [NotifyPayload(NotifyType.NO_ADDITIONAL_SAS)], number, response=True)
    effects = talk.deliver(full)
    assert datagrams(effects)[0].data[18] == ExchangeType.IKE_SA_INIT
    talk.talk(effects)
    assert len(talk.a.engine.ike_sas()) == 2
    assert SMB_REQID in [child.reqid for child in talk.a.engine.ike_sas()[1].children]


# rfc 7296: transport-mode-echo mode-declined-delete answer-within-offer
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("wider traffic", "no-filter"),
        ("tunnel", "mode-mismatch"),
        ("another cipher", "no-proposal"),
    ],
)
def test_an_answer_that_is_not_what_we_asked_for_is_not_taken_and_deleted_at_the_peer(change: str, code: str) -> None:
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    answer = child_request(transforms=(Transform(1, 20, 256), Transform(5, 0)) if change == "another cipher" else GCM)
    smb: list[Payload] = [
        TsiPayload((HERE._replace(protocol=6),)),
        TsrPayload((THERE._replace(protocol=6, ports=tcp(A4, B4, 445).dport),)),
    ]
    payloads = answer if change == "wider traffic" else answer[:3] + smb
    if change == "tunnel":
        payloads = payloads[1:]
    effects = talk.deliver(forge(talk.b, CREATE, payloads, next_number(talk) - 1, response=True))
    assert not any(isinstance(effect, InstallSa | RemoveSa) for effect in effects)
    assert talk.a.told(code).remedy
    deletion = read(talk.b, datagrams(effects)[0]).first(DeletePayload)
    assert deletion is not None
    assert len(deletion.spis) == 1


# rfc 7296: response-malformed
def test_a_response_that_answers_another_request_ends_the_ike_sa_and_the_peer_is_told(talk: Dialogue) -> None:
    talk.a.hear(Rekey(talk.a.engine.ike_sas()[0].local_spi), 1.0)
    effects = talk.deliver(forge(talk.b, CREATE, child_request(), next_number(talk) - 1, response=True))
    assert read(talk.b, datagrams(effects)[0]).payloads == (DeletePayload(IKE),)
    assert kinds(effects).count("RemoveSa") == 2, "no packet is sent with what the peer is told to delete"
    assert talk.a.told("protocol-error").remedy
    talk.deliver(forge(talk.b, INFORMATIONAL, [], next_number(talk) - 1, response=True))
    assert talk.a.engine.ike_sas() == ()


# rfc 7296: no-answer-to-response
def test_an_answer_nobody_waits_for_is_dropped(talk: Dialogue) -> None:
    for number in (0, 1, next_number(talk), 77):
        assert talk.deliver(forge(talk.b, INFORMATIONAL, [], number, response=True)) == []


# rfc 7296: no-additional-sas
def test_more_child_sas_than_a_peer_can_need_are_refused(talk: Dialogue) -> None:
    first = next_number(talk)
    for number in range(limits.CHILDREN_PER_IKE_SA - 1):
        spi = 0x10000000 + number
        talk.deliver(forge(talk.a, CREATE, child_request(spi), first + number))
    last = first + limits.CHILDREN_PER_IKE_SA - 1
    assert len(talk.b.engine.ike_sas()[0].children) == limits.CHILDREN_PER_IKE_SA
    assert ask(talk, CREATE, child_request(0x20000000), last) == [NotifyType.NO_ADDITIONAL_SAS]


def test_a_deletion_that_overtakes_the_answer_it_belongs_to() -> None:
    """The peer's answer was lost, the SA was deleted again, then the answer came after all."""
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    asked = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    late = datagrams(talk.deliver(datagrams(asked)[0]))[0]
    spi = talk.b.installed()[-1].spi if talk.b.installed()[-1].inbound else talk.b.installed()[-2].spi
    talk.deliver(forge(talk.b, INFORMATIONAL, [DeletePayload(ESP, (spi.to_bytes(4),))]))
    effects = talk.deliver(late)
    assert not any(isinstance(effect, InstallSa) for effect in effects)
    assert datagrams(effects)[0].data[18] == CREATE, "traffic still wants one"


def test_a_deletion_that_overtakes_the_answer_to_a_rekey(talk: Dialogue) -> None:
    old = talk.a.engine.ike_sas()[0].children[0]
    asked = talk.a.hear(Rekey(old.spi_in.to_bytes(4)), 0.0)
    late = datagrams(talk.deliver(datagrams(asked)[0]))[0]
    spi = talk.b.installed()[-1].spi
    talk.deliver(forge(talk.b, INFORMATIONAL, [DeletePayload(ESP, (spi.to_bytes(4),))]))
    assert kinds(talk.deliver(late)) == []
    assert [child.spi_in for child in talk.a.engine.ike_sas()[0].children] == [old.spi_in]


def test_what_the_peer_wants_to_rekey_may_be_what_its_lost_answer_has_made(talk: Dialogue) -> None:
    talk.b.hear(Rekey(talk.b.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)), 0.0)
    assert ask(talk, CREATE, rekey_of(talk, 0xDEADBEEF)) == [NotifyType.TEMPORARY_FAILURE]


def crossed_rekey(talk: Dialogue, theirs: bytes, answer: bytes) -> tuple[list[str], list[int], int]:
    """A and B rekey at once; `theirs` is B's nonce for its own, `answer` that for A's. What A does when all is said."""
    old = talk.a.engine.ike_sas()[0].children[0]
    talk.a.hear(Rekey(old.spi_in.to_bytes(4)), 0.0)
    number = next_number(talk) - 1
    back: list[Payload] = [TsiPayload((THERE,)), TsrPayload((HERE,))]
    rekey = [NotifyPayload(NotifyType.REKEY_SA, b"", ESP, old.spi_out.to_bytes(4)), *child_request(0x11111111)[:2]]
    assert kinds(talk.deliver(forge(talk.b, CREATE, [*rekey, NoncePayload(theirs), *back]))) == ["in", "send"]
    agreed = [*child_request(0x22222222)[:2], NoncePayload(answer), *child_request()[3:]]
    effects = talk.deliver(forge(talk.b, CREATE, agreed, number, response=True))
    deletion = read(talk.b, datagrams(effects)[0]).first(DeletePayload)
    assert deletion is not None
    return kinds(effects), [int.from_bytes(spi) for spi in deletion.spis], old.spi_in


# rfc 7296: lowest-nonce
def test_of_two_rekeys_the_one_with_the_lowest_nonce_goes(talk: Dialogue) -> None:
    """RFC 7296 2.8.1: whoever made it deletes it, the other deletes the old one."""
    lowest, highest = bytes(32), b"\xff" * 32
    effects, deleted, old = crossed_rekey(talk, lowest, highest)
    assert (effects, deleted) == (["in", "out", "ReleaseHeld", "RemoveSa", "send"], [old])
    other = Dialogue()
    other.connect()
    effects, deleted, old = crossed_rekey(other, highest, lowest)
    assert effects == ["in", "send"]
    assert deleted != [old]


def twin_request(nonce: bytes) -> list[Payload]:
    return [*child_request(0x33333333)[:2], NoncePayload(nonce), TsiPayload((THERE,)), TsrPayload((HERE,))]


@pytest.mark.parametrize(
    ("after", "nonce", "deletes"),
    [
        (1.0, bytes(32), False),  # theirs was made with the lowest nonce: it is for them to delete it
        (limits.CROSSING + 1, bytes(32), True),  # no crossing, but one that we have and they do not know of
    ],
)
def test_a_second_pair_for_the_same_traffic(talk: Dialogue, after: float, nonce: bytes, deletes: bool) -> None:
    talk.now = after
    effects = talk.deliver(forge(talk.b, CREATE, twin_request(nonce)))
    assert kinds(effects) == ["in", "send"]
    later = talk.a.hear(TimerFired(), after + (limits.SUCCESSOR_WAIT if deletes else limits.PEER_READY))
    assert kinds(later) == ["out", "ReleaseHeld", *(["RemoveSa", "send"] if deletes else [])]


def test_a_child_that_comes_after_the_ike_sa_was_deleted_is_not_installed() -> None:
    talk = Dialogue(Settings(smb=True))
    talk.connect()
    asked = talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    late = datagrams(talk.deliver(datagrams(asked)[0]))[0]
    talk.a.hear(Delete(talk.a.engine.ike_sas()[0].local_spi), 0.0)
    assert kinds(talk.deliver(late)) == ["send"], "the deletion, which has waited for its turn"


def test_an_sa_whose_peer_is_not_ready_yet_needs_no_other(talk: Dialogue) -> None:
    old = talk.b.engine.ike_sas()[0].children[0]
    talk.deliver(datagrams(talk.a.hear(Rekey(talk.a.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)), 0.0))[0])
    talk.b.hear(SaExpired(old.spi_out, ESP, A4, hard=True), 1.0)
    assert kinds(talk.acquire(talk.b)) == ["AskUsed"]


# rfc 7296: ike-collisions
def test_an_ike_sa_deleted_while_it_is_rekeyed_takes_its_successor_with_it(talk: Dialogue) -> None:
    spi = talk.a.engine.ike_sas()[0].local_spi
    rekey = talk.a.hear(Rekey(spi), 0.0)
    talk.a.hear(Delete(spi), 0.0)
    talk.talk(rekey)
    assert talk.a.engine.ike_sas() == talk.b.engine.ike_sas() == ()


@pytest.mark.parametrize("data", [(14).to_bytes(2), (31).to_bytes(2), b"", b"\x00\x13\x00"])
def test_a_group_for_a_child_that_is_not_ours_or_was_used_ends_the_attempt(data: bytes) -> None:
    talk = Dialogue(Settings(ike=((*GCM_X25519, P256),), smb=True, pfs=True))
    talk.connect()
    talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    refusal = NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, data)
    effects = talk.deliver(forge(talk.b, CREATE, [refusal], next_number(talk) - 1, response=True))
    assert kinds(effects) == ["DropHeld"]


# rfc 7296: child-invalid-ke
def test_another_group_of_ours_is_used_when_the_peer_asks_for_it() -> None:
    talk = Dialogue(Settings(ike=((*GCM_X25519, P256),), smb=True, pfs=True))
    talk.connect()
    talk.a.hear(Acquire(SMB_REQID, tcp(A4, B4, 445)), 0.0)
    refusal = NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, (19).to_bytes(2))
    effects = talk.deliver(forge(talk.b, CREATE, [refusal], next_number(talk) - 1, response=True))
    exchange = read(talk.b, datagrams(effects)[0]).first(KePayload)
    assert exchange is not None
    assert exchange.method == 19


# rfc 7296: iv
def test_no_iv_comes_twice_under_one_key(talk: Dialogue) -> None:
    """RFC 5282 3.1: with AES-GCM that would give the key away."""
    for _ in range(20):
        talk.talk(talk.a.hear(Rekey(talk.a.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)), talk.now))
        talk.pass_time(5.0)
    for side in (talk.a, talk.b):
        sealed = {d.data for d in datagrams(side.effects) if d.data[16] == PayloadType.SK}
        ivs = [octets[32:40] for octets in sealed]
        assert len(ivs) > 40
        assert len(set(ivs)) == len(ivs)


def test_an_sa_that_does_not_carry_the_packet_that_asked_is_told_and_the_packet_dropped(talk: Dialogue) -> None:
    """A peer that does not look at the leading packet may narrow to something else."""
    spi = talk.a.engine.ike_sas()[0].children[0].spi_in
    talk.talk(talk.a.hear(Delete(spi.to_bytes(4)), 0.0))
    assert kinds(talk.acquire()) == ["send"]
    tcp_only: list[Payload] = [TsiPayload((HERE._replace(protocol=6),)), TsrPayload((THERE._replace(protocol=6),))]
    answer = [*child_request()[:3], *tcp_only]
    effects = talk.deliver(forge(talk.b, CREATE, answer, next_number(talk) - 1, response=True))
    assert kinds(effects) == ["in", "out", "ReleaseHeld", "DropHeld"]
    assert "icmp" in talk.a.told("no-filter").message
    assert talk.a.engine.snapshot().negotiating == 0
