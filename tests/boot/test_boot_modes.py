# SPDX-License-Identifier: GPL-2.0-or-later
"""What passes from the boot filter on until the policy is in force, in each mode, where the network comes up early."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.booted import Guest
from tests.boot.conftest import assign
from tests.boot.scene import PERMITTED, POLICY, PROTECTED, Row, await_answers, meant, until

EXEMPT = "udp:0:7001:inbound"
LIFTED = "/run/xfrmd/boot-lifted"
# Mode and exemptions; do strangers get in at the permitted port? Is what the host begins there answered?
LIVES = (
    ("permit", EXEMPT, True, True),
    ("stateful", EXEMPT, True, True),
    ("stateful", "", False, True),
    ("block", "", False, False),
    ("block", EXEMPT, True, False),
    ("permit", "", True, True),
)
LEFT = ("stateful", "")
"""What the life before has left of POLICY, which asks for none."""
WHY = {
    "stateful": "",
    "block": "bootmode block: what the host begins is dropped",
    "permit": "stated: bootmode permit filters nothing before the policy",
}


def configured(mode: str, exemptions: str) -> str:
    exempt = f', bootexemptions: "{exemptions}"' if exemptions else ""
    return POLICY + f"config: {{bootmode: {mode}{exempt}}}\n"


def prepare(host: Guest, mode: str, exemptions: str) -> None:
    """Have the filter of the next boot saved by the running daemon."""
    head = "head -1 /var/lib/xfrmd/boot.nft"
    before = host.run(head).out
    assign(host, configured(mode, exemptions))
    host.run("systemctl reload xfrmd")
    until(lambda: f" {mode} " in (now := host.run(head).out) and now != before, "a new boot filter")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "exemptions", "strangers", "own"), LIVES)
def test_boot_mode_lets_pass_what_it_says_and_nothing_else(
    guest: Guest, outcome: Callable[..., Row], mode: str, exemptions: str, strangers: bool, own: bool
) -> None:
    if (mode, exemptions) != LEFT:
        guest.boot()
        prepare(guest, mode, exemptions)
        guest.run("sync")  # what the test wrote; a power cut takes less time than a shutdown, and never hangs
        guest.die()
    began = time.time()
    guest.boot("lab.early")
    until(lambda: guest.run(f"test -e {LIFTED}", check=False).status == 0, "a policy in force")
    lifted = float(guest.run(f"stat -c %.9Y {LIFTED}").out)
    await_answers(guest, PROTECTED, lifted)
    fault = f"bootmode {mode}" + (" with exemptions" if exemptions else "")
    row = outcome(fault, "before the policy", guest, began, lifted, WHY[mode])
    said = [each for each in guest.said(began, lifted) if each.port == PERMITTED]
    assert any(each.kind == "A" for each in said) is strangers
    assert any(each.kind == "R" for each in said) is own
    assert (row.lost == 0) is own
    if mode == "permit":
        # The stated exception, and the control of the others: a file, a network and an attacker as theirs.
        assert row.clear > 0
        assert row.came_in > 0
    else:
        row.assert_closed()
    if mode == "block" and not exemptions:
        assert not any(meant(each) for each in guest.wire(began, lifted) if each.sent)
    outcome(fault, "policy in force", guest, lifted, time.time()).assert_closed()
