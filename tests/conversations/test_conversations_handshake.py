# SPDX-License-Identifier: GPL-2.0-or-later
"""Handshakes between two engines on a good network, and the ways in which they fail."""

from __future__ import annotations

import pytest

from tests.conversations.network import Host
from tests.conversations.plans import (
    ALL_REQID,
    CBC_X25519,
    ENCR_CBC,
    ENCR_GCM,
    ESN_OFF,
    GCM_P256,
    GCM_X25519,
    INTEG,
    P256,
    PRF,
    SMB_REQID,
    X25519,
    Settings,
)
from tests.conversations.scenes import A4, A6, B4, B6, Pair, pair, tcp
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import Transform

FAMILIES = [(A4, B4), (A6, B6)]
SUITES = [
    (GCM_X25519,),
    (GCM_P256,),
    (CBC_X25519,),
    ((Transform(1, 20, 256), Transform(2, 7), Transform(4, 20)),),
    ((Transform(1, 28), PRF, X25519),),
    ((Transform(1, 12, 128), Transform(3, 14), Transform(2, 6), Transform(4, 14)),),
]


def datagrams(scene: Pair) -> int:
    return sum(len(host.sent) for host in scene.hosts)


def told(host: Host, *words: str) -> bool:
    """Has the operator been told something that holds all these words?"""
    texts = [f"{n.code} {n.message} {n.fields}" for _, n in host.notices]
    return any(all(word in text for word in words) for text in texts)


# rfc 7296: four-messages
@pytest.mark.parametrize("addresses", FAMILIES)
@pytest.mark.parametrize("first", [0, 1])
def test_four_datagrams_make_an_sa_pair(addresses: tuple[Address, Address], first: int) -> None:
    scene = pair(addresses=addresses)
    scene.acquire(scene.hosts[first])
    scene.network.settle()
    scene.agree()
    assert datagrams(scene) == 4
    initiator = scene.hosts[first]
    assert [r.reqid for r in initiator.released] == [ALL_REQID]
    assert initiator.released[0].selector.contains(scene.ping(initiator))
    assert not initiator.dropped
    scene.works()


@pytest.mark.parametrize("suite", SUITES)
def test_every_kind_of_suite_makes_an_sa_pair(suite: tuple[tuple[Transform, ...], ...]) -> None:
    scene = pair(settings=Settings(ike=suite))
    scene.connect()
    view = scene.a.ike_sas()[0]
    assert set(view.transforms) == set(suite[0])


@pytest.mark.parametrize("esp", [((ENCR_GCM, ESN_OFF),), ((ENCR_CBC, INTEG, ESN_OFF),), ((Transform(1, 28), ESN_OFF),)])
def test_every_kind_of_child_suite_makes_an_sa_pair(esp: tuple[tuple[Transform, ...], ...]) -> None:
    scene = pair(settings=Settings(esp=esp))
    scene.connect()
    assert {sa.encryption for sa in scene.a.kernel.live(inbound=True)} == {esp[0][0]}


def test_a_seed_gives_a_byte_exact_transcript() -> None:
    transcripts = []
    for _ in range(2):
        scene = pair(seed=7)
        scene.connect()
        transcripts.append([d.data for host in scene.hosts for d in host.sent])
    assert transcripts[0] == transcripts[1]
    other = pair(seed=8)
    other.connect()
    assert transcripts[0] != [d.data for host in other.hosts for d in host.sent]


# rfc 7296: invalid-ke-retry
def test_a_wrong_guess_of_the_key_exchange_costs_one_round_trip() -> None:
    ours = Settings(ike=((ENCR_GCM, PRF, X25519, P256),))
    scene = pair(settings=ours, other=Settings(ike=(GCM_P256,)))
    scene.connect()
    assert datagrams(scene) == 6
    assert P256 in scene.a.ike_sas()[0].transforms


# rfc 7296: auth-failed
def test_a_wrong_psk_makes_nothing_and_both_are_told() -> None:
    scene = pair(other=Settings(psk=b"incorrect"))
    scene.acquire(scene.a)
    scene.network.run(120.0)
    scene.agree(ike_sas=0)
    for host in scene.hosts:
        assert not host.kernel.sas
        assert told(host, "auth-failed", str(scene.other(host).address))
    assert [d.reqid for d in scene.a.dropped] == [ALL_REQID]


# rfc 7296: one-suite
def test_no_common_ike_proposal_shows_both_offers() -> None:
    scene = pair(settings=Settings(ike=(GCM_X25519,)), other=Settings(ike=(CBC_X25519,)))
    scene.acquire(scene.a)
    scene.network.run(120.0)
    scene.agree(ike_sas=0)
    assert told(scene.b, "no-proposal", "AES128-GCM", "AES256")
    assert told(scene.a, "no-proposal", "AES128-GCM")
    assert [d.reqid for d in scene.a.dropped] == [ALL_REQID]


def test_no_common_child_proposal_shows_both_offers() -> None:
    scene = pair(settings=Settings(esp=((ENCR_GCM, ESN_OFF),)), other=Settings(esp=((ENCR_CBC, INTEG, ESN_OFF),)))
    scene.acquire(scene.a)
    scene.network.run(10.0)
    assert not scene.a.kernel.sas
    assert not scene.b.kernel.sas
    assert told(scene.b, "no-proposal", "AES128-GCM", "AES256")
    assert told(scene.a, "no-proposal", "AES128-GCM")
    assert [d.reqid for d in scene.a.dropped] == [ALL_REQID]


# rfc 7296: retransmit-initiator
def test_no_answer_is_given_up_within_the_time_that_packets_are_held() -> None:
    scene = pair()
    scene.network.lose = lambda _: True
    scene.acquire(scene.a)
    scene.network.run(75.0)
    scene.agree(ike_sas=0)
    assert told(scene.a, "no-answer", str(B4))
    assert [d.reqid for d in scene.a.dropped] == [ALL_REQID]
    assert len(scene.a.sent) == 8
    assert len({d.data for d in scene.a.sent}) == 1


def test_a_peer_that_comes_back_is_reached_again() -> None:
    scene = pair()
    scene.network.lose = lambda _: True
    scene.acquire(scene.a)
    scene.network.run(100.0)
    scene.network.lose = lambda _: False
    scene.connect()
    scene.works()


def test_a_second_filter_gets_its_own_pair_under_the_same_ike_sa() -> None:
    scene = pair(settings=Settings(smb=True))
    scene.connect()
    scene.acquire(scene.a, scene.network.now, SMB_REQID, tcp(A4, B4, 445))
    scene.network.settle()
    scene.agree()
    assert datagrams(scene) == 6
    for host in scene.hosts:
        assert sorted(sa.reqid for sa in host.kernel.live(inbound=False)) == [ALL_REQID, SMB_REQID]
    smb = [sa for sa in scene.a.kernel.live(inbound=False) if sa.reqid == SMB_REQID]
    assert smb[0].selector.contains(tcp(A4, B4, 445))
    assert not smb[0].selector.contains(scene.ping(scene.a))


@pytest.mark.parametrize("pfs", [False, True])
def test_a_new_child_with_and_without_its_own_key_exchange(pfs: bool) -> None:
    esp = ((ENCR_GCM, P256, X25519, ESN_OFF),) if pfs else ((ENCR_GCM, ESN_OFF),)
    scene = pair(settings=Settings(smb=True, pfs=pfs, esp=esp))
    scene.connect()
    scene.acquire(scene.b, scene.network.now, SMB_REQID, tcp(B4, A4, 445))
    scene.network.settle()
    scene.agree()


# rfc 7296: either-may-ask
def test_requests_from_both_sides_at_once_end_in_one_ike_sa_and_one_pair() -> None:
    scene = pair()
    scene.acquire(scene.a)
    scene.acquire(scene.b)
    scene.network.run(60.0)
    scene.agree()
    scene.works()


def test_the_same_packet_asking_again_starts_nothing_new() -> None:
    scene = pair()
    for _ in range(5):
        scene.acquire(scene.a)
    scene.network.settle()
    scene.agree()
    assert datagrams(scene) == 4
    scene.acquire(scene.a, scene.network.now)
    scene.network.settle()
    assert datagrams(scene) == 4


# rfc 7296: cookie-first
def test_many_half_open_ike_sas_make_the_responder_ask_for_a_cookie() -> None:
    flooded = pair()
    sample = pair(seed=99)
    sample.acquire(sample.a)
    sample.network.run(0.0)
    template = parse_clear(sample.a.sent[0].data)
    payloads = [p for p in template.payloads if not isinstance(p, NotifyPayload)]
    for number in range(1, 200):
        spoofed = build_clear(template.header._replace(spi_i=number.to_bytes(8)), payloads)
        flooded.network.deliver(A4, B4, spoofed)
    asked = [d for d in flooded.b.sent if d.data[8:16] == bytes(8)]
    assert asked
    assert int.from_bytes(asked[-1].data[34:36]) == NotifyType.COOKIE
    flooded.acquire(flooded.a, flooded.network.now)
    flooded.network.run(5.0)
    assert len(flooded.a.kernel.live(inbound=True)) == 1
    flooded.network.run(60.0)
    flooded.agree()


def test_of_one_offer_each_rule_has_what_it_wants() -> None:
    for only in (GCM_X25519, GCM_P256, GCM_X25519):
        scene = pair(settings=Settings(ike=(GCM_X25519, GCM_P256)), other=Settings(ike=(only,)))
        scene.connect()
        (sa,) = scene.a.ike_sas()
        assert only[-1] in sa.transforms
