# SPDX-License-Identifier: GPL-2.0-or-later
"""Established SAs: rekeys from each side and from both at once, deletes, liveness, restarts; packets run meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.conversations.kernel_model import KernelModel
from tests.conversations.network import Flow, Host
from tests.conversations.plans import ENCR_GCM, ESN_OFF, GCM_X25519, P256, X25519, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, pair
from xfrmd import limits
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, Event, PlanChanged, Rekey
from xfrmd.model.proposals import Transform

HYBRID = Settings(ike=((*GCM_X25519, Transform(6, 36)),), pfs=True)
"""With an additional key exchange: a rekey has two exchanges."""
PFS = Settings(pfs=True, esp=((ENCR_GCM, X25519, P256, ESN_OFF),))


def rekey_child(scene: Pair, host: Host) -> Event:
    return Rekey(scene.child(host).spi_in.to_bytes(4))


def rekey_ike(scene: Pair, host: Host) -> Event:
    return Rekey(host.ike_sas()[0].local_spi)


def delete_child(scene: Pair, host: Host) -> Event:
    return Delete(scene.child(host).spi_in.to_bytes(4))


def delete_ike(scene: Pair, host: Host) -> Event:
    return Delete(host.ike_sas()[0].local_spi)


def flows(scene: Pair, seconds: float) -> list[Flow]:
    return [scene.flow(host, seconds, interval=0.01) for host in scene.hosts]


def undisturbed(running: list[Flow]) -> None:
    for flow in running:
        assert flow.lost == []
        assert flow.waiting == 0
        assert flow.delivered > 100


Ask = Callable[[Pair, Host], Event]


@pytest.mark.parametrize("settings", [Settings(), PFS, HYBRID], ids=["plain", "pfs", "hybrid"])
@pytest.mark.parametrize("who", ["a", "b", "ab"])
@pytest.mark.parametrize("ask", [rekey_child, rekey_ike])
def test_a_rekey_loses_no_packet(ask: Ask, who: str, settings: Settings) -> None:
    scene = pair(settings=settings)
    scene.connect()
    child, ike = scene.child(scene.a), scene.a.ike_sas()[0]
    running = flows(scene, 8.0)
    for host in scene.hosts:
        if host.name.lower() in who:
            scene.network.at(scene.network.now + 1.0, host, ask(scene, host))
    scene.network.run(scene.network.now + 20.0)
    scene.agree()
    undisturbed(running)
    if ask is rekey_child:
        assert scene.child(scene.a).spi_in != child.spi_in
        assert scene.a.ike_sas()[0].local_spi == ike.local_spi
    else:
        assert scene.child(scene.a).spi_in == child.spi_in
        assert scene.a.ike_sas()[0].local_spi != ike.local_spi
    scene.works()


ASKS: list[Ask] = [rekey_child, rekey_ike, delete_child, delete_ike]


# rfc 7296: answers-while-waiting lowest-nonce ike-lowest-nonce
@pytest.mark.parametrize("lag", [0.0, 0.0015, 0.004], ids=["at once", "on the way", "just after"])
@pytest.mark.parametrize(("one", "other"), list(itertools.product(ASKS, ASKS)), ids=lambda f: f.__name__)
def test_two_wishes_that_cross_end_in_agreement(one: Ask, other: Ask, lag: float) -> None:
    scene = pair()
    scene.connect()
    wishes = one(scene, scene.a), other(scene, scene.b)
    scene.network.at(scene.network.now + 1.0, scene.a, wishes[0])
    scene.network.at(scene.network.now + 1.0 + lag, scene.b, wishes[1])
    scene.network.run(scene.network.now + 120.0)
    gone = delete_ike in (one, other)
    scene.agree(ike_sas=0 if gone else 1)
    running = flows(scene, 30.0)
    scene.network.run(scene.network.now + 60.0)
    scene.agree()
    assert all(flow.lost == [] and flow.delivered > 1000 for flow in running)


@pytest.mark.parametrize("lag", [0.0, 0.0015, 0.003, 0.0045, 0.006])
@pytest.mark.parametrize(("one", "other"), list(itertools.product(ASKS, ASKS)), ids=lambda f: f.__name__)
def test_two_wishes_with_additional_key_exchanges_end_in_agreement(one: Ask, other: Ask, lag: float) -> None:
    scene = pair(settings=HYBRID)
    scene.connect()
    wishes = one(scene, scene.a), other(scene, scene.b)
    scene.network.at(scene.network.now + 1.0, scene.a, wishes[0])
    scene.network.at(scene.network.now + 1.0 + lag, scene.b, wishes[1])
    scene.network.run(scene.network.now + 120.0)
    scene.agree(ike_sas=0 if delete_ike in (one, other) else 1)
    running = flows(scene, 10.0)
    scene.network.run(scene.network.now + 30.0)
    scene.agree()
    assert all(flow.lost == [] and flow.delivered > 300 for flow in running)


# rfc 7296: rekey-ike-ke rekey-ike-counters
@pytest.mark.parametrize("who", [0, 1])
def test_rekeys_follow_one_another(who: int) -> None:
    scene = pair()
    scene.connect()
    seen = set()
    for ask in [rekey_child, rekey_ike] * 5:
        scene.network.tell(scene.hosts[who], ask(scene, scene.hosts[who]))
        scene.network.run(scene.network.now + 10.0)
        scene.agree()
        seen.add((scene.child(scene.a).spi_in, scene.a.ike_sas()[0].local_spi))
    assert len(seen) == 10
    scene.works()


# rfc 7296: lifetimes-own
def test_lifetimes_bring_rekeys_and_no_lost_packet() -> None:
    scene = pair(settings=Settings(ike_seconds=400, child_seconds=100))
    scene.connect()
    child, ike = scene.child(scene.a), scene.a.ike_sas()[0]
    running = [scene.flow(host, 2000.0, interval=0.5) for host in scene.hosts]
    for host in scene.hosts:
        scene.network.poll(host, 2000.0)
    scene.network.run(2100.0)
    for flow in running:
        assert flow.lost == []
        assert flow.waiting == 0
    scene.agree()
    assert scene.child(scene.a).spi_in != child.spi_in
    assert scene.a.ike_sas()[0].local_spi != ike.local_spi


# rfc 7296: delete-obeyed
@pytest.mark.parametrize("who", [0, 1])
def test_a_deleted_child_sa_leaves_the_ike_sa(who: int) -> None:
    scene = pair()
    scene.connect()
    scene.network.tell(scene.hosts[who], delete_child(scene, scene.hosts[who]))
    scene.network.run(scene.network.now + 2 * limits.OLD_SA_LINGER)
    scene.agree()
    assert not scene.a.kernel.sas
    before = sum(len(host.sent) for host in scene.hosts)
    scene.acquire(scene.a, scene.network.now)
    scene.network.settle()
    scene.agree()
    assert sum(len(host.sent) for host in scene.hosts) == before + 2
    scene.works()


# rfc 7296: delete-ike-takes-children
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("everything", [False, True])
def test_a_deleted_ike_sa_takes_its_child_sas_along(who: int, everything: bool) -> None:
    scene = pair()
    scene.connect()
    host = scene.hosts[who]
    scene.network.tell(host, Delete(None) if everything else delete_ike(scene, host))
    scene.network.run(scene.network.now + 60.0)
    scene.agree(ike_sas=0)
    assert not scene.a.kernel.sas
    assert not scene.b.kernel.sas
    scene.connect()


# rfc 7296: liveness
def test_a_silent_peer_is_found_dead_by_traffic_without_echo() -> None:
    scene = pair()
    scene.connect()
    scene.network.lose = lambda _: True
    scene.flow(scene.a, 200.0, 1.0)
    scene.b.kernel.sas.clear()
    scene.network.poll(scene.a, 200.0)
    scene.network.run(200.0)
    assert not scene.a.kernel.sas
    assert any("down" in code for code in scene.a.codes())


def test_no_traffic_asks_for_no_life() -> None:
    scene = pair()
    scene.connect()
    sent = len(scene.a.sent), len(scene.b.sent)
    for host in scene.hosts:
        scene.network.poll(host, 3000.0)
    scene.network.run(3000.0)
    assert (len(scene.a.sent), len(scene.b.sent)) == sent


def test_traffic_both_ways_asks_for_no_life() -> None:
    scene = pair()
    scene.connect()
    sent = len(scene.a.sent), len(scene.b.sent)
    for host in scene.hosts:
        scene.flow(host, 600.0, 1.0)
        scene.network.poll(host, 600.0)
    scene.network.run(600.0)
    assert (len(scene.a.sent), len(scene.b.sent)) == sent


def test_a_peer_that_forgot_everything_is_met_anew() -> None:
    scene = pair()
    scene.connect()
    scene.b.engine = Engine(plan(B4, [A4]), scene.network.entropy())
    scene.b.kernel = KernelModel(B4)
    scene.acquire(scene.b, scene.network.now)
    scene.network.run(scene.network.now + 60.0)
    scene.agree()
    scene.works()


def test_a_plan_without_the_filter_ends_its_sas() -> None:
    scene = pair()
    scene.connect()
    scene.network.tell(scene.a, PlanChanged(plan(A4, [])))
    scene.network.run(scene.network.now + 60.0)
    scene.agree(ike_sas=0)
    assert not scene.b.kernel.sas


def test_the_same_plan_again_changes_nothing() -> None:
    scene = pair()
    scene.connect()
    sent = len(scene.a.sent)
    scene.network.tell(scene.a, PlanChanged(plan(A4, [B4])))
    scene.network.run(scene.network.now + 10.0)
    scene.agree()
    assert len(scene.a.sent) == sent
