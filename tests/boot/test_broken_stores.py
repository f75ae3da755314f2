# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots with a policy store that is damaged, half written or of a newer version, and with a policy that only the kernel
refuses: what was good last is in force, or all is blocked, and one line says why; exit codes tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.booted import Guest
from tests.boot.broken import FAILED, POLICY_FILE, STATE, Broken, boot_and_judge
from tests.boot.scene import POLICY, Row
from xfrmd.control.exits import ExitCode
from xfrmd.policy.package import FORMAT, Kept, Package, encode

STORES = f"{STATE}/stores"
FILE, COPY = f"{STORES}/persistent", f"{STORES}/persistent.copy"
BASE = POLICY.replace("name: Booted", "name: Base")
WHOLE = encode(Kept(Package(BASE, "/base.yaml"), "Base", 1.7e9))
DAMAGED = WHOLE.replace(b"name: Base", b"name: Bass")
HALF = WHOLE[:600]
NEWER = WHOLE.replace(b"xfrmd-policy %d " % FORMAT, b"xfrmd-policy %d " % (FORMAT + 1), 1)
ASSIGN = "assign the policy again: xfrmctl assign --store persistent FILE"
BOTH = ("policy:  Base + Booted from /etc/xfrmd/policy.yaml",)
COPY_SERVES = "its last good policy is in force; "

# A daemon that makes, of one policy alone, a table that the kernel takes back whole.
REFUSING = """\
import sys
from dataclasses import replace
sys.path.insert(0, "/usr/lib/xfrmd/python")
from xfrmd.cli.xfrmd import main
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.nft import NftChain
apply = Reconciler.apply
def refused(self, plan, *rest):
    if plan.policy == "Refused":
        wrong = NftChain("wrong", "", ("jump nowhere",))
        plan = replace(plan, nft=replace(plan.nft, chains=(*plan.nft.chains, wrong)))
    return apply(self, plan, *rest)
Reconciler.apply = refused
sys.exit(main())
"""
DROPIN = "/etc/systemd/system/xfrmd.service.d/refusing.conf"
UNIT = f"""\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I /etc/xfrmd/refusing.py run --policy {POLICY_FILE} --control /run/xfrmd/control.sock
"""
ONLY_THE_KERNEL = (
    f"mkdir -p $(dirname {DROPIN}); cp /lab/share/refusing.conf {DROPIN}; cp /lab/share/refusing.py /etc/xfrmd/; "
    f"chmod 644 /etc/xfrmd/refusing.py; sed -i 's/name: Booted/name: Refused/' {POLICY_FILE}"
)


def store(first: str, second: str) -> str:
    """The shell that puts files of the share in the place of both copies of the persistent store."""
    put = "install -o xfrmd -g xfrmd -m 600 /lab/share"
    return f"{put}/{first} {FILE}; {put}/{second} {COPY}"


BROKEN = (
    Broken(
        "persistent store damaged, its copy whole",
        store("damaged", "whole"),
        journal=(f"policy {FILE} cannot be used", "is damaged: its checksum does not fit", ASSIGN),
        status=(*BOTH, "is damaged: its checksum does not fit", COPY_SERVES, ASSIGN),
        degraded=True,
    ),
    Broken(
        "persistent store half written, its copy whole",
        store("half", "whole"),
        journal=(f"policy {FILE} cannot be used", f"is cut off: it holds {len(HALF) - WHOLE.index(b'{')} of", ASSIGN),
        status=(*BOTH, "is cut off", COPY_SERVES, ASSIGN),
        degraded=True,
    ),
    Broken(
        "persistent store damaged",
        store("damaged", "damaged"),
        console=FAILED,
        journal=("not started: persistent store", f"policy {FILE} cannot be used", "its checksum does not fit", ASSIGN),
        ended=ExitCode.DAMAGED,
    ),
    Broken(
        "persistent store half written",
        store("half", "half"),
        console=FAILED,
        journal=("not started: persistent store", f"policy {FILE} cannot be used", "is cut off", ASSIGN),
        ended=ExitCode.DAMAGED,
    ),
    Broken(
        "persistent store of a newer version",
        store("newer", "newer"),
        console=FAILED,
        journal=(
            "not started: persistent store",
            f"policy {FILE} cannot be used",
            f"a newer version of xfrmd (format {FORMAT + 1}",
            "install the version that wrote it",
        ),
        ended=ExitCode.NEWER,
    ),
    Broken(
        "policy that only the kernel refuses",
        ONLY_THE_KERNEL,
        journal=(f"local store: policy {POLICY_FILE} cannot be used: the kernel refuses it", "change the policy"),
        status=(
            "policy:  Booted from /etc/xfrmd/policy.yaml",
            f"policy {POLICY_FILE} cannot be used: the kernel refuses it",
            COPY_SERVES,
            "change the policy, then xfrmctl reload",
        ),
        degraded=True,
    ),
)


def furnish(share: Path) -> None:
    """What the rows put in place."""
    files = {"whole": WHOLE, "damaged": DAMAGED, "half": HALF, "newer": NEWER}
    for name, octets in (files | {"refusing.py": REFUSING.encode(), "refusing.conf": UNIT.encode()}).items():
        (share / name).write_bytes(octets)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.fault)
def test_a_boot_with_a_store_that_cannot_be_used(broken: Broken, guest: Guest, outcome: Callable[..., Row]) -> None:
    furnish(guest.share)
    boot_and_judge(broken, guest, outcome)
    if broken.fault == BROKEN[-1].fault:
        # A check finds nothing wrong, and a reload says what a start said, with an exit code of its own.
        assert guest.run(f"xfrmctl check {POLICY_FILE}", check=False).status == ExitCode.OK
        reloaded = guest.run("xfrmctl reload", check=False)
        assert (reloaded.status, "the kernel refused the policy" in reloaded.err) == (ExitCode.KERNEL_REFUSES, True)
        guest.run("systemctl is-active xfrmd")
