# SPDX-License-Identifier: GPL-2.0-or-later
"""More worlds (XFRMD_WORLDS) take longer: what would end a test that hangs grows with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 300 + int(os.environ.get("XFRMD_WORLDS", "500")) // 10


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest hands over the tests of all directories."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS))
