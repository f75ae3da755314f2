# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates with a real strongSwan: every kind of key in both roles, and what each end refuses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import ping
from lab.vici import ViciError
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import certificates as certs
from tests.lab import e2e
from tests.unit import pki
from tests.unit.pki import CLIENT_AUTH, DAY, Holder
from xfrmd.credentials.certificates import key_hash

Charon = Callable[..., AbstractContextManager[StrongSwan]]
NAMES = {"local": "b.example", "remote": "a.example"}


def protected(net: topology.TwoHosts, ours: XfrmdHost, theirs: StrongSwan) -> None:
    """A ping goes through, by ESP alone; each end knows the other by its certificate's name."""
    assert ping(net.left, net.right.v4, 3, wait=5.0).lost == 0, ours.log + theirs.log
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
    assert {one["remote_id"] for one in e2e.sas(ours)["ike_sas"]} == {"b.example"}
    assert {one.remote_id for one in theirs.list_sas()} == {"a.example"}


ROLES = [(kind, initiator) for kind in ("rsa", "p256", "ed25519") for initiator in ("xfrmd", "charon")]


# rfc 7296: pki-and-psk
# rfc 7427: ecdsa
@pytest.mark.parametrize(("kind", "initiator"), [*ROLES, ("p384", "xfrmd"), ("p521", "charon"), ("ed448", "xfrmd")])
def test_each_kind_of_key(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path, kind: str, initiator: str
) -> None:
    net, ca = two_hosts, certs.root(kind)
    a, b = certs.host("a", ca, kind), certs.host("b", ca, kind)
    # The positive control: without a policy the same capture sees the same traffic.
    assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))
    net.capture.clear()
    with (
        xfrmd(net.left, certs.policy(certs.Files(tmp_path).rootca(ca, [a]))) as ours,
        strongswan(
            net.right,
            certs.charon(net.right.v4, net.left.v4, **NAMES),
            plugins=certs.CHARON_PLUGINS,
            files=certs.charon_files([ca], b),
        ) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        protected(net, ours, theirs)
        (sa,) = theirs.list_sas()
        assert sa.initiator == (initiator == "charon")
        wire = b"".join(one.frame for one in net.capture.frames)
        assert key_hash(ca.certificate) in wire  # whoever answers asks in the clear
        assert b"a.example" not in wire
        assert b"b.example" not in wire


def with_rsa_chain(files: certs.Files) -> tuple[str, dict[str, bytes]]:
    """Both ends have RSA keys below an authority in the middle: no IKE_AUTH fits into one packet."""
    ca = certs.root("rsa")
    middle = pki.issue("Middle", by=ca, kind="rsa", ca=True, start=certs.now() - DAY, end=certs.now() + DAY)
    a, b = (certs.host(name, middle, "rsa") for name in "ab")
    return files.rootca(ca, [a, middle]), certs.charon_files([ca], b, [middle])


# rfc 7296: size-1280
def test_chains_larger_than_a_packet(two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path) -> None:
    net = two_hosts
    method, files = with_rsa_chain(certs.Files(tmp_path))
    conf = certs.charon(net.right.v4, net.left.v4, **NAMES, more="fragmentation = no", auth="ike:rsa/pss-sha384")
    with (
        xfrmd(net.left, certs.policy(method)) as ours,
        strongswan(net.right, conf, plugins=certs.CHARON_PLUGINS, files=files) as theirs,
    ):
        theirs.initiate("all")
        protected(net, ours, theirs)
        assert any(one.packet.fragment_id is not None for one in net.capture.packets)


# rfc 7383: announce fragment-sealed first-names-payload reassemble-authentic
@pytest.mark.parametrize("initiator", ["xfrmd", "charon"])
def test_chains_larger_than_a_packet_go_in_fragments_of_ike(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path, version: int, initiator: str
) -> None:
    net = two_hosts
    here, there = net.right.address(version), net.left.address(version)
    method, files = with_rsa_chain(certs.Files(tmp_path))
    conf = certs.charon(here, there, **NAMES, more="fragmentation = yes")
    with (
        xfrmd(net.left, certs.policy(method)) as ours,
        strongswan(net.right, conf, plugins=certs.CHARON_PLUGINS, files=files) as theirs,
    ):
        if initiator == "charon":
            theirs.initiate("all")
        assert ping(net.left, here, 3, wait=5.0).lost == 0, ours.log + theirs.log
        assert "splitting IKE message" in theirs.log
        assert "reassembled fragmented IKE message" in theirs.log
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))
        assert not [one for one in net.capture.packets if one.packet.fragment_id is not None]


# rfc 7383: path-mtu
def test_fragments_that_a_path_drops_become_smaller(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path
) -> None:
    """A router on the way to strongSwan drops packets of more than 576 octets in silence, IKE_SA_INIT excepted."""
    net = two_hosts
    method, files = with_rsa_chain(certs.Files(tmp_path))
    conf = certs.charon(net.right.v4, net.left.v4, **NAMES, more="fragmentation = yes")
    net.right.run("nft", "add", "table", "ip", "narrow")
    net.right.run("nft", "add", "chain", "ip", "narrow", "in", "{ type filter hook prerouting priority -500 ; }")
    rule = ("ip", "saddr", net.left.v4, "udp", "dport", "{500, 4500}", "ip", "length", ">", "576", "counter", "drop")
    net.right.run("nft", "add", "rule", "ip", "narrow", "in", *rule)
    with (
        xfrmd(net.left, certs.policy(method)) as ours,
        strongswan(net.right, conf, plugins=certs.CHARON_PLUGINS, files=files) as theirs,
    ):
        assert ping(net.left, net.right.v4, 12, interval=1.0, wait=5.0).lost < 12, ours.log + theirs.log
        assert "reassembled fragmented IKE message" in theirs.log
        assert "packets 0 bytes" not in net.right.run("nft", "list", "table", "ip", "narrow").stdout
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


@pytest.mark.parametrize("unasked", [False, True])
def test_no_authority_is_named(two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path, unasked: bool) -> None:
    """Who is asked for no certificate shows none by strongSwan's default: we say so, and what to do."""
    net, ca = two_hosts, certs.root("p256")
    a, b = (certs.host(name, ca, "p256") for name in "ab")
    more = "send_cert = always" if unasked else ""
    with (
        xfrmd(net.left, certs.policy(certs.Files(tmp_path).rootca(ca, [a], ", excludecaname: yes"))) as ours,
        strongswan(
            net.right,
            certs.charon(net.right.v4, net.left.v4, **NAMES, more=more),
            plugins=certs.CHARON_PLUGINS,
            files=certs.charon_files([ca], b),
        ) as theirs,
    ):
        if unasked:
            theirs.initiate("all")
            protected(net, ours, theirs)
        else:
            with pytest.raises(ViciError):
                theirs.initiate("all")
            assert "it sends no certificate; it was not asked for one, as every rootca of the rule" in ours.log
        assert key_hash(ca.certificate) not in b"".join(one.frame for one in net.capture.frames)


WRONG = {
    "expired": "certificate 'O=Example, CN=expired' expired at",
    "stranger": "was issued by 'O=Example, CN=Other', which is no authority of the rule ('O=Example, CN=Root')",
    "for-the-web": "certificate 'O=Example, CN=for-the-web' is not for IKE (extendedKeyUsage",
    "other": "the rule expects b.example; we are 10.",
    "revoked": "certificate 'O=Example, CN=revoked' was revoked by 'O=Example, CN=Root'",
}


SHOWN = {"revoked": "b.example"}


def wrong_holders(ca: Holder) -> dict[str, Holder]:
    """By the name of a connection of charon's: a certificate that is not to be believed."""
    other = certs.root("p256", "Other")
    return {
        "expired": certs.host("expired", ca, "p256", end=certs.now() - DAY / 24),
        "stranger": certs.host("stranger", other, "p256"),
        "for-the-web": certs.host("for-the-web", ca, "p256", purposes=[CLIENT_AUTH]),
        "other": certs.host("other", ca, "p256"),
        "revoked": certs.host("revoked", ca, "p256", san=["b.example"]),
    }


# rfc 7296: identity-fits-key
def test_whom_we_refuse(two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path) -> None:
    net, ca = two_hosts, certs.root("p256")
    holders = wrong_holders(ca)
    confs, files = [], certs.charon_files([ca], certs.host("b", ca, "p256"))
    for name, own in holders.items():
        files |= {f"x509/{name}.pem": own.pem, f"private/{name}.key": own.key_pem}
        conf = certs.charon(net.right.v4, net.left.v4, local=SHOWN.get(name, f"{name}.example"), remote="a.example")
        conf = conf.replace("host.pem", f"{name}.pem").replace("  peer {", f"  {name} {{")
        confs.append(conf.replace("      all {", f"      {name} {{"))
    (tmp_path / "crl.pem").write_bytes(pki.crl(ca, holders["revoked"], now=certs.now()))
    more = f', crl: {{file: "{tmp_path}/crl.pem"}}, strongcrlcheck: 2'
    rule = certs.Files(tmp_path).rootca(ca, [certs.host("a", ca, "p256")], more) + "\n        remote_id: b.example"
    with (
        xfrmd(net.left, certs.policy(rule)) as ours,
        strongswan(net.right, "\n".join(confs), plugins=certs.CHARON_PLUGINS, files=files) as theirs,
    ):
        for name, why in WRONG.items():
            told = len(ours.log)
            with pytest.raises(ViciError):
                theirs.initiate(name)
            assert why in ours.log[told:], (name, ours.log[told:], theirs.log)
            assert "(rule 'protect')" in ours.log[told:]
        assert e2e.sas(ours)["child_sas"] == []
        assert ping(net.right, net.left.v4, 2).received == 0


def test_who_refuses_us_is_told_with_what_we_said(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path
) -> None:
    """charon trusts another authority than the one of our certificate."""
    net, ca, other = two_hosts, certs.root("p256"), certs.root("p256", "Other")
    with (
        xfrmd(net.left, certs.policy(certs.Files(tmp_path).rootca(ca, [certs.host("a", ca, "p256")]))) as ours,
        strongswan(
            net.right,
            certs.charon(net.right.v4, net.left.v4, **NAMES),
            plugins=certs.CHARON_PLUGINS,
            files=certs.charon_files([other], certs.host("b", ca, "p256")),
        ),
    ):
        assert ping(net.left, net.right.v4, 1, wait=1.0).received == 0
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))
        e2e.wait_until(lambda: "[auth-failed]" in ours.log, "the refusal is told")
        assert "answers AUTHENTICATION_FAILED (rule 'protect'): we said to be a.example" in ours.log


# rfc 7296: auth-methods
# rfc 7427: method-14
@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_a_strongswan_without_rfc_7427(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path, kind: str
) -> None:
    """ECDSA goes on by method 9. With RSA it signs and wants SHA-1: refused, and told."""
    net, ca = two_hosts, certs.root(kind)
    a, b = (certs.host(name, ca, kind) for name in "ab")
    with (
        xfrmd(net.left, certs.policy(certs.Files(tmp_path).rootca(ca, [a]))) as ours,
        strongswan(
            net.right,
            certs.charon(net.right.v4, net.left.v4, **NAMES),
            settings="signature_authentication = no",
            plugins=certs.CHARON_PLUGINS,
            files=certs.charon_files([ca], b),
        ) as theirs,
    ):
        if kind == "p256":
            theirs.initiate("all")
            protected(net, ours, theirs)
        else:
            with pytest.raises(ViciError):
                theirs.initiate("all")
            assert "it signs with SHA-1, which is not taken" in ours.log
