# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the kernel equal to a Plan by difference, and proves it by looking again (docs/decisions/0008).

The order keeps two promises at every moment, whatever step fails: each packet meets the policy that the old or the new
Plan has for it, never a third one; and nothing passes in the clear that did not before, until the packet filter is
exchanged, in one transaction, as the last step. Only what is ours is touched; what is foreign and in the way is told.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from xfrmd import limits
from xfrmd.adapters import nft_listing
from xfrmd.adapters.xfrm import sockets
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.sockets import Refusal, Request
from xfrmd.compiler import nft_text
from xfrmd.daemon.ports import Outcome
from xfrmd.errors import KernelError
from xfrmd.model.nft import NftTable
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry

_SHOWN: Final = 10
"""Differences and foreign policies named one by one; of more, only how many."""
_GONE: Final = (errno.ENOENT, errno.ESRCH)
Key = tuple[Direction, Selector]


class Policies(Protocol):
    """The kernel's SPD."""

    def policies(self) -> tuple[ObservedPolicy, ...]:
        """All policies, whoever wrote them."""

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        """Carry out requests in order; those that were refused."""


class Tables(Protocol):
    """The kernel's nftables, as far as they are ours."""

    def check(self, text: str) -> None:
        """Raises KernelError when `load` would."""

    def load(self, text: str) -> None:
        """Carry out one transaction, wholly or not at all."""

    def observe(self) -> NftTable | None:
        """Our table, None when there is none."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has."""

    policies: tuple[ObservedPolicy, ...]
    table: NftTable | None


@dataclass(frozen=True, slots=True)
class WritePolicy:
    """Add a policy, or replace the one of ours with its direction and selector at once."""

    entry: SpdEntry
    replaces: bool


@dataclass(frozen=True, slots=True)
class RemovePolicy:
    """Remove a policy of ours, by its index: nobody else's can be hit."""

    policy: ObservedPolicy


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Put our whole table in the place of the one before, in one transaction of nft commands."""

    text: str


Step = WritePolicy | RemovePolicy | LoadTable


def steps(plan: Plan, observed: Observed) -> tuple[Step, ...]:
    """What leads from the kernel's state to the Plan, in the safe order; () when they are equal.

    1. Without a table of ours: the table, which can only restrict.
    2. New and changed policies, the one that is asked first at first: until the entry that decides a packet stands, its
       old one does.
    3. Policies that no longer belong, the one that is asked last at first, for the same reason.
    4. The table, if there was another one: up to here the old fence let nothing pass that it did not let pass before.
    """
    fence = _table(plan, observed)
    spd = (*_writes(plan, observed), *_removals(plan, observed))
    return (*fence, *spd) if observed.table is None else (*spd, *fence)


def _table(plan: Plan, observed: Observed) -> list[Step]:
    if not nft_listing.differences(plan.nft, observed.table):
        return []
    return [LoadTable(nft_text.render(plan.nft, observed.table))]


def _writes(plan: Plan, observed: Observed) -> Iterator[Step]:
    there = {(policy.direction, policy.selector): policy for policy in observed.policies}
    for entry in sorted(plan.spd, key=lambda entry: entry.priority):
        policy = there.get(entry.key)
        if policy is None:
            yield WritePolicy(entry, replaces=False)
        elif policy.ours and policy.entry != entry:
            yield WritePolicy(entry, replaces=True)


def _removals(plan: Plan, observed: Observed) -> Iterator[Step]:
    wanted = {entry.key for entry in plan.spd}
    ours = [policy for policy in observed.policies if policy.ours]
    for policy in sorted(ours, key=lambda policy: policy.priority, reverse=True):
        if (policy.direction, policy.selector) not in wanted:
            yield RemovePolicy(policy)


def foreign(plan: Plan, observed: Observed) -> tuple[str, ...]:
    """Policies of others that stand on a selector of ours, or are asked ahead of ours for some of its packets."""
    others = sorted((policy for policy in observed.policies if not policy.ours), key=lambda one: one.priority)
    keys = {entry.key for entry in plan.spd}
    found = [
        f"a foreign policy stands in the way of ours: {policy}"
        for policy in others
        if (policy.direction, policy.selector) in keys
        or (policy.priority <= limits.PRIORITY_LAST and _overlaps(policy, plan.spd))
    ]
    return _few(found, "foreign policies stand in the way of ours")


def _overlaps(policy: ObservedPolicy, entries: Iterable[SpdEntry]) -> bool:
    return any(
        entry.direction is policy.direction
        and entry.priority >= policy.priority
        and entry.selector.overlaps(policy.selector)
        for entry in entries
    )


def differences(plan: Plan, observed: Observed) -> tuple[str, ...]:
    """Where the kernel is not what the Plan says, in words; () when they are equal."""
    found = []
    for step in _writes(plan, observed):
        assert isinstance(step, WritePolicy)
        what = "differs" if step.replaces else "is missing"
        found.append(f"SPD entry {step.entry.direction.name.lower()} {step.entry.selector} {what}")
    for step in _removals(plan, observed):
        assert isinstance(step, RemovePolicy)
        found.append(f"SPD entry {step.policy} does not belong to the policy")
    table = nft_listing.differences(plan.nft, observed.table)
    return (*_few(found, "SPD entries differ"), *(f"nftables: {text}" for text in _few(table, "differences in all")))


def _few(found: Sequence[str], summary: str) -> tuple[str, ...]:
    if len(found) <= _SHOWN:
        return tuple(found)
    return (*found[:_SHOWN], f"and more: {len(found)} {summary}")


class Reconciler:
    """Carries steps out, from what the kernel has at that moment to the Plan."""

    def __init__(self, policies: Policies, tables: Tables) -> None:
        self._policies = policies
        self._tables = tables
        self._last: Plan | None = None

    def observe(self) -> Observed:
        """Look at the kernel."""
        return Observed(self._policies.policies(), self._tables.observe())

    def check(self, plan: Plan) -> Outcome:
        """Compare only."""
        observed = self.observe()
        return Outcome((*differences(plan, observed), *foreign(plan, observed)), {})

    def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to the Plan and look again; what still differs, or is in the way, is in the outcome.

        KernelError when a step is refused: nothing after its batch is done, and the kernel is as strict as before, or
        stricter.
        """
        observed = self.observe()
        if observed.table is None and self._last not in (None, plan):
            # Somebody removed the fence. The step to another policy needs the one of the last.
            assert self._last is not None
            self._carry_out(steps(self._last, observed))
            observed = self.observe()
        todo = steps(plan, observed)
        self._carry_out(todo)
        self._last = plan
        done = Counter(type(step).__name__ for step in todo)
        return Outcome(self.check(plan).degraded, dict(done))

    def _carry_out(self, todo: Sequence[Step]) -> None:
        for step in todo:
            if isinstance(step, LoadTable):
                # Before anything is touched: a table that the kernel does not take ends it here.
                self._tables.check(step.text)
        batch: list[Step] = []
        for step in todo:
            if isinstance(step, LoadTable):
                self._submit(batch)
                batch = []
                self._tables.load(step.text)
            else:
                batch.append(step)
        self._submit(batch)

    def _submit(self, batch: Sequence[Step]) -> None:
        for at in range(0, len(batch), limits.NETLINK_BATCH):
            part = batch[at : at + limits.NETLINK_BATCH]
            refused = self._policies.submit([_request(step) for step in part])
            bad = [one for one in refused if not (isinstance(part[one.place], RemovePolicy) and one.errno in _GONE)]
            if bad:
                raise KernelError("\n".join(_few([one.message for one in bad], "requests refused")), bad[0].errno)


def _request(step: Step) -> Request:
    if isinstance(step, WritePolicy):
        return sockets.update_policy(step.entry) if step.replaces else sockets.add_policy(step.entry)
    assert isinstance(step, RemovePolicy)
    return sockets.delete_policy(step.policy.direction, step.policy.selector, step.policy.index)
