# SPDX-License-Identifier: GPL-2.0-or-later
"""Engines that die at every step of every exchange and go on from what was kept: one IKE SA, one pair, no IV twice."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.conversations.lives import (
    CBC,
    HYBRID,
    PFS,
    Ask,
    Play,
    as_it_is,
    connect,
    delete_child,
    delete_ike,
    play,
    rekey_child,
    rekey_child_both,
    rekey_ike,
    rekey_ike_both,
)
from tests.conversations.mortal import Moment
from tests.conversations.plans import GCM_P256, GCM_X25519, SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd.ike.events import Acquire, Event
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.limits import floods
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.spd import Mode


def another_child(_: Play) -> list[tuple[str, Event]]:
    return [("A", Acquire(SMB_REQID, tcp(A4, B4, 445)))]


def rekey_hybrid_child(one: Play) -> list[tuple[str, Event]]:
    return rekey_child(one)


def rekey_hybrid_ike(one: Play) -> list[tuple[str, Event]]:
    return rekey_ike(one)


def connect_hybrid(one: Play) -> list[tuple[str, Event]]:
    return connect(one)


def connect_in_fragments(one: Play) -> list[tuple[str, Event]]:
    return connect(one)


def rekey_child_in_fragments(one: Play) -> list[tuple[str, Event]]:
    return rekey_child(one)


def rekey_ike_in_fragments(one: Play) -> list[tuple[str, Event]]:
    return rekey_ike(one)


def rekey_child_in_udp(one: Play) -> list[tuple[str, Event]]:
    return rekey_child(one)


def connect_by_a_cookie(one: Play) -> list[tuple[str, Event]]:
    return connect(one)


def connect_by_another_group(one: Play) -> list[tuple[str, Event]]:
    return connect(one)


def connect_a_tunnel(one: Play) -> list[tuple[str, Event]]:
    return connect(one)


def rekey_child_of_a_tunnel(one: Play) -> list[tuple[str, Event]]:
    return rekey_child(one)


def another_hybrid_child(one: Play) -> list[tuple[str, Event]]:
    return another_child(one)


def tunnelled(made: Plan, own: Address, peer: Address) -> Plan:
    return replace(made, protect=tuple(replace(one, mode=Mode.TUNNEL, tunnel=(own, peer)) for one in made.protect))


def fill(one: Play) -> None:
    """B has so many half-open IKE SAs that it asks the next one for a cookie."""
    sample = play(seed=99)
    sample.scene.acquire(sample.scene.a)
    sample.run(0.0)
    template = parse_clear(sample.scene.a.sent[0].data)
    payloads = [each for each in template.payloads if not isinstance(each, NotifyPayload)]
    for number in range(1, floods.HALF_OPEN_COOKIE + 1):
        spoofed = build_clear(template.header._replace(spi_i=number.to_bytes(8)), payloads)
        one.scene.network.deliver(A4, B4, spoofed)
    assert one.scene.b.engine.snapshot().half_open == floods.HALF_OPEN_COOKIE
    one.scene.b.sent.clear()


def asked_for(one: Play, notify: NotifyType) -> bool:
    """Did B's answer to the first message ask for this?"""
    clear = (parse_clear(sent.data) for sent in one.scene.b.sent if sent.data[18] == ExchangeType.IKE_SA_INIT)
    return any(message.notify(notify) is not None for message in clear)


FRAGMENTS = Settings(fragment_size=150)
"""Every sealed message that says something goes in several."""
ASKS: dict[Ask, Settings] = {
    connect_in_fragments: FRAGMENTS,
    rekey_child_in_fragments: FRAGMENTS,
    rekey_ike_in_fragments: FRAGMENTS,
    rekey_child_in_udp: Settings(encapsulate=True),
    connect_hybrid: HYBRID,
    rekey_hybrid_child: HYBRID,
    rekey_hybrid_ike: HYBRID,
    connect: Settings(),
    rekey_child: PFS,
    rekey_ike: Settings(),
    rekey_child_both: Settings(),
    rekey_ike_both: CBC,
    delete_child: Settings(),
    delete_ike: Settings(),
    another_child: Settings(smb=True),
    connect_by_a_cookie: Settings(),
    connect_by_another_group: Settings(ike=(GCM_X25519, GCM_P256)),
    connect_a_tunnel: Settings(),
    rekey_child_of_a_tunnel: Settings(),
    another_hybrid_child: replace(HYBRID, smb=True),
}
THEIRS: dict[Ask, Settings] = {connect_by_another_group: Settings(ike=(GCM_P256,))}
TUNNELS: tuple[Ask, ...] = (connect_a_tunnel, rekey_child_of_a_tunnel)
RETRIED = {connect_by_a_cookie: NotifyType.COOKIE, connect_by_another_group: NotifyType.INVALID_KE_PAYLOAD}
"""What the first message is answered by."""
CONNECTING: tuple[Ask, ...] = (connect, connect_hybrid, connect_in_fragments, connect_a_tunnel, *RETRIED)
SEAMLESS: tuple[Ask, ...] = (
    rekey_child,
    rekey_ike,
    rekey_hybrid_child,
    rekey_hybrid_ike,
    rekey_child_in_fragments,
    rekey_ike_in_fragments,
    rekey_child_in_udp,
    rekey_child_both,
    rekey_ike_both,
    another_child,
    rekey_child_of_a_tunnel,
    another_hybrid_child,
)


def act(ask: Ask, who: str, at: int, moment: Moment) -> tuple[Play, int]:
    """Deaths in an exchange under traffic, and all that follows until it is quiet. How many packets were lost? `who`
    names who dies, each at that event of his own.
    """
    one = play(settings=ASKS[ask], theirs=THEIRS.get(ask), change=tunnelled if ask in TUNNELS else as_it_is)
    if ask is connect_by_a_cookie:
        fill(one)
    if ask not in CONNECTING:
        one.scene.acquire(one.scene.a)
        one.run(1.0)
    for name in who:
        one.mortals[name].arm(at, moment)
    running = one.flows(5.0)
    for name, event in ask(one):
        one.scene.network.at(one.scene.network.now + 0.1, one.mortals[name].host, event)
    one.run(8.0)
    if ask not in SEAMLESS:  # what was given up is asked for again by traffic, when a peer's silence has been believed
        one.run(200.0)
        one.scene.acquire(one.scene.a, one.scene.network.now)
        one.run(2.0)
    one.scene.converge(200)
    one.look_at_the_wire()
    one.scene.works()
    assert not any(flow.clear for flow in running), "held, never clear (test_engine_soft sees those that are clear)"
    return one, sum(len(flow.lost) for flow in running)


def steps(ask: Ask, who: str) -> int:
    """How many events a host has to handle in an exchange; of several hosts, the one with fewest."""
    one = act(ask, who, 0, Moment.AFTER)[0]
    if ask in RETRIED:
        assert asked_for(one, RETRIED[ask]), "this shows nothing of it"
    return min(one.mortals[name].events for name in who)


@pytest.mark.parametrize("who", ["A", "B"])
@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
def test_death_at_every_step_of_every_exchange(ask: Ask, who: str) -> None:
    for at, moment in itertools.product(range(1, min(steps(ask, who), 10) + 1), Moment):
        one, lost = act(ask, who, at, moment)
        assert one.mortals[who].deaths == 1, (at, moment)
        if ask in SEAMLESS and moment in (Moment.UNSAVED, Moment.AFTER):
            assert lost == 0, (at, moment)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
def test_both_ends_die_at_the_same_step_of_every_exchange(ask: Ask) -> None:
    """Where the death of one leaves the other nothing to do at that step, it dies alone."""
    together = 0
    for at, moment in itertools.product(range(1, min(steps(ask, "AB"), 6) + 1), Moment):
        one, _ = act(ask, "AB", at, moment)
        deaths = sum(mortal.deaths for mortal in one.mortals.values())
        assert deaths > 0, (at, moment)
        together += deaths == 2
    assert together > 0
