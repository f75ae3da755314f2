# SPDX-License-Identifier: GPL-2.0-or-later
"""A boot of a host with something broken: what it forbids stays out, what it permits is lost only where all is blocked,
and it says where, what, and what to do, with one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.booted import Guest
from tests.boot.scene import PERMITTED, Row, await_answers, until

STATE, POLICY_FILE = "/var/lib/xfrmd", "/etc/xfrmd/policy.yaml"
LIFTED = "the policy is in force; the boot filter is lifted"
FILTER = "xfrmd boot filter: "
"""Begins each line of the console that is ours."""
BLOCKED = (": this host is blocked apart from boot exemptions until it runs again; ", "systemctl restart xfrmd")
FAILED = (f"{FILTER}xfrmd failed: this host is blocked", "journalctl -u xfrmd, mend what it names", *BLOCKED)
BLOCKS = "all but exemptions is blocked, as it should be"
RUNNING = ("xfrmd:   running, ", "policy:  Booted from /etc/xfrmd/policy.yaml", "kernel:  equal to the policy")

Line = tuple[str, ...]
"""Words that one line has, in whatever order."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What is done before the boot, and what an operator meets then.

    `console`: the one line of ours there, none where nothing needs to be done. `journal`: the one line that says where,
    what, and what to do. `status`: what `xfrmctl status` says, nothing where the service has ended, with the exit code
    `ended`. `harmless`: the boot filter lets pass what the policy permits, so nothing of that is lost.
    """

    fault: str
    before: str = ""
    words: tuple[str, ...] = ()
    console: Line = ()
    journal: Line = (LIFTED,)
    status: Line = RUNNING
    degraded: bool = False
    ended: int = 0
    harmless: bool = True

    @property
    def runs(self) -> bool:
        return not self.ended


def lines_with(words: Line, lines: Iterable[str]) -> list[str]:
    """Those that have all of the words."""
    return [line for line in lines if all(word in line for word in words)]


def lifted_at(host: Guest) -> float:
    """When the policy of this boot was in force alone."""
    found = lines_with((LIFTED,), host.run("journalctl -b -u xfrmd -o short-unix --no-pager").out.splitlines())
    return float(found[0].split()[0])


def shown(host: Guest, unit: str, name: str) -> str:
    """A property of a unit."""
    return host.run(f"systemctl show -P {name} {unit}").out.strip()


def boot_and_judge(broken: Broken, host: Guest, outcome: Callable[..., Row]) -> None:
    """All of it: the boot, the packets, the words."""
    began = time.time()
    host.boot("lab.early", *broken.words, before=broken.before)
    until(lambda: shown(host, "xfrmd", "ActiveState") in ("active", "failed"), "an end of the start", 120)
    if broken.runs:
        lifted = lifted_at(host)
        await_answers(host, PERMITTED, lifted)
        ended = time.time()
        until(lambda: host.said(ended + 0.5), "what came of the last packets")
        before = outcome(broken.fault, "boot", host, began, lifted, "" if broken.harmless else BLOCKS)
        after = outcome(broken.fault, "boot: the policy is in force", host, lifted, ended)
        assert after.sent > 0
        assert after.lost == 0
        assert (before.lost == 0) is broken.harmless, before
        rows = [before, after]
    else:
        until(lambda: BLOCKED[0] in host.console, "a word on the console")
        ended = time.time()
        until(lambda: host.said(ended + 1), "a second more")
        rows = [outcome(broken.fault, "boot, and no service", host, began, time.time(), BLOCKS)]
    for row in rows:
        row.assert_closed()
    it_is_said(broken, host)


def it_is_said(broken: Broken, host: Guest) -> None:
    """On the console, in the journal, by status and by exit codes."""
    units = "-u xfrmd -u xfrmd-boot -u xfrmd-block"
    journal = host.run(f"journalctl -b {units} -o cat --no-pager").out
    assert len(lines_with(broken.journal, journal.splitlines())) == 1, journal
    console = lines_with((FILTER,), host.console.splitlines())
    assert len(console) == bool(broken.console), console
    assert lines_with(broken.console, console) == console
    # The boot filter was put in place, by itself or by something stricter: never a failed unit.
    assert (shown(host, "xfrmd-boot", "ActiveState"), shown(host, "xfrmd-boot", "Result")) == ("active", "success")
    assert shown(host, "xfrmd", "ActiveState") == ("active" if broken.runs else "failed")
    status = host.run("xfrmctl status", check=False)
    tables = host.run("nft list tables").out.splitlines()
    if broken.runs:
        assert all(word in status.out for word in broken.status), status.out
        assert (status.status, "degraded" in status.out) == ((5, True) if broken.degraded else (0, False)), status.out
        assert ("table inet xfrmd" in tables, "table inet xfrmd_boot" in tables) == (True, False)
    else:
        assert (status.status, "systemctl start xfrmd" in status.out + status.err) == (3, True), status
        assert shown(host, "xfrmd", "ExecMainStatus") == str(broken.ended), journal
        assert shown(host, "xfrmd-block", "Result") == "success"
        assert "table inet xfrmd_boot" in tables
