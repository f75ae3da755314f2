# SPDX-License-Identifier: GPL-2.0-or-later
"""Hundreds of seeded runs on a bad network: whatever is asked, and whenever, all ends in one IKE SA and one pair."""

from __future__ import annotations

import os
import random

import pytest

from tests.conversations.network import Faults, Flow, Host
from tests.conversations.plans import ALL_REQID, SMB_REQID, Settings
from tests.conversations.scenes import Pair, pair, tcp
from xfrmd.ike.events import Delete, Event, Rekey

SEEDS = int(os.environ.get("XFRMD_SEEDS", "200"))
BLOCK = 20
FAULTY_UNTIL = 40.0


def a_child(host: Host, rng: random.Random) -> bytes | None:
    spis = [child.spi_in for sa in host.ike_sas() for child in sa.children]
    return rng.choice(spis).to_bytes(4) if spis else None


def an_ike_sa(host: Host, rng: random.Random) -> bytes | None:
    spis = [sa.local_spi for sa in host.ike_sas()]
    return rng.choice(spis) if spis else None


def rekey(host: Host, rng: random.Random) -> Event | None:
    spi = (a_child if rng.random() < 0.6 else an_ike_sa)(host, rng)
    return None if spi is None else Rekey(spi)


def delete(host: Host, rng: random.Random) -> Event | None:
    spi = (a_child if rng.random() < 0.7 else an_ike_sa)(host, rng)
    return None if spi is None else Delete(spi)


def run(seed: int, *, deletes: bool) -> tuple[Pair, list[Flow]]:
    """One seeded life: traffic both ways, wishes at random times from both sides, a bad network for a while.

    With deletes it begins with the handshake, and lifetimes may end before a rekey comes through. Without, the SAs
    stand already, lifetimes leave time for a rekey, and no packet may be lost.
    """
    rng = random.Random(seed)
    faults = Faults(
        loss=rng.choice([0.0, 0.1, 0.25]),
        duplication=rng.choice([0.0, 0.3]),
        delay=rng.choice([(0.001, 0.002), (0.001, 0.05), (0.001, 0.8)]),
        until=FAULTY_UNTIL,
    )
    settings = Settings(smb=rng.random() < 0.5, child_seconds=rng.choice([3600, 30 if deletes else 120]))
    scene = pair(seed, settings)
    network = scene.network
    if not deletes:
        scene.connect()
    network.faults = faults
    running = []
    for host in scene.hosts:
        if rng.random() < 0.8:
            running.append(network.flow(host, Flow(scene.ping(host), ALL_REQID, 0.2, 150.0)))
        if settings.smb and rng.random() < 0.5:
            scene.acquire(host, rng.uniform(0, 5), SMB_REQID, tcp(host.address, scene.other(host).address, 445))
        network.poll(host, 400.0)
    for _ in range(rng.randrange(8)):
        host, when = rng.choice(scene.hosts), rng.uniform(0.0, FAULTY_UNTIL)
        wish = delete if deletes and rng.random() < 0.4 else rekey
        both = rng.random() < 0.4
        network.run(max(network.now, when))
        for one in scene.hosts if both else (host,):
            event = wish(one, rng)
            if event is not None:
                network.tell(one, event)
    network.run(FAULTY_UNTIL)
    running += [network.flow(host, Flow(scene.ping(host), ALL_REQID, 0.2, 150.0)) for host in scene.hosts]
    network.run(200.0)
    return scene, running


# rfc 7296: ike-lowest-nonce
@pytest.mark.parametrize("block", range(0, SEEDS, BLOCK))
@pytest.mark.parametrize("deletes", [False, True], ids=["rekeys", "rekeys and deletes"])
def test_every_seed_ends_in_agreement(block: int, deletes: bool) -> None:
    for seed in range(block, block + BLOCK):
        scene, running = run(seed, deletes=deletes)
        try:
            scene.converge()
            scene.works()
            if not deletes:
                assert [flow.lost for flow in running if flow.lost] == []
        except AssertionError as error:
            story = "\n".join(f"{t:8.3f} {h.name} {n.code}: {n.message}" for h in scene.hosts for t, n in h.notices)
            pytest.fail(f"seed {seed}, deletes={deletes}: {error}\n{story}")
