# SPDX-License-Identifier: GPL-2.0-or-later
"""One test for each class of faults that other IKE daemons became known for: each is met by a refusal or by silence, an
honest peer beside it connects, and what stands goes on. docs/reliability.md has the list with the tests of other files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge
from tests.conversations.plans import Settings
from tests.conversations.scenes import B4
from tests.conversations.test_conversations_attacks import STRANGER
from xfrmd import limits
from xfrmd.ike.effects import Effect, InstallSa
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, build_clear, parse_clear
from xfrmd.ike.v2.payloads import (
    AuthPayload,
    DeletePayload,
    EapPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    UnknownPayload,
    WireProposal,
)
from xfrmd.model.proposals import ProtocolId, Transform, TransformType

P2048 = (1 << 2048) - 1
GROUPS = {"X25519": 31, "ECP256": 19, "MODP2048": 14}
ENCR, PRF = Transform(TransformType.ENCR, 20, 128), Transform(TransformType.PRF, 5)


def group(number: int) -> Settings:
    """One key exchange, by its number."""
    return Settings(ike=((ENCR, PRF, Transform(TransformType.KE, number)),))


def first(talk: Dialogue) -> ClearMessage:
    return parse_clear(datagrams(talk.acquire())[0].data)


def say(talk: Dialogue, message: bytes, side: Side | None = None) -> list[Effect]:
    """Somebody else's octets, by default to B, from A's address."""
    side = side or talk.b
    local, remote = Endpoint(side.own, 500), Endpoint(talk.other(side).own, 500)
    return side.hear(DatagramReceived(local, remote, message), talk.now)


def changed(message: ClearMessage, change: Callable[[Payload], Payload | Sequence[Payload]]) -> bytes:
    """The message with other payloads and another SPI."""
    payloads: list[Payload] = []
    for one in message.payloads:
        new = change(one)
        payloads += new if isinstance(new, Sequence) else [new]
    return build_clear(message.header._replace(spi_i=b"attacker"), payloads)


def works_after(talk: Dialogue) -> None:
    """An honest peer connects."""
    talk.talk([*datagrams(talk.a.effects)[:1]])
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2


@contextmanager
def counted() -> Iterator[list[int]]:
    """Calls of Python functions, as a measure of work that no other program disturbs."""
    calls = [0]

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        calls[0] += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


# a. Messages in the clear

PUBLIC = {
    "X25519, zero": (31, bytes(32)),
    "X25519, a point of low order": (31, (1).to_bytes(32, "little")),
    "X25519, the other one": (31, bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
    "X25519, too short": (31, bytes(31)),
    "X25519, none": (31, b""),
    "ECP256, not on the curve": (19, b"\1" * 64),
    "ECP256, zero": (19, bytes(64)),
    "ECP256, one octet more": (19, b"\1" * 65),
    "MODP2048, zero": (14, bytes(256)),
    "MODP2048, one": (14, (1).to_bytes(256)),
    "MODP2048, greater than the prime": (14, P2048.to_bytes(256)),
    "MODP2048, much too long": (14, b"\xff" * 8000),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_values_that_are_none(name: str) -> None:
    """g^x = 0 ended pluto (CVE-2015-3240); points off the curve give keys away (RFC 6989)."""
    number, value = PUBLIC[name]
    talk = Dialogue(group(number))
    message = first(talk)
    evil = changed(message, lambda one: KePayload(number, value) if isinstance(one, KePayload) else one)
    answers = datagrams(say(talk, evil))
    assert all(parse_clear(one.data).first(KePayload) is None for one in answers) or talk.b.engine.ike_sas()
    for answer in answers:
        back = parse_clear(answer.data)
        if back.first(KePayload) is not None:  # it is looked at when the secret is computed: no proof can follow
            sealed = Header.of(b"attacker", back.header.spi_r, ExchangeType.IKE_AUTH, 1, initiator=True, response=False)
            say(talk, build_clear(sealed, [UnknownPayload(46, False, bytes(100))]))
    assert not talk.b.installed()
    works_after(talk)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_values_that_are_none_in_an_answer(name: str) -> None:
    number, value = PUBLIC[name]
    talk = Dialogue(group(number))
    (answer,) = datagrams(talk.deliver(datagrams(talk.acquire())[0]))
    honest = parse_clear(answer.data)
    lie = [KePayload(number, value) if isinstance(one, KePayload) else one for one in honest.payloads]
    say(talk, build_clear(honest.header, lie), talk.a)
    assert not talk.a.installed()
    talk.talk([answer])
    assert len(talk.a.installed()) == 2, "the honest answer comes later, and counts"


@pytest.mark.parametrize("number", [0, 1025, 1040, 65535])
def test_groups_that_nobody_has(number: int) -> None:
    """CVE-2014-9221: an unknown group in the KE payload, as its number is that of a vendor, ended charon."""
    talk = Dialogue()
    message = first(talk)
    say(talk, changed(message, lambda one: KePayload(number, bytes(32)) if isinstance(one, KePayload) else one))
    offer = (WireProposal.of(1, ProtocolId.IKE, b"", (ENCR, PRF, Transform(TransformType.KE, number))),)
    say(talk, changed(message, lambda one: SaPayload(offer) if isinstance(one, SaPayload) else one))
    assert talk.b.engine.ike_sas() == ()
    works_after(talk)


@pytest.mark.parametrize("gone", [SaPayload, KePayload, NoncePayload])
@pytest.mark.parametrize("times", [0, 2, 60])
def test_payloads_that_are_missing_or_many(gone: type, times: int) -> None:
    """CVE-2013-6467, CVE-2016-5391: payloads that were taken for there."""
    talk = Dialogue()
    message = first(talk)
    say(talk, changed(message, lambda one: [one] * times if isinstance(one, gone) else one))
    assert talk.b.engine.ike_sas() == ()
    works_after(talk)


@pytest.mark.parametrize("bits", [0, 1, 127, 65535])
@pytest.mark.parametrize("number", [0, 999, 65535])
def test_algorithms_that_no_library_has(number: int, bits: int) -> None:
    """CVE-2016-3071: a proposal for what the library lacks ended pluto."""
    talk = Dialogue()
    message = first(talk)
    kinds = (TransformType.ENCR, TransformType.PRF, TransformType.INTEG, TransformType.KE)
    offer = WireProposal.of(1, ProtocolId.IKE, b"", tuple(Transform(kind, number, bits) for kind in kinds))
    (answer,) = datagrams(
        say(talk, changed(message, lambda one: SaPayload((offer,)) if isinstance(one, SaPayload) else one))
    )
    assert parse_clear(answer.data).notify(NotifyType.NO_PROPOSAL_CHOSEN)
    works_after(talk)


@pytest.mark.parametrize("version", [0x10, 0x11, 0x1F, 0x00, 0x2F])
def test_payloads_of_another_version(version: int) -> None:
    """CVE-2015-3991: a payload of IKEv1 in IKEv2 and the other way round; CVE-2013-6076: fragments of IKEv1."""
    talk = Dialogue()
    message = first(talk)
    for kind in (*range(1, 33), 129, 132, 255):
        strange = UnknownPayload(kind, False, b"\0\0\0\1")
        payloads = [strange if isinstance(one, NoncePayload) else one for one in message.payloads]
        data = bytearray(build_clear(message.header._replace(spi_i=b"attacker"), payloads))
        data[17] = version
        say(talk, bytes(data))
    assert talk.b.engine.ike_sas() == ()
    works_after(talk)


def test_a_stranger_of_ikev1_is_not_answered() -> None:
    """CVE-2016-5361: answers to first messages of IKEv1 went to whoever was named as their sender, again and again."""
    talk = Dialogue()
    data = bytearray(datagrams(talk.acquire())[0].data)
    data[16:20] = bytes([1, 0x10, 2, 0])
    assert say(talk, bytes(data)) == []
    assert talk.b.engine.ike_sas() == ()


@pytest.mark.parametrize(("number", "total"), [(0, 0), (0, 1), (1, 0), (2, 1), (65535, 65535), (1, 65535), (1, 1)])
def test_fragments_that_cannot_be(number: int, total: int) -> None:
    """CVE-2026-12413: the number of payloads in fragments."""
    talk = Dialogue()
    message = first(talk)
    answer = datagrams(talk.deliver(datagrams(talk.a.effects)[0]))[0]
    spi = parse_clear(answer.data).header.spi_r
    for exchange in (ExchangeType.IKE_AUTH, ExchangeType.IKE_SA_INIT, ExchangeType.INFORMATIONAL):
        header = Header.of(message.header.spi_i, spi, exchange, 1, initiator=True, response=False)
        body = number.to_bytes(2) + total.to_bytes(2) + bytes(200)
        for _ in range(limits.FRAGMENTS + 5):
            assert datagrams(say(talk, build_clear(header, [UnknownPayload(53, False, body)]))) == []
    talk.talk([answer])
    assert len(talk.b.installed()) == 2


def test_chains_that_end_nowhere_cost_no_more_than_they_are_long() -> None:
    """CVE-2014-9221, CVE-2026-35328, CVE-2026-35333 and others: loops and lengths that lie."""
    talk = Dialogue()
    whole = datagrams(talk.acquire())[0].data
    with counted() as ordinary:
        say(talk, b"ordinary" + whole[8:])
    for length in (0, 1, 3, 4, 5, 0xFFFF):
        for at in range(30, len(whole) - 1, 7):
            data = bytearray(b"attacker" + whole[8:])
            data[at : at + 2] = length.to_bytes(2)
            with counted() as calls:
                say(talk, bytes(data))
            assert calls[0] <= 2 * ordinary[0] + 500
    works_after(talk)


HEAVY: dict[str, list[Payload]] = {
    "proposals": [SaPayload(tuple(WireProposal.of(n, ProtocolId.IKE, b"", (ENCR,) * 40) for n in range(1, 26)))],
    "notifies": [NotifyPayload(40_000 + n, bytes(200)) for n in range(60)],
    "unknown payloads": [UnknownPayload(200, False, bytes(4)) for _ in range(1500)],
    "one long payload": [UnknownPayload(200, False, bytes(15_000))],
}


@pytest.mark.parametrize("name", HEAVY)
def test_the_heaviest_first_messages_cost_a_bounded_number_of_steps(name: str) -> None:
    """Class f: work that grows faster than the message. The bound is that of calls for each octet."""
    talk = Dialogue()
    message = first(talk)
    if name == "proposals":
        data = changed(message, lambda one: HEAVY[name] if isinstance(one, SaPayload) else one)
    else:
        data = changed(message, lambda one: [one, *HEAVY[name]] if isinstance(one, NoncePayload) else one)
    assert 6_000 < len(data) <= limits.DATAGRAM_SIZE
    with counted() as calls:
        say(talk, data)
    assert calls[0] < 3000 + 4 * len(data)
    works_after(talk)


# b. Malformed messages of who knows the keys, or has even proved itself


@pytest.mark.parametrize("exchange", [ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA])
def test_exchanges_before_the_proof(exchange: ExchangeType) -> None:
    """CVE-2019-12312: INFORMATIONAL before IKE_AUTH; CVE-2014-2338: a rekey of an IKE SA that has proved nothing."""
    talk = Dialogue()
    answer = datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0]
    auth = talk.deliver(answer)
    offer = SaPayload((WireProposal.of(1, ProtocolId.IKE, b"rekeyed!", (ENCR, PRF, Transform(TransformType.KE, 31))),))
    rekey: list[Payload] = [offer, NoncePayload(bytes(32)), KePayload(31, bytes(31) + b"\x09")]
    delete: list[Payload] = [DeletePayload(1, ())]
    effects = talk.deliver(forge(talk.a, exchange, rekey if exchange is ExchangeType.CREATE_CHILD_SA else delete, 1))
    assert not [one for one in effects if isinstance(one, InstallSa)]
    assert [sa.state for sa in talk.b.engine.ike_sas()] in (["half-open"], [])
    talk.talk(auth)
    if talk.b.engine.ike_sas():
        assert len(talk.b.engine.ike_sas()) == 1


GMAC = Transform(TransformType.ENCR, 21, 0)
NONSENSE: dict[str, tuple[ExchangeType, list[Payload]]] = {
    "selectors: none": (ExchangeType.CREATE_CHILD_SA, [UnknownPayload(kind, False, bytes(4)) for kind in (44, 45)]),
    "selectors: more than there are": (ExchangeType.CREATE_CHILD_SA, [UnknownPayload(44, False, b"\xff" + bytes(11))]),
    "selectors: from high to low": (
        ExchangeType.CREATE_CHILD_SA,
        [UnknownPayload(44, False, b"\1\0\0\0\7\0\0\x10\xff\xff\0\0" + bytes([9, 9, 9, 9, 1, 1, 1, 1]))],
    ),
    "rekey of no protocol": (ExchangeType.CREATE_CHILD_SA, [NotifyPayload(NotifyType.REKEY_SA, b"", 0, b"")]),
    "rekey of no protocol that is": (
        ExchangeType.CREATE_CHILD_SA,
        [NotifyPayload(NotifyType.REKEY_SA, b"", 255, bytes(4))],
    ),
    "rekey with a long SPI": (ExchangeType.CREATE_CHILD_SA, [NotifyPayload(NotifyType.REKEY_SA, b"", 3, bytes(255))]),
    "nothing to create": (ExchangeType.CREATE_CHILD_SA, []),
    "deletion of a strange protocol": (ExchangeType.INFORMATIONAL, [DeletePayload(77, (bytes(4),))]),
    "deletion of a thousand": (ExchangeType.INFORMATIONAL, [DeletePayload(3, (bytes(4),) * 1000)]),
    "a cipher with a key of no bits": (
        ExchangeType.CREATE_CHILD_SA,
        [SaPayload((WireProposal.of(1, ProtocolId.ESP, bytes(4), (GMAC,)),)), NoncePayload(bytes(32))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_of_a_proved_peer(name: str) -> None:
    """CVE-2023-23009 (selectors), CVE-2023-38710 (protocol of a rekey), CVE-2024-3652 (bogus GMAC)."""
    exchange, payloads = NONSENSE[name]
    talk = Dialogue()
    talk.connect()
    effects = talk.deliver(forge(talk.a, exchange, payloads))
    assert len(datagrams(effects)) == 1, "it is answered"
    assert not [one for one in effects if isinstance(one, InstallSa)]
    assert len([sa for sa in talk.b.engine.ike_sas() if sa.state == "established"]) <= 1


def test_the_same_deletion_twice() -> None:
    """CVE-2023-38712: a second Delete of what is gone ended pluto."""
    talk = Dialogue()
    talk.connect()
    spi = next(entry.spi for entry in talk.a.installed() if entry.inbound).to_bytes(4)
    for number in range(3):
        effects = talk.deliver(forge(talk.a, ExchangeType.INFORMATIONAL, [DeletePayload(3, (spi, spi))], number + 2))
        assert len(datagrams(effects)) == 1
    assert [len(sa.children) for sa in talk.b.engine.ike_sas()] == [0]
    for _ in range(2):
        talk.deliver(forge(talk.a, ExchangeType.INFORMATIONAL, [DeletePayload(1, ()), DeletePayload(1, ())], 5))
    assert talk.b.engine.ike_sas() == ()


# c. Proofs that are none


PROOFS: dict[str, Callable[[Payload], Sequence[Payload]]] = {
    "EAP's success in its place": lambda _: [EapPayload(b"\x03\x01\x00\x04")],
    "nothing in its place": lambda _: [],
    "empty": lambda _: [AuthPayload(2, b"")],
    "of no method": lambda _: [AuthPayload(0, bytes(32))],
    "the null method": lambda _: [AuthPayload(13, bytes(32))],
    "twice": lambda one: [one, one],
}


@pytest.mark.parametrize("name", PROOFS)
@pytest.mark.parametrize("response", [False, True], ids=["of the initiator", "of the responder"])
def test_proofs_that_are_none(name: str, response: bool) -> None:
    """CVE-2021-45079 and CVE-2015-8023: EAP that was believed before it ended; CVE-2024-2357 and others."""
    talk = Dialogue()
    answer = datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0]
    auth = datagrams(talk.deliver(answer))[0]
    liar, victim, honest = (talk.b, talk.a, datagrams(talk.deliver(auth))[0]) if response else (talk.a, talk.b, auth)
    twin = Dialogue()  # the same to the letter: it can read what the victim is not to hear
    twin.talk(twin.acquire())
    content = established(twin.a if response else twin.b).agreed_channel.open(parse_clear(honest.data)).payloads
    lie = [new for one in content for new in (PROOFS[name](one) if isinstance(one, AuthPayload) else [one])]
    effects = talk.deliver(forge(liar, ExchangeType.IKE_AUTH, lie, 1, response=response))
    assert not [one for one in effects if isinstance(one, InstallSa)]
    assert not [sa for sa in victim.engine.ike_sas() if sa.state == "established"]


# f. and a., again: whoever speaks, and says nothing


def test_a_stranger_leaves_nothing_behind() -> None:
    """Nobody without a rule costs memory, whatever it says."""
    talk = Dialogue()
    message = first(talk)
    local, remote = Endpoint(B4, 500), Endpoint(STRANGER, 500)
    for number in range(200):
        data = build_clear(message.header._replace(spi_i=number.to_bytes(8)), list(message.payloads))
        talk.b.hear(DatagramReceived(local, remote, data), 0.0)
    assert talk.b.engine.ike_sas() == ()
    assert talk.b.engine.next_deadline() is None
    works_after(talk)
