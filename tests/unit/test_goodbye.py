# SPDX-License-Identifier: GPL-2.0-or-later
"""units/goodbye: when it has the daemon tell its peers, and how long it waits. `systemctl` is a program of the test."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "units"
UNIT = UNITS / "xfrmd-goodbye.service"
SYSTEMCTL = """#!/bin/sh
echo "$1" >>"$TRACE/calls"
case $1 in
list-jobs) cat "$TRACE/jobs" ;;
kill) [ -e "$TRACE/runs" ] || exit 1 ;;
show) # it ends while it is looked at for the second time
    if [ -e "$TRACE/looked" ]; then echo inactive; else echo deactivating; : >"$TRACE/looked"; fi ;;
esac
"""
DOWN = "   1 poweroff.target              start waiting\n  77 shutdown.target              start waiting\n"


@pytest.mark.parametrize(
    ("jobs", "runs", "calls"),
    [
        (DOWN, True, ["list-jobs", "kill", "show", "show"]),
        (DOWN, False, ["list-jobs", "kill"]),
        ("  77 xfrmd-goodbye.service stop running\n  78 xfrmd.service stop waiting\n", True, ["list-jobs"]),
        ("", True, ["list-jobs"]),
    ],
    ids=["the system goes down", "without a daemon", "only the units stop", "stopped by itself"],
)
def test_peers_are_told_when_the_system_goes_down_and_only_then(
    tmp_path: Path, jobs: str, runs: bool, calls: list[str]
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (tmp_path / "jobs").write_text(jobs)
    if runs:
        (tmp_path / "runs").touch()
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TRACE": str(tmp_path)}
    done = subprocess.run(["sh", str(UNITS / "goodbye")], env=environ, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "calls").read_text().split() == calls


def test_the_unit_ends_before_the_network_and_the_daemon_and_comes_with_the_daemon() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(UNIT.read_text())
    assert {"network.target", "xfrmd.service"} <= set(unit["Unit"]["After"].split())
    assert unit["Service"]["ExecStop"] == "/usr/lib/xfrmd/goodbye"
    assert (UNITS / "goodbye").stat().st_mode & 0o111
    assert f" {UNIT.name}\n" in (UNITS / "xfrmd.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt install systemd")
def test_verify_says_nothing_of_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/lib/xfrmd/goodbye", "/bin/true"))
    shutil.copy(UNITS / "xfrmd.socket", tmp_path)
    (tmp_path / "xfrmd.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr + done.stdout) == (0, "")
