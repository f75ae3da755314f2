# SPDX-License-Identifier: GPL-2.0-or-later
"""The capture's proof of protection, tried on ESP keyed by hand and on two strongSwans, with its positive control."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.netns import CommandFailed, Host, ip_batch
from lab.packets import Kind
from lab.strongswan import PeerChildSa, PeerIkeSa, StrongSwan

KEY = "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128"

Charon = Callable[..., AbstractContextManager[StrongSwan]]


def ping(source: Host, address: str) -> None:
    source.run("ping", "-q", "-c", "2", "-i", "0.05", "-W", "5", address)


def manual_esp(one: Host, other: Host, version: int) -> list[str]:
    """The `ip` commands that protect all between two hosts, seen from `one`."""
    here, there = one.address(version), other.address(version)
    spis = {(here, there): 0x1000 + (here > there), (there, here): 0x1000 + (there > here)}
    states = [
        f"xfrm state add src {s} dst {d} proto esp spi {spi} mode transport {KEY}" for (s, d), spi in spis.items()
    ]
    template = "tmpl proto esp mode transport"
    return [
        *states,
        f"xfrm policy add src {here} dst {there} dir out {template}",
        f"xfrm policy add src {there} dst {here} dir in {template}",
    ]


def test_manual_esp_passes_the_assertion_that_clear_traffic_fails(two_hosts: topology.TwoHosts, version: int) -> None:
    net, protocol = two_hosts, "icmp" if version == 4 else "icmpv6"
    flow = topology.between(net.left, net.right, protocol)
    ping(net.left, net.right.address(version))
    with pytest.raises(AssertionError, match="4 packets in the clear"):
        net.capture.assert_protected(flow)
    net.capture.clear()
    ip_batch(manual_esp(net.left, net.right, version), net.left)
    ip_batch(manual_esp(net.right, net.left, version), net.right)
    ping(net.left, net.right.address(version))
    net.capture.assert_protected(flow)
    assert len(net.capture.esp_packets(flow)) == 4
    # Large packets become fragments of ESP, which are no clear packets either.
    net.left.run("ping", "-q", "-c", "1", "-s", "4000", net.right.address(version))
    net.capture.assert_nothing_clear(flow)


PSK_TRANSPORT = """\
connections {{
  peer {{
    version = 2
    local_addrs = {here}
    remote_addrs = {there}
    proposals = aes128gcm16-prfsha256-x25519
    local {{
      auth = psk
    }}
    remote {{
      auth = psk
    }}
    children {{
      all {{
        mode = transport
        esp_proposals = aes128gcm16-x25519
      }}
    }}
  }}
}}
secrets {{
  ike {{
    secret = "a shared secret of the lab"
  }}
}}
"""


def installed(sas: tuple[PeerIkeSa, ...]) -> list[PeerChildSa]:
    return [child for sa in sas for child in sa.children if child.state == "INSTALLED"]


def test_two_strongswans_protect_rekey_and_terminate(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    net, version = two_hosts, 6
    here, there = net.left.address(version), net.right.address(version)
    flow = topology.between(net.left, net.right, "icmpv6")
    with (
        strongswan(net.left, PSK_TRANSPORT.format(here=here, there=there)) as left,
        strongswan(net.right, PSK_TRANSPORT.format(here=there, there=here)) as right,
    ):
        left.initiate("all")
        ping(net.left, there)
        net.capture.assert_protected(flow)
        assert any(each.packet.kind is Kind.IKE for each in net.capture.packets)
        (before,) = right.children("all")
        assert (before.mode, before.encryption, before.packets_in) == ("TRANSPORT", "AES_GCM_16-128", 2)
        right.rekey(child="all")
        (ike,) = right.wait_for(lambda sas: [each.spi_in == before.spi_in for each in installed(sas)] == [False])
        assert ike.key_exchange == "CURVE_25519"
        left.terminate(ike="peer")
        assert left.list_sas() == ()
    ping(net.left, there)
    net.capture.assert_seen_clear(flow)


def test_a_wrong_configuration_of_the_peer_is_told(two_hosts: topology.TwoHosts, strongswan: Charon) -> None:
    with strongswan(two_hosts.left, "") as peer, pytest.raises(CommandFailed, match="mode"):
        peer.load("connections {\n c {\n children {\n x {\n mode = sideways\n }\n }\n }\n}\n")
