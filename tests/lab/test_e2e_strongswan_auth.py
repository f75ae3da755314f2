# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets with strongSwan: two of them, the new one first, as while a secret is changed; octets that are no text; and
key IDs as identities.
"""

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


# rfc 7296: id-types psk-input
@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_key_ids_and_a_secret_of_any_octets(two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str) -> None:
    net, octets = two_hosts, bytes(range(255, 183, -1)).hex()
    policy = e2e.policy().replace(
        'psk: {file: "{psk}"}',
        f"psk: {{hex: {octets}}}\n        local_id: keyid:office-7\n        remote_id: keyid:0x00ff7f",
    )
    conf = e2e.charon(net.right.v4, net.left.v4).replace(f'secret = "{e2e.SECRET}"', f"secret = 0x{octets}")
    conf = conf.replace(f"id = {net.right.v4}", 'id = "@#00ff7f"').replace(f"id = {net.left.v4}", "id = keyid:office-7")
    with xfrmd(net.left, policy) as ours, strongswan(net.right, conf) as theirs:
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, net.right.v4, 3, wait=5.0).lost == 0, ours.log + theirs.log
        (ike,) = e2e.sas(ours)["ike_sas"]
        assert (ike["remote_id"], ike["initiator"]) == ("keyid:0x00ff7f", initiator == "xfrmd")
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
