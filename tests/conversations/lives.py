# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts that can die, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conversations.mortal import Mortal, Wire
from tests.conversations.network import PERFECT, Faults, Flow, Network
from tests.conversations.plans import CBC_X25519, ENCR_GCM, ESN_OFF, GCM_X25519, P256, X25519, Settings, plan
from tests.conversations.scenes import A4, B4, Pair
from xfrmd.ike.events import Delete, Event, Rekey
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import Transform

PFS = Settings(pfs=True, esp=((ENCR_GCM, X25519, P256, ESN_OFF),))
HYBRID = Settings(ike=((*GCM_X25519, Transform(6, 36)),), pfs=True)
CBC = Settings(ike=(CBC_X25519,))
Change = Callable[[Plan, Address, Address], Plan]
"""What is made of a plan, own address and peer."""


def as_it_is(made: Plan, *_: Address) -> Plan:
    return made


@dataclass
class Play:
    """Two hosts that can die."""

    scene: Pair
    mortals: dict[str, Mortal]

    def run(self, seconds: float) -> None:
        self.scene.network.run(self.scene.network.now + seconds)

    def flows(self, seconds: float, interval: float = 0.02) -> list[Flow]:
        return [self.scene.flow(host, seconds, interval) for host in self.scene.hosts]

    def look_at_the_wire(self) -> None:
        wire = Wire()
        for host in self.scene.hosts:
            wire.watch(host.sent)


def play(
    seed: int = 1,
    settings: Settings | None = None,
    faults: Faults = PERFECT,
    *,
    theirs: Settings | None = None,
    change: Change = as_it_is,
) -> Play:
    """`theirs`: what B has in the place of A's settings. `change` is done to both plans."""
    network, ours = Network(seed, faults), settings or Settings()
    a = Mortal(network, A4, change(plan(A4, [B4], ours), A4, B4), network.entropy())
    b = Mortal(network, B4, change(plan(B4, [A4], theirs or ours), B4, A4), network.entropy())
    return Play(Pair(network, network.add("A", A4, a), network.add("B", B4, b)), {"A": a, "B": b})


Ask = Callable[[Play], list[tuple[str, Event]]]


def connect(_: Play) -> list[tuple[str, Event]]:
    return []


def rekey_child(one: Play) -> list[tuple[str, Event]]:
    return [("A", Rekey(one.scene.child(one.scene.a).spi_in.to_bytes(4)))]


def rekey_ike(one: Play) -> list[tuple[str, Event]]:
    return [("A", Rekey(one.scene.a.ike_sas()[0].local_spi))]


def rekey_child_both(one: Play) -> list[tuple[str, Event]]:
    return [*rekey_child(one), ("B", Rekey(one.scene.child(one.scene.b).spi_in.to_bytes(4)))]


def rekey_ike_both(one: Play) -> list[tuple[str, Event]]:
    return [*rekey_ike(one), ("B", Rekey(one.scene.b.ike_sas()[0].local_spi))]


def delete_child(one: Play) -> list[tuple[str, Event]]:
    return [("A", Delete(one.scene.child(one.scene.a).spi_in.to_bytes(4)))]


def delete_ike(one: Play) -> list[tuple[str, Event]]:
    return [("A", Delete(one.scene.a.ike_sas()[0].local_spi))]
