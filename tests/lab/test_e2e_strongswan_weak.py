# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows Server 2003's algorithms with strongSwan: agreed upon where a policy says `allow_weak`, and nowhere else."""

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

# mmsecmethods and qmsecmethods of ours, proposals of charon, what it says was agreed, who begins.
WEAK = (
    ("3DES-SHA1-2", "ESP[3DES,SHA1]", "3des-sha1-modp1024", "3des-sha1", ("3DES_CBC", "MODP_1024"), "xfrmd"),
    ("3DES-SHA1-5", "ESP[3DES,SHA1]", "3des-sha1-modp1536", "3des-sha1", ("3DES_CBC", "MODP_1536"), "charon"),
    (
        "AES128-SHA1-Medium",
        "ESP[AES128,SHA1]",
        "aes128-sha1-modp1024",
        "aes128-sha1",
        ("AES_CBC-128", "MODP_1024"),
        "charon",
    ),
    ("3DES-SHA1-3", "ESP[AES256,SHA1]", "3des-sha1-modp2048", "aes256-sha1", ("3DES_CBC", "MODP_2048"), "xfrmd"),
)


def ciphers_of_the_kernel() -> set[str]:
    """Names of all algorithms that the running kernel has."""
    lines = Path("/proc/crypto").read_text(encoding="ascii").splitlines()
    return {line.split(":")[1].strip() for line in lines if line.startswith("name")}


@pytest.mark.parametrize(("mm", "qm", "ike", "esp", "agreed", "initiator"), WEAK, ids=[row[0] for row in WEAK])
def test_old_algorithms_are_agreed_upon_under_allow_weak(
    two_hosts: topology.TwoHosts,
    strongswan: Charon,
    mm: str,
    qm: str,
    ike: str,
    esp: str,
    agreed: tuple[str, str],
    initiator: str,
) -> None:
    if "3DES" in qm and not any("des3_ede" in name for name in ciphers_of_the_kernel()):
        pytest.skip("this kernel has no des3_ede (CONFIG_CRYPTO_DES)")
    net = two_hosts
    text = "allow_weak: yes\n" + e2e.policy(mm=mm, qm=qm)
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as ours,
        strongswan(net.right, e2e.charon(net.right.v4, net.left.v4, ike=ike, esp=esp)) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, net.right.v4, 3).lost == 0, ours.log + theirs.log
        (sa,) = theirs.list_sas()
        assert (sa.encryption, sa.key_exchange, sa.integrity) == (*agreed, "HMAC_SHA1_96")
        (child,) = theirs.children()
        assert child.integrity == "HMAC_SHA1_96"
        assert child.encryption == ("3DES_CBC" if "3DES" in qm else f"AES_CBC-{qm[7:10]}")
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


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
