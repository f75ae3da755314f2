# SPDX-License-Identifier: GPL-2.0-or-later
"""All tests here need a kernel with ESP whose time is simulated; left out elsewhere with the command that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import topology

HERE = Path(__file__).parent
REASON = "needs simulated time: lab/run --time-travel -- .venv/bin/pytest tests/simulated"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this folder; with real time, skip it. Timeouts would be simulated too, so there are none."""
    simulated = "time-travel" in Path("/proc/cmdline").read_text()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(0))
            if not simulated:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture
def two_hosts() -> Iterator[topology.TwoHosts]:
    """Two fresh hosts on one link, captured."""
    with topology.two_hosts() as net:
        yield net
