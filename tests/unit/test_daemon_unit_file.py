# SPDX-License-Identifier: GPL-2.0-or-later
"""The systemd unit, by systemd's own tools: they say nothing about it, and like its sandbox."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xfrmd.control.exits import ExitCode

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "units" / "xfrmd.service"
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt install systemd"
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def installed(directory: Path, text: str) -> str:
    """The unit with a program that exists in place of ours: `verify` looks for it."""
    copy = directory / UNIT.name
    copy.write_text(text.replace("/usr/bin/xfrmd", "/bin/true").replace("/usr/bin/xfrmctl", "/bin/true"))
    return str(copy)


def settings() -> dict[str, str]:
    """The last value of each setting of the unit."""
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if line[:1].isalpha())
    return {name: value for name, _, value in lines}


def test_verify_says_nothing(tmp_path: Path) -> None:
    done = analyze("verify", installed(tmp_path, UNIT.read_text()))
    assert (done.returncode, done.stderr + done.stdout) == (0, "")


def test_verify_would_say_something(tmp_path: Path) -> None:
    done = analyze("verify", installed(tmp_path, UNIT.read_text().replace("WatchdogSec", "WatchDogSeconds")))
    assert "WatchDogSeconds" in done.stderr


def test_the_sandbox_scores_well(tmp_path: Path) -> None:
    copy = installed(tmp_path, UNIT.read_text())
    good = analyze("security", "--offline=true", "--threshold=18", copy)
    assert good.returncode == 0, good.stdout
    assert analyze("security", "--offline=true", "--threshold=10", copy).returncode != 0


def test_it_runs_as_a_user_of_its_own_who_is_made_by_the_package() -> None:
    user = settings()["User"]
    sysusers = (ROOT / "packaging" / "xfrmd.sysusers").read_text()
    assert f"\nu {user} " in sysusers
    assert (
        settings()["AmbientCapabilities"] == settings()["CapabilityBoundingSet"] == "CAP_NET_ADMIN CAP_NET_BIND_SERVICE"
    )


def test_a_reload_that_is_in_force_is_a_success_also_where_something_is_degraded() -> None:
    assert settings()["SuccessExitStatus"] == str(int(ExitCode.DEGRADED))


def test_a_failure_for_good_closes_the_host() -> None:
    assert (ROOT / "units" / settings()["OnFailure"]).exists()
