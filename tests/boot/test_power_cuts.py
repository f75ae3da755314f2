# SPDX-License-Identifier: GPL-2.0-or-later
"""The power of a host goes while it writes policies and its boot filter: it comes up with one of them, and closed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from lab.booted import Guest
from tests.boot.scene import PROTECTED, Row, await_answers, until

CUTS = 2
WRITER = """
import sys
sys.path.insert(0, "/usr/lib/xfrmd/python")
from xfrmd.control.client import ask
one = open("/etc/xfrmd/policy.yaml").read()
count = 0
while True:
    for name in ("Odd", "Even"):
        policy = {"text": one.replace("name: Booted", "name: " + name), "file": "/etc/xfrmd/policy.yaml"}
        ask("apply", policy | {"allow_lockout": True}, "/run/xfrmd/control.sock")
        ask("assign", policy | {"allow_lockout": True}, "/run/xfrmd/control.sock")
        ask("unassign", {}, "/run/xfrmd/control.sock")
        count += 1
        open("/lab/share/written", "w").write(str(count))
"""
"""Applies, assigns and unassigns two policies in turn, as fast as it goes: each writes stores and boot filter."""
STORES = "xfrmctl --json stores"


@pytest.mark.timeout(600)
def test_a_power_cut_while_policies_are_written_leaves_one_of_them_whole(
    guest: Guest, outcome: Callable[..., Row]
) -> None:
    chance = random.Random(4)
    (guest.root / "etc/xfrmd/writer.py").write_text(WRITER)
    began = time.time()
    guest.boot()
    for cut in range(1, CUTS + 1):
        await_answers(guest, PROTECTED, began)
        (guest.share / "written").unlink(missing_ok=True)
        guest.run("python3 -I /etc/xfrmd/writer.py >/lab/share/writer.log 2>&1 &")
        until((guest.share / "written").exists, "policies are written")
        time.sleep(chance.uniform(0.0, 1.5))  # the moment is to be any
        guest.die()
        cut_at = time.time()
        guest.boot("lab.early")
        until(lambda: guest.run("systemctl is-active xfrmd", check=False).out == "active\n", "a policy in force")
        story = guest.run(f"{STORES}; xfrmctl status; ls /var/lib/xfrmd /var/lib/xfrmd/stores", check=False)
        assert '"trouble": {' not in story.out, story.out
        assert "degraded" not in story.out, story.out
        assert "damaged" not in guest.console
        began = time.time()
        outcome("power cut", f"while policies are written, {cut}", guest, cut_at, began).assert_closed()
