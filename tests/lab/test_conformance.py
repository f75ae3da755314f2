# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of docs/conformance.md that no other file has: with a real strongSwan, begun by either end, over either IP."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import ping, tcp_echo
from lab.vici import ViciError
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
WAYS = [("xfrmd", 4), ("charon", 6)]
PORT = 7007


def told(ours: XfrmdHost, code: str) -> dict[str, str]:
    """What `status` says of the failing peer."""
    e2e.wait_until(lambda: any(one["code"] == code for one in ours.ask("status")["peers"]), f"{code} is in status", 60)
    found: dict[str, str] = next(one for one in ours.ask("status")["peers"] if one["code"] == code)
    return found


@pytest.mark.parametrize(("initiator", "version"), WAYS)
def test_a_wrong_secret_leaves_nothing_behind(
    two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str, version: int
) -> None:
    net = two_hosts
    here, there = net.left.address(version), net.right.address(version)
    conf = e2e.charon(there, here, secret="another secret, by mistake")
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours,
        strongswan(net.right, conf, settings="send_vendor_id = yes") as theirs,
    ):
        if initiator == "charon":
            with pytest.raises(ViciError):
                theirs.initiate("all")
        else:
            assert ping(net.left, there, 1, wait=2.0).received == 0
        failure = told(ours, "auth-failed")
        assert f"{there} (strongSwan)" in failure["message"]
        assert "rule 'protect'" in failure["message"]
        assert "same preshared key" in failure["remedy"]
        theirs.wait_for(lambda sas: not sas)
        assert e2e.sas(ours)["ike_sas"] == []
        assert e2e.SECRET not in ours.log
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))


@pytest.mark.parametrize(("initiator", "version"), WAYS)
def test_a_wrong_guess_of_the_group_costs_one_round_trip(
    two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str, version: int
) -> None:
    """Who begins sends its first group, which the other end does not want."""
    net = two_hosts
    here, there = net.left.address(version), net.right.address(version)
    ours_has = f'{e2e.MM}", "AES128GCM-SHA256-ECP256' if initiator == "xfrmd" else e2e.MM
    theirs_has = "aes128gcm16-prfsha256-ecp256" + ("" if initiator == "xfrmd" else "-x25519")
    with (
        xfrmd(net.left, e2e.policy(mm=ours_has), secret=e2e.SECRET) as ours,
        strongswan(net.right, e2e.charon(there, here, ike=theirs_has)) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, there, 2, wait=5.0).lost == 0, ours.log + theirs.log
        (sa,) = theirs.list_sas()
        assert sa.key_exchange == ("ECP_256" if initiator == "xfrmd" else "CURVE_25519")
        assert len(re.findall(r"IKE_SA_INIT response 0 \[ N\(INVAL_KE\) \]", theirs.log)) == 1


@pytest.mark.parametrize(("initiator", "version"), WAYS)
def test_a_peer_that_takes_less_gets_less(
    two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str, version: int
) -> None:
    """Our filter is for everything between the hosts, the peer's for one port."""
    net = two_hosts
    here, there = net.left.address(version), net.right.address(version)
    conf = e2e.charon(there, here, ts="[tcp]").replace("local_ts = dynamic[tcp]", f"local_ts = dynamic[tcp/{PORT}]")
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours,
        strongswan(net.right, conf) as theirs,
        tcp_echo(net.right, there),
    ):
        if initiator == "charon":
            theirs.initiate("all")
        said = net.left.run("ncat", "-w", "5", there, str(PORT), stdin="hello", check=False).stdout
        assert said == "hello", ours.log + theirs.log
        (child,) = e2e.sas(ours)["child_sas"]
        assert [text for text in child["selectors"] if f":{PORT} tcp" in text] == child["selectors"]
        (one,) = theirs.children()
        assert one.local_ts == (f"{there}/{32 if version == 4 else 128}[tcp/{PORT}]",)
        net.capture.assert_protected(topology.between(net.left, net.right, "tcp"))


@pytest.mark.parametrize(("initiator", "version"), WAYS)
def test_traffic_without_a_common_part_is_refused_and_told(
    two_hosts: topology.TwoHosts, strongswan: Charon, initiator: str, version: int
) -> None:
    net = two_hosts
    here, there = net.left.address(version), net.right.address(version)
    text = e2e.policy(f"{{srcaddr: me, dstaddr: any, protocol: tcp, dstport: {PORT}}}")
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as ours,
        strongswan(net.right, e2e.charon(there, here, ts="[udp]")) as theirs,
    ):
        if initiator == "charon":
            with pytest.raises(ViciError):
                theirs.initiate("all")
        else:
            net.left.run("ncat", "-w", "2", there, str(PORT), stdin="hello", check=False)
        failure = told(ours, "no-filter")
        assert str(PORT) in failure["message"]
        assert ("protocol: ours tcp, theirs udp" in failure["message"]) == (initiator == "charon")
        assert e2e.sas(ours)["child_sas"] == []
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "tcp"))
