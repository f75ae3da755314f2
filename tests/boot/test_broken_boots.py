# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots of a host whose policy was in force, with something broken: what it forbids stays out, and it says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lab.booted import Guest
from tests.boot.scene import Row, until

STATE, POLICY_FILE = "/var/lib/xfrmd", "/etc/xfrmd/policy.yaml"
FILL = f"dd if=/dev/zero of={STATE}/filler bs=1k 2>/dev/null"
# Debian's own, which begins with `flush ruleset`.
FLUSH = "ln -s /lib/systemd/system/nftables.service /etc/systemd/system/sysinit.target.wants/"


@dataclass(frozen=True, slots=True)
class Broken:
    """What is done before the boot, what the console says then, and whether the service runs in spite of it."""

    fault: str
    before: str
    console: str = ""
    runs: bool = True
    words: tuple[str, ...] = ()


BROKEN = (
    Broken("boot filter cut short", f"truncate -s 700 {STATE}/boot.nft", "boot.nft is damaged"),
    Broken("boot filter missing", f"rm {STATE}/boot.nft", "boot.nft is missing"),
    Broken("all saved filters missing", f"rm {STATE}/boot.nft {STATE}/block.nft", "boot.nft is missing"),
    Broken("nftables.service flushes", FLUSH),
    Broken("daemon missing", "mv /usr/bin/xfrmd /usr/bin/gone", "xfrmd failed", runs=False),
    Broken("policy unreadable text", f"head -c 300 /dev/urandom >{POLICY_FILE}"),
    Broken("policy gone", f"rm {POLICY_FILE}"),
    Broken("secrets gone", "rm -r /etc/xfrmd/secrets", "xfrmd failed", runs=False),
    Broken("state read-only", "", words=("lab_state=ro",)),
    Broken("state full", FILL),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.fault)
def test_a_broken_boot_lets_nothing_forbidden_pass(broken: Broken, guest: Guest, outcome: Callable[..., Row]) -> None:
    began = time.time()
    guest.boot("lab.early", *broken.words, before=broken.before)

    def state() -> str:
        return guest.run("systemctl is-active xfrmd", check=False).out.strip()

    until(lambda: state() in ("active", "failed"), "an end of the start", 90)
    log = guest.run("journalctl -b -u xfrmd -u xfrmd-boot -u xfrmd-block --no-pager; xfrmctl status", check=False).out
    assert (state() == "active") is broken.runs, log
    if not broken.runs:
        until(lambda: broken.console in guest.console, "a word on the console")
        guest.run("nft list table inet xfrmd_boot")
    ended = time.time()
    until(lambda: guest.said(ended + 1), "a second more")
    row = outcome(broken.fault, "boot", guest, began, time.time())
    assert broken.console in guest.console, log
    row.assert_closed()
