# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows Server 2003's algorithms with strongSwan, where no policy says `allow_weak`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.vici import ViciError
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]


@pytest.mark.parametrize(
    "proposals", ["3des-sha1-modp1024", "aes128-sha1-modp2048", "aes128-sha256-modp1024", "des-md5-modp768"]
)
def test_a_peer_that_offers_nothing_else_is_refused_by_every_other_policy(
    two_hosts: topology.TwoHosts, strongswan: Charon, proposals: str
) -> None:
    net = two_hosts
    conf = e2e.charon(net.right.v4, net.left.v4, ike=proposals)
    text = e2e.policy().replace('    mmsecmethods: ["AES128GCM-SHA256-X25519"]\n', "")
    if "des-md5" in proposals:
        text = "allow_weak: yes\n" + text
    with xfrmd(net.left, text, secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        with pytest.raises(ViciError):
            theirs.initiate("all")
        assert "NO_PROP" in theirs.log
        assert not e2e.sas(ours)["ike_sas"]
        (peer,) = ours.ask("status")["peers"]
        assert peer["code"] == "no-proposal"
