# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy in force: read, compiled, put into the kernel, and kept equal as the host's facts change.

A policy that cannot be read, compiled or installed never replaces one that could.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from xfrmd.compiler import Checked, Compilation, compile_and_check, examine
from xfrmd.compiler.compile import NO_PLAN, Prospect
from xfrmd.compiler.names import is_strict, names_of
from xfrmd.compiler.spd import TooMuchError
from xfrmd.daemon.ports import Enforcer, FactsSource, Outcome
from xfrmd.errors import KernelError
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import NO_OVERLAY, Overlay, Plan, PlanDelta
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import PolicySet

T = TypeVar("T")
EXAMINED: Final = 20_000
"""Filters of a policy that is examined anew after each change of facts; of larger ones what was told at first stays."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy, what it means on this host, and how well the kernel carries it. `since` is wall-clock time.

    `made` is None where no policy is assigned.
    """

    policies: PolicySet
    facts: HostFacts
    made: Compilation | None
    warnings: tuple[Problem, ...]
    file: str
    since: float
    outcome: Outcome

    @property
    def plan(self) -> Plan:
        """The Plan in force."""
        return NO_PLAN if self.made is None else self.made.plan


def _told(policies: PolicySet, found: Iterable[Problem]) -> tuple[Problem, ...]:
    """All that is to be said about a policy on this host, in the order of the file."""
    problems = dict.fromkeys((*policies.warnings, *found))
    return tuple(sorted(problems, key=lambda problem: (problem.at, problem.message)))


def _compiled(policies: PolicySet, facts: HostFacts, before: Compilation | None) -> Checked:
    """Compile and check; filters that were there before keep their reqids."""
    checked = compile_and_check(policies, facts, before.reqids if before else None)
    return checked._replace(problems=_told(policies, checked.problems))


def _examined(now: InForce) -> tuple[Problem, ...]:
    return _told(now.policies, examine(now.made, now.policies.config) if now.made else ())


def _prospect(made: Compilation, facts: HostFacts) -> Prospect | None:
    with collector_paused():
        return made.prospect(facts)


class Enforcement:
    """Holds what is in force. `changed` hears each new Plan after the kernel has it, and whether IKE must hear of it;
    `overlay` gives what stands beside a Plan; `clock` is wall-clock time; `at_work` hears when a thread begins and ends
    to change the kernel.
    """

    def __init__(
        self,
        enforcer: Enforcer,
        facts: FactsSource,
        changed: Callable[[Plan, bool], None],
        clock: Callable[[], float],
        *,
        overlay: Callable[[Plan], Overlay] = lambda _: NO_OVERLAY,
        at_work: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._enforcer = enforcer
        self._facts = facts
        self._changed = changed
        self._clock = clock
        self._overlay = overlay
        self._report_work = at_work
        self._turn = asyncio.Lock()
        self.now: InForce | None = None
        self.busy = False
        """Is a thread at work in the kernel?"""
        self._between = False
        """Was the way back from a refused policy refused as well?"""

    async def put(self, policies: PolicySet, file: str) -> InForce:
        """Put policies in force; `file` is the first of theirs. Raises PolicyError or KernelError, and what was in
        force stays.
        """
        async with self._turn:
            return await self._put(policies, file)

    async def _put(self, policies: PolicySet, file: str) -> InForce:
        """Names of both policies are followed until it is clear which of them is in force."""
        self._want(policies, *([self.now.policies] if self.now else []))
        try:
            await self._facts.settled()
            facts, before = self._facts.read(), self.now.made if self.now else None
            made, found = await asyncio.to_thread(_compiled, policies, facts, before)
            if any(problem.severity is Severity.ERROR for problem in found):
                raise PolicyErrors(found)
            return await self._install(InForce(policies, facts, made, found, file, self._clock(), Outcome((), {})))
        finally:
            self._want(*([self.now.policies] if self.now else []))

    def _want(self, *policies: PolicySet) -> None:
        """Have the names of these policies followed."""
        names = frozenset[str]().union(*map(names_of, policies))
        self._facts.want(names, strict=any(map(is_strict, policies)))

    async def refresh(self) -> bool:
        """Look at the facts again, and let the Plan follow when they changed. True when it changed."""
        async with self._turn:
            before, facts = self.now, self._facts.read()
            if before is not None and self._between:
                await self._go_back(before)
            if before is None or facts == before.facts:
                return False
            delta = await self._follow(before, facts)
            if delta is None:
                # What would refuse a new policy is only told here: the one in force must fit the new facts in any case.
                checked = await asyncio.to_thread(_compiled, before.policies, facts, before.made)
                wanted = replace(before, facts=facts, made=checked.made, warnings=checked.problems)
                if checked.plan == before.plan:
                    self.now = wanted
                    return False
                await self._install(wanted)
                return True
            self.now = replace(before, facts=facts)
            if delta != PlanDelta():
                await self._change(before, self.now, delta)
            await self._examine()
            return delta != PlanDelta()

    async def at_rest(self, look: Callable[[InForce | None], T]) -> T:
        """What a thread finds when it looks at what is in force, while nothing changes it."""
        async with self._turn:
            return await asyncio.to_thread(look, self.now)

    def overlay(self, overlay: Overlay) -> None:
        """Have something else beside the Plan in force. Raises KernelError, also while a policy is being applied."""
        if self.busy or self.now is None or self._between:
            raise KernelError("the policy is being changed in this moment", errno.EBUSY)
        self._enforcer.overlay(overlay)

    @property
    def proved(self) -> bool:
        """Was the kernel equal to what it was given when it was looked at last?"""
        return self._enforcer.proved

    def disturbed(self) -> bool:
        """May others have touched what the kernel was given? Not while a thread changes it: that one looks itself.
        Raises KernelError.
        """
        return not self.busy and self._enforcer.disturbed()

    def shut(self) -> None:
        """Block what the table alone kept from passing, until `mend` has put it back. KernelError."""
        if not self.busy:
            self._enforcer.shut()

    async def mend(self) -> Outcome:
        """Give the kernel what others have taken from it; what was done. Raises KernelError."""
        async with self._turn:
            if self.now is None:
                return Outcome((), {})
            if self._between:
                return await self._go_back(self.now)
            outcome = await self._at_work(self._enforcer.mend)
            self.now = replace(self.now, outcome=outcome)
            return outcome

    async def _go_back(self, before: InForce) -> Outcome:
        """Make the kernel what it was before a policy that it refused, whatever it was given last. KernelError."""
        outcome = await self._at_work(self._enforcer.apply, before.plan, self._overlay(before.plan))
        self._between, self.now = False, replace(before, outcome=outcome)
        return outcome

    def check(self) -> Outcome:
        """Compare the kernel with the Plan in force; what was found last while a policy is being applied. Raises
        KernelError.
        """
        assert self.now is not None
        return self.now.outcome if self.busy else self._enforcer.check(self.now.plan)

    async def _follow(self, before: InForce, facts: HostFacts) -> PlanDelta | None:
        """Let the Compilation in force follow; None when it is better to compile anew."""
        if before.made is None:
            return None
        prospect = await asyncio.to_thread(_prospect, before.made, facts)
        try:
            return None if prospect is None else before.made.follow(prospect)
        except TooMuchError:
            return None

    async def _examine(self) -> None:
        """Warnings follow the facts, where that costs little."""
        now = self.now
        if now is not None and (now.made is None or len(now.made.generics) <= EXAMINED):
            self.now = replace(now, warnings=await asyncio.to_thread(_examined, now))

    async def _at_work(self, work: Callable[..., Outcome], *arguments: object) -> Outcome:
        """Let a thread change the kernel, while IKE goes on. KernelError.

        Who is cancelled meanwhile waits for its end: a thread cannot be stopped, and nobody else is to change the
        kernel beside it.
        """
        self.busy = True
        self._report_work(True)
        thread = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            await asyncio.gather(thread, return_exceptions=True)
            raise
        finally:
            self.busy = False
            self._report_work(False)

    async def _install(self, wanted: InForce) -> InForce:
        try:
            outcome = await self._at_work(self._enforcer.apply, wanted.plan, self._overlay(wanted.plan))
        except KernelError:
            await self._fall_back(self.now)
            raise
        self._between, self.now = False, replace(wanted, outcome=outcome)
        self._changed(wanted.plan, True)
        return self.now

    async def _change(self, before: InForce, wanted: InForce, delta: PlanDelta) -> None:
        try:
            plan = wanted.plan
            outcome = await self._at_work(self._enforcer.change, plan, delta, self._overlay(plan))
        except KernelError:
            # The Compilation has followed the new facts: what was before is compiled anew.
            checked = await asyncio.to_thread(_compiled, before.policies, before.facts, before.made)
            await self._fall_back(replace(before, made=checked.made))
            raise
        self.now = replace(wanted, outcome=outcome)
        self._changed(plan, delta.negotiates)

    async def _fall_back(self, before: InForce | None) -> None:
        """After a refusal in the middle: make the kernel what it was."""
        if before is None:
            return
        self._between = True
        try:
            await self._go_back(before)
        except KernelError as error:
            self.now = replace(before, outcome=Outcome((f"the kernel stands between two policies: {error}",), {}))
        self._changed(before.plan, True)
