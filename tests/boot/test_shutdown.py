# SPDX-License-Identifier: GPL-2.0-or-later
"""A system that goes down tells its peers, and lets nothing forbidden pass until it is up again or off."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.booted import Guest
from tests.boot.scene import PROTECTED, Row, await_answers, told
from tests.boot.test_broken_boots import FLUSH

NETWORK = "/etc/systemd/system/lab-network.service"


@pytest.mark.timeout(600)
def test_a_reboot_and_a_shutdown_tell_the_peer_and_stay_closed_to_the_end(
    guest: Guest, outcome: Callable[..., Row]
) -> None:
    began = time.time()
    guest.boot(before=FLUSH)
    await_answers(guest, PROTECTED, began)
    guest.settled()
    guest.run("systemctl restart xfrmd")
    await_answers(guest, PROTECTED, time.time())
    assert told(guest) == 0, "a restart deletes nothing"
    down = time.time()
    guest.reboot()
    up = time.time()
    assert told(guest) == 1
    outcome("systemctl reboot", "nftables.service flushes as it stops", guest, down, up).assert_closed()
    await_answers(guest, PROTECTED, up)
    guest.settled()
    last = time.time()
    guest.poweroff()
    assert told(guest) == 2
    outcome("systemctl poweroff", "to the end", guest, last, time.time()).assert_closed()


@pytest.mark.timeout(600)
def test_a_network_that_goes_before_the_goodbye_leaves_the_peer_untold_and_nothing_in_the_clear(
    guest: Guest, outcome: Callable[..., Row]
) -> None:
    """Not ordered before network.target, it stops whenever it likes: here always first, which is the worst."""
    began = time.time()
    after = "s/^Before=network.target/Before=shutdown.target\\nConflicts=shutdown.target\\nAfter=xfrmd-goodbye.service/"
    guest.boot(before=f"sed -i '{after}; /^ExecStart/a ExecStop=/sbin/ip link set eth0 down' {NETWORK}")
    await_answers(guest, PROTECTED, began)
    guest.settled()
    down = time.time()
    guest.run("sleep 0.5")  # for the attacker, while the network is there
    guest.reboot()
    up = time.time()
    assert told(guest) == 0, "the network was there at the goodbye: this shows nothing"
    outcome("systemctl reboot", "the network goes before the goodbye", guest, down, up).assert_closed()
    await_answers(guest, PROTECTED, up)
