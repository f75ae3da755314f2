# SPDX-License-Identifier: GPL-2.0-or-later
"""No hostile octets cost much more than they are long. Calls and octets of memory are counted, not seconds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.fuzz.costs import Bound, Cost, measured
from tests.fuzz.doses import KINDS
from xfrmd import limits
from xfrmd.adapters.durable import Disk


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_input_costs_is_bounded_by_its_length(kind: str) -> None:
    doses, bound = KINDS[kind]
    costs = measured(doses())
    assert len(costs) > 10
    assert max(cost.octets for cost in costs) > 200
    assert [bound.exceeded(cost) for cost in costs if bound.exceeded(cost)] == []


def test_a_small_file_is_not_given_the_room_of_the_largest(tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x" * 100)
    read = partial(Disk().read, tmp_path / "local", limits.STORE_FILE_SIZE + 1)
    assert read() == b"x" * 100
    (cost,) = measured([(100, read)])
    assert cost.memory < 10_000


def test_what_is_measured_is_what_was_done() -> None:
    """Positive control of the measure itself."""

    def work() -> None:
        for _ in range(1000):
            len("")
        bytearray(1_000_000)

    (cost,) = measured([(8, work)])
    assert 1000 < cost.calls < 1010
    assert 1_000_000 <= cost.memory < 1_100_000
    assert Bound(4000, 0, 1_200_000, 0).exceeded(cost) == ""
    assert Bound(0, 1, 1_200_000, 0).exceeded(cost)
    assert Bound(4000, 0, 0, 1000).exceeded(Cost(8, 1, 8001))
