# SPDX-License-Identifier: GPL-2.0-or-later
"""The units of the boot filter, by systemd's own tool, and what must stand in them."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "units"
NAMES = ("xfrmd-boot.service", "xfrmd-block.service")


def settings(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment,method-assign] # the documented way to keep capital letters
    found.read_string((UNITS / name).read_text())
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt install systemd")
@pytest.mark.parametrize(("right", "wrong", "says"), [("", "", ""), ("Type=", "Tipe=", "Tipe")])
def test_verify_says_nothing_of_them_and_would_of_a_mistake(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    for name in NAMES:
        text = (UNITS / name).read_text().replace("/usr/lib/xfrmd/boot-filter", "/bin/true")
        (tmp_path / name).write_text(text.replace(right, wrong))
    paths = [str(tmp_path / name) for name in NAMES]
    command = ["systemd-analyze", "verify", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert says in done.stderr
    assert bool(done.stderr) == bool(says)


def test_the_boot_filter_stands_before_the_network_and_the_daemon_and_after_who_flushes() -> None:
    unit = settings("xfrmd-boot.service")["Unit"]
    assert {"network-pre.target", "xfrmd.service"} <= set(unit["Before"].split())
    assert "nftables.service" in unit["After"].split()
    assert unit["DefaultDependencies"] == "no"
    assert unit["RequiresMountsFor"] == "/var/lib/xfrmd"


def test_who_starts_the_daemon_after_a_failure_waits_for_the_block() -> None:
    assert "xfrmd.service" in settings("xfrmd-block.service")["Unit"]["Before"].split()


def test_both_run_the_script_that_is_here() -> None:
    for name, what in zip(NAMES, ("boot", "block"), strict=True):
        assert settings(name)["Service"]["ExecStart"] == f"/usr/lib/xfrmd/boot-filter {what}"
    assert (UNITS / "boot-filter").stat().st_mode & 0o111
