# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the kernel equal to a Plan by difference, and proves it by looking again (docs/decisions/0008 and 0013).

The order keeps two promises at every moment, whatever step fails: each packet meets the policy that the old or the new
Plan has for it, never a third one; and nothing passes in the clear that did not before, until the packet filter is
exchanged, in one transaction, as the last step. Only what is ours is touched; what is foreign and in the way is told.

A small change does not look at everything. It rests on what was proved last, as long as nobody else has touched
nftables (its generation tells) or XFRM policies (their news tell), and proves what it changed.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from xfrmd import limits
from xfrmd.adapters.nft_socket import ChangedElsewhereError
from xfrmd.adapters.xfrm import sockets
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import Request
from xfrmd.compiler.delta import changed_keys, size, with_overlays
from xfrmd.compiler.mirroring import SHUT
from xfrmd.compiler.spd_hash import thresholds
from xfrmd.daemon.ports import Outcome, Policies, Tables
from xfrmd.daemon.steps import (
    ChangeElements,
    ExchangeTable,
    Observed,
    PolicyStep,
    PrepareTable,
    RemovePolicy,
    Step,
    WritePolicy,
    differences,
    few,
    foreign,
    ordered,
    overlaid,
    steps,
)
from xfrmd.errors import KernelError
from xfrmd.model.nft import TableChange
from xfrmd.model.plan import NO_OVERLAY, Overlay, Plan, PlanDelta
from xfrmd.model.spd import SpdEntry
from xfrmd.policy.memory import collector_paused

_OTHERS: Final = "other programs change nftables or XFRM policies"
_FEW: Final = 64
_LOOKS: Final = 16
"""A change is looked at one by one up to `_FEW` elements, or one for each `_LOOKS` elements that there are: so many of
a dump are read in the time that one question takes."""
_GONE: Final = (errno.ENOENT, errno.ESRCH)


@dataclass(frozen=True, slots=True)
class _Believed:
    """The kernel as it was proved to be; it still is while nobody else touches it."""

    generation: int
    """Of nftables."""
    others: tuple[ObservedPolicy, ...]
    """Foreign policies."""


class Reconciler:
    """Carries steps out, from what the kernel has at that moment to the Plan. Not for use from two threads at once."""

    def __init__(self, policies: Policies, tables: Tables) -> None:
        self._policies = policies
        self._tables = tables
        self._plan: Plan | None = None
        self._overlay = NO_OVERLAY
        self._last: Plan | None = None
        """The plan with its overlay: what the kernel shall have."""
        self._believed: _Believed | None = None

    def check(self, plan: Plan) -> Outcome:
        """Compare only. The overlay that was applied with the plan counts in."""
        if plan is not self._plan or self._last is None:
            observed, _ = self._look()
            return Outcome((*differences(plan, observed), *foreign(plan, observed.policies)), {})
        if self._believed is not None and self._undisturbed(self._believed.generation):
            return Outcome(foreign(self._last, self._believed.others), {})
        return Outcome(self._prove(self._last), {})

    @property
    def proved(self) -> bool:
        """Was the kernel equal to what was applied when it was looked at last?"""
        return self._believed is not None

    def disturbed(self) -> bool:
        """May the kernel be something else than what was applied last?"""
        return self._last is not None and not (self._believed and self._undisturbed(self._believed.generation))

    def shut(self) -> None:
        """Block what the table alone kept from passing, until it is put back. What the SPD has keeps its policies."""
        if self._last is not None and self._last.nft.chains and not self._last.mirrored:
            # That one stands already, or a policy of everybody's traffic: it is refused, and decides itself.
            requests = [sockets.add_policy(entry) for entry in SHUT]
            for _ in range(limits.SHUT_TRIES):
                bad = [one for one in self._policies.submit(requests) if one.errno != errno.EEXIST]
                if not bad:
                    return
            raise KernelError(bad[0].message, bad[0].errno)

    def mend(self) -> Outcome:
        """Make the kernel equal to what was applied last, whoever has touched it. KernelError as `apply`."""
        if self._plan is None:
            raise KernelError("no policy has been applied")
        return self.apply(self._plan, self._overlay)

    def apply(self, plan: Plan, overlay: Overlay = NO_OVERLAY) -> Outcome:
        """Make the kernel equal to the Plan and look again; what still differs, or is in the way, is in the outcome.

        KernelError when a step is refused: nothing after its batch is done, and the kernel is as strict as before, or
        stricter.
        """
        wanted = overlaid(plan, overlay)
        for _ in range(limits.APPLY_TRIES):
            with collector_paused():
                try:
                    todo = self._apply(wanted)
                except ChangedElsewhereError:
                    continue
                self._plan, self._overlay, self._last = plan, overlay, wanted
                return Outcome(self._prove(wanted), _counted(todo))
        raise KernelError(f"{_OTHERS} all the time", errno.EBUSY)

    def overlay(self, overlay: Overlay) -> Outcome:
        """Put another overlay over the plan that was applied last. KernelError as `change`."""
        if self._plan is None:
            raise KernelError("no policy has been applied")
        return self.change(self._plan, PlanDelta(), overlay)

    def change(self, plan: Plan, delta: PlanDelta, overlay: Overlay = NO_OVERLAY) -> Outcome:
        """Make the kernel equal to the Plan, which differs from the last one by `delta` only.

        The work grows with the delta and not with the Plan, as long as nobody else meddles. KernelError as `apply`.
        """
        whole = with_overlays(delta, self._overlay, overlay)
        many = _is_many(whole, plan)
        if many and (whole.structure or whole.spd_gone or whole.spd_new):
            return self.apply(plan, overlay)
        wanted = overlaid(plan, overlay)
        try:
            todo = self._change(wanted, whole, prove=not many)
        except ChangedElsewhereError:
            return self.apply(plan, overlay)
        self._plan, self._overlay, self._last = plan, overlay, wanted
        with collector_paused():
            found = foreign(wanted, self._believed.others) if self._believed else self._prove(wanted)
        return Outcome(found, _counted(todo))

    # Looking at everything

    def _look(self) -> tuple[Observed, int]:
        """The kernel, and the generation of nftables at which it was so."""
        self._believed = None
        for _ in range(limits.APPLY_TRIES):
            self._policies.watch()
            generation = self._tables.generation()
            observed = Observed(self._policies.policies(), self._tables.observe())
            if self._undisturbed(generation):
                return observed, generation
        raise KernelError(f"{_OTHERS} all the time", errno.EBUSY)

    def _prove(self, wanted: Plan) -> tuple[str, ...]:
        """Where the kernel differs from what is wanted, and what is in the way."""
        observed, generation = self._look()
        found = differences(wanted, observed)
        others = tuple(policy for policy in observed.policies if not policy.ours)
        if not found:
            self._believed = _Believed(generation, others)
        return (*found, *foreign(wanted, others))

    def _undisturbed(self, generation: int) -> bool:
        return self._tables.generation() == generation and not self._policies.touched()

    def _apply(self, wanted: Plan) -> tuple[Step, ...]:
        observed, generation = self._look()
        if observed.table is None and self._last not in (None, wanted):
            # Somebody removed the fence. The step to another policy needs the one of the last.
            assert self._last is not None
            self._carry_out(steps(self._last, observed), generation)
            observed, generation = self._look()
        self._policies.hash_thresholds(*thresholds(wanted.spd))
        shut, observed = _without_shut(wanted, observed)
        todo = steps(wanted, observed)
        if len(todo) > limits.CHANGE_LAST:
            self._policies.look_away()
        self._carry_out(todo, generation)
        self._submit([RemovePolicy(one) for one in shut])
        return todo

    # Looking only where something changes

    def _change(self, wanted: Plan, delta: PlanDelta, *, prove: bool) -> tuple[Step, ...]:
        """ChangedElsewhereError when the kernel was not, or is no longer, what we believed. `prove`: ask for each."""
        believed, self._believed = self._believed, None
        if believed is None or self._last is None or not self._undisturbed(believed.generation):
            raise ChangedElsewhereError(_OTHERS, errno.EBUSY)
        todo = self._delta_steps(self._last, wanted, delta)
        commits = self._tables.commits
        try:
            self._carry_out(todo, believed.generation)
        except KernelError as error:
            if error.errno == errno.ENFILE:  # a full map: another look shows it, and it is exchanged for a larger one
                raise ChangedElsewhereError(str(error), errno.ENFILE) from error
            raise
        if prove:
            generation = believed.generation + self._tables.commits - commits
            if not _holds(self._policies, self._tables, wanted, delta) or not self._undisturbed(generation):
                raise ChangedElsewhereError(_OTHERS, errno.EBUSY)
            self._believed = replace(believed, generation=generation)
        return todo

    def _delta_steps(self, last: Plan, wanted: Plan, delta: PlanDelta) -> tuple[Step, ...]:
        writes = [self._write(entry) for entry in sorted(delta.spd_new, key=lambda one: one.priority)]
        removals = [self._removal(one) for one in sorted(delta.spd_gone, key=lambda one: one.priority, reverse=True)]
        spd: tuple[Step, ...] = (*writes, *removals)
        if delta.structure:
            return ordered(spd, TableChange(last.nft, wanted.nft, delta.elements))
        return (*spd, ChangeElements(delta.elements)) if delta.elements else spd

    def _write(self, entry: SpdEntry) -> WritePolicy:
        there = self._policies.policy(*entry.key)
        if there is not None and not there.ours:
            raise ChangedElsewhereError(_OTHERS, errno.EBUSY)
        return WritePolicy(entry, replaces=there is not None)

    def _removal(self, entry: SpdEntry) -> RemovePolicy:
        there = self._policies.policy(*entry.key)
        if there is None or there.entry != entry:
            raise ChangedElsewhereError(_OTHERS, errno.EBUSY)
        return RemovePolicy(there)

    # Carrying out

    def _carry_out(self, todo: Sequence[Step], generation: int) -> None:
        """KernelError ends it at the step that is refused."""
        batch: list[PolicyStep] = []
        for step in todo:
            if isinstance(step, PolicyStep):
                batch.append(step)
                continue
            self._submit(batch)
            batch = []
            if isinstance(step, PrepareTable):
                # Before anything is touched: a table that the kernel does not take ends it here.
                self._tables.prepare(step.change)
            elif isinstance(step, ExchangeTable):
                self._tables.exchange(step.change)
            else:
                self._tables.change(step.elements, generation)
        self._submit(batch)

    def _submit(self, batch: Sequence[PolicyStep]) -> None:
        for at in range(0, len(batch), limits.NETLINK_BULK):
            part = batch[at : at + limits.NETLINK_BULK]
            refused = self._policies.submit([_request(step) for step in part])
            bad = [one for one in refused if not (isinstance(part[one.place], RemovePolicy) and one.errno in _GONE)]
            if bad:
                raise KernelError("\n".join(few([one.message for one in bad], "requests refused")), bad[0].errno)


def _without_shut(wanted: Plan, observed: Observed) -> tuple[list[ObservedPolicy], Observed]:
    """What `shut` has put there, which goes last of all, and the rest."""
    keep = {entry.key for entry in wanted.spd}
    shut = [one for one in observed.policies if one.ours and one.entry in SHUT and one.key not in keep]
    return shut, replace(observed, policies=tuple(one for one in observed.policies if one not in shut))


def _holds(policies: Policies, tables: Tables, wanted: Plan, delta: PlanDelta) -> bool:
    """Is what was changed now as wanted?"""
    maps = {one.name: one.elements for one in wanted.nft.maps}
    keys = ((name, key) for name, change in delta.elements.items() if name in maps for key in changed_keys(change))

    def entry(like: SpdEntry) -> SpdEntry | None:
        found = policies.policy(*like.key)
        return None if found is None else found.entry

    return (
        all(tables.element(name, key) == maps[name].get(key) for name, key in keys)
        and all(entry(one) == one for one in delta.spd_new)
        and all(entry(one) is None for one in delta.spd_gone)
    )


def _is_many(delta: PlanDelta, plan: Plan) -> bool:
    """Is it cheaper to look at everything than at each change?"""
    held = sum(len(one.elements) for one in plan.nft.maps)
    return size(delta) > min(limits.CHANGE_LAST, max(_FEW, held // _LOOKS))


def _counted(todo: Sequence[Step]) -> dict[str, int]:
    done = Counter(type(step).__name__ for step in todo if not isinstance(step, PrepareTable))
    for step in todo:
        if isinstance(step, ChangeElements):
            done[ChangeElements.__name__] = sum(len([*changed_keys(change)]) for change in step.elements.values())
    return dict(done)


def _request(step: PolicyStep) -> Request:
    if isinstance(step, WritePolicy):
        return sockets.update_policy(step.entry) if step.replaces else sockets.add_policy(step.entry)
    return sockets.delete_policy(step.policy.direction, step.policy.selector, step.policy.index)
