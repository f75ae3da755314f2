# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy in force: read, compiled, put into the kernel, and kept equal as the host's facts change.

A policy that cannot be read, compiled or installed never replaces one that could.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from xfrmd.compiler import Checked, compile_and_check
from xfrmd.daemon.ports import Enforcer, FactsSource, Outcome
from xfrmd.errors import KernelError
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.secret import SecretRef
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.sources import ALONE, Sources
from xfrmd.policy.words import PolicySet


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy, what it means on this host, and how well the kernel carries it. `since` is wall-clock time."""

    policies: PolicySet
    facts: HostFacts
    plan: Plan
    warnings: tuple[Problem, ...]
    file: str
    since: float
    outcome: Outcome


def _checked(policies: PolicySet, facts: HostFacts) -> Checked:
    """What a policy means on this host, and all that is to be said about it, in the order of the file."""
    checked = compile_and_check(policies, facts)
    problems = dict.fromkeys((*policies.warnings, *checked.problems))
    return checked._replace(problems=tuple(sorted(problems, key=lambda problem: (problem.at, problem.message))))


class Enforcement:
    """Holds what is in force. `changed` hears each new Plan after the kernel has it; `clock` is wall-clock time."""

    def __init__(
        self,
        enforcer: Enforcer,
        facts: FactsSource,
        read_secret: Callable[[SecretRef], bytes],
        changed: Callable[[Plan], None],
        clock: Callable[[], float],
    ) -> None:
        self._enforcer = enforcer
        self._facts = facts
        self._read_secret = read_secret
        self._changed = changed
        self._clock = clock
        self._turn = asyncio.Lock()
        self.now: InForce | None = None

    async def put(
        self, text: str | bytes, file: str, sources: Sources = ALONE, *, allow_lockout: bool = False
    ) -> InForce:
        """Put a policy in force. Raises PolicyError or KernelError, and what was in force stays. `sources` are what it
        may include, and values for its variables; `allow_lockout` lets through a policy that closes the ports by which
        the host is managed.
        """
        async with self._turn:
            policies = await asyncio.to_thread(load, text, file, self._read_secret, sources=sources)
            if allow_lockout:
                policies = replace(policies, config=replace(policies.config, allow_lockout=True))
            facts = self._facts.read()
            checked = await asyncio.to_thread(_checked, policies, facts)
            if any(problem.severity is Severity.ERROR for problem in checked.problems):
                raise PolicyErrors(checked.problems)
            now = InForce(policies, facts, checked.plan, checked.problems, file, self._clock(), Outcome((), {}))
            return self._install(now)

    async def refresh(self) -> bool:
        """Look at the facts again, and compile anew when they changed. True when the Plan changed."""
        async with self._turn:
            before, facts = self.now, self._facts.read()
            if before is None or facts == before.facts:
                return False
            # What would refuse a new policy is only told here: the one in force must fit the new facts in any case.
            checked = await asyncio.to_thread(_checked, before.policies, facts)
            wanted = replace(before, facts=facts, plan=checked.plan, warnings=checked.problems)
            if wanted.plan == before.plan:
                self.now = wanted
                return False
            self._install(wanted)
            return True

    def check(self) -> Outcome:
        """Compare the kernel with the Plan in force. Raises KernelError."""
        assert self.now is not None
        return self._enforcer.check(self.now.plan)

    def _install(self, wanted: InForce) -> InForce:
        try:
            outcome = self._enforcer.apply(wanted.plan)
        except KernelError:
            self._fall_back()
            raise
        self.now = replace(wanted, outcome=outcome)
        self._changed(wanted.plan)
        return self.now

    def _fall_back(self) -> None:
        """After a refusal in the middle: make the kernel what it was."""
        if self.now is None:
            return
        try:
            outcome = self._enforcer.apply(self.now.plan)
        except KernelError as error:
            outcome = Outcome((f"the kernel stands between two policies: {error}",), {})
        self.now = replace(self.now, outcome=outcome)
