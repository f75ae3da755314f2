# SPDX-License-Identifier: GPL-2.0-or-later
"""A rule with two secrets, the new one first, and a strongSwan that has the old one: as while a secret is changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import ping
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
POLICY = e2e.policy().replace(
    'psk: {file: "{psk}"}', 'auth: [{psk: the new secret that is not there yet}, {psk: {file: "{psk}"}}]'
)


@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_the_second_secret_serves_whoever_begins(
    two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str
) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, POLICY, secret=e2e.SECRET) as ours,
        strongswan(net.right, e2e.charon(net.right.v4, net.left.v4)) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, net.right.v4, 3, wait=5.0).lost == 0, ours.log + theirs.log
        assert ("[auth-next]" in ours.log) == (initiator == "xfrmd")
        assert "the new secret" not in ours.log
        (sa,) = [one for one in theirs.list_sas() if one.state == "ESTABLISHED"]
        assert len(sa.children) == 1
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
