# SPDX-License-Identifier: GPL-2.0-or-later
"""The package on a host that boots: its service runs as it should, and the first policy closes what it forbids."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.booted import Guest
from tests.boot.conftest import assign
from tests.boot.scene import BLOCKED, POLICY, PROTECTED, Row, await_answers, entered, leaked, meant


def test_a_host_that_never_had_a_policy_is_open_and_its_first_policy_closes_it(
    fresh: Guest, outcome: Callable[..., Row]
) -> None:
    fresh.boot()
    fresh.settled()
    assert fresh.run("systemctl is-active xfrmd").out == "active\n"
    # The control of this whole tier: without a policy each of the attacker's packets comes in and is answered.
    seen = {meant(each) for each in fresh.wire() if each.sent}
    assert {"blocked", "protected", "permitted"} <= seen
    assert set(entered(fresh.said())) == {BLOCKED, PROTECTED}
    it_runs_in_its_sandbox(fresh)

    assign(fresh, POLICY)
    before = time.time()
    fresh.run("systemctl restart xfrmd")
    closed = time.time()
    for version in (4, 6):
        await_answers(fresh, PROTECTED, closed, version=version)
    fresh.run("sleep 3")  # time for the attacker
    now = time.time() - 0.5
    assert leaked(fresh.wire(0, before)).total() > 0
    why = "stated: a host that never had a policy was open until now"
    outcome("none", "first policy comes in force", fresh, before, closed, why)
    outcome("none", "first policy in force", fresh, closed, now).assert_unharmed()
    fresh.poweroff()
    outcome("none", "clean shutdown", fresh, now, time.time()).assert_closed()


def it_runs_in_its_sandbox(host: Guest) -> None:
    """By the running service manager and the kernel, not by what the unit file wishes for."""
    exposure = host.run("systemd-analyze security xfrmd --no-pager | tail -1").out
    assert float(exposure.split(":")[1].split()[0]) < 2.0, exposure
    shown = host.run("cat /proc/$(systemctl show -P MainPID xfrmd)/status; id -u xfrmd").out
    status = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    assert set(status["Uid"].split()) == {shown.splitlines()[-1]}
    assert {int(status[kind], 16) for kind in ("CapEff", "CapBnd", "CapAmb")} == {1 << 12 | 1 << 10}
    assert status["Seccomp"].strip() == "2"
    assert status["NoNewPrivs"].strip() == "1"
