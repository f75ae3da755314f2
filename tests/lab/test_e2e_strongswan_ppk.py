# SPDX-License-Identifier: GPL-2.0-or-later
"""Postquantum preshared keys (RFC 8784) with a real strongSwan: in use, left out, demanded; who asks makes no odds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import ping
from lab.vici import ViciError
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
KEY = "a key that outlives quantum computers, perhaps"


def ours(directory: Path, more: str) -> str:
    """The lab's usual policy with a PPK beside the preshared key."""
    path = directory / "ppk"
    path.touch(mode=0o600)
    path.write_text(KEY)
    words = f'ppk: {{id: office, secret: {{file: "{path}"}}{more}}}'
    policy = e2e.policy()
    (line,) = (one for one in policy.splitlines() if 'psk: {file: "{psk}"}' in one)
    return policy.replace(line, f"{line}\n{line[: len(line) - len(line.lstrip())]}{words}")


def theirs(here: str, there: str, words: str) -> str:
    """A swanctl.conf with a PPK; `words` "" for none."""
    conf = e2e.charon(here, there)
    if not words:
        return conf
    conf = conf.replace("version = 2", f"version = 2\n    ppk_id = office\n    {words}")
    return conf.replace("secrets {", f'secrets {{\n  ppk-office {{\n    id = office\n    secret = "{KEY}"\n  }}')


CASES = {
    "demanded": ("", "ppk_required = yes", "office"),
    "optional": (", required: no", "ppk_required = no", "office"),
    "left out": (", required: no", "", None),
}


ROLES = [(name, role) for name in CASES for role in ("xfrmd", "charon") if (name, role) != ("optional", "xfrmd")]


# rfc 8784: keys-mixed
@pytest.mark.parametrize(("name", "initiator"), ROLES)
def test_a_ppk_in_use_and_left_out(
    two_hosts: topology.TwoHosts,
    strongswan: Charon,
    tmp_path: Path,
    name: str,
    initiator: str,
) -> None:
    net, (more, words, used) = two_hosts, CASES[name]
    assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))
    net.capture.clear()
    with (
        xfrmd(net.left, ours(tmp_path, more), secret=e2e.SECRET) as host,
        strongswan(net.right, theirs(net.right.v4, net.left.v4, words)) as peer,
    ):
        if initiator == "charon":
            peer.initiate("all")
        assert ping(net.left, net.right.v4, 3, wait=5.0).lost == 0, host.log + peer.log
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
        assert [one["ppk"] for one in e2e.sas(host)["ike_sas"]] == [used]
        assert ("using PPK" in peer.log) == (used is not None)


# rfc 8784: mandatory
def test_a_peer_without_the_ppk_that_the_rule_demands(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path
) -> None:
    net = two_hosts
    assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))
    net.capture.clear()
    with (
        xfrmd(net.left, ours(tmp_path, ""), secret=e2e.SECRET) as host,
        strongswan(net.right, theirs(net.right.v4, net.left.v4, "")) as peer,
    ):
        with pytest.raises(ViciError):
            peer.initiate("all")
        assert ping(net.left, net.right.v4, 2).lost == 2
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))
        assert "does not use a postquantum preshared key, which rule" in host.log
        assert not e2e.sas(host)["child_sas"]
