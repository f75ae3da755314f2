# SPDX-License-Identifier: GPL-2.0-or-later
"""xfrmd and strongSwan: each as initiator and as responder, every transform, every rekey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import PeerIkeSa, StrongSwan
from lab.traffic import Flood, Ping, ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]


@pytest.fixture
def pair(
    two_hosts: topology.TwoHosts, strongswan: Charon, version: int
) -> Iterator[tuple[XfrmdHost, StrongSwan, topology.TwoHosts]]:
    """xfrmd on the left, charon on the right, keyed alike."""
    net = two_hosts
    conf = e2e.charon(net.right.address(version), net.left.address(version))
    with xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        yield ours, theirs, net


def one_child(sas: tuple[PeerIkeSa, ...]) -> bool:
    return len([child for sa in sas for child in sa.children if child.state == "INSTALLED"]) == 1


# rfc 7296: transport-mode-echo psk-pad four-messages
@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_transport_mode_with_psk(
    pair: tuple[XfrmdHost, StrongSwan, topology.TwoHosts], version: int, initiator: str
) -> None:
    ours, theirs, net = pair
    there = net.right.address(version)
    if initiator == "charon":
        theirs.initiate("all")
    assert ping(net.left, there, 5).lost == 0, ours.log + theirs.log
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))
    (ike,) = theirs.list_sas()
    (child,) = theirs.children("all")
    assert (ike.initiator, child.mode, child.encryption) == (initiator == "charon", "TRANSPORT", "AES_GCM_16-128")
    assert child.packets_in >= 5


# rfc 7296: either-may-ask
@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_rekeys_lose_no_packet(
    pair: tuple[XfrmdHost, StrongSwan, topology.TwoHosts], version: int, initiator: str
) -> None:
    """Child and IKE SA, started by either side, under a ping flood."""
    ours, theirs, net = pair
    there = net.right.address(version)
    assert ping(net.left, there, 1).lost == 0
    flood = Flood(net.left, Ping(there), rate=200).start()
    flood.wait_for(20)
    for kind, spis in (("child", e2e.child_spis), ("ike", e2e.ike_spis)):
        before = spis(ours)
        if initiator == "xfrmd":
            ours.ctl("rekey", "--wait", "20", *before)
        elif kind == "child":
            theirs.rekey(child="all")
        else:
            theirs.rekey(ike="peer")
        e2e.wait_until(lambda spis=spis, before=before: not before & spis(ours), f"{kind} rekeyed by {initiator}")  # type: ignore[misc] # the defaults bind the loop's values
        flood.wait_for(100)
        theirs.wait_for(lambda sas: len(sas) == 1 and one_child(sas))
    flood.stop().assert_none_lost()
    net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))


def test_pfs_in_a_child_of_its_own(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    """A second filter asks for a second child SA, by CREATE_CHILD_SA with a key exchange of its own."""
    net = two_hosts
    here, there = net.left.v4, net.right.v4
    text = e2e.policy(
        action="action: negotiate\n    qmpfs: yes",
        more_lists="  - name: mail\n    filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 25}]\n",
        more_rules='      - {name: mail, filterlist: mail, filteraction: require, psk: {file: "{psk}"}}\n',
    )
    conf = e2e.charon(there, here, esp="aes128gcm16-x25519,aes128gcm16")
    with xfrmd(net.left, text, secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        assert ping(net.left, there, 1).lost == 0
        net.left.run("ncat", "-w", "3", there, "25", check=False)
        e2e.wait_until(lambda: len(e2e.sas(ours)["child_sas"]) == 2, "two child SAs")
        assert len(theirs.children("all")) == 2
        before = e2e.child_spis(ours)
        ours.ctl("rekey", "--wait", "20", "all")
        assert not before & e2e.child_spis(ours)
        assert ping(net.left, there, 2).lost == 0


# rfc 7296: delete-obeyed
def test_a_delete_by_the_peer_is_followed_by_a_new_negotiation(
    pair: tuple[XfrmdHost, StrongSwan, topology.TwoHosts], version: int
) -> None:
    ours, theirs, net = pair
    there = net.right.address(version)
    assert ping(net.left, there, 1).lost == 0
    theirs.terminate(ike="peer")
    e2e.wait_until(lambda: not e2e.sas(ours)["ike_sas"], "the peer's delete is carried out")
    assert ping(net.left, there, 3).lost == 0
    net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))
