# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots of a host whose policy was in force, with something broken: what it forbids stays out, and it says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.booted import Guest
from tests.boot.broken import BLOCKED, FILTER, POLICY_FILE, RUNNING, STATE, Broken, boot_and_judge
from tests.boot.scene import Row

FILL = f"dd if=/dev/zero of={STATE}/filler bs=1k 2>/dev/null"
# Debian's own, which begins with `flush ruleset`, as firewall managers do that leave a host open (CVE-2025-54388).
FLUSH = "ln -s /lib/systemd/system/nftables.service /etc/systemd/system/sysinit.target.wants/"
UNTIL = ": this host is blocked apart from exemptions until a policy is in force; ", "systemctl status xfrmd"
DAMAGED = (f"{FILTER}{STATE}/boot.nft is damaged, or of another version", *UNTIL)
MISSING = (f"{FILTER}{STATE}/boot.nft is missing", *UNTIL)
ALL_MISSING = (
    f"{FILTER}{STATE}/boot.nft is missing: this host is blocked apart from exemptions until a policy is in force",
    f", without those of bootexemptions, as {STATE}/block.nft is missing; see systemctl status xfrmd",
)
NO_DAEMON = (f"{FILTER}xfrmd failed, as /usr/bin/xfrmd is missing", *BLOCKED)
NO_SECRETS = (f"{FILTER}xfrmd failed, as the directory /etc/xfrmd/secrets is missing", *BLOCKED)
LAST_GOOD = (RUNNING[1], "its last good policy is in force; ", "then xfrmctl reload")

BROKEN = (
    Broken("boot filter cut short", f"truncate -s 700 {STATE}/boot.nft", console=DAMAGED, harmless=False),
    Broken("boot filter missing", f"rm {STATE}/boot.nft", console=MISSING, harmless=False),
    Broken("all saved filters missing", f"rm {STATE}/boot.nft {STATE}/block.nft", console=ALL_MISSING, harmless=False),
    Broken("nftables.service flushes", FLUSH),
    Broken("daemon missing", "mv /usr/bin/xfrmd /usr/bin/gone", console=NO_DAEMON, journal=NO_DAEMON, ended=203),
    Broken(
        "policy unreadable text",
        f"printf 'version: 1\\n# \\377\\n' >{POLICY_FILE}",
        journal=("local store: ", f"{POLICY_FILE}:2:3: octet 0xFF is not UTF-8", "then xfrmctl reload"),
        status=(*LAST_GOOD, f"{POLICY_FILE}:2:3: octet 0xFF is not UTF-8"),
        degraded=True,
    ),
    Broken(
        "policy gone",
        f"rm {POLICY_FILE}",
        journal=("local store: ", f"policy {POLICY_FILE} cannot be used: No such file", "then xfrmctl reload"),
        status=(*LAST_GOOD, f"policy {POLICY_FILE} cannot be used: No such file"),
        degraded=True,
    ),
    Broken("secrets gone", "rm -r /etc/xfrmd/secrets", console=NO_SECRETS, journal=NO_SECRETS, ended=243),
    Broken(
        "state read-only",
        words=("lab_state=ro",),
        journal=(
            "the boot filter cannot be saved: ",
            f"{STATE}/block.nft",
            "Read-only",
            "that was saved last",
            "xfrmctl reload",
        ),
        status=(RUNNING[1], "the boot filter cannot be saved: ", "Read-only", "that was saved last"),
        degraded=True,
    ),
    Broken(
        "state full",
        FILL,
        journal=(
            "the boot filter cannot be saved: ",
            f"{STATE}/block.nft",
            "No space left",
            "blocks all traffic",
            "xfrmctl reload",
        ),
        status=(RUNNING[1], "the boot filter cannot be saved: ", "No space left", "blocks all traffic"),
        degraded=True,
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.fault)
def test_a_broken_boot_lets_nothing_forbidden_pass(broken: Broken, guest: Guest, outcome: Callable[..., Row]) -> None:
    boot_and_judge(broken, guest, outcome)
