# SPDX-License-Identifier: GPL-2.0-or-later
"""The configurations of docs/interop.md with the peers they are for: each end begins once, and only ESP is seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from lab import libreswan as lab_libreswan
from lab import topology
from lab.libreswan import libreswan
from lab.netns import Host
from lab.packets import Kind, flow
from lab.strongswan import strongswan
from lab.traffic import ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import certificates as certs
from tests.lab import e2e, interop
from tests.unit.pki import Holder

PEERS = [
    "strongswan",
    pytest.param(
        "libreswan",
        marks=pytest.mark.skipif(bool(lab_libreswan.missing()), reason=lab_libreswan.missing() or "libreswan"),
    ),
]
Log = Callable[[], str]


def bundle(own: Holder, authority: Holder) -> bytes:
    """What `openssl pkcs12 -export` makes."""
    return pkcs12.serialize_key_and_certificates(b"host", own.key, own.parsed, [authority.parsed], NoEncryption())


@contextlib.contextmanager
def other_end(peer: str, case: str, version: int, host: Host, authority: Holder, own: Holder) -> Iterator[Log]:
    """The peer with its files of the document, and what it logs."""
    conf = interop.block(case, "swanctl.conf" if peer == "strongswan" else "ipsec.conf", version)
    if peer == "strongswan":
        files = certs.charon_files([authority], own)
        with strongswan(host, conf, plugins=certs.CHARON_PLUGINS, files=files) as charon:
            yield lambda: charon.log
    else:
        secrets = interop.block(case, "ipsec.secrets", version) if "authby=secret" in conf else ""
        with libreswan(host, conf, secrets, pkcs12=bundle(own, authority)) as pluto:
            yield lambda: pluto.log


@contextlib.contextmanager
def this_end(
    case: str, version: int, host: Host, directory: Path, authority: Holder, own: Holder
) -> Iterator[XfrmdHost]:
    """xfrmd with its policy of the document; /etc/xfrmd is a directory of the test."""
    files = {"psk": interop.SECRET.encode(), "ca.pem": authority.pem, "host.pem": own.pem, "host.key": own.key_pem}
    for name, content in files.items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_bytes(content)
    with xfrmd(host, interop.block(case, "policy.yaml", version).replace("/etc/xfrmd", str(directory))) as ours:
        yield ours


def speak(ours: XfrmdHost, near: Host, far: Host, version: int, to: list[str], said: Log) -> None:
    """Traffic from there brings SAs up; they are deleted, and traffic from here brings them up again."""
    # libreswan drops the packet that asks: the first may be lost, the SA is there for those that follow.
    ping(far, near.address(version), 1, wait=5.0)
    e2e.wait_until(lambda: bool(e2e.sas(ours)["child_sas"]), f"the other end begins\n{said()}")
    assert ping(far, near.address(version), 2, wait=5.0).lost == 0, ours.log + said()
    assert not any(one["initiator"] for one in e2e.sas(ours)["ike_sas"])
    ours.ctl("delete", "--wait", "10", "all")
    assert not e2e.sas(ours)["child_sas"]
    for address in to:
        assert ping(near, address, 2, wait=5.0).lost == 0, ours.log + said()
    assert all(one["initiator"] for one in e2e.sas(ours)["ike_sas"])


# rfc 7427: pss
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("case", "version"), [("psk", 4), ("certificates", 6)])
def test_two_hosts(two_hosts: topology.TwoHosts, tmp_path: Path, peer: str, case: str, version: int) -> None:
    net, authority = two_hosts, certs.root("rsa")
    a, b = (certs.host(name, authority, "rsa") for name in "ab")
    icmp = topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6")
    assert ping(net.left, net.right.address(version), 1).lost == 0
    net.capture.assert_seen_clear(icmp)
    with (
        this_end(case, version, net.left, tmp_path, authority, a) as ours,
        other_end(peer, case, version, net.right, authority, b) as said,
    ):
        net.capture.clear()
        speak(ours, net.left, net.right, version, [net.right.address(version)], said)
        if case == "certificates":
            assert {one["remote_id"] for one in e2e.sas(ours)["ike_sas"]} == {"b.example"}
        net.capture.assert_protected(icmp)


@pytest.mark.parametrize("peer", PEERS)
def test_traffic_from_here_comes_first(two_hosts: topology.TwoHosts, tmp_path: Path, peer: str) -> None:
    """The other end has done nothing yet but started; then its traffic goes by what is there, and it rekeys nothing."""
    net, authority = two_hosts, certs.root("rsa")
    own = certs.host("a", authority, "rsa")
    icmp = topology.between(net.left, net.right, "icmp")
    assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(icmp)
    with (
        this_end("psk", 4, net.left, tmp_path, authority, own) as ours,
        other_end(peer, "psk", 4, net.right, authority, own) as said,
    ):
        net.capture.clear()
        assert ping(net.left, net.right.v4, 2, wait=5.0).lost == 0, ours.log + said()
        assert ping(net.right, net.left.v4, 2, wait=5.0).lost == 0, ours.log + said()
        (ike,) = e2e.sas(ours)["ike_sas"]
        assert ike["initiator"]
        assert len(ike["children"]) == 1
        net.capture.assert_protected(icmp)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("case", ["tunnel", "subnets"])
def test_two_gateways(tmp_path: Path, peer: str, case: str) -> None:
    authority = certs.root("p256")
    own = certs.host("a", authority, "p256")
    with topology.two_gateways() as net:
        far = net.right_host
        far.run("ip", "address", "add", "10.3.0.129/24", "dev", "eth0")
        to = [far.v4] if case == "tunnel" else [far.v4, "10.3.0.129"]
        with (
            this_end(case, 4, net.left, tmp_path, authority, own) as ours,
            other_end(peer, case, 4, net.right, authority, own) as said,
        ):
            net.capture.clear()
            speak(ours, net.left_host, far, 4, to, said)
        between = [
            one for one in net.capture.packets if one.link == "eth0" and one.host in (net.left.name, net.right.name)
        ]
        assert [one for one in between if one.packet.kind is Kind.ESP]
        pings = topology.between(net.left_host, far, "icmp")
        assert not [one for one in between if one.packet.kind is Kind.CLEAR and pings.carries(one.packet)]


@pytest.mark.parametrize("peer", PEERS)
def test_a_gateway_behind_a_nat(tmp_path: Path, peer: str) -> None:
    authority = certs.root("p256")
    own = certs.host("a", authority, "p256")
    near, far = "10.66.1.1", "10.66.2.1"
    with topology.host_nat_host() as net:
        for host, address, there, via in ((net.inside, near, far, "10.1.0.2"), (net.outside, far, near, "10.2.0.2")):
            host.run("ip", "address", "add", f"{address}/32", "dev", "lo")
            host.run("ip", "route", "add", there, "via", via, "src", address)
        with (
            this_end("nat", 4, net.inside, tmp_path, authority, own) as ours,
            other_end(peer, "nat", 4, net.outside, authority, own) as said,
        ):
            assert ping(net.inside, far, 2, wait=5.0).lost == 0, ours.log + said()
            assert ping(net.outside, near, 2, wait=5.0).lost == 0, ours.log + said()
        net.capture.assert_nothing_clear(flow([near], [far]))
        assert {each.packet.kind for each in net.capture.esp_packets()} == {Kind.UDP_ESP}
