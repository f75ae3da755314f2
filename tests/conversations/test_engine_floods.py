# SPDX-License-Identifier: GPL-2.0-or-later
"""Who asks for IKE SAs and lets nothing come of them waits; honest hosts beside it, behind one NAT too, do not."""

from __future__ import annotations

import heapq
import itertools

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams
from tests.conversations.scenes import B4, B6, ping
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import Acquire, DatagramReceived, Endpoint, TimerFired
from xfrmd.ike.half_open import HalfOpen
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import KePayload, NoncePayload, NotifyPayload
from xfrmd.limits import floods
from xfrmd.model.addresses import Address

FIRST = parse_clear(datagrams(Dialogue().acquire())[0].data)
PAYLOADS = [one for one in FIRST.payloads if not isinstance(one, NotifyPayload)]


class Target:
    """B, which takes any peer that has the key, and whoever asks it."""

    def __init__(self, psk: bytes = plans.Settings().psk) -> None:
        self.b = Side(B4, plans.responding(plans.Settings(psk=psk)), 2)
        self.now = 0.0
        self.spis = itertools.count(1)

    def hear(self, remote: Endpoint, data: bytes, port: int = 500) -> list[SendDatagram]:
        """What B answers."""
        local = Endpoint(B4 if remote.address.family == 4 else B6, port)
        return datagrams(self.b.hear(DatagramReceived(local, remote, data), self.now))

    def ask(self, remote: Endpoint, *, cookie: bool = True) -> bool:
        """An IKE_SA_INIT, and with `cookie` once more if B asks for one: is it answered with a key exchange?"""
        header = FIRST.header._replace(spi_i=next(self.spis).to_bytes(8))
        answers = self.hear(remote, build_clear(header, PAYLOADS))
        told = _cookie(answers)
        if told is not None and cookie:
            answers = self.hear(remote, build_clear(header, [told, *PAYLOADS]))
        return bool(answers) and any(isinstance(one, KePayload) for one in parse_clear(answers[0].data).payloads)

    def pass_time(self, seconds: float) -> None:
        """B's timers fire."""
        end = self.now + seconds
        while (due := self.b.engine.next_deadline()) is not None and due <= end:
            self.now = due
            self.b.hear(TimerFired(), due)
        self.now = end

    def connect(self, own: Address, seen_as: Endpoint | None = None, seed: int = 0) -> bool:
        """An honest host connects, if B answers it at once. The same seed: by the same SPI."""
        client = Side(own, plans.plan(own, [B4]), seed or next(self.spis))
        waiting = datagrams(client.hear(Acquire(plans.ALL_REQID, ping(own, B4)), self.now))
        while waiting:
            sent = waiting.pop(0)
            for answer in self.hear(seen_as or sent.local, sent.data, sent.remote.port):
                waiting += datagrams(client.hear(DatagramReceived(sent.local, sent.remote, answer.data), self.now))
        return len(client.installed()) == 2

    def suspects(self, host: str) -> bool:
        """Has too much of this host come to nothing?"""
        return self.b.engine.suspect(Address.parse(host), self.now)

    def count(self, what: str) -> int:
        """One of B's counters."""
        return self.b.engine.counters()[what]


def _cookie(answers: list[SendDatagram]) -> NotifyPayload | None:
    return parse_clear(answers[0].data).notify(NotifyType.COOKIE) if answers else None


def at(text: str, port: int = 500) -> Endpoint:
    return Endpoint(Address.parse(text), port)


def test_a_host_of_whose_negotiations_nothing_comes_may_begin_few_more() -> None:
    target = Target()
    attacker = at("192.0.2.1")
    for _ in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE):
        assert target.ask(attacker)
    assert not target.suspects("192.0.2.1"), "not yet"
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert [target.suspects(host) for host in ("192.0.2.1", "192.0.2.9", "198.51.100.7")] == [True, False, False]
    taken = 0
    for _ in range(100):
        taken += target.ask(attacker)
        target.now += 0.01
    assert taken == pytest.approx(1 / floods.HALF_OPEN_PAUSE, abs=1)
    assert target.count("dropped-suspect") == 100 - taken
    assert target.b.told("suspect-host").fields["peer"] == "192.0.2.1"
    assert target.connect(Address.parse("198.51.100.7")), "others are not held up"
    assert target.connect(Address.parse("192.0.2.9")), "nor are neighbours"


def test_one_host_does_not_lock_its_network_out() -> None:
    target = Target()
    attacker = at("192.0.2.1")
    for _ in range(4 * floods.HALF_OPEN_STALE_NETWORK):
        target.ask(attacker)
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert [target.ask(attacker) for _ in range(2)] == [True, False]
    assert all(target.connect(Address.parse(f"192.0.2.{number}")) for number in range(10, 20))


def test_a_host_is_forgiven_when_it_stops() -> None:
    target = Target()
    attacker = at("192.0.2.1")
    for _ in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE):
        target.ask(attacker)
    target.pass_time(floods.HALF_OPEN_LIFETIME)
    assert not target.suspects("192.0.2.1")
    assert all(target.ask(attacker) for _ in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE))


@pytest.mark.parametrize(
    ("one_of", "neighbour", "stranger"),
    [
        ("192.0.2.{}", "192.0.2.250", "192.0.3.250"),
        ("2001:db8:1:{:x}::1", "2001:db8:1:ffff::1", "2001:db8:2:ffff::1"),
    ],
)
def test_hosts_of_one_network_answer_for_each_other_later(one_of: str, neighbour: str, stranger: str) -> None:
    target = Target()
    every = itertools.cycle(range(1, 200))
    for _ in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE_NETWORK):
        assert target.ask(at(one_of.format(next(every))))
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert [target.suspects(host) for host in (neighbour, stranger)] == [True, False]
    assert target.ask(at(neighbour))
    assert not target.ask(at(neighbour)), "only one for all of them"
    assert target.ask(at(stranger))
    assert target.ask(at(stranger))


def test_all_addresses_of_an_ipv6_host_are_one_host() -> None:
    target = Target()
    for number in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE):
        assert target.ask(at(f"2001:db8::{number + 1:x}"))
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert [target.ask(at(f"2001:db8::ffff:{number:x}")) for number in range(3)] == [True, False, False]
    assert target.ask(at("2001:db8:0:1::1"))


def test_nobody_is_held_to_what_others_asked_for_in_its_name() -> None:
    target = Target()
    victim = at("192.0.2.1")
    for _ in range(1000):
        target.ask(victim, cookie=False)
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert all(target.ask(victim) for _ in range(floods.HALF_OPEN_STALE))
    assert target.count("dropped-suspect") == 0


def test_failed_proofs_count_like_those_that_never_come() -> None:
    target = Target(psk=b"another secret")
    guesser = Address.parse("192.0.2.1")
    for port in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE):
        assert not target.connect(guesser, Endpoint(guesser, 1024 + port))
    assert target.b.engine.snapshot().half_open == 0
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert [target.ask(Endpoint(guesser, 500)) for _ in range(3)] == [True, False, False]


def test_failed_proofs_by_one_spi_count_like_those_by_many() -> None:
    target = Target(psk=b"another secret")
    guesser = Address.parse("192.0.2.1")
    for _ in range(floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE):
        assert not target.connect(guesser, seed=7)
    assert target.b.engine._ctx.store.half_open.load(target.now) == floods.HALF_OPEN_COOKIE + floods.HALF_OPEN_STALE
    target.pass_time(floods.HALF_OPEN_GRACE)
    for _ in range(3):
        assert not target.connect(guesser, seed=7)
    assert target.count("dropped-suspect") == 2
    target.pass_time(floods.HALF_OPEN_LIFETIME)
    assert target.b.engine._ctx.store.half_open.load(target.now) == 0
    assert not target.b.engine._ctx.store.half_open._books


def test_the_oldest_gives_way_where_there_is_no_room() -> None:
    target = Target()
    for number in range(floods.HALF_OPEN_LAST):
        assert target.ask(at(f"10.{number // 256}.{number % 256}.1"))
    assert not target.ask(at("192.0.2.1")), "all may be honest, and on their way"
    assert target.count("dropped-full") == 1
    target.pass_time(floods.HALF_OPEN_GRACE)
    assert target.connect(Address.parse("192.0.2.1"))
    assert target.b.engine.snapshot().half_open == floods.HALF_OPEN_LAST - 1
    assert target.count("crowded-out") == 1


def test_an_office_behind_one_nat_connects_at_once_beside_an_attacker() -> None:
    """150 hosts begin at once, each answers after a second and a half, while somebody else floods."""
    target = Target()
    office, attacker = Address.parse("203.0.113.1"), at("192.0.2.1")
    settings = plans.Settings()
    clients = []
    for number in range(150):
        own = Address.parse(f"192.168.7.{number + 1}")
        clients.append((Side(own, plans.plan(own, [B4], settings), number), own, Endpoint(office, 20_000 + number)))
    order = itertools.count()
    arrivals: list[tuple[float, int, int, SendDatagram]] = []

    def send(index: int, sent: list[SendDatagram]) -> None:
        for one in sent:
            heapq.heappush(arrivals, (target.now + 1.5, next(order), index, one))

    for index, (client, own, _) in enumerate(clients):
        send(index, datagrams(client.hear(Acquire(plans.ALL_REQID, ping(own, B4)), 0.0)))
    for _ in range(floods.HALF_OPEN_COOKIE):
        target.ask(attacker)
    while arrivals:
        target.now, _, index, sent = heapq.heappop(arrivals)
        target.ask(attacker)
        client, _, mapped = clients[index]
        for answer in target.hear(mapped, sent.data, sent.remote.port):
            heard = DatagramReceived(sent.local, sent.remote, answer.data)
            send(index, datagrams(client.hear(heard, target.now)))
    assert target.count("ike-sas") == 150  # their child SAs are another matter: decision 42
    assert target.now < 5.0
    assert target.count("cookies") >= 150
    assert not [one for one in target.b.notices() if one.code == "suspect-host" and str(office) in one.message]


def test_refusals_run_out_for_forged_addresses_only() -> None:
    """An honest host whose first guess of the group is wrong hears so, however many others are refused."""
    target = Target()

    def refused(number: int, cookie: NotifyPayload | None = None) -> list[SendDatagram]:
        header = FIRST.header._replace(spi_i=number.to_bytes(8))
        payloads = [one for one in PAYLOADS if not isinstance(one, NoncePayload)]
        return target.hear(at("192.0.2.1"), build_clear(header, [cookie, *payloads] if cookie else payloads))

    answers = [refused(number) for number in range(1, 3 * floods.CLEAR_ANSWERS)]
    cookies = [_cookie(answer) for answer in answers]
    assert cookies.count(None) == floods.CLEAR_ANSWERS
    last = cookies[-1]
    assert last is not None
    (answer,) = refused(3 * floods.CLEAR_ANSWERS - 1, last)
    assert parse_clear(answer.data).notify(NotifyType.INVALID_SYNTAX)
    target.now += floods.COOKIE_LINGER
    assert _cookie(refused(1)) is None


def test_a_copy_of_what_was_told_a_cookie_is_not_answered_when_the_load_has_gone() -> None:
    """The host shows its cookie, and proves that message: an answer to the one before would not fit its proof."""
    target = Target()
    for _ in range(floods.HALF_OPEN_COOKIE):
        assert target.ask(at("192.0.2.1"))
    target.pass_time(floods.HALF_OPEN_LIFETIME - 1)
    own = Address.parse("198.51.100.7")
    client = Side(own, plans.plan(own, [B4]), 99)
    (bare,) = datagrams(client.hear(Acquire(plans.ALL_REQID, ping(own, B4)), target.now))
    (told,) = target.hear(bare.local, bare.data)
    assert _cookie([told])
    (shown,) = datagrams(client.hear(DatagramReceived(bare.local, bare.remote, told.data), target.now))
    target.pass_time(2)  # those of which nothing has come are forgotten
    copies = target.hear(bare.local, bare.data)
    waiting = [*copies, *target.hear(shown.local, shown.data)]
    while waiting:
        answer = waiting.pop(0)
        for sent in datagrams(client.hear(DatagramReceived(bare.local, bare.remote, answer.data), target.now)):
            waiting += target.hear(sent.local, sent.data, sent.remote.port)
    assert len(client.installed()) == 2
    target.pass_time(floods.COOKIE_LINGER)
    assert target.ask(at("192.0.2.2"), cookie=False), "no cookie is asked for any more"


def test_a_message_too_short_for_a_key_exchange_is_told_no_cookie() -> None:
    target = Target()
    while target.ask(at("192.0.2.1"), cookie=False):
        pass
    for size, answers in ((floods.COOKIE_ASKER - 1, 0), (floods.COOKIE_ASKER, 1)):
        short = build_clear(FIRST.header, [NotifyPayload(12345, bytes(size - 36))])
        assert len(short) == size
        assert len(target.hear(at("192.0.2.2"), short)) == answers


def test_books_are_bounded() -> None:
    target = Target()
    half_open = target.b.engine._ctx.store.half_open = HalfOpen(80)
    for number in range(floods.HALF_OPEN_COOKIE + 100):
        target.ask(at(f"10.{number // 256}.{number % 256}.1"))
        target.now += 0.001
    assert half_open.load(target.now) == 80
    assert len(half_open._books) <= 160
    target.pass_time(floods.HALF_OPEN_LIFETIME)
    assert half_open.load(target.now) == 0
    assert not half_open._books


def test_a_repeated_request_is_no_other() -> None:
    target = Target()
    header = FIRST.header._replace(spi_i=(1).to_bytes(8))
    answer = target.hear(at("192.0.2.1"), build_clear(header, PAYLOADS))
    assert target.hear(at("192.0.2.1"), build_clear(header, PAYLOADS)) == answer
    assert target.b.engine.snapshot().half_open == 1
