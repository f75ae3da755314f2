# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said about a policy only with the host's facts: what can never win, what conflicts, what locks out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xfrmd.compiler import pad
from xfrmd.compiler.compile import NO_PLAN, Compilation
from xfrmd.compiler.cost import costs
from xfrmd.compiler.crossings import crossings
from xfrmd.compiler.expand import Generic
from xfrmd.compiler.lockout import lock_out
from xfrmd.compiler.meaning import meanings
from xfrmd.compiler.misplaced import misplaced
from xfrmd.compiler.names import names
from xfrmd.compiler.reqids import Reqids
from xfrmd.compiler.rival_auth import undercut
from xfrmd.compiler.shadows import Shadows, shadows
from xfrmd.errors import PolicyError
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan, SpecificFilter, Verdict
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import Action, Config, PolicySet, Rule


def _ties(made: Compilation, told: set[int]) -> Iterator[Problem]:
    """Filters of equal weight that overlap and want different things. `told`: numbers of which more is said."""
    seen: set[tuple[int, int]] = set()
    for one, other, _ in made.overlaps():
        pair = (one.number, other.number)
        alike = one.verdict is other.verdict and one.verdict is not Verdict.NEGOTIATE
        if alike or one.number == other.number or one.weight != other.weight or pair in seen or other.number in told:
            continue
        seen.add(pair)
        yield Problem(
            Severity.WARNING,
            other.origin.at,
            f"overlaps the filter at {one.origin.at} of rule {one.origin.rule!r}, which is as specific, "
            f"{_first(one, other)} and wins ({one.verdict.value})",
            "make one of them narrower, or remove one",
        )


def _first(winner: SpecificFilter, loser: SpecificFilter | Generic) -> str:
    """Why the winner of two that are equally specific is the winner."""
    return "comes first in the file" if winner.origin.store is loser.origin.store else "is of the persistent policy"


def _shadowed(made: Compilation, found: Shadows) -> Iterator[Problem]:
    """Filters that never decide anything."""
    for shadow in found.found:
        ours, by = made.generics[shadow.number], shadow.by
        first = _first(by, ours)
        other = f"the one at {by.origin.at} of rule {by.origin.rule!r}"
        if not shadow.twin:
            message = f"the filter never decides anything: more specific ones take all of it, such as {other}"
            remedy = "remove it, or make it narrower than those"
        elif _alike(ours, made.generics[by.number]):
            message, remedy = (
                f"the filter says the same as {other}, which {first}",
                "remove one of them",
            )
        else:
            message = f"the filter never decides anything: {other} speaks of the same packets, {first} "
            message += f"and wins ({by.verdict.value})"
            remedy = "remove one of them, or make one narrower"
        yield Problem(Severity.WARNING, ours.filter.at, message, remedy)
    if not found.complete:
        yield Problem(
            Severity.WARNING,
            made.policies[0].at,
            "not all filters were looked at for those that never decide anything: there are too many of too many kinds",
            "write fewer prefix lengths and port forms, and remove the filters that are told",
        )


def _alike(one: Generic, other: Generic) -> bool:
    """Does the same happen to packets of both?"""
    return _done(one.rule) == _done(other.rule)


def _done(rule: Rule) -> tuple[object, ...]:
    action = rule.filter_action
    if action.action is not Action.NEGOTIATE:
        return (action.action,)
    return (action.qmsecmethods, action.qmpfs, action.inpass, action.soft, rule.auth, rule.tunnel)


def examine(made: Compilation, config: Config) -> tuple[Problem, ...]:
    """Problems of a compiled policy, in the order of the file."""
    shadowed = shadows(made)
    found = [
        *meanings(made),
        *misplaced(made),
        *pad.conflicts(made.peers()),
        *undercut(made),
        *crossings(made),
        *_ties(made, {shadow.number for shadow in shadowed.found}),
        *_shadowed(made, shadowed),
        *lock_out(made, config),
        *costs(made),
        *names(made),
    ]
    return tuple(sorted(found, key=lambda problem: (problem.at, problem.severity.value, problem.message)))


class Checked(NamedTuple):
    """The policies in force, compiled, with their problems. `made` is None when there are none, or they have
    no Plan.
    """

    made: Compilation | None
    problems: tuple[Problem, ...]

    @property
    def plan(self) -> Plan:
        """The Plan; the empty one when nothing is assigned. Raises PolicyErrors when the policy has none."""
        if self.made is None and any(problem.severity is Severity.ERROR for problem in self.problems):
            raise PolicyErrors(self.problems)
        return self.made.plan if self.made else NO_PLAN


def compile_and_check(policies: PolicySet, facts: HostFacts, known: Reqids | None = None) -> Checked:
    """Compile the policies in force for a host with these facts, and say what is wrong with them, in the order of the
    files. A set with an error among its problems must not be installed. `known`: reqids to go on with.
    """
    if not policies.in_force:
        return Checked(None, ())
    try:
        with collector_paused():
            made = Compilation(policies, facts, known)
            return Checked(made, examine(made, policies.config))
    except PolicyErrors as error:
        return Checked(None, error.problems)
    except PolicyError as error:
        problem = Problem(Severity.ERROR, policies.in_force[0].at, str(error), "merge filters: subnets, port ranges")
        return Checked(None, (problem,))


def check(policies: PolicySet, facts: HostFacts) -> tuple[Problem, ...]:
    """The problems alone."""
    return compile_and_check(policies, facts).problems
