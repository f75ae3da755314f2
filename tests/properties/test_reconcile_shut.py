# SPDX-License-Identifier: GPL-2.0-or-later
"""A table that is gone, of a policy that stands in no SPD: everything is blocked until it is back, and not longer."""

from __future__ import annotations

import pytest

from tests.properties.test_reconcile_order import ModelKernel
from tests.unit.compiler_cases import facts, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.mirroring import SHUT
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.errors import KernelError
from xfrmd.model.plan import Plan

FACTS = facts("10.1.0.5/24")
BLOCKED = packet("out", "10.1.0.5", "10.2.0.7")
PERMITTED = packet("out", "10.1.0.5", "10.3.0.7")
KEYS = {entry.key for entry in SHUT}


def plan_of(*, mirrors: bool) -> Plan:
    return compile_policy(policy(rule("block", one("me", "10.2.0.0/16")), mirrors=mirrors), FACTS)


def flushed(plan: Plan) -> tuple[ModelKernel, Reconciler]:
    """A kernel that had the plan, and of which somebody has flushed nftables."""
    kernel = ModelKernel()
    reconciler = Reconciler(kernel, kernel)
    reconciler.apply(plan)
    kernel.table, kernel.commits = None, kernel.commits + 1
    return kernel, reconciler


def test_what_only_nftables_blocks_is_blocked_until_the_table_is_back() -> None:
    plan = plan_of(mirrors=False)
    kernel, reconciler = flushed(plan)
    assert kernel.lets_clear(BLOCKED, plan), "the control: a flush opens it"
    reconciler.shut()
    assert set(kernel.spd) >= KEYS
    assert not kernel.lets_clear(BLOCKED, plan)

    def still_closed() -> None:
        assert kernel.table is not None or not kernel.lets_clear(BLOCKED, plan)

    kernel.after_each = still_closed
    assert reconciler.mend().degraded == ()
    assert not KEYS & set(kernel.spd)
    assert kernel.lets_clear(PERMITTED, plan)
    assert not kernel.lets_clear(BLOCKED, plan)


def test_a_table_that_was_changed_is_exchanged_before_it_opens_again() -> None:
    plan = plan_of(mirrors=False)
    kernel, reconciler = flushed(plan)
    kernel.table = plan_of(mirrors=False).nft
    kernel.table = type(kernel.table)((), kernel.table.chains[:-1], kernel.table.counters)
    reconciler.shut()
    seen: list[bool] = []
    kernel.after_each = lambda: seen.append(kernel.table == plan.nft or set(kernel.spd) >= KEYS)
    reconciler.mend()
    assert seen
    assert all(seen)
    assert not KEYS & set(kernel.spd)


@pytest.mark.parametrize("at", range(3))
def test_what_cannot_be_put_back_stays_blocked_and_the_next_try_opens_it(at: int) -> None:
    plan = plan_of(mirrors=False)
    kernel, reconciler = flushed(plan)
    reconciler.shut()
    reconciler.shut()  # somebody does it again: what stands is refused, and stays
    kernel.done, kernel.fail_at = 0, at
    with pytest.raises(KernelError):
        reconciler.mend()
    assert KEYS & set(kernel.spd)
    assert not kernel.lets_clear(BLOCKED, plan)
    assert reconciler.mend().degraded == ()
    assert not KEYS & set(kernel.spd)


def test_a_policy_that_is_mirrored_and_none_at_all_need_none_of_it() -> None:
    for plan in (plan_of(mirrors=True), compile_policy(policy(), FACTS)):
        kernel, reconciler = flushed(plan)
        before = dict(kernel.spd)
        reconciler.shut()
        assert kernel.spd == before


def test_a_start_after_a_crash_in_that_moment_opens_what_is_permitted() -> None:
    plan = plan_of(mirrors=False)
    kernel, reconciler = flushed(plan)
    reconciler.shut()
    assert Reconciler(kernel, kernel).apply(plan).degraded == ()
    assert not KEYS & set(kernel.spd)
