# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel lets in of first messages follows from whether they can be heard."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.properties.simulated_loop import simulate
from xfrmd.adapters.sieve import Shares
from xfrmd.daemon.sieve import Sieve
from xfrmd.limits import floods
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.notice import Level, Notice

BARE, SHOWN, OTHER = range(3)
LESS = floods.SIEVE_LESS


class Kernel:
    """What was applied, and what was told."""

    def __init__(self) -> None:
        self.applied: list[Shares | None] = []
        self.told: list[Notice] = []


def lived(scene: Callable[[Sieve], Awaitable[None]], *, suspects: str = "") -> Kernel:
    """`suspects`: hosts of whose requests nothing comes."""
    kernel = Kernel()

    async def run() -> None:
        await scene(Sieve(kernel.applied.append, lambda remote, _: str(remote) in suspects.split(), kernel.told.append))

    simulate(run)
    return kernel


async def pressed(sieve: Sieve, steps: int, kind: int, by: int = floods.SIEVE_PRESSURE) -> None:
    """So many steps under pressure, by messages of a kind."""
    for _ in range(steps):
        sieve.pressed(by)
        sieve.come[kind] += 1000
        await asyncio.sleep(floods.SIEVE_STEP * 1.001)


def test_under_pressure_each_step_lets_in_less_and_never_nothing() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, BARE)

    applied = lived(scene).applied
    assert applied[:3] == [Shares(LESS), Shares(LESS * LESS), Shares(LESS * LESS * LESS)]
    assert applied[-1] == Shares(floods.SIEVE_LEAST)


def test_without_pressure_more_comes_in_until_all_does_and_nothing_is_left_to_do() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 3, BARE)
        await asyncio.sleep(floods.SIEVE_STEP * 5)
        assert LESS**3 < sieve.shares.bare < LESS
        await asyncio.sleep(60)
        assert sieve.shares == Shares()
        await pressed(sieve, 1, BARE)

    applied = lived(scene).applied
    rising = applied[2 : applied.index(None)]
    assert all(one and other and one.bare < other.bare for one, other in itertools.pairwise(rising))
    assert applied[-1] == Shares(LESS), "and again"
    assert applied.count(None) == 1


@pytest.mark.parametrize(("kind", "shares"), [(BARE, Shares(LESS, 1.0)), (SHOWN, Shares(1.0, LESS))])
def test_the_kind_that_comes_most_is_kept_out(kind: int, shares: Shares) -> None:
    async def scene(sieve: Sieve) -> None:
        sieve.come = [10, 10, 10]
        await pressed(sieve, 1, kind)

    assert lived(scene).applied == [shares]


def test_a_flood_under_spis_keeps_no_honest_beginner_out() -> None:
    async def scene(sieve: Sieve) -> None:
        for _ in range(5):
            sieve.pressed(floods.SIEVE_PRESSURE)
            sieve.come[BARE] += 999
            sieve.come[OTHER] += 1000
            await asyncio.sleep(floods.SIEVE_STEP * 1.001)

    assert lived(scene).applied == []


def test_a_flood_under_spis_holds_nobody_out_whom_another_flood_has_kept_out() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, BARE)
        await pressed(sieve, 100, OTHER)

    assert lived(scene).applied[-1] is None


def test_what_is_kept_out_of_one_kind_holds_nobody_of_the_other_out() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, SHOWN)
        await pressed(sieve, 100, BARE)

    assert lived(scene).applied[-1] == Shares(bare=floods.SIEVE_LEAST)


def test_a_flood_of_both_kinds_is_kept_out_of_both() -> None:
    async def scene(sieve: Sieve) -> None:
        for _ in range(40):
            sieve.pressed(floods.SIEVE_PRESSURE)
            for kind, share in enumerate((sieve.shares.bare, sieve.shares.shown)):
                sieve.come[kind] += round(30_000 * share)
            await asyncio.sleep(floods.SIEVE_STEP * 1.001)
        assert max(sieve.shares.bare, sieve.shares.shown) < 0.1

    lived(scene)


def test_a_crowd_that_is_read_late_once_or_twice_is_no_flood() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 5, BARE, floods.SIEVE_PRESSURE - 1)

    assert lived(scene).applied == []


def test_a_flood_is_told_once_and_another_one_later() -> None:
    async def scene(sieve: Sieve) -> None:
        for pause in (10, floods.SIEVE_TELL, 0):
            await pressed(sieve, 3, BARE)
            await asyncio.sleep(pause)

    told = lived(scene).told
    assert [notice.code for notice in told] == ["first-messages-sieved"] * 2
    assert told[0].level == Level.WARNING


NETWORKS = {"192.0.2.7": "192.0.2.0/24", "2001:db8:5:6::7": "2001:db8:5::/48"}


async def crowded(sieve: Sieve, steps: int, loud: str, part: float) -> None:
    """So many steps under pressure by 1,000 first messages each, of which this part is of one host, and each other is
    of a network of its own.
    """
    for _ in range(steps):
        sieve.pressed(floods.SIEVE_PRESSURE)
        for number in range(1000):
            remote = Address.parse(loud) if number < 1000 * part else Address(4, number << 8)
            sieve.first(remote, shown=bool(number & 1))
        await asyncio.sleep(floods.SIEVE_STEP * 1.001)


@pytest.mark.parametrize("host", NETWORKS)
def test_a_network_that_sends_much_of_them_all_is_kept_out_alone(host: str) -> None:
    network, first = Prefix.parse(NETWORKS[host]), floods.SIEVE_SUSPECT_LESS

    async def scene(sieve: Sieve) -> None:
        await crowded(sieve, 2, host, 0.3)
        assert sieve.shares == Shares(networks=((network, first**2),))
        await crowded(sieve, 25, host, 0.3)
        assert sieve.shares == Shares(networks=((network, floods.SIEVE_LEAST),))
        await asyncio.sleep(60)
        assert sieve.shares == Shares()
        await crowded(sieve, 1, host, 0.3)
        assert sieve.shares == Shares(networks=((network, first),)), "and again"

    kernel = lived(scene, suspects=host)
    assert kernel.applied.count(None) == 1


def test_a_network_that_sends_less_than_that_is_one_of_many() -> None:
    async def scene(sieve: Sieve) -> None:
        await crowded(sieve, 1, "192.0.2.7", 0.2)

    assert lived(scene, suspects="192.0.2.7").applied == [Shares(floods.SIEVE_LESS)]


def test_a_crowd_of_which_something_comes_is_one_of_many() -> None:
    async def scene(sieve: Sieve) -> None:
        await crowded(sieve, 1, "192.0.2.7", 0.9)

    assert lived(scene).applied == [Shares(floods.SIEVE_LESS)]


def test_who_has_many_networks_keeps_all_out_as_before() -> None:
    loud = [f"198.51.{number}.7" for number in range(40)]

    async def scene(sieve: Sieve) -> None:
        for host in loud:
            await crowded(sieve, 1, host, 0.3)
        assert sieve.shares.bare < 0.1

    lived(scene, suspects=" ".join(loud))


def test_who_sent_much_before_there_was_pressure_or_in_an_earlier_step_is_not_kept_out() -> None:
    async def scene(sieve: Sieve) -> None:
        for _ in range(5000):
            sieve.first(Address.parse("192.0.2.7"), shown=False)
        await crowded(sieve, 1, "192.0.2.7", 0.2)
        assert not sieve.shares.networks
        await crowded(sieve, 1, "198.51.100.7", 0.9)
        await crowded(sieve, 1, "198.51.100.7", 0.2)
        assert sieve.shares.networks == ((Prefix.parse("198.51.100.0/24"), floods.SIEVE_SUSPECT_LESS),)

    lived(scene, suspects="192.0.2.7 198.51.100.7")


def test_so_many_networks_have_shares_of_their_own_and_the_first_keep_theirs() -> None:
    loud = [f"198.51.{number}.7" for number in range(floods.SIEVE_NETWORKS + 3)]

    async def scene(sieve: Sieve) -> None:
        for host in loud:
            await crowded(sieve, 1, host, 0.9)
        kept = {network for network, _ in sieve.shares.networks}
        assert kept == {Prefix.parse(f"{host.removesuffix('.7')}.0/24") for host in loud[:-3]}

    lived(scene, suspects=" ".join(loud))
