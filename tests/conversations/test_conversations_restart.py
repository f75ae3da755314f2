# SPDX-License-Identifier: GPL-2.0-or-later
"""Engines that die and go on from what was kept of them: SAs, filters, rekeys and deletes afterwards."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from tests.conversations.lives import CBC, PFS, Play, delete_child, play, rekey_child, rekey_ike
from tests.conversations.mortal import Moment, Mortal, Wire
from tests.conversations.network import BAD, Network
from tests.conversations.plans import ALL_REQID, INTEG, SMB_REQID, Settings, plan, responding
from tests.conversations.scenes import A4, B4, Pair, tcp
from xfrmd import limits
from xfrmd.ike.events import Delete, Rekey, TicketKeys
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret


@pytest.mark.parametrize("seed", range(12))
def test_deaths_at_random_in_a_bad_network_end_in_agreement(seed: int) -> None:
    rng = random.Random(seed)
    one = play(seed, PFS if seed % 2 else CBC, replace(BAD, until=60.0))
    for host in one.scene.hosts:
        one.scene.acquire(host)
    for _ in range(8):
        mortal = one.mortals[rng.choice("AB")]
        if mortal.back is None:
            mortal.arm(rng.randint(1, 6), rng.choice(list(Moment)))
        one.run(rng.uniform(0.5, 10.0))
        for name, other in one.mortals.items():
            for sa in other.host.ike_sas():
                if sa.state == "established":
                    spis = [sa.local_spi, *(child.spi_in.to_bytes(4) for child in sa.children)]
                    one.scene.network.at(one.scene.network.now, one.mortals[name].host, Rekey(rng.choice(spis)))
    for mortal in one.mortals.values():
        mortal.at = 0
    for host in one.scene.hosts:
        one.scene.network.poll(host, one.scene.network.now + 300.0)
    flows = one.flows(300.0, 0.5)
    one.run(300.0)
    one.scene.converge(200)
    one.look_at_the_wire()
    one.scene.works()
    assert sum(mortal.deaths for mortal in one.mortals.values()) > 0
    assert all(flow.delivered for flow in flows)


def quiet(settings: Settings | None = None) -> Play:
    """Two hosts with one pair of SAs."""
    one = play(settings=settings)
    one.scene.acquire(one.scene.a)
    one.run(2.0)
    one.scene.agree()
    return one


def test_the_same_spis_go_on_and_rekeys_and_deletes_by_either_side_work() -> None:
    for ask, who in itertools.product((rekey_child, rekey_ike, delete_child), "AB"):
        one = quiet()
        before = one.scene.child(one.scene.a), one.scene.a.ike_sas()[0].local_spi
        for mortal in one.mortals.values():
            mortal.die()
        one.run(2.0)
        after = one.scene.child(one.scene.a), one.scene.a.ike_sas()[0].local_spi
        assert (after[0].spi_in, after[0].spi_out, after[1]) == (before[0].spi_in, before[0].spi_out, before[1])
        assert "adopted" in one.scene.a.codes()
        ((_, event),) = ask(one)
        host = one.mortals[who].host
        if who == "B":
            child = one.scene.child(one.scene.b).spi_in.to_bytes(4)
            spi = one.scene.b.ike_sas()[0].local_spi if ask is rekey_ike else child
            event = Delete(spi) if ask is delete_child else Rekey(spi)
        one.scene.network.at(one.scene.network.now, host, event)
        one.run(10.0)
        assert not one.scene.network.hosts[A4].kernel.mistakes
        if ask is delete_child:
            assert not one.scene.a.kernel.sas
            assert not one.scene.b.kernel.sas
            one.scene.acquire(host, one.scene.network.now)
            one.run(2.0)
        one.scene.agree()
        one.scene.works()
        one.look_at_the_wire()


def test_an_sa_that_the_kernel_lost_meanwhile_is_deleted_at_both_ends_and_made_anew() -> None:
    for inbound in (True, False):
        one = quiet()
        one.mortals["A"].die()
        ((key, _),) = [item for item in one.scene.a.kernel.sas.items() if item[1].sa.inbound is inbound]
        del one.scene.a.kernel.sas[key]
        one.run(2.0)
        assert not one.scene.a.kernel.sas
        assert not one.scene.b.kernel.sas
        one.scene.acquire(one.scene.b, one.scene.network.now)
        one.run(2.0)
        one.scene.agree()
        one.scene.works()


def test_a_soft_expiry_that_nobody_heard_is_made_up_for() -> None:
    one = quiet()
    spi = one.scene.child(one.scene.a).spi_in
    one.mortals["A"].die()
    for entry in one.scene.a.kernel.sas.values():
        entry.asked = True  # the kernel tells it once
    one.run(2.0)
    one.scene.converge()
    assert one.scene.child(one.scene.a).spi_in != spi


def test_another_secret_meanwhile_ends_the_ike_sa_and_the_peer_is_told() -> None:
    one = quiet()
    mortal = one.mortals["A"]
    mortal.plan = plan(A4, [B4], Settings(psk=b"another"))
    mortal.die()
    one.run(5.0)
    for host in one.scene.hosts:
        assert not host.kernel.sas
        assert not host.ike_sas()


@pytest.mark.parametrize("settings", [Settings(), Settings(esp=((INTEG,),), protocol=ProtocolId.AH)], ids=["ESP", "AH"])
def test_a_filter_that_is_gone_meanwhile_ends_its_sas_and_the_others_go_on(settings: Settings) -> None:
    one = quiet(replace(settings, smb=True))
    one.scene.acquire(one.scene.a, one.scene.network.now, SMB_REQID, tcp(A4, B4, 445))
    one.run(2.0)
    assert len(one.scene.b.kernel.sas) == 4
    one.mortals["A"].plan = plan(A4, [B4], settings)
    one.mortals["A"].die()
    one.run(5.0)
    assert [entry.sa.reqid for entry in one.scene.b.kernel.sas.values()] == [ALL_REQID] * 2
    one.scene.agree()


def test_a_peer_that_is_gone_from_the_policy_leaves_nothing_behind() -> None:
    one = quiet()
    one.mortals["A"].plan = plan(A4, [])
    one.mortals["A"].die()
    one.run(2.0)
    assert not one.scene.a.kernel.sas
    assert not one.scene.a.ike_sas()


# rfc 7296: iv
def test_ivs_of_a_new_run_have_a_range_of_their_own() -> None:
    one = quiet()
    one.mortals["A"].die()
    one.run(2.0)
    ((_, event),) = rekey_ike(one)
    sent = len(one.scene.a.sent)
    one.scene.network.at(one.scene.network.now, one.scene.a, event)
    one.run(2.0)
    assert next(datagram.data[32:40] for datagram in one.scene.a.sent[sent:]) == (2**32 + 1).to_bytes(8)


def test_the_eye_on_the_wire_sees_a_repetition() -> None:
    one = quiet()
    wire = Wire()
    wire.watch(one.scene.a.sent)
    sealed = one.scene.a.sent[-1]
    for place in (60, 20):  # the same IV for other octets; another message ID with the same IV
        octets = bytearray(sealed.data)
        octets[place] ^= 1
        with pytest.raises(AssertionError):
            wire.watch([replace(sealed, data=bytes(octets))])


def test_filters_of_the_default_response_rule_stand_again_and_end_when_their_time_is_over() -> None:
    network = Network(1)
    asking = Mortal(network, A4, plan(A4, [B4]), network.entropy())
    answering = Mortal(network, B4, responding(), network.entropy())
    scene = Pair(network, network.add("A", A4, asking), network.add("B", B4, answering))
    scene.acquire(scene.a)
    network.run(1.0)
    ((name, _),) = scene.b.filters.items()
    scene.b.filters.clear()  # the kernel's part of it is made anew with the first plan
    answering.die()
    network.run(3.0)
    assert list(scene.b.filters) == [name]
    scene.agree()
    flow = scene.flow(scene.a, 1.0)
    network.run(network.now + 2.0)
    assert (flow.delivered, flow.lost, flow.waiting) == (21, [], 0)
    network.tell(scene.a, Delete(scene.child(scene.a).spi_in.to_bytes(4)))
    network.run(network.now + 5.0)
    answering.die()
    scene.b.filters.clear()
    network.run(network.now + limits.DYNAMIC_IDLE - 60.0)
    assert list(scene.b.filters) == [name]
    network.run(network.now + 120.0)
    assert scene.b.filters == {}


def test_a_default_response_rule_that_is_gone_meanwhile_takes_its_filters_along() -> None:
    network = Network(1)
    asking = Mortal(network, A4, plan(A4, [B4]), network.entropy())
    answering = Mortal(network, B4, responding(), network.entropy())
    scene = Pair(network, network.add("A", A4, asking), network.add("B", B4, answering))
    scene.acquire(scene.a)
    network.run(1.0)
    answering.plan = plan(B4, [A4])
    answering.die()
    network.run(5.0)
    assert scene.b.filters == {}
    assert [sa.reqid for sa in scene.b.kernel.live(inbound=True)] in ([], [ALL_REQID])
    scene.converge()


def resumable() -> Play:
    """A holds a ticket of B's, and both have lost their SAs."""
    one = play()
    keys = (Secret(bytes(32)),)
    a, b = one.mortals["A"], one.mortals["B"]
    b.keys = keys
    one.scene.network.tell(b.host, TicketKeys(keys))
    one.scene.acquire(one.scene.a)
    one.run(2.0)
    held, kept = dict(a.engine._ctx.store.tickets.held), {name: a.kept[name] for name in a.kept if "ticket" in name}
    assert held
    one.scene.network.tell(a.host, Delete(None))
    one.run(2.0)
    a.engine._ctx.store.tickets.held.update(held)
    a.kept.update(kept)
    b.lose()
    assert not any(host.kernel.sas for host in one.scene.hosts)
    return one


@pytest.mark.parametrize("who", "AB")
def test_a_resumption_ends_well_whoever_dies_at_whichever_step(who: str) -> None:
    """With the ticket or without it: what counts is one IKE SA, one pair, and no IV twice."""
    resumed = 0
    for at, moment in itertools.product(range(1, 6), Moment):
        one = resumable()
        one.mortals[who].arm(at, moment)
        one.scene.acquire(one.scene.a, one.scene.network.now)
        one.run(200.0)  # a handshake does not go on; traffic asks for another
        one.scene.acquire(one.scene.a, one.scene.network.now)
        one.run(2.0)
        one.scene.converge(200)
        one.scene.works()
        one.look_at_the_wire()
        assert not [found for host in one.scene.hosts for found in host.kernel.mistakes], (who, at, moment)
        resumed += "resumed" in one.scene.b.codes()
    assert resumed
