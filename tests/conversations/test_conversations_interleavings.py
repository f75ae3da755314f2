# SPDX-License-Identifier: GPL-2.0-or-later
"""Rekeys and deletions of two engines in all orders, with losses, duplicates and early timers: one IKE SA and one child
SA pair at the end, no SA left in a kernel, and while nothing is deleted no moment at which packets are sent that the
other end cannot open.

XFRMD_ORDERS_DEPTH and XFRMD_ORDERS_MOST say how many events of an order are chosen where something is lost, doubled or
late, and how many orders of one set of wishes are tried at the most.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import pytest

from tests.conversations.exploring import EPISODE, HYBRID, LASTING, RANDOM, by_lot
from tests.conversations.interleavings import WISHES, Bounds, HeldNetwork, Wish, connected, lived, orders, renewable
from tests.conversations.network import Host
from tests.conversations.plans import Settings
from xfrmd.ike.effects import Effect, InstallSa
from xfrmd.ike.events import Event, Rekey

DEPTH = int(os.environ.get("XFRMD_ORDERS_DEPTH", "6"))
MOST = int(os.environ.get("XFRMD_ORDERS_MOST", "150"))
PAIRS = [(Wish(0, one), Wish(1, other)) for one, other in itertools.product(WISHES, WISHES)]
TRIPLES = [
    (Wish(0, one), Wish(0, more), Wish(1, other))
    for (one, more), other in itertools.product(itertools.combinations_with_replacement(WISHES, 2), WISHES)
]


def named(wishes: Sequence[Wish]) -> str:
    return ", ".join(map(str, wishes))


def explored(wishes: Sequence[Wish], bounds: Bounds, most: int | None = None) -> int:
    """Orders that were lived through, each of them ending well."""
    return sum(1 for _ in itertools.islice(orders(wishes, bounds), most))


# rfc 7296: lowest-nonce ike-lowest-nonce
@pytest.mark.parametrize("wishes", PAIRS, ids=named)
def test_two_wishes_in_all_orders(wishes: Sequence[Wish]) -> None:
    """To the end: each message of both comes at every moment at which it may."""
    assert explored(wishes, Bounds(depth=24)) >= 4


@pytest.mark.parametrize("wishes", TRIPLES, ids=named)
def test_three_wishes_in_many_orders(wishes: Sequence[Wish]) -> None:
    assert explored(wishes, Bounds(depth=24), MOST // 3) >= 20


@pytest.mark.parametrize("bounds", [Bounds(DEPTH, faults=1), Bounds(DEPTH, ticks=1)], ids=["lost or doubled", "late"])
@pytest.mark.parametrize("wishes", PAIRS, ids=named)
def test_two_wishes_with_a_message_that_is_lost_or_comes_twice_or_late(wishes: Sequence[Wish], bounds: Bounds) -> None:
    assert explored(wishes, bounds, MOST) >= 40


LOTS = int(os.environ.get("XFRMD_ORDERS_LOTS", "1000"))


# rfc 9370: followup
@pytest.mark.parametrize(("settings", "share"), [(LASTING, 1), (HYBRID, 4)], ids=["one exchange", "additional"])
def test_orders_drawn_by_lot(settings: Settings, share: int) -> None:
    """Two to five wishes, four faults, three early timers, other nonces each time; a quarter as many again where rekeys
    have an additional key exchange. `python -m tests.conversations.exploring` goes on where this ends.
    """
    for number in range(LOTS // EPISODE // share):
        by_lot(number, settings)


FOUND = {
    "the peer's rekey waits for our answer when we delete": (
        (Wish(0, "delete-ike"), Wish(0, "rekey-ike"), Wish(1, "rekey-ike"), Wish(0, "rekey-ike")),
        (
            "wish B2, lose A0, wish A1, lose B0, wish A3, tick 0, deliver A1, lose B2, tick 1, lose B1, wish A0, "
            "deliver B3, deliver A2, deliver A3, deliver B6, deliver A4, deliver B5"
        ),
    ),
    "the same, when both delete": (
        (Wish(0, "rekey-ike"), Wish(0, "delete-ike"), Wish(1, "rekey-ike"), Wish(1, "delete-ike")),
        (
            "wish B2, wish A0, twice A0, lose B0, wish A1, lose B1, tick 0, lose A1, deliver B2, tick 1, deliver A0, "
            "deliver A2, tick 2, deliver B6, deliver A3, deliver B7"
        ),
    ),
}
"""Orders drawn by lot that ended badly once: what a rekey under way had made stayed at one end."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_by_lot_ends_well(name: str) -> None:
    wishes, steps = FOUND[name]
    lived(wishes, RANDOM, named=steps.split(", "))


def test_orders_differ_and_all_of_them_are_run() -> None:
    """Two hosts that each send one message: wish and wish, message and message, and their answers, in any order."""
    seen = [tuple(order.steps) for order in orders((Wish(0, "delete-ike"), Wish(1, "delete-ike")), Bounds(depth=24))]
    assert len(set(seen)) == len(seen)
    assert {steps[0].host for steps in seen} == {0, 1}


class Forgetful(HeldNetwork):
    """B's kernel loses the inbound SA of a rekey."""

    def tell(self, host: Host, event: Event) -> list[Effect]:
        effects = super().tell(host, event)
        if self.flying is not None and host is self.host(1):
            for effect in effects:
                if isinstance(effect, InstallSa) and effect.sa.inbound:
                    del host.kernel.sas[effect.sa.key]
        return effects


def test_a_kernel_that_loses_an_sa_is_found_out() -> None:
    """The positive control."""
    with pytest.raises(
        AssertionError, match=r"rekey-child at A: wish A0, deliver B0, deliver A0: A sends with .*not have"
    ):
        list(orders((Wish(0, "rekey-child"),), Bounds(depth=24), Forgetful))


class Deaf(HeldNetwork):
    """Nobody hears of rekeys."""

    def tell(self, host: Host, event: Event) -> list[Effect]:
        return [] if isinstance(event, Rekey) else super().tell(host, event)


def test_an_sa_that_can_not_be_rekeyed_is_found_out() -> None:
    """The positive control of what by_lot demands at the end."""
    renewable(connected(HeldNetwork(steady=True)))
    with pytest.raises(AssertionError, match="rekey-child at A does nothing"):
        renewable(connected(Deaf(steady=True)))
