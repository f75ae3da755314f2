# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy comes in force, changes, follows facts and is put back after others took it, while the kernel has trouble.

`python -m tests.properties.enforcing` prints the table of docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.conversations.kernel_wire import OF_REQUESTS, Steps, Trouble
from tests.properties.simulated_loop import simulate
from tests.properties.troubled_kernel import TroubledKernel
from tests.unit.compiler_cases import facts, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.daemon.core import Faults
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.following import Following
from xfrmd.daemon.others import Others
from xfrmd.daemon.overlay import Kind, Overlays
from xfrmd.daemon.parts import Errands
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.daemon.steps import differences, overlaid
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.notice import Notice
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.selector import ANY_PORT, TCP, Packet, Ports, Selector
from xfrmd.policy.words import PolicySet

HERE, LATER = facts("10.1.0.5/24"), facts("10.1.0.5/24", "10.9.0.1/24")
FIRST = policy(
    rule("block", one("me", "10.2.0.0/16")),
    rule("negotiate", one("me", "10.3.0.0/16", "tcp", dport=445), soft=True, line=2),
    rule("permit", one("me", "10.4.0.0/16"), line=3),
)
SECOND = policy(
    rule("block", one("me", "10.2.0.0/16")),
    rule("negotiate", one("me", "10.3.0.0/16"), soft=True, line=2),
    rule("negotiate", one("me", "10.4.0.0/16"), line=3),
    rule("block", one("me", "10.5.0.0/16", "udp", dport=53), line=4),
)
SOFT = Selector(
    Prefix.host(Address.parse("10.1.0.5")), Prefix.host(Address.parse("10.3.0.7")), TCP, ANY_PORT, Ports(445, 445)
)
CLOSED = tuple(
    packet(way, *ends) for way, ends in (("out", ("10.1.0.5", "10.2.0.7")), ("in", ("10.2.0.7", "10.1.0.5")))
)
"""What both policies block."""
QUIET = 120.0


class Facts:
    """A host that may get another address."""

    def __init__(self) -> None:
        self.now = HERE

    def read(self) -> HostFacts:
        return self.now

    def want(self, names: frozenset[str], *, strict: bool) -> None: ...
    async def settled(self) -> None: ...


@dataclass
class Host:
    """The daemon's parts that enforce, on one kernel."""

    steps: Steps = field(default_factory=Steps)
    told: list[Notice] = field(default_factory=list)
    closed: tuple[Packet, ...] = ()
    """What may not pass in the clear from now on."""
    leaks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = TroubledKernel(self.steps)
        self.heard: Plan | None = None
        self.errands = Errands(Faults(self.told.append))
        self.facts = Facts()
        self.overlays = Overlays(compile_policy(policy(), HERE), self._overlay)
        self.enforcement = Enforcement(
            Reconciler(self.kernel, self.kernel),
            self.facts,  # type: ignore[arg-type]  # what enforcement needs of it
            self._changed,
            lambda: 0.0,
            overlay=self.overlays.plan_changed,
            at_work=self._at_work,
        )
        self.following = Following(self.enforcement, self.errands, self.told.append)
        self.others = Others(
            self.enforcement, self.kernel, self.errands, self.told.append, lambda: None, news=self._news
        )
        self.kernel.after_each = self._look

    def _news(self, touched: Callable[[str], None], lost: Callable[[], None]) -> TroubledKernel:
        assert callable(lost)
        self.kernel.told = touched
        return self.kernel

    def _overlay(self, wanted: Overlay) -> None:
        self.enforcement.overlay(wanted)

    def _changed(self, plan: Plan, _: bool) -> None:
        """As IKE would hear it."""
        self.heard = plan

    def _at_work(self, busy: bool) -> None:
        self.others.at_work(busy)

    def _look(self) -> None:
        now = self.enforcement.now
        if now is None:
            return
        self.leaks += [str(one) for one in self.closed if self.kernel.lets_clear(one, now.plan)]

    async def put(self, policies: PolicySet) -> None:
        await self.enforcement.put(policies, "policy.yaml")

    async def catch_up(self) -> None:
        """As the daemon does with each look at its SAs."""
        while True:
            await asyncio.sleep(1.0)
            with contextlib.suppress(KernelError):
                self.overlays.catch_up()


async def _start(host: Host) -> None:
    host.closed = ()
    await host.put(FIRST)


async def _swap(host: Host) -> None:
    await host.put(SECOND)


async def _address(host: Host) -> None:
    host.facts.now = LATER
    host.following.facts_changed()


async def _open(host: Host) -> None:
    host.overlays.add(Kind.SOFT, _reqid(host), SOFT)


async def _close(host: Host) -> None:
    host.overlays.remove(Kind.SOFT, _reqid(host), SOFT)


async def _flush_table(host: Host) -> None:
    host.kernel.flush_table()


async def _flush_policies(host: Host) -> None:
    host.kernel.flush_policies()


def _reqid(host: Host) -> int:
    assert host.enforcement.now is not None
    return next(one.reqid for one in host.enforcement.now.plan.filters if one.reqid)


@dataclass(frozen=True)
class Scenario:
    """What is done on a host with the first policy in force."""

    name: str
    act: Callable[[Host], Awaitable[None]]
    empty: bool = False
    """Nothing is in force yet."""
    soft: bool = False
    """Some traffic passes in the clear."""


SCENARIOS = (
    Scenario("first policy", _start, empty=True),
    Scenario("another policy", _swap),
    Scenario("another policy, soft SA open", _swap, soft=True),
    Scenario("another address", _address),
    Scenario("soft SA opened", _open),
    Scenario("soft SA closed", _close, soft=True),
    Scenario("table flushed by others", _flush_table),
    Scenario("policies flushed by others", _flush_policies),
)


@dataclass
class Run:
    """A scenario with one trouble."""

    scenario: Scenario
    at: int | None
    trouble: Trouble = Trouble.ENOMEM
    times: int = 1
    names: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        step = "" if self.at is None or self.at >= len(self.names) else self.names[self.at]
        return f"{self.scenario.name}, step {self.at} {step}: {self.trouble.value} ({self.times} times)"

    def judge(self) -> None:
        """Live through it, and demand what must hold. AssertionError names the run."""
        try:
            simulate(self._live)
        except Exception as error:
            raise AssertionError(f"{self}: {type(error).__name__} {error}") from error

    async def _live(self) -> None:
        host = Host()
        host.others.open()
        if not self.scenario.empty:
            await host.put(FIRST)
            host.closed = CLOSED
        if self.scenario.soft:
            await _open(host)
        host.errands.start("catch up", host.catch_up())
        host.steps.arm(self.at, self.trouble, self.times)
        failure = await _done(self.scenario.act(host))
        await asyncio.sleep(QUIET)
        self.names = list(host.steps.names)
        assert self.at is None or host.steps.met, "nothing has failed"
        host.steps.arm(None)
        assert failure is not None or self.scenario.empty or host.enforcement.now is not None
        await _settled(host, self.scenario, failure)
        await host.errands.cancel()


async def _done(act: Awaitable[None]) -> KernelError | None:
    try:
        await act
    except KernelError as error:
        return error
    return None


async def _settled(host: Host, scenario: Scenario, failure: KernelError | None) -> None:
    """All is as it was before, or as it was to be, and what was refused can be had now."""
    now = host.enforcement.now
    if now is not None:
        _equal(host, now.plan)
        assert host.heard == now.plan, "IKE knows another policy"
    if scenario.act in (_start, _swap):
        wanted = FIRST if scenario.act is _start else SECOND
        assert (failure is None) == (now is not None and now.policies is wanted), f"{failure}: {now and now.policies}"
        await host.put(wanted)
    elif scenario.act is _address:
        assert now is not None
        assert now.facts is LATER
    elif scenario.act in (_open, _close):
        there = (Kind.SOFT, _reqid(host), SOFT) in host.overlays._parts
        assert there == (scenario.act is _open and failure is None)
    assert host.enforcement.now is not None
    _equal(host, host.enforcement.now.plan)
    assert host.others.degraded() == ()
    assert host.errands.faults.count == 0, host.told[-1]
    assert not host.leaks, host.leaks[:3]
    if failure is not None:
        assert str(failure)


def _equal(host: Host, plan: Plan) -> None:
    found = differences(overlaid(plan, host.overlays.sum), host.kernel.snapshot())
    assert found == (), found


def steps_of(scenario: Scenario) -> list[str]:
    """The steps, when nothing fails."""
    run = Run(scenario, None)
    run.judge()
    return run.names


def runs(scenario: Scenario, times: tuple[int, ...]) -> Iterator[Run]:
    """One for each step, kind of trouble and number of times."""
    for at, _ in enumerate(steps_of(scenario)):
        for trouble in OF_REQUESTS:
            for often in times:
                yield Run(scenario, at, trouble, often)


def main() -> None:
    """The table."""
    for scenario in SCENARIOS:
        names, bad, count = steps_of(scenario), 0, 0
        for run in runs(scenario, (1, 2, 7)):
            count += 1
            try:
                run.judge()
            except AssertionError as error:
                bad += 1
                print(str(error)[:600])
        print(f"| {scenario.name} | {len(names)} | {count} | {bad} |", flush=True)


if __name__ == "__main__":
    main()
