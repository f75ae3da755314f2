# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd restarts the service, and starts it after a crash: the same SAs go on, until the unit is stopped for good."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.booted import Guest
from tests.boot.scene import POLICY, PROTECTED, Row, await_answers, entered, told, until

KILL = "systemctl kill --signal=KILL --kill-who=main xfrmd"
HELD = "systemctl show -P NFileDescriptorStore xfrmd"


def spis(host: Guest) -> list[str]:
    """Of all SAs that the kernel has."""
    return host.run("ip xfrm state | sed -n 's/.*spi \\([^ ]*\\) .*/\\1/p' | sort").out.split()


def adopted(host: Guest) -> int:
    """How many runs of this boot went on with SAs of the run before."""
    return host.run("journalctl -b -u xfrmd --output=cat").out.count("go on")


def answered(host: Guest) -> None:
    for version in (4, 6):
        await_answers(host, PROTECTED, time.time(), version=version)


@pytest.mark.timeout(600)
def test_restarts_crashes_and_an_upgrade_go_on_with_the_same_sas_and_a_stop_gives_their_key_up(
    guest: Guest, newer: Path, outcome: Callable[..., Row]
) -> None:
    """With ESP in UDP, which goes on only as long as the socket is held; test_life has plain ESP."""
    forced = POLICY.replace("assign: yes", "assign: yes\n    forceencapsulation: yes")
    (guest.root / "etc/xfrmd/policy.yaml").write_text(forced)
    guest.boot()
    answered(guest)
    assert "espinudp" in guest.run("ip xfrm state").out
    before, begun = spis(guest), time.time()
    assert before
    shutil.copy(newer, guest.share / "newer.deb")
    for number, line in enumerate(("systemctl restart xfrmd", KILL, "dpkg --install /lab/share/newer.deb"), 1):
        guest.run(line)
        until(lambda wanted=number: adopted(guest) == wanted, f"{line}: SAs are adopted")  # type: ignore[misc]
        answered(guest)
    assert spis(guest) == before
    assert "Version: 9" in guest.run("dpkg --status xfrmd").out
    done = time.time() - 1
    assert [guest.lost(PROTECTED, version, begun, done) for version in (4, 6)] == [0, 0]
    outcome("restart, kill -9, upgrade; ESP in UDP", "SAs go on", guest, begun, done).assert_unharmed()
    assert guest.run("systemctl is-active xfrmd.socket").out == "active\n"
    assert guest.run(HELD).out == "1\n"

    # After a stop nobody holds the key: SAs carry on in the kernel, and the next start negotiates anew.
    guest.run("systemctl stop xfrmd.socket xfrmd")
    assert guest.run(HELD).out == "0\n"
    assert spis(guest) == before
    guest.run("systemctl start xfrmd")
    answered(guest)
    assert not set(before) & set(spis(guest))
    outcome("stop and start, ESP in UDP", "SAs are made anew", guest, done, time.time()).assert_closed()


@pytest.mark.timeout(600)
def test_on_stop_open_opens_at_a_stop_and_not_at_a_restart(guest: Guest, outcome: Callable[..., Row]) -> None:
    (guest.root / "etc/xfrmd/policy.yaml").write_text(f"config: {{on_stop: open}}\n{POLICY}")
    guest.boot()
    answered(guest)
    begun = time.time()
    guest.run("systemctl restart xfrmd")
    answered(guest)
    closed = time.time()
    outcome("on_stop: open", "restart", guest, begun, closed).assert_closed()
    assert told(guest) == 0
    assert "boot:    stateful saved, checksum ok; exemptions: none\n" in guest.run("xfrmctl status").out
    guest.run("systemctl stop xfrmd.socket xfrmd")
    opened = time.time()
    until(lambda: entered(guest.said(opened)), "an open host")
    outcome("on_stop: open", "systemctl stop", guest, opened, time.time(), "stated: on_stop: open opens at a stop")
    assert told(guest) == 1
    assert guest.run("nft list tables | grep xfrmd; ip xfrm policy; ip xfrm state", check=False).out == ""
    assert "nothing is filtered any more" in guest.run("journalctl -b -u xfrmd --output=cat").out
    guest.run("systemctl start xfrmd.socket xfrmd")
    answered(guest)
    again = time.time()
    # As fresh as the list of an earlier stop can be: this end is none.
    guest.run("sleep 1; echo '77 xfrmd.service stop running' >/run/xfrmd-jobs")
    guest.poweroff()
    assert told(guest) == 2
    outcome("on_stop: open", "shutdown", guest, again, time.time()).assert_closed()
