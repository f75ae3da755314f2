# SPDX-License-Identifier: GPL-2.0-or-later
"""The package on a host that boots: its service runs as it should, and its policy holds once it is in force."""

from __future__ import annotations

import time

from lab.booted import SECRET
from tests.boot.conftest import MakeGuest
from tests.boot.scene import (
    BLOCKED,
    PEER_POLICY,
    PERMITTED,
    POLICY,
    PROTECTED,
    assert_attacked,
    assert_closed,
    await_answers,
    entered,
    leaked,
    meant,
)


def test_a_host_that_never_had_a_policy_is_open_and_one_policy_closes_it(guest: MakeGuest) -> None:
    with guest(peer_policy=PEER_POLICY) as host:
        host.boot()
        host.settled()
        assert host.run("systemctl is-active xfrmd").out == "active\n"
        # The control of all that follows: without a policy each of the attacker's packets comes in and is answered.
        seen = {meant(each) for each in host.wire() if each.sent}
        assert {"blocked", "protected", "permitted"} <= seen
        assert set(entered(host.said())) == {BLOCKED, PROTECTED}

        (host.root / "etc/xfrmd/secrets/peer").write_text(SECRET)
        (host.root / "etc/xfrmd/policy.yaml").write_text(POLICY)
        host.run("systemctl restart xfrmd")
        closed = time.time()
        for version in (4, 6):
            await_answers(host, PROTECTED, closed, version=version)
        assert_attacked(host, closed)
        assert [host.lost(PERMITTED, version, closed, time.time() - 1) for version in (4, 6)] == [0, 0]
        assert leaked(host.wire(0, closed)), "the control has seen nothing"
        host.poweroff()
        assert_closed(host, closed)

        host.boot()
        booted = time.time()
        await_answers(host, PROTECTED, booted)
        assert_attacked(host, closed, booted)
        host.poweroff()
        assert_closed(host, closed)
