# SPDX-License-Identifier: GPL-2.0-or-later
"""A stop for good is told from a restart and a shutdown by systemd's list of jobs; what is not known is no stop."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from xfrmd import limits
from xfrmd.adapters.service_manager import stopped_for_good

STOP = "77 xfrmd.service stop running\n78 xfrmd.socket stop waiting\n"
UNDER_SYSTEMD = {"INVOCATION_ID": "1"}


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (STOP, True),
        ("77 xfrmd.service restart running\n", False),
        (STOP + "1 shutdown.target start waiting\n", False),
        ("77 other.service stop running\n", False),
        ("", False),
        ("77 xfrmd.service\n", False),
    ],
)
def test_the_list_of_jobs(tmp_path: Path, jobs: str, expected: bool) -> None:
    group, listed = tmp_path / "cgroup", tmp_path / "jobs"
    group.write_text("0::/system.slice/xfrmd.service\n")
    listed.write_text(jobs)
    assert stopped_for_good(UNDER_SYSTEMD, listed, group) is expected


def test_what_is_old_missing_or_of_no_service_is_not_known(tmp_path: Path) -> None:
    group, listed = tmp_path / "cgroup", tmp_path / "jobs"
    group.write_text("0::/system.slice/xfrmd.service\n")
    assert stopped_for_good(UNDER_SYSTEMD, listed, group) is None
    listed.write_text(STOP)
    assert stopped_for_good(UNDER_SYSTEMD, listed, group) is True
    old = time.time() - limits.MANAGER_FRESH - 1
    os.utime(listed, (old, old))
    assert stopped_for_good(UNDER_SYSTEMD, listed, group) is None
    listed.write_text(STOP)
    group.write_text("0::/user.slice/session.scope\n")
    assert stopped_for_good(UNDER_SYSTEMD, listed, group) is None


def test_without_systemd_it_is_a_stop() -> None:
    assert stopped_for_good({}) is True
    assert stopped_for_good({}, interrupted=True) is True


def test_who_is_interrupted_goes_down_with_the_system_whatever_an_earlier_stop_left(tmp_path: Path) -> None:
    group, listed = tmp_path / "cgroup", tmp_path / "jobs"
    group.write_text("0::/system.slice/xfrmd.service\n")
    listed.write_text(STOP)
    assert stopped_for_good(UNDER_SYSTEMD, listed, group, interrupted=True) is False
