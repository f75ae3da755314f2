# SPDX-License-Identifier: GPL-2.0-or-later
"""Reauthentication (RFC 7296 2.8.3, RFC 4478): a new IKE SA takes over before what was proved for the old one ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, datagrams, established, forge, quick_modes, read
from tests.conversations.network import Faults, Flow, Host
from tests.conversations.plans import SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, Pair, pair, tcp
from tests.unit.pki import DAY, NOW, issue, method, root
from xfrmd import limits
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, PlanChanged
from xfrmd.ike.ike_sa import Lineage
from xfrmd.ike.lookup import PlanIndex
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.payloads import NotifyPayload, Payload

TEN_MINUTES = Settings(auth_seconds=600)
"""Anew at 480 to 540 s by who began, at 570 to 585 s by its peer."""


def inside(host: Host) -> Context:
    """The engine of a host, seen from inside."""
    assert isinstance(host.engine, Engine)
    return host.engine._ctx


def lineage(host: Host) -> Lineage:
    """The one lineage of a host."""
    (found,) = {sa.lineage for sa in inside(host).store.ike_sas()}
    return found


def due_in(host: Host, seconds: float) -> None:
    """Have a host authenticate anew then."""
    inside(host).timers.set((TimerKind.REAUTH, lineage(host)), inside(host).now + seconds)


def never_by_itself(host: Host) -> None:
    """The host is one that knows nothing of AUTH_LIFETIME."""
    inside(host).timers.cancel((TimerKind.REAUTH, lineage(host)))


def spis(host: Host) -> set[bytes]:
    return {sa.local_spi for sa in host.ike_sas()}


def flows(scene: Pair, seconds: float) -> list[Flow]:
    return [scene.flow(host, seconds) for host in scene.hosts]


def undisturbed(running: list[Flow]) -> None:
    for flow in running:
        assert (flow.lost, flow.waiting, flow.clear) == ([], 0, [])
        assert flow.delivered > 100


def greetings(datagram: SendDatagram) -> bool:
    return datagram.data[18] == ExchangeType.IKE_SA_INIT


# rfc 7296: rekey-is-not-reauth
# rfc 4478: new-ike-sa initiator-repeats sent-by-responder
@pytest.mark.parametrize("smb", [False, True], ids=["one child", "two children"])
@pytest.mark.parametrize("who", ["a", "b", "ab"])
def test_a_new_ike_sa_takes_over_in_time_and_no_packet_is_lost(who: str, smb: bool) -> None:
    """Whichever end's policy wants it, the end that began begins again: the other one tells it."""
    plain, timed = Settings(smb=smb), Settings(smb=smb, auth_seconds=600)
    scene = pair(settings=timed if "a" in who else plain, other=timed if "b" in who else plain)
    scene.connect()
    if smb:
        scene.acquire(scene.a, scene.network.now, SMB_REQID, tcp(A4, B4, 445))
        scene.network.run(5.0)
    before, children = spis(scene.a), {c.spi_in for sa in scene.a.ike_sas() for c in sa.children}
    running = flows(scene, 595.0)
    scene.network.run(560.0)
    scene.converge()
    assert not before & spis(scene.a)
    assert scene.a.ike_sas()[0].initiator
    now = {c.spi_in for sa in scene.a.ike_sas() for c in sa.children}
    assert len(now) == 1 + smb
    assert not now & children
    scene.network.run(650.0)
    undisturbed(running)
    scene.works()
    assert "ike-reauthentication" in scene.a.codes()


def test_it_goes_on_for_days() -> None:
    """Each new IKE SA has its own time, beside rekeys of both kinds."""
    scene = pair(settings=Settings(auth_seconds=7200, ike_seconds=3000, child_seconds=1800))
    scene.connect()
    seen = [spis(scene.a)]
    for hour in range(1, 25):
        scene.network.run(hour * 3600.0)
        scene.converge()
        seen.append(spis(scene.a))
    assert scene.a.codes().count("ike-reauthentication") >= 12
    assert "ike-reauthentication-failing" not in scene.a.codes()
    scene.works()


@pytest.mark.parametrize("seed", range(8))
def test_on_a_bad_network_nothing_is_lost_either(seed: int) -> None:
    scene = pair(seed, settings=Settings(auth_seconds=600, smb=True))
    scene.connect()
    scene.network.faults = Faults(loss=0.2, duplication=0.2, delay=(0.001, 0.4))
    before = spis(scene.a)
    running = flows(scene, 600.0)
    scene.network.run(610.0)
    scene.network.faults = Faults()
    scene.converge()
    assert not before & spis(scene.a)
    undisturbed(running)
    scene.works()


# rfc 4478: both-at-once
@pytest.mark.parametrize("gap", [0.0, 0.0005, 0.002, 0.004, 0.006, 0.01, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_both_ends_at_once_end_with_one_ike_sa(seed: int, gap: float) -> None:
    scene = pair(seed, settings=Settings(auth_seconds=6000))
    scene.connect()
    before = spis(scene.a)
    running = flows(scene, 50.0)
    first, second = scene.hosts if seed % 2 else scene.hosts[::-1]
    due_in(first, 5.0)
    due_in(second, 5.0 + gap)
    scene.network.run(scene.network.now + 45.0)
    scene.converge(120)
    assert not before & spis(scene.a)
    undisturbed(running)
    scene.works()


def test_a_peer_that_knows_nothing_of_it_is_helped_by_who_wants_it() -> None:
    """The responder's policy wants it, the initiator ignores AUTH_LIFETIME: the responder begins, a little later."""
    scene = pair(other=TEN_MINUTES)
    scene.connect()
    never_by_itself(scene.a)
    before = spis(scene.a)
    running = flows(scene, 595.0)
    scene.network.run(560.0)
    assert spis(scene.a) == before
    scene.network.run(600.0)
    scene.converge()
    assert not before & spis(scene.a)
    assert not scene.a.ike_sas()[0].initiator
    undisturbed(running)


def test_who_cannot_be_reached_keeps_the_old_ike_sa_until_its_end_and_is_held_then() -> None:
    scene = pair(settings=TEN_MINUTES)
    scene.connect()
    before = spis(scene.a)
    scene.network.lose = greetings
    running = scene.flow(scene.a, 590.0)
    scene.network.run(595.0)
    assert before <= spis(scene.a)
    undisturbed([running])
    assert "ike-reauthentication-failing" in scene.a.codes()
    later = scene.flow(scene.a, 120.0)
    scene.network.run(720.0)
    assert later.delivered < 150  # until the end at 600 s
    assert (later.lost, later.clear) == ([], [])
    assert not {sa.local_spi for sa in scene.b.ike_sas() if sa.state == "established"}
    scene.network.lose = lambda _: False
    scene.network.run(scene.network.now + 120.0)
    scene.acquire(scene.a, scene.network.now)
    scene.network.run(scene.network.now + 5.0)
    scene.works()


def test_a_soft_filter_stays_protected_while_the_peer_is_silent_to_a_new_beginning() -> None:
    scene = pair(settings=Settings(auth_seconds=600, soft=True))
    scene.connect()
    scene.network.lose = greetings
    running = scene.flow(scene.a, 590.0)
    scene.network.run(598.0)
    undisturbed([running])
    assert scene.a.clear == {}


# rfc 4478: refused
def test_a_new_authentication_that_is_refused_ends_nothing_before_its_time() -> None:
    scene = pair(settings=TEN_MINUTES)
    scene.connect()
    before = spis(scene.a)
    inside(scene.b).index = PlanIndex(plans.plan(B4, [A4], Settings(psk=b"another", auth_seconds=600)))
    running = scene.flow(scene.a, 590.0)
    scene.network.run(595.0)
    assert before <= spis(scene.a)
    undisturbed([running])
    attempts = scene.a.codes().count("auth-failed")
    assert 2 <= attempts <= 12, attempts
    warned = next(notice for _, notice in scene.a.notices if notice.code == "ike-reauthentication-failing")
    assert warned.remedy
    scene.flow(scene.a, 60.0)
    scene.network.run(660.0)
    assert not {sa.local_spi for host in scene.hosts for sa in host.ike_sas() if sa.state == "established"}
    down = [notice.message for _, notice in scene.a.notices if notice.code == "ike-down"]
    assert any("its authentication is over" in message for message in down), down


def test_one_quick_mode_for_each_main_mode_all_begin_anew() -> None:
    """Windows `mmpfs`: two IKE SAs, and two new ones."""
    plan = {own: quick_modes(1)(plans.plan(own, [peer], Settings(auth_seconds=600, smb=True)))
            for own, peer in ((A4, B4), (B4, A4))}  # fmt: skip
    scene = pair()
    for host in scene.hosts:
        scene.network.tell(host, PlanChanged(plan[host.address]))
    scene.connect()
    scene.acquire(scene.a, scene.network.now, SMB_REQID, tcp(A4, B4, 445))
    scene.network.run(10.0)
    scene.agree(2)
    before = spis(scene.a)
    running = flows(scene, 585.0)
    scene.network.run(610.0)
    scene.converge(ike_sas=2)
    assert not before & spis(scene.a)
    undisturbed(running)


def test_an_ike_sa_without_traffic_s_sas_just_ends() -> None:
    scene = pair(settings=TEN_MINUTES)
    scene.connect()
    (sa,) = inside(scene.a).store.ike_sas()
    sa.lineage.term = replace(sa.lineage.term, ours=True)
    for child in list(sa.lineage.children.values()):
        inside(scene.a).timers.cancel((TimerKind.SUCCESSOR, child))
    scene.network.at(scene.network.now, scene.a, delete_child(scene))
    scene.network.run(610.0)
    assert not scene.a.ike_sas()
    assert not scene.b.ike_sas()
    assert "ike-reauthentication" not in scene.a.codes()


def delete_child(scene: Pair) -> Delete:
    return Delete(scene.child(scene.a).spi_in.to_bytes(4))


# What the policy says later


def change(scene: Pair, seconds: int) -> None:
    """Both policies have another `mmauthlifetime`."""
    for host, peer in (scene.hosts, scene.hosts[::-1]):
        scene.network.tell(host, PlanChanged(plans.plan(host.address, [peer.address], Settings(auth_seconds=seconds))))


def test_a_policy_that_wants_it_from_now_on_has_it_without_a_gap() -> None:
    scene = pair()
    scene.connect()
    scene.network.run(1000.0)
    before = spis(scene.a)
    running = flows(scene, 80.0)
    change(scene, 600)
    scene.network.run(1075.0)
    scene.converge()
    assert not before & spis(scene.a)
    undisturbed(running)


def test_a_policy_that_wants_it_no_more_ends_nothing() -> None:
    scene = pair(settings=TEN_MINUTES, other=Settings())
    scene.connect()
    before = spis(scene.a)
    change(scene, 0)
    scene.network.run(2000.0)
    assert before == spis(scene.a) == {sa.local_spi for sa in scene.a.ike_sas() if sa.state == "established"}


def test_a_change_of_the_policy_does_not_make_the_keys_last_longer() -> None:
    """The lifetime of the IKE SA counts from when it was made, not from the last reload."""
    scene = pair(settings=Settings(auth_seconds=600, ike_seconds=1000))
    scene.connect()
    ends = [inside(host).timers.deadline((TimerKind.STATE, lineage(host).ike_sas[0])) for host in scene.hosts]
    scene.network.run(300.0)
    change(scene, 86_400)
    (sa,) = inside(scene.a).store.ike_sas()
    assert ends[0] is not None
    assert inside(scene.a).timers.deadline((TimerKind.STATE, sa)) == pytest.approx(ends[0] + 400, abs=5)


# What is said


def told(talk: Dialogue) -> list[int]:
    """Connect; the AUTH_LIFETIME of B's answer."""
    (request,) = datagrams(talk.acquire())
    (answer,) = datagrams(talk.deliver(request))
    (auth,) = datagrams(talk.deliver(answer))
    last = datagrams(talk.deliver(auth))
    message = read(talk.a, last[0])
    for one in last:
        talk.deliver(one)
    found = [one for one in message.every(NotifyPayload) if one.notify == NotifyType.AUTH_LIFETIME]
    assert all(len(one.data) == 4 and not one.spi and one.protocol == 0 for one in found)
    return [int.from_bytes(one.data) for one in found]


# rfc 4478: form sent-by-responder
def test_the_responder_says_when_its_policy_wants_a_new_proof() -> None:
    assert told(Dialogue(Settings(), Settings(auth_seconds=1234))) == [1234]
    assert told(Dialogue(Settings(auth_seconds=1234), Settings())) == []


CA = root()


def certified(ends: float, policy: int = 0) -> Settings:
    """A host whose certificate ends after so many days."""
    mine = issue("a", by=CA, san=["a.example"], end=NOW + ends * DAY)
    return Settings(auth=(method(CA, [mine]),), auth_seconds=policy)


@pytest.mark.parametrize(
    ("days", "policy", "said"),
    [(10.0, 0, [864_000]), (10.0, 600, [600]), (0.02, 0, []), (0.02, 600, [600]), (0.02, 7200, [])],
)
def test_the_responder_says_when_the_initiator_s_certificate_ends(days: float, policy: int, said: list[int]) -> None:
    """Not when that is soon: only another certificate would help, and some peers would begin anew for ever."""
    assert told(Dialogue(certified(days), certified(20, policy))) == said


# rfc 4478: initiator-repeats form
@pytest.mark.parametrize(
    ("side", "data", "heard"),
    [
        ("b", (300).to_bytes(4), 300),
        ("b", (0).to_bytes(4), 0),
        ("b", b"\xff" * 4, 2**32 - 1),
        ("b", b"\1\0", None),
        ("b", b"\0" * 5, None),
        ("b", b"", None),
        ("a", (300).to_bytes(4), None),
    ],
)
def test_an_informational_says_it_too_and_only_the_end_that_began_listens(
    side: str, data: bytes, heard: int | None
) -> None:
    talk = Dialogue()
    talk.connect()
    speaker = talk.b if side == "b" else talk.a
    payloads: list[Payload] = [NotifyPayload(NotifyType.AUTH_LIFETIME, data)]
    talk.now = 50.0
    talk.deliver(forge(speaker, ExchangeType.INFORMATIONAL, payloads))
    term = established(talk.other(speaker)).lineage.term
    assert term.asked_until == (None if heard is None else 50.0 + heard)


def test_however_often_it_is_asked_for_there_is_a_pause_between() -> None:
    """A peer whose every answer wants a new proof at once."""
    talk = Dialogue(Settings(), Settings(auth_seconds=1))
    talk.connect()
    talk.pass_time(120.0)
    assert talk.a.engine.counters()["ike-sas"] <= 120 / limits.REAUTH_LEAST + 1


# Certificates


def test_a_certificate_that_was_renewed_in_time_takes_the_peer_over_the_end_of_the_old_one() -> None:
    talk = Dialogue(certified(20), certified(0.5))
    talk.connect()
    (before,) = talk.a.engine.ike_sas()
    talk.pass_time(0.4 * 86400)
    talk.b.hear(PlanChanged(plans.plan(B4, [A4], certified(30))), talk.now)
    talk.pass_time(0.2 * 86400)
    (after,) = [sa for sa in talk.a.engine.ike_sas() if sa.state == "established"]
    assert after.local_spi != before.local_spi
    assert after.children
    ends = after.proofs.remote.until
    assert ends == (NOW + 30 * DAY).timestamp()
    downs = [one.message for one in talk.a.notices() if one.code == "ike-down"]
    assert not any("expired" in message for message in downs), downs


def test_one_that_was_not_ends_the_ike_sa_after_a_few_attempts() -> None:
    talk = Dialogue(certified(20), certified(0.5))
    talk.connect()
    talk.pass_time(0.5 * 86400 - 1)
    assert [sa for sa in talk.a.engine.ike_sas() if sa.children]
    made = talk.a.engine.counters()["ike-sas"]
    assert 2 <= made <= 8
    talk.pass_time(5)
    assert not [sa for sa in talk.a.engine.ike_sas() if sa.state == "established"]
    assert any("the peer's certificate has expired" in one.message for one in talk.a.notices())
