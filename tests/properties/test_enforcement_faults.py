# SPDX-License-Identifier: GPL-2.0-or-later
"""Each step of putting a policy into the kernel fails, once or for a while, in each way: what was in force is again,
IKE and kernel know the same policy, what both policies block never passes, and the next try succeeds.
"""

from __future__ import annotations

import pytest

from tests.properties.enforcing import SCENARIOS, Scenario, runs, steps_of

TIMES = (1, 7)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_step_that_fails_in_any_way_ends_in_one_policy(scenario: Scenario) -> None:
    assert steps_of(scenario)
    for run in runs(scenario, TIMES):
        run.judge()
