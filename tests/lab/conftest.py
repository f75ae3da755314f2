# SPDX-License-Identifier: GPL-2.0-or-later
"""All tests here need a kernel with ESP: marked `lab`, and left out elsewhere with the command that runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab import topology
from lab.guest import MARK
from lab.strongswan import StrongSwan, missing_packages
from lab.strongswan import strongswan as start_strongswan

HERE = Path(__file__).parent
REASON = "needs a kernel with ESP: lab/run -- .venv/bin/pytest -m lab tests/lab"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this folder; outside a lab, skip it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
            if MARK not in os.environ:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture
def two_hosts() -> Iterator[topology.TwoHosts]:
    """Two fresh hosts on one link, captured."""
    with topology.two_hosts() as net:
        yield net


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> int:
    """The test runs once for each IP version."""
    return int(request.param)


@pytest.fixture
def strongswan() -> Callable[..., AbstractContextManager[StrongSwan]]:
    """`with strongswan(host, conf) as peer`; without its packages the test is skipped, naming them."""
    if missing := missing_packages():
        pytest.skip(f"strongSwan is not installed: apt-get install {' '.join(missing)}")
    return start_strongswan
