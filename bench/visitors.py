# SPDX-License-Identifier: GPL-2.0-or-later
"""Honest peers of a host that is flooded: some come, one after the other, and one that is there rekeys its IKE SA.

`python -m bench.visitors BLOCK SERVER SECONDS COUNT`, in the host where all addresses of the block are local. Prints a
line when the first are connected, waits for one, and after so many seconds prints how long each took, in JSON. They
begin IKE SAs alone (RFC 6023), and those that came leave again. COUNT: so many come at once instead, and stay.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.guarded import SUITE
from bench.pair import plan
from xfrmd.adapters.udp import UdpSockets
from xfrmd.daemon.changes import Changes
from xfrmd.daemon.core import Core, Faults
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, InitiateIke, Rekey
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.notice import Notice

LIMIT: Final = 20.0
"""Seconds after which one is given up."""
PAUSE: Final = 0.1
TICK: Final = 0.2
WARM_UP: Final = 10


class Visitors:
    """Their one engine, as they share a host."""

    def __init__(self, block: str, server: str) -> None:
        self._block, self._server = Prefix.parse(block), Address.parse(server)
        self._changes = Changes()
        self._engine = Engine(plan(self._block, [Prefix.host(self._server)], SUITE), os.urandom, time.time)
        self._core = Core(
            self._engine,
            self._carry,
            Faults(self._tell),
            self._changes.happened,
            keep=self._engine.forget_changes,
        )
        self.sockets = UdpSockets(self._core.post)
        self._come = 0

    def _carry(self, effect: Effect) -> None:
        if isinstance(effect, SendDatagram):
            self.sockets.send(effect.local, effect.remote, effect.data)

    def _tell(self, notice: Notice) -> None:
        raise RuntimeError(notice.message)

    def _spis(self, one: Address) -> set[bytes]:
        """Those of a peer's IKE SAs that stand."""
        found = self._engine.ike_sas()
        return {sa.local_spi for sa in found if sa.local.address == one and sa.state == "established"}

    async def _timed(self, done: Callable[[], bool]) -> float:
        """Seconds until something holds; LIMIT when it does not by then."""
        begun = time.monotonic()
        return time.monotonic() - begun if await self._changes.until(done, LIMIT) else LIMIT

    async def visit(self) -> float:
        """Somebody new connects. Seconds."""
        one, _ = await self.arrive()
        return one

    async def arrive(self, *, stay: bool = False) -> tuple[float, Address]:
        """The same, and who it is."""
        self._come += 1
        one = Address(4, self._block.value + self._come)
        self._core.post(InitiateIke(one, self._server))
        taken = await self._timed(lambda: bool(self._spis(one)))
        for spi in self._spis(one) if not stay else ():
            self._core.post(Delete(spi))
        return taken, one

    async def crowd(self, count: int) -> list[float]:
        """So many come at once. Seconds of each, in steps of TICK; LIMIT for those that are not connected by then."""
        first = self._block.value + self._come + 1
        begun, missing = time.monotonic(), {Address(4, first + number) for number in range(count)}
        for one in sorted(missing, key=lambda one: one.value):
            self._core.post(InitiateIke(one, self._server))
            await asyncio.sleep(0)  # answers are read meanwhile, as by as many hosts
        taken = list[float]()
        while missing and time.monotonic() - begun < LIMIT:
            await asyncio.sleep(TICK)
            come = missing & {sa.local.address for sa in self._engine.ike_sas() if sa.state == "established"}
            taken += [time.monotonic() - begun] * len(come)
            missing -= come
        return taken + [LIMIT] * len(missing)

    async def rekey(self, one: Address) -> float:
        """A peer that is there rekeys. Seconds."""
        old = self._spis(one)
        for spi in old:
            self._core.post(Rekey(spi))
        return await self._timed(lambda: bool(self._spis(one) - old))


async def _again(seconds: float, step: Callable[[], Awaitable[float]]) -> list[float]:
    end, taken = time.monotonic() + seconds, list[float]()
    while time.monotonic() < end:
        taken.append(await step())
        await asyncio.sleep(PAUSE)
    return taken


async def stay(block: str, server: str, seconds: float, count: int) -> None:
    """As the first lines say."""
    loop = asyncio.get_running_loop()
    visitors = Visitors(block, server)
    visitors.sockets.open()
    visitors.sockets.attach(loop)
    _, friend = await visitors.arrive(stay=True)
    for _ in range(WARM_UP):
        await visitors.visit()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    connects, rekeys = await asyncio.gather(
        visitors.crowd(count) if count else _again(seconds, visitors.visit),
        _again(seconds, lambda: visitors.rekey(friend)),
    )
    print(json.dumps({"connects": connects, "rekeys": rekeys}), flush=True)


if __name__ == "__main__":
    asyncio.run(stay(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
