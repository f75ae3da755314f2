# SPDX-License-Identifier: GPL-2.0-or-later
"""A host's life under attack: killed, hung, reloaded, changed, upgraded, stopped, removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.booted import Guest
from tests.boot.scene import POLICY, PROTECTED, Row, await_answers, entered, leaked, until

OTHER = POLICY.replace("dstport: 23}", "dstport: 23}\n      - {srcaddr: any, dstaddr: me, protocol: tcp, dstport: 24}")
HASTE = "/etc/systemd/system/xfrmd.service.d/haste.conf"
AFTER = 1.0
"""Seconds that a moment lasts beyond what was done in it."""


@pytest.fixture
def living(guest: Guest) -> Guest:
    """Booted, its policy in force, its protected traffic running."""
    began = time.time()
    guest.boot()
    guest.settled()
    await_answers(guest, PROTECTED, began)
    return guest


Moment = Callable[[str, str, str], Row]


@pytest.fixture
def moment(living: Guest, outcome: Callable[..., Row]) -> Moment:
    """`moment(fault, name, line)`: run a line in the host, and judge the time from before it to a little after it."""

    def lived(fault: str, name: str, line: str) -> Row:
        began = time.time()
        living.run(line, timeout=120)
        ended = time.time() + AFTER
        until(lambda: living.said(ended + 0.5), "what happened then")
        return outcome(fault, name, living, began, ended)

    return lived


def active(host: Guest) -> None:
    until(lambda: host.run("systemctl is-active xfrmd", check=False).out == "active\n", "a running service")


WAIT = "until systemctl is-active -q xfrmd; do sleep 0.1; done"


@pytest.mark.timeout(600)
def test_crashes_reloads_and_changes_let_nothing_forbidden_pass_and_lose_nothing_permitted(
    living: Guest, moment: Moment
) -> None:
    kill = f"systemctl kill -s KILL xfrmd; sleep 0.3; {WAIT}"
    moment("kill -9", "six times in a row", f"for n in 1 2 3 4 5 6; do {kill}; done").assert_unharmed()
    assert living.run("systemctl show -P NRestarts xfrmd").out == "6\n"

    living.run(f"mkdir -p {Path(HASTE).parent}; printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=2\\n' >{HASTE}")
    living.run("systemctl daemon-reload; systemctl reset-failed xfrmd; systemctl restart xfrmd")
    hung = "while [ $(systemctl show -P NRestarts xfrmd) = 0 ]; do sleep 0.2; done"
    hang = f"systemctl kill -s STOP xfrmd; {hung}; {WAIT}"
    moment("hangs (SIGSTOP)", "killed by the watchdog", hang).assert_unharmed()
    living.run(f"rm {HASTE}; systemctl daemon-reload; systemctl reset-failed xfrmd")

    storm = "for n in $(seq 12); do systemctl reload xfrmd & done; wait"
    moment("reload storm", "twelve at once", storm).assert_unharmed()
    living.run("systemctl is-active xfrmd")

    (living.root / "etc/xfrmd/one").write_text(POLICY)
    (living.root / "etc/xfrmd/two").write_text(OTHER)
    each = "cp /etc/xfrmd/$p /etc/xfrmd/policy.yaml; systemctl reload xfrmd"
    swap = f"for p in two one two one two one; do {each}; done"
    moment("policy changes", "six under load", swap).assert_unharmed()

    bad = "echo nonsense >>/etc/xfrmd/policy.yaml; ! systemctl reload xfrmd; cp /etc/xfrmd/one /etc/xfrmd/policy.yaml"
    moment("bad policy", "reload is refused", bad).assert_unharmed()

    # In force, whether or not it can be kept: to systemd that is a success.
    fill = "dd if=/dev/zero of=/var/lib/xfrmd/filler bs=1k 2>/dev/null; cp /etc/xfrmd/two /etc/xfrmd/policy.yaml"
    room = "rm /var/lib/xfrmd/filler"
    moment("disk full", "reload", f"{fill}; systemctl reload xfrmd && {room}").assert_unharmed()
    moment("flush", "nft -f with flush ruleset", "nft flush ruleset; sleep 1").assert_closed()
    moment("flush", "ip xfrm policy flush", "ip xfrm policy flush; sleep 1").assert_closed()


@pytest.mark.timeout(600)
def test_an_upgrade_restarts_once_a_stop_keeps_closed_and_a_purge_leaves_nothing(
    living: Guest, newer: Path, moment: Moment, outcome: Callable[..., Row]
) -> None:
    shutil.copy(newer, living.share / "newer.deb")
    before = living.run("sha256sum /etc/xfrmd/policy.yaml; stat -c '%u %g %a' /etc/xfrmd /etc/xfrmd/policy.yaml").out
    moment("upgrade", "dpkg --install", "dpkg --install /lab/share/newer.deb").assert_unharmed()
    active(living)
    await_answers(living, PROTECTED, time.time())
    assert "Version: 9" in living.run("dpkg --status xfrmd").out
    log = living.run("journalctl -b -u xfrmd -o cat --no-pager").out
    assert log.count("Stopped xfrmd.service") == log.count("Started xfrmd.service") - 1 == 1, log
    assert (
        living.run("sha256sum /etc/xfrmd/policy.yaml; stat -c '%u %g %a' /etc/xfrmd /etc/xfrmd/policy.yaml").out
        == before
    )

    moment("restart", "systemctl restart", "systemctl restart xfrmd").assert_unharmed()
    moment("stop", "systemctl stop", "systemctl stop xfrmd.socket xfrmd; sleep 2").assert_unharmed()
    moment("stop", "upgrade of what is stopped", "dpkg --install /lab/share/newer.deb").assert_unharmed()
    assert living.run("systemctl is-active xfrmd", check=False).out == "inactive\n"
    # A stop gives the key of the saved SAs up: the next start negotiates anew.
    started = moment("stop", "and start", "systemctl start xfrmd.socket xfrmd")
    started.assert_closed()
    assert started.lost == 0

    # Its peers are told that SAs end: what was protected stays closed.
    removed = moment("removal", "dpkg --remove", "dpkg --remove xfrmd; sleep 1")
    removed.assert_closed()
    assert removed.lost == 0
    living.run("test -e /etc/xfrmd/policy.yaml -a -e /var/lib/xfrmd/boot.nft -a ! -e /usr/bin/xfrmd")
    purged = time.time()
    living.run("umount /var/lib/xfrmd; dpkg --purge xfrmd")
    opened = time.time()
    until(lambda: entered(living.said(opened)), "an open host")
    until(lambda: leaked(living.wire(opened)), "answers to the attacker")
    assert leaked(living.wire(0, purged)).total() == 0
    outcome("removal", "dpkg --purge", living, opened, time.time(), "stated: the package is gone")
    kernel = "nft list tables | grep xfrmd; ip xfrm policy; ip xfrm state"
    files = "find / -xdev -name 'xfrmd*' -not -path '/lab/*'; getent passwd xfrmd; getent group xfrmd"
    left = f"{kernel}; {files}"
    assert living.run(left, check=False).out == ""
