# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots of a host whose policy was in force, with something broken: what it forbids does not pass, and it says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lab.booted import Guest
from tests.boot.scene import Row, until

STATE = "/var/lib/xfrmd"


@dataclass(frozen=True, slots=True)
class Broken:
    """What is done before the fatal boot, the words on the kernel's command line, and what must be found then."""

    fault: str
    before: str
    words: tuple[str, ...] = ("lab.early",)
    console: str = ""
    active: bool = True
    checks: tuple[str, ...] = field(default=())


BROKEN = (
    Broken(
        "boot filter cut short",
        f"head -c 700 {STATE}/boot.nft >/tmp/cut; cat /tmp/cut >{STATE}/boot.nft",
        console="boot.nft is damaged",
    ),
    Broken("boot filter missing", f"rm {STATE}/boot.nft", console="boot.nft is missing"),
    Broken(
        "no boot filter at all, no block",
        f"rm {STATE}/boot.nft {STATE}/block.nft",
        console="boot.nft is missing",
    ),
    Broken(
        "daemon missing",
        "mv /usr/bin/xfrmd /usr/bin/xfrmd.gone",
        console="xfrmd failed",
        active=False,
        checks=("nft list table inet xfrmd_boot",),
    ),
    Broken("state read-only", "true", words=("lab.early", "lab_state=ro")),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.fault)
def test_a_broken_boot_lets_nothing_pass(broken: Broken, guest: Guest, outcome: Callable[..., Row]) -> None:
    break_offline(guest, broken.before)
    began = time.time()
    guest.boot(*broken.words)
    until(lambda: guest.run("systemctl is-active xfrmd", check=False).out in ("active\n", "failed\n"), "an end of the start")
    shown = guest.run("systemctl is-active xfrmd", check=False).out == "active\n"
    assert shown is broken.active, guest.run("journalctl -u xfrmd -u xfrmd-boot --no-pager", check=False).out
    assert broken.console in guest.console
    for check in broken.checks:
        guest.run(check)
    time.sleep(1)
    outcome(broken.fault, "boot", guest, began, time.time()).assert_closed()
