# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages in fragments between two engines (RFC 7383)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.conversations.dialogue import Dialogue, at_port, datagrams, established, read
from tests.conversations.mortal import Wire
from tests.conversations.network import BAD, Network
from tests.conversations.plans import ALL_REQID, GCM_X25519, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, ping
from tests.unit.pki import NOW, Holder, issue, method, root
from xfrmd import limits
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, TimerFired
from xfrmd.ike.v2.constants import ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.fragments import Reassembly
from xfrmd.ike.v2.fragments import datagrams as datagrams_of
from xfrmd.ike.v2.header import Header, parse_header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload, SkfPayload
from xfrmd.model.proposals import Transform

CA = root()


def holder(name: str) -> Holder:
    """RSA, and many names: IKE_AUTH takes more than a packet."""
    return issue(name, by=CA, kind="rsa2048", san=[f"{name}.example", *(f"{n}.{name}.example" for n in range(40))])


A, B = holder("a"), holder("b")
SETTINGS = Settings(auth=(method(CA, [A]),)), Settings(auth=(method(CA, [B]),))


def talk() -> Dialogue:
    return Dialogue(*SETTINGS)


def part(datagram: SendDatagram) -> tuple[int, int] | None:
    """Number and total of a fragment, None for a whole message."""
    closed = parse_clear(datagram.data).encrypted
    return (closed.number, closed.total) if isinstance(closed, SkfPayload) else None


def asked(talk: Dialogue) -> list[SendDatagram]:
    """A's IKE_AUTH, not delivered yet."""
    return datagrams(talk.deliver(datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0]))


# rfc 7383: announce init-never first-names-payload reassemble-authentic
def test_a_long_message_goes_in_fragments_that_any_path_carries() -> None:
    scene = talk()
    sent = asked(scene)
    total = len(sent)
    assert total > 1
    assert [part(one) for one in sent] == [(number, total) for number in range(1, total + 1)]
    assert max(len(one.data) for one in sent) <= limits.FRAGMENT_SIZE
    firsts = [parse_clear(one.data).encrypted for one in sent]
    assert [one.first == 0 for one in firsts if one is not None] == [False, *[True] * (total - 1)]
    answers = [one for each in sent for one in datagrams(scene.deliver(each))]
    assert len(answers) > 1
    for one in answers:
        scene.deliver(one)
    assert len(scene.a.installed()) == len(scene.b.installed()) == 2
    assert scene.a.told("ike-up").fields["remote_id"] == "b.example"


# rfc 7383: announce
@pytest.mark.parametrize("lost_by", ["request", "answer"])
def test_a_peer_that_does_not_announce_them_gets_whole_messages(lost_by: str) -> None:
    scene = talk()
    init = datagrams(scene.acquire())[0]
    if lost_by == "request":
        init = without(init)
        answer = datagrams(scene.deliver(init))[0]
        assert parse_clear(answer.data).notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is None
    else:
        answer = without(datagrams(scene.deliver(init))[0])
    (auth,) = datagrams(scene.deliver(answer))
    assert part(auth) is None
    assert len(auth.data) > limits.FRAGMENT_SIZE


def without(datagram: SendDatagram) -> SendDatagram:
    clear = parse_clear(datagram.data)
    kept = [
        one
        for one in clear.payloads
        if not isinstance(one, NotifyPayload) or one.notify != NotifyType.IKEV2_FRAGMENTATION_SUPPORTED
    ]
    return replace(datagram, data=build_clear(clear.header, kept))


# rfc 7383: bounded reassemble-authentic replay-response
def test_order_and_repetitions_do_not_matter_and_a_request_is_answered_again_by_its_first_fragment() -> None:
    scene = talk()
    sent = asked(scene)
    for one in (sent[-1], sent[-1], *sent[1:-1]):
        assert datagrams(scene.deliver(one)) == []
    answers = datagrams(scene.deliver(sent[0]))
    assert len(answers) > 1
    for one in sent[1:]:
        assert datagrams(scene.deliver(one)) == []
    assert datagrams(scene.deliver(sent[0])) == answers


# rfc 7383: reassemble-authentic fragment-sealed
def test_a_fragment_that_was_touched_counts_for_nothing() -> None:
    scene = talk()
    sent = asked(scene)
    for offset in (-1, 28 + 4 + 1, 28 + 4 + 3, 40):
        octets = bytearray(sent[1].data)
        octets[offset] ^= 1
        assert datagrams(scene.deliver(replace(sent[1], data=bytes(octets)))) == []
    for one in sent:
        answers = datagrams(scene.deliver(one))
    assert len(answers) > 1, "those that were not touched are enough"


# rfc 7383: retransmit-all
def test_all_fragments_are_repeated_as_they_were() -> None:
    scene = talk()
    sent = asked(scene)
    scene.now += limits.RETRANSMIT_FIRST
    assert datagrams(scene.a.hear(TimerFired(), scene.now)) == sent


def cut_anew(scene: Dialogue, sent: list[SendDatagram], limit: int) -> list[SendDatagram]:
    """The same message of A's in other fragments. B has keys: it has had a fragment."""
    arrived, message = Reassembly(1), None
    for one in sent:
        clear = parse_clear(one.data)
        assert isinstance(clear.encrypted, SkfPayload)
        message = established(scene.b).agreed_channel.join(clear, clear.encrypted, arrived)
    assert message is not None
    octets = established(scene.a).agreed_channel.seal(message.header, message.payloads, limit)
    return [replace(sent[0], data=one) for one in datagrams_of(octets)]


# rfc 7383: size-change replay-response
def test_whoever_cuts_anew_is_understood() -> None:
    scene = talk()
    sent = asked(scene)
    scene.deliver(sent[0])
    smaller = cut_anew(scene, sent, 600)
    assert len(smaller) > len(sent)
    scene.deliver(smaller[0])
    for one in sent[1:]:
        assert datagrams(scene.deliver(one)) == [], "what has been given up is not mixed with what is new"
    answers = [one for each in smaller[1:] for one in datagrams(scene.deliver(each))]
    assert len(answers) > 1
    assert datagrams(scene.deliver(sent[1])) == []
    assert datagrams(scene.deliver(sent[0])) == answers, "the same request, as it was cut before"


# rfc 7383: bounded
def test_a_message_that_grows_too_long_is_refused() -> None:
    scene = talk()
    sent = asked(scene)
    for one in sent:
        scene.deliver(one)
    many = [NotifyPayload(40_000 + number, bytes(1000)) for number in range(20)]
    octets = established(scene.a).agreed_channel.seal(forged_header(scene), many, 1200)
    parts = [replace(sent[0], data=one) for one in datagrams_of(octets)]
    assert len(octets) > limits.DATAGRAM_SIZE
    for one in parts:
        answers = datagrams(scene.deliver(one))
        if answers:
            break
    assert read(scene.a, answers[0]).notify(NotifyType.INVALID_SYNTAX) is not None


def forged_header(scene: Dialogue) -> Header:
    sa = established(scene.a)
    number = sa.window.next_id
    return Header.of(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, number, initiator=True, response=False)


# rfc 7383: reassemble-authentic
@pytest.mark.parametrize("spi_known", [True, False])
def test_a_fragment_ahead_of_all_keys_is_dropped(spi_known: bool) -> None:
    """Whoever has only sent IKE_SA_INIT repeats its message ID with something that looks like a fragment."""
    scene = talk()
    answer = datagrams(scene.deliver(datagrams(scene.acquire())[0]))[0]
    header = parse_header(answer.data)
    spi_r = header.spi_r if spi_known else bytes(8)
    body = bytes((0, 0, 0, 48, 0, 1, 0, 1)) + bytes(40)
    forged = header.spi_i + spi_r + bytes((PayloadType.SKF, 0x20, 34, 0x08)) + bytes(4) + (28 + 48).to_bytes(4) + body
    assert scene.deliver(SendDatagram(answer.remote, answer.local, forged)) == []


# rfc 7383: bounded
def test_a_fragment_of_a_message_that_is_not_whole_moves_nobody() -> None:
    """It can be repeated from anywhere by anybody who has seen it."""
    scene = talk()
    sent = asked(scene)
    scene.deliver(sent[0])
    before = established(scene.b).remote
    scene.deliver(at_port(sent[0], 6666))
    assert established(scene.b).remote == before


@pytest.mark.parametrize("seed", range(12))
def test_loss_repetition_and_disorder_end_in_one_pair_of_sas(seed: int) -> None:
    network = Network(seed, replace(BAD, until=30.0))
    a = network.add("A", A4, Engine(plan(A4, [B4], SETTINGS[0]), network.entropy(), NOW.timestamp))
    b = network.add("B", B4, Engine(plan(B4, [A4], SETTINGS[1]), network.entropy(), NOW.timestamp))
    scene = Pair(network, a, b)
    network.at(random.Random(seed).random(), a, Acquire(ALL_REQID, ping(A4, B4)))
    network.settle()
    scene.converge()
    assert any(parse_header(sent.data).next_payload == PayloadType.SKF for sent in a.sent)


class Narrow:
    """Two hosts on a path that drops what is larger than `size` octets, in silence."""

    def __init__(
        self, size: int, fragment_size: int = limits.FRAGMENT_SIZE, settings: tuple[Settings, Settings] = SETTINGS
    ) -> None:
        ours, theirs = (replace(one, fragment_size=fragment_size) for one in settings)
        self.network = Network(1)
        self.network.lose = lambda one: (
            len(one.data) > size and parse_header(one.data).exchange != ExchangeType.IKE_SA_INIT
        )
        a = self.network.add("A", A4, Engine(plan(A4, [B4], ours), self.network.entropy(), NOW.timestamp))
        b = self.network.add("B", B4, Engine(plan(B4, [A4], theirs), self.network.entropy(), NOW.timestamp))
        self.scene = Pair(self.network, a, b)
        self.scene.acquire(a)


# rfc 7383: path-mtu fragment-size retransmit-all
@pytest.mark.parametrize(("size", "fragment_size"), [(548, 1228), (1228, 1400), (548, 1400)])
def test_on_a_path_that_drops_them_fragments_become_smaller_at_both_ends(size: int, fragment_size: int) -> None:
    """The answer is as small as the request that came through."""
    narrow = Narrow(size, fragment_size)
    scene, network = narrow.scene, narrow.network
    network.run(20.0)
    scene.agree()
    for host in scene.hosts:
        later = [len(one.data) for one in host.sent if parse_header(one.data).exchange != ExchangeType.IKE_SA_INIT]
        assert later[-1] <= size
    assert any(len(one.data) > size for one in scene.a.sent), "the larger ones were tried first"
    wire = Wire()
    for host in scene.hosts:
        wire.watch(host.sent)


# rfc 7383: path-mtu
# rfc 9242: auth-covers
@pytest.mark.parametrize("settings", [SETTINGS, (Settings(), Settings())], ids=["certificates", "psk"])
def test_so_they_do_in_ike_intermediate_whose_keys_change_with_its_answer(settings: tuple[Settings, Settings]) -> None:
    """ML-KEM-1024 and then ML-KEM-768: what is cut anew has the keys of its own exchange, and AUTH covers it once."""
    suite = (*GCM_X25519, Transform(6, 37), Transform(7, 36))
    one, other = (replace(each, ike=(suite,)) for each in settings)
    narrow = Narrow(548, settings=(one, other))
    narrow.network.run(40.0)
    narrow.scene.agree()
    kinds = {parse_header(each.data).exchange for each in narrow.scene.a.sent if len(each.data) > 548}
    assert ExchangeType.IKE_INTERMEDIATE in kinds
    assert max(len(each.data) for each in narrow.scene.b.sent[-5:]) <= 548
    wire = Wire()
    for host in narrow.scene.hosts:
        wire.watch(host.sent)


# rfc 7383: path-mtu
def test_a_path_that_drops_smaller_ones_too_is_given_up() -> None:
    """The positive control: nothing else makes up for it."""
    narrow = Narrow(500)
    narrow.network.run(100.0)
    assert not narrow.scene.a.kernel.sas
    assert "no-answer" in narrow.scene.a.codes()


# rfc 7383: path-mtu replay-response
def test_a_response_that_was_too_large_is_cut_as_the_request_was_when_that_comes_again() -> None:
    scene = talk()
    sent = asked(scene)
    answers = [one for each in sent for one in datagrams(scene.deliver(each))]
    assert max(len(one.data) for one in answers) > 600
    octets = b"".join(one.data for one in sent)
    anew = datagrams_of(established(scene.a).agreed_channel.cut(octets, 600))
    again = [one for part_ in anew for one in datagrams(scene.deliver(replace(sent[0], data=part_)))]
    assert len(again) > len(answers)
    assert max(len(one.data) for one in again) <= 600
    for one in again:
        scene.deliver(one)
    assert len(scene.a.installed()) == len(scene.b.installed()) == 2
