# SPDX-License-Identifier: GPL-2.0-or-later
"""Soft filters: a peer without IKE gets clear traffic after a while, a peer with IKE never; and how that ends."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.conversations.network import Flow
from tests.conversations.plans import ALL_REQID, CBC_X25519, GCM_P256, GCM_X25519, SMB_REQID, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, pair, ping, tcp
from xfrmd import limits
from xfrmd.ike.effects import DropHeld, OpenClear, SendDatagram, Tell
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, ClearOpened, Delete, PlanChanged, TimerFired
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.notice import Level
from xfrmd.model.selector import Selector

SOFT = Settings(soft=True)
REGION = Selector(Prefix.host(A4), Prefix.host(B4))


def silent_peer(settings: Settings = SOFT, other: Settings | None = None) -> Pair:
    """A soft host, and a peer that no datagram reaches."""
    scene = pair(settings=settings, other=other)
    scene.network.lose = lambda _: True
    return scene


def flowing(scene: Pair, seconds: float = 1000.0) -> Flow:
    return scene.flow(scene.a, seconds, interval=0.1)


def notices(scene: Pair, code: str) -> list[float]:
    return [at for at, notice in scene.a.notices if notice.code == code]


def opened(scene: Pair) -> bool:
    return (ALL_REQID, REGION) in scene.a.clear


def test_a_silent_peer_gets_clear_packets_after_three_seconds_and_the_operator_is_told() -> None:
    scene = silent_peer()
    flow = flowing(scene)
    scene.network.run(limits.SOFT_WAIT - 0.01)
    assert not scene.a.clear
    scene.network.run(limits.SOFT_WAIT + 1.0)
    assert opened(scene)
    assert flow.clear[0] == pytest.approx(limits.SOFT_WAIT, abs=0.2)
    assert scene.a.engine.snapshot().counters["soft-associations"] == 1
    (told,) = [notice for _, notice in scene.a.notices if notice.code == "soft-opened"]
    assert told.level is Level.WARNING
    assert (told.fields["peer"], told.fields["rule"], told.fields["seconds"]) == ("10.0.0.2", "everything", "300")
    assert "IN THE CLEAR" in told.message
    assert told.remedy
    assert [held.selector for held in scene.a.released] == [REGION]
    (shown,) = scene.a.engine.soft_sas()  # type: ignore[attr-defined]
    assert (shown.selector, shown.until - shown.since) == (REGION, 300)


def test_a_filter_that_is_not_soft_never_falls_back() -> None:
    scene = silent_peer(Settings())
    flow = flowing(scene)
    scene.network.run(400.0)
    assert (flow.clear, scene.a.clear) == ([], {})


def test_a_refusal_in_the_clear_forbids_clear_traffic() -> None:
    scene = pair(settings=replace(SOFT, ike=(GCM_X25519,)), other=Settings(ike=(CBC_X25519,)))
    flow = flowing(scene)
    scene.network.run(300.0)
    assert "init-refused" in scene.a.codes() or "no-proposal" in scene.a.codes()
    assert flow.clear == []


def test_an_answer_that_makes_no_sense_forbids_clear_traffic() -> None:
    scene = pair(settings=SOFT)
    heard: list[SendDatagram] = []

    def lose(datagram: SendDatagram) -> bool:
        heard.append(datagram)
        return True

    scene.network.lose = lose
    flow = flowing(scene, 60.0)
    scene.network.run(1.0)
    request = heard[0]
    nonsense = request.data[:19] + bytes([0x20]) + request.data[20:]
    scene.network.deliver(B4, A4, nonsense)
    scene.network.run(60.0)
    assert flow.clear == []


def test_a_wrong_key_forbids_clear_traffic() -> None:
    scene = pair(settings=SOFT, other=Settings(psk=b"another"))
    flow = flowing(scene)
    scene.network.run(300.0)
    assert "auth-failed" in scene.a.codes()
    assert flow.clear == []


def test_a_refused_child_sa_forbids_clear_traffic() -> None:
    scene = pair(settings=SOFT, other=Settings(esp=((GCM_P256[0],),), ike=SOFT.ike))
    other = plan(B4, [A4], Settings())
    scene.network.tell(scene.b, PlanChanged(replace(other, protect=())))
    flow = flowing(scene)
    scene.network.run(300.0)
    assert "no-filter" in scene.a.codes()
    assert flow.clear == []


def test_a_peer_that_answers_too_late_keeps_its_clear_traffic_until_the_negotiation_has_failed() -> None:
    scene = pair(settings=replace(SOFT, ike=(GCM_X25519,)), other=Settings(ike=(CBC_X25519,)))
    scene.network.lose = lambda _: scene.network.now < 5.0
    flow = flowing(scene)
    scene.network.run(600.0)
    assert notices(scene, "soft-opened") == [pytest.approx(3.0, abs=0.1)]
    assert flow.clear
    assert max(flow.clear) < limits.NEGOTIATION_LIFETIME


def test_clear_traffic_becomes_esp_when_the_peers_ike_comes_up_and_never_goes_back() -> None:
    scene = silent_peer(other=Settings())
    flow = flowing(scene, 600.0)
    scene.network.run(20.0)
    assert opened(scene)
    scene.network.lose = lambda _: False
    scene.network.run(60.0)
    assert flow.delivered > 0
    assert not scene.a.clear
    last = max(flow.clear)
    assert last < 20.0 + 30.0, "the next repetition of the request found the peer"
    scene.network.run(600.0)
    assert max(flow.clear) == last
    assert flow.lost == []
    codes = scene.a.codes()
    assert codes.index("soft-closed") > codes.index("ike-up")


def test_the_peer_is_asked_again_while_the_soft_sa_stands() -> None:
    scene = silent_peer(replace(SOFT, soft_seconds=3600), Settings())
    flow = flowing(scene, 600.0)
    scene.network.run(200.0)
    assert opened(scene), "silence is no failure that would end it"
    assert notices(scene, "soft-opened") == [3.0]
    scene.network.lose = lambda _: False
    scene.network.run(600.0)
    assert flow.delivered > 0
    assert max(flow.clear) < 200.0 + limits.RETRY_AFTER_FAILURE + 31.0


def test_the_peer_may_begin_itself() -> None:
    scene = silent_peer(other=Settings())
    flow = flowing(scene, 100.0)
    scene.network.run(10.0)
    scene.network.lose = lambda datagram: datagram.local.address == A4 and scene.network.now < 10.0
    scene.acquire(scene.b, 10.0)
    scene.network.run(100.0)
    assert max(flow.clear) < 10.5
    assert flow.delivered > 0


def test_it_ends_with_its_lifetime_and_traffic_negotiates_from_the_start() -> None:
    scene = silent_peer(replace(SOFT, soft_seconds=20))
    flow = flowing(scene, 100.0)
    scene.network.run(22.9)
    assert opened(scene)
    scene.network.run(23.1)
    assert not scene.a.clear
    assert [at for at in flow.clear if 23.1 < at < 26.0] == []
    scene.network.run(60.0)
    assert len(notices(scene, "soft-opened")) == 2, "the peer had its three seconds again"
    gap = notices(scene, "soft-opened")[1] - notices(scene, "soft-closed")[0]
    assert gap >= limits.SOFT_WAIT


def test_another_filter_to_the_same_silent_peer_need_not_wait_again() -> None:
    scene = silent_peer(replace(SOFT, smb=True))
    scene.acquire(scene.a)
    scene.network.run(10.0)
    scene.acquire(scene.a, 10.0, SMB_REQID, tcp(A4, B4, 445))
    scene.network.run(10.1)
    assert len(scene.a.clear) == 2
    assert {reqid for reqid, _ in scene.a.clear} == {ALL_REQID, SMB_REQID}
    (smb,) = [selector for reqid, selector in scene.a.clear if reqid == SMB_REQID]
    assert (smb.protocol, smb.dport.first, smb.src, smb.dst) == (6, 445, REGION.src, REGION.dst)


def test_all_of_them_become_esp_with_the_first_ike_sa() -> None:
    scene = silent_peer(replace(SOFT, smb=True), Settings(smb=True))
    scene.acquire(scene.a)
    scene.acquire(scene.a, 0.1, SMB_REQID, tcp(A4, B4, 445))
    scene.network.run(90.0)
    assert len(scene.a.clear) == 2
    scene.network.lose = lambda _: False
    scene.acquire(scene.b, 90.0)
    scene.network.run(92.0)
    assert scene.a.clear == {}
    (ike,) = [sa for sa in scene.a.ike_sas() if sa.state == "established"]
    assert {child.reqid for child in ike.children} == {ALL_REQID, SMB_REQID}


@pytest.mark.parametrize("change", ["not soft", "filter gone", "other addresses"])
def test_a_plan_that_would_not_open_it_ends_it(change: str) -> None:
    scene = silent_peer()
    scene.acquire(scene.a)
    scene.network.run(5.0)
    assert opened(scene)
    plans = {
        "not soft": plan(A4, [B4], Settings()),
        "filter gone": replace(plan(A4, [B4], SOFT), protect=()),
        "other addresses": plan(A4, [Address(4, B4.value + 1)], SOFT),
    }
    scene.network.tell(scene.a, PlanChanged(plans[change]))
    assert scene.a.clear == {}
    assert "soft-closed" in scene.a.codes()


def test_a_plan_that_still_has_it_leaves_it() -> None:
    scene = silent_peer()
    scene.acquire(scene.a)
    scene.network.run(5.0)
    scene.network.tell(scene.a, PlanChanged(plan(A4, [B4], replace(SOFT, smb=True))))
    assert opened(scene)
    assert "soft-closed" not in scene.a.codes()


def test_the_end_of_the_daemon_ends_it() -> None:
    scene = silent_peer()
    scene.acquire(scene.a)
    scene.network.run(5.0)
    scene.network.tell(scene.a, Delete(None))
    assert scene.a.clear == {}


def test_a_kernel_that_refuses_to_open_is_told_and_packets_are_dropped() -> None:
    engine = Engine(plan(A4, [B4], SOFT), random.Random(1).randbytes)
    engine.handle(Acquire(ALL_REQID, ping(A4, B4)), 0.0)
    assert engine.handle(TimerFired(), limits.SOFT_WAIT)[-1] == OpenClear(ALL_REQID, REGION, limits.SOFT_WAIT + 300)
    told, dropped = engine.handle(ClearOpened(ALL_REQID, REGION, "no memory"), limits.SOFT_WAIT)
    assert isinstance(told, Tell)
    assert (told.notice.code, "no memory" in told.notice.message) == ("soft-refused", True)
    assert dropped == DropHeld(ALL_REQID, REGION)
    assert engine.soft_sas() == ()


def test_their_number_is_bounded() -> None:
    peers = [Address(4, B4.value + number) for number in range(limits.SOFT_SAS + 1)]
    engine = Engine(plan(A4, peers, SOFT), random.Random(1).randbytes)
    for peer in peers:
        engine.handle(Acquire(ALL_REQID, ping(A4, peer)), 0.0)
    effects = engine.handle(TimerFired(), limits.SOFT_WAIT)
    assert len([effect for effect in effects if isinstance(effect, OpenClear)]) == limits.SOFT_SAS
    (told,) = [effect.notice for effect in effects if isinstance(effect, Tell)]
    assert (told.code, told.fields["peer"]) == ("soft-refused", str(peers[-1]))
