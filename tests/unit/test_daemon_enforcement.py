# SPDX-License-Identifier: GPL-2.0-or-later
"""A thread that changes the kernel is alone with it, also where whoever waits for it is cancelled, and at a stop."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import cast

from tests.unit.test_daemon_commands import POLICY, Facts, Kernel
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.daemon.core import Faults
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.parts import Errands
from xfrmd.daemon.ports import Outcome
from xfrmd.daemon.service import Service
from xfrmd.daemon.stopping import stop
from xfrmd.model.plan import NO_OVERLAY, Overlay, Plan
from xfrmd.policy.loader import load


class Slow(Kernel):
    """It takes as long as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.done: list[str] = []

    def apply(self, plan: Plan, overlay: Overlay = NO_OVERLAY) -> Outcome:
        self.begun.set()
        assert self.goes_on.wait(10)
        self.done.append("applied")
        return super().apply(plan, overlay)


def test_who_is_cancelled_gives_the_kernel_up_when_the_thread_has_ended() -> None:
    async def scenario() -> None:
        kernel = Slow()
        enforcement = Enforcement(kernel, Facts(), lambda *_: None, lambda: 1000.0)
        applying = asyncio.create_task(enforcement.put(load(POLICY, "policy.yaml", secret_reader(None)), "policy.yaml"))
        await asyncio.to_thread(kernel.begun.wait, 10)
        applying.cancel()
        looking = asyncio.create_task(enforcement.at_rest(lambda _: kernel.done.append("looked")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (applying.done(), enforcement.busy, kernel.done) == (False, True, [])
        kernel.goes_on.set()
        await looking
        assert (applying.cancelled(), enforcement.busy, kernel.done) == (True, False, ["applied", "looked"])

    asyncio.run(asyncio.wait_for(scenario(), 30))


class Removing:
    """What a stop that opens asks of the kernel, noted in order."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def sas(self) -> tuple[()]:
        return ()

    def policies(self) -> tuple[()]:
        self._done.append("removed")
        return ()

    def load(self, text: str) -> None:
        assert "delete table" in text


def test_a_stop_that_opens_removes_what_was_put_in_force_last() -> None:
    """What a thread adds behind the removal would block for good, with nobody there to negotiate."""

    async def scenario() -> None:
        kernel = Slow()
        kernel.goes_on.set()
        enforcement = Enforcement(kernel, Facts(), lambda *_: None, lambda: 1000.0)
        policies = load(POLICY + "config: {on_stop: open}\n", "policy.yaml", secret_reader(None))
        await enforcement.put(policies, "policy.yaml")
        kernel.goes_on.clear()
        kernel.begun.clear()
        errands, removing = Errands(Faults(lambda _: None)), Removing(kernel.done)
        service = SimpleNamespace(
            errands=errands,
            house=SimpleNamespace(enforcement=enforcement),
            settings=SimpleNamespace(environ={}),
            custody=SimpleNamespace(active=False),
            kernel=SimpleNamespace(xfrm=removing, spd=removing, nft=removing),
            others=SimpleNamespace(close=lambda: None),
            say_goodbye=lambda: asyncio.sleep(0),
        )
        errands.start("facts", enforcement.put(policies, "policy.yaml"))
        await asyncio.to_thread(kernel.begun.wait, 10)
        stopping = asyncio.create_task(stop(cast("Service", service), interrupted=False))
        for _ in range(10):
            await asyncio.sleep(0)
        kernel.goes_on.set()
        assert (await stopping).code == "opened"
        assert kernel.done == ["applied", "applied", "removed"]

    asyncio.run(asyncio.wait_for(scenario(), 30))
