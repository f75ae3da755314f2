# SPDX-License-Identifier: GPL-2.0-or-later
"""What a third party can send: forged refusals, replays, reflections, other addresses. None has a lasting effect."""

from __future__ import annotations

import pytest

from tests.conversations.network import Host, Network
from tests.conversations.plans import ENCR_GCM, P256, PRF, X25519, Settings
from tests.conversations.scenes import A4, B4, Pair, pair
from xfrmd.ike.effects import Effect, SendDatagram, Tell
from xfrmd.ike.events import DatagramReceived, Endpoint, TimerFired
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header, parse_header
from xfrmd.ike.v2.message import build_clear
from xfrmd.ike.v2.payloads import DeletePayload, NotifyPayload, Payload
from xfrmd.model.addresses import Address

STRANGER = Address.parse("10.0.0.66")


def only_words(effects: list[Effect]) -> bool:
    """Nothing but answers and notices."""
    return all(isinstance(effect, SendDatagram | Tell) for effect in effects)


FORGED = [
    ("no proposal", (NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN),)),
    ("invalid syntax", (NotifyPayload(NotifyType.INVALID_SYNTAX),)),
    ("authentication failed", (NotifyPayload(NotifyType.AUTHENTICATION_FAILED),)),
    ("another group that we have", (NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, P256.id.to_bytes(2)),)),
    ("a group that nobody has", (NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, (1025).to_bytes(2)),)),
    ("a cookie", (NotifyPayload(NotifyType.COOKIE, b"c" * 64),)),
    ("an endless cookie", (NotifyPayload(NotifyType.COOKIE, b"c" * 4000),)),
    ("an empty cookie", (NotifyPayload(NotifyType.COOKIE, b""),)),
    ("an unknown error", (NotifyPayload(9999),)),
    ("a higher version", (NotifyPayload(NotifyType.INVALID_MAJOR_VERSION),)),
]


# rfc 7296: clear-notify-no-action many-answers init-error-not-trusted
@pytest.mark.parametrize(("name", "payloads"), FORGED, ids=[row[0] for row in FORGED])
def test_a_forged_refusal_does_not_end_a_handshake(name: str, payloads: tuple[Payload, ...]) -> None:
    scene = pair(settings=Settings(ike=((ENCR_GCM, PRF, X25519, P256),)))
    scene.acquire(scene.a)
    scene.network.run(0.0)
    spi = scene.a.sent[0].data[:8]
    forged = Header.of(spi, NO_SPI, ExchangeType.IKE_SA_INIT, 0, initiator=False, response=True)
    for _ in range(20):
        assert only_words(scene.network.deliver(B4, A4, build_clear(forged, payloads)))
    scene.network.run(60.0)
    scene.agree()
    scene.works()


CLEAR: list[tuple[str, tuple[Payload, ...]]] = [
    ("delete", (DeletePayload(1),)),
    ("delete child", (DeletePayload(3, (b"abcd",)),)),
    ("invalid IKE SPI", (NotifyPayload(NotifyType.INVALID_IKE_SPI),)),
    ("invalid SPI", (NotifyPayload(NotifyType.INVALID_SPI, b"abcd"),)),
    ("authentication failed", (NotifyPayload(NotifyType.AUTHENTICATION_FAILED),)),
    ("initial contact", (NotifyPayload(NotifyType.INITIAL_CONTACT),)),
    ("nothing", ()),
]


# rfc 7296: auth-sealed no-death-by-hearsay
@pytest.mark.parametrize("exchange", [34, 35, 36, 37])
@pytest.mark.parametrize(("name", "payloads"), CLEAR, ids=[row[0] for row in CLEAR])
def test_clear_text_never_touches_an_established_sa(name: str, payloads: tuple[Payload, ...], exchange: int) -> None:
    scene = pair()
    scene.connect()
    for host in scene.hosts:
        view = host.ike_sas()[0]
        ours, theirs = view.local_spi, view.remote_spi
        spis = (ours, theirs) if view.initiator else (theirs, ours)
        for number in range(4):
            for response in (False, True):
                header = Header.of(*spis, exchange, number, initiator=not view.initiator, response=response)
                octets = build_clear(header, payloads)
                assert only_words(scene.network.deliver(scene.other(host).address, host.address, octets))
    scene.network.run(10.0)
    scene.agree()
    scene.works()


def transcript(scene: Pair) -> list[SendDatagram]:
    return [datagram for host in scene.hosts for datagram in host.sent]


def test_a_replay_of_everything_said_changes_nothing() -> None:
    scene = pair()
    scene.connect()
    views = [host.ike_sas() for host in scene.hosts]
    for datagram in transcript(scene) * 3:
        scene.network.deliver(datagram.local.address, datagram.remote.address, datagram.data)
    scene.network.run(100.0)
    assert [host.ike_sas() for host in scene.hosts] == views
    scene.agree()
    scene.works()


# rfc 7296: retransmit-identical responder-only-on-repeat
def test_a_repeated_request_gets_the_same_octets_again() -> None:
    scene = pair()
    scene.connect()
    request, response = scene.a.sent[1].data, scene.b.sent[1].data
    effects = scene.network.deliver(A4, B4, request)
    assert [e.data for e in effects if isinstance(e, SendDatagram)] == [response]


# rfc 7296: no-answer-to-response
def test_own_words_coming_back_change_nothing() -> None:
    scene = pair()
    scene.connect()
    for host in scene.hosts:
        for datagram in list(host.sent):
            effects = scene.network.deliver(scene.other(host).address, host.address, datagram.data)
            assert only_words(effects)
    scene.network.run(100.0)
    scene.agree()
    scene.works()


# rfc 7296: answer-to-sender follow-authentic-only
def test_a_strangers_address_is_not_believed_whatever_the_octets() -> None:
    """The right octets from another address: the peer's address follows nothing that others can repeat."""
    scene = pair()
    scene.network.lose = lambda d: parse_header(d.data).exchange == ExchangeType.IKE_AUTH
    scene.acquire(scene.a)
    scene.network.run(0.1)
    stolen = next(d.data for d in scene.a.sent if parse_header(d.data).exchange == ExchangeType.IKE_AUTH)
    event = DatagramReceived(Endpoint(B4, 500), Endpoint(STRANGER, 500), stolen)
    assert scene.network.tell(scene.b, event) == []
    scene.network.lose = lambda _: False
    scene.network.run(60.0)
    scene.agree()
    scene.works()


def flood(network: Network, host: Host, count: int) -> None:
    """IKE_SA_INITs that are cut off behind the header, from one address with many SPIs."""
    for number in range(1, count):
        header = Header.of(number.to_bytes(8), NO_SPI, ExchangeType.IKE_SA_INIT, 0, initiator=True, response=False)
        assert only_words(network.deliver(STRANGER, host.address, build_clear(header, [])))


def test_a_flood_of_nonsense_is_answered_sparingly_and_leaves_nothing() -> None:
    scene = pair()
    flood(scene.network, scene.b, 2000)
    assert len(scene.b.sent) <= 100
    assert scene.b.ike_sas() == ()
    scene.connect()
    scene.works()


def test_half_open_ike_sas_go_by_themselves() -> None:
    scene = pair()
    scene.network.lose = lambda d: d.remote.address == A4
    scene.acquire(scene.a)
    scene.network.run(1.0)
    assert [view.state for view in scene.b.ike_sas()] == ["half-open"]
    scene.network.lose = lambda _: True
    scene.network.run(1.0 + 120.0)
    assert scene.b.ike_sas() == ()
    scene.network.tell(scene.b, TimerFired())
    assert scene.b.engine.next_deadline() is None
