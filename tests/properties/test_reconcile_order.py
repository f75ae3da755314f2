# SPDX-License-Identifier: GPL-2.0-or-later
"""From any policy to any other, with a refusal at any step: never a clear packet more, never a third decision.

The kernel is a model at the ports that we own: it keeps what the requests, decoded, say. XFRMD_EXAMPLES sets how many
pairs of policies are tried (default 15).
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.test_compiler_decisions import FACTS, _packet, policy_sets
from xfrmd.adapters.xfrm import policies, uapi
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import Refusal, Request
from xfrmd.adapters.xfrm.selectors import unpack_selector
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.compiler import compile_policy
from xfrmd.compiler.delta import plan_delta
from xfrmd.compiler.interpreter import Interpreter, Seen, first_entry
from xfrmd.daemon.ports import Outcome
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.daemon.steps import Key, Observed, differences, steps
from xfrmd.errors import KernelError
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import ElementChange, NftTable, TableChange
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Packet, Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

EXAMPLES = int(os.environ.get("XFRMD_EXAMPLES", "15"))
PACKETS = 16


class ModelKernel:
    """SPD and table as values. `fail_at` counts requests, checks and loads; that one is refused."""

    def __init__(self) -> None:
        self.spd: dict[Key, ObservedPolicy] = {}
        self.table: NftTable | None = None
        self.fail_at: int | None = None
        self.done = 0
        self.after_each: Callable[[], None] = lambda: None
        self._indexes = iter(range(1, 1_000_000))
        self.commits = 0

    def _refuses(self) -> bool:
        self.done += 1
        return self.done - 1 == self.fail_at

    def policies(self) -> tuple[ObservedPolicy, ...]:
        return tuple(self.spd.values())

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        return tuple(refusal for place, one in enumerate(requests) for refusal in self._one(place, one))

    def _one(self, place: int, request: Request) -> list[Refusal]:
        if self._refuses():
            return [Refusal(place, errno.ENOMEM, f"{request.about}: out of memory")]
        if request.type is Msg.DELPOLICY:
            index = uapi.POLICY_ID.unpack_from(request.body)[-2]
            (key,) = (key for key, policy in self.spd.items() if policy.index == index)
            assert key[1] == unpack_selector(request.body, 0)[0]
            del self.spd[key]
        else:
            observed = policies.decode(request.body)
            assert observed is not None
            assert observed.entry is not None
            if request.type is Msg.NEWPOLICY and observed.entry.key in self.spd:
                return [Refusal(place, errno.EEXIST, f"{request.about}: it is there already")]
            self._write(observed, observed.entry)
        self.after_each()
        return []

    def _write(self, observed: ObservedPolicy, entry: SpdEntry) -> None:
        self.spd[entry.key] = ObservedPolicy(
            entry.direction, entry.selector, entry.priority, next(self._indexes), observed.reqids, entry
        )

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        return self.spd.get((direction, selector))

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        assert all(0 < length <= 32 for length in v4)
        assert all(0 < length <= 128 for length in v6)

    def watch(self) -> None: ...
    def look_away(self) -> None: ...
    def touched(self) -> bool:
        return False

    def generation(self) -> int:
        return self.commits

    def _commits(self) -> None:
        if self._refuses():
            raise KernelError("refused")
        self.commits += 1

    def prepare(self, change: TableChange) -> None:
        assert change.old == self.table
        self._commits()

    def exchange(self, change: TableChange) -> None:
        assert change.old == self.table
        self._commits()
        assert change.old is None or _after(change.old, change.elements, change.new) == change.new
        self.table = change.new
        self.after_each()

    def change(self, changes: Mapping[str, ElementChange], generation: int) -> None:
        assert self.table is not None
        assert generation == self.commits
        self._commits()
        self.table = _after(self.table, changes, self.table)
        self.after_each()

    def element(self, name: str, key: bytes) -> str | None:
        assert self.table is not None
        return next(one for one in self.table.maps if one.name == name).elements.get(key)

    def observe(self) -> NftTable | None:
        return self.table

    def snapshot(self) -> Observed:
        return Observed(self.policies(), self.table)

    def restore(self, observed: Observed) -> None:
        self.spd = {(policy.direction, policy.selector): policy for policy in observed.policies}
        self.table = observed.table
        self.done = 0
        self.fail_at = None
        self.after_each = lambda: None

    def decision(self, packet: Packet) -> tuple[SpdAction, int, bool]:
        """What XFRM does with a packet; none of its business is the same as BYPASS."""
        entries = [policy.entry for policy in self.spd.values() if policy.entry]
        entry = first_entry(entries, Direction.IN if packet.inbound else Direction.OUT, packet)
        return (entry.action, entry.reqid, entry.optional) if entry else (SpdAction.BYPASS, 0, False)

    def lets_clear(self, packet: Packet, plan: Plan) -> bool:
        """Does it pass unprotected?"""
        action, _, optional = self.decision(packet)
        if action is SpdAction.DISCARD or (action is SpdAction.PROTECT and not optional):
            return False
        if self.table is None:
            return True
        hook = "prerouting" if packet.inbound else "postrouting"
        return Interpreter(self.table).run(hook, Seen(packet, plan.local, protected=False)) == "accept"


def _after(old: NftTable, changes: Mapping[str, ElementChange], new: NftTable) -> NftTable:
    """`new` as it comes about: maps that are in `old` with these changes, the others filled beforehand."""
    before = {one.name: one.elements for one in old.maps}
    maps = []
    for one in new.maps:
        elements = dict(before.get(one.name, one.elements))
        removed, added = changes.get(one.name, ((), ())) if one.name in before else ((), ())
        for key in removed:
            del elements[key]
        assert not elements.keys() & dict(added).keys()
        maps.append(replace(one, elements={**elements, **dict(added)}))
    return replace(new, maps=tuple(maps))


def moved(old: Plan, new: Plan) -> bool:
    """Does an entry keep its selector and change its priority? Then it cannot be in both places for a while."""
    before = {entry.key: entry.priority for entry in old.spd}
    return any(before.get(entry.key, entry.priority) != entry.priority for entry in new.spd)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.tuples(policy_sets(), policy_sets()), FACTS, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_no_step_opens_what_the_old_policy_closed(
    sets: tuple[object, object], host: HostFacts, with_table: bool, by_delta: bool, dice: random.Random
) -> None:
    old, new = (compile_policy(one, host) for one in sets)  # type: ignore[arg-type]  # drawn as PolicySets
    kernel = ModelKernel()
    Reconciler(kernel, kernel).apply(old)
    assert differences(old, kernel.snapshot()) == ()
    applied = kernel.snapshot()

    def begin() -> Reconciler:
        """The old policy in force; perhaps another program has flushed nftables since."""
        kernel.restore(applied)
        reconciler = Reconciler(kernel, kernel)
        reconciler.apply(old)
        if not with_table:
            kernel.table = None
            kernel.commits += 1
        kernel.done = 0
        return reconciler

    reconciler = begin()
    packets = [_packet(dice.choice([old, new]), host, dice) for _ in range(PACKETS)]
    clear = [kernel.lets_clear(packet, new) for packet in packets]
    was = [kernel.decision(packet) for packet in packets]
    delta = plan_delta(old, new)

    def go_on(reconciler: Reconciler) -> Outcome:
        return reconciler.change(new, delta) if by_delta else reconciler.apply(new)

    assert go_on(reconciler).degraded == ()
    count = kernel.done
    assert steps(new, kernel.snapshot()) == (), "nothing is left to do"
    assert reconciler.apply(new).changes == {}
    ends = [kernel.decision(packet) for packet in packets]

    reconciler = begin()
    seen: list[list[tuple[SpdAction, int, bool]]] = []
    kernel.after_each = lambda: seen.append([kernel.decision(packet) for packet in packets])
    go_on(reconciler)
    if not moved(old, new):
        for moment in seen:
            assert all(one in pair for one, pair in zip(moment, zip(was, ends, strict=True), strict=True))

    for fail_at in sorted({dice.randrange(count) for _ in range(6)}) if count else []:
        reconciler = begin()
        kernel.fail_at = fail_at
        with pytest.raises(KernelError):
            go_on(reconciler)
        after = [kernel.lets_clear(packet, new) for packet in packets]
        assert not [packet for packet, now, then in zip(packets, after, clear, strict=True) if now and not then]
        kernel.fail_at = None
        reconciler.apply(old)
        assert differences(old, kernel.snapshot()) == (), "the way back is always there"
