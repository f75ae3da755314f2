# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of SAs when one end has lost its own, under traffic: how long it is away, and that nothing is clear."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import packets, topology
from lab.libreswan import libreswan
from lab.libreswan import missing as missing_libreswan
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping, ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from tests.lab.test_e2e_tunnel import tunnel
from xfrmd import limits

RATE = 50


def test_a_peer_that_lost_its_state_is_back_long_before_it_would_be_given_up(two_hosts: topology.TwoHosts) -> None:
    """Silence is noticed within 15 s, and asked about at the first look, 5 s apart, after 10 s more.

    Without tokens a peer is given up after 68 s more. What is negotiated then goes on from a ticket (RFC 5723).
    """
    net = two_hosts
    text = e2e.policy().replace("assign: yes", "assign: yes\n    resumption: yes")
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as left,
        xfrmd(net.right, text, secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
        old = e2e.child_spis(left)
        running = Flood(net.left, Ping(net.right.v4), rate=RATE).start()
        running.wait_for(20)
        right.kill()
        (right.directory / "sas").unlink()
        right.start()
        e2e.wait_until(lambda: bool(e2e.child_spis(left) - old), "the peer's crash is known", 40.0)
        running.wait_for(20)
        outcome = running.stop()
        assert "[peer-crashed]" in left.log
        assert "[peer-down]" not in left.log
        assert left.log.count("[resumed]") == right.log.count("[resumed]") == 1, left.log + right.log
        (here,), (there,) = e2e.sas(left)["ike_sas"], e2e.sas(right)["ike_sas"]
        assert {"resumed", "ticket", "crash-token"} <= set(here["extensions"])
        assert {"resumed", "ticket-given", "crash-token"} <= set(there["extensions"])
        assert right.log.count("[state-refused]") == 1
        lost = len(outcome.lost) / RATE
        print(f"crash with tokens: {len(outcome.lost)} of {outcome.sent} packets lost, {lost:.1f} s")
        assert lost < sum(limits.SA_USE_INTERVAL) + limits.LIVENESS_TOKEN + 8, left.log
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_after_delete_all_no_ticket_counts_and_after_a_shutdown_each_does(
    two_hosts: topology.TwoHosts, version: int
) -> None:
    """Both end the same SAs, and the peer that has the ticket hears the same (docs/decisions/0038)."""
    net = two_hosts
    there = net.right.address(version)
    text = e2e.policy().replace("assign: yes", "assign: yes\n    resumption: yes")
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as left,
        xfrmd(net.right, text, secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, there, 2).lost == 0, left.log + right.log
        right.stop(signal.SIGINT)
        right.start()
        assert ping(net.left, there, 2).lost == 0, left.log + right.log
        assert (left.log.count("[resumed]"), left.log.count("[ticket-refused]")) == (1, 0), left.log + right.log
        right.ctl("delete", "all", "--wait", "5")
        assert ping(net.left, there, 2).lost == 0, left.log + right.log
        assert (left.log.count("[resumed]"), left.log.count("[ticket-refused]")) == (1, 1), left.log + right.log
        assert "none of ours" in right.log
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))


def named(word: str) -> str:
    """The policy of one end, with the roaming host's name as this word's value."""
    psk = 'psk: {file: "{psk}"}'
    text = e2e.policy()
    assert psk in text
    return text.replace(psk, f"{psk}\n        {word}: roamer.example")


def test_a_host_gets_another_address_and_its_ike_sa_goes_on(two_hosts: topology.TwoHosts) -> None:
    """MOBIKE (RFC 4555), also after a restart of the daemon that knows that the peer may move."""
    net = two_hosts
    old, new = net.left.v4, net.left.v4.rpartition(".")[0] + ".77"
    with (
        xfrmd(net.left, named("local_id"), secret=e2e.SECRET) as left,
        xfrmd(net.right, named("remote_id"), secret=e2e.SECRET, lasting=True) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log
        before = e2e.ike_spis(left), e2e.ike_spis(right), e2e.child_spis(left)
        right.kill()
        right.start()
        net.left.run("ip", "addr", "del", f"{old}/24", "dev", "eth0")
        net.left.run("ip", "addr", "add", f"{new}/24", "dev", "eth0")
        running = Flood(net.left, Ping(net.right.v4), rate=RATE).start()
        running.wait_for(20)
        outcome = running.stop()
        assert (e2e.ike_spis(left), e2e.ike_spis(right)) == before[:2], left.log + right.log
        assert left.log.count("[moved]") == right.log.count("[moved]") == 1
        assert {ike["remote"].rpartition(":")[0] for ike in e2e.sas(right)["ike_sas"]} == {new}
        print(f"another address: {len(outcome.lost)} of {outcome.sent} packets lost, {len(outcome.lost) / RATE:.2f} s")
        assert len(outcome.lost) < 3 * RATE, left.log + right.log
        assert ping(net.left, net.right.v4, 3).lost == 0
    net.capture.assert_protected(packets.flow([old, new], [net.right.v4], "icmp"))


def test_strongswan_follows_a_host_that_gets_another_address(
    two_hosts: topology.TwoHosts, strongswan: Callable[..., AbstractContextManager[StrongSwan]]
) -> None:
    net = two_hosts
    old, new = net.left.v4, net.left.v4.rpartition(".")[0] + ".77"
    conf = e2e.charon(net.right.v4, old).replace(f"id = {old}", "id = roamer.example")
    conf = conf.replace(f"remote_addrs = {old}", "remote_addrs = %any")
    with strongswan(net.right, conf) as peer, xfrmd(net.left, named("local_id"), secret=e2e.SECRET) as left:
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + peer.log
        before = e2e.ike_spis(left), [one.unique_id for one in peer.list_sas()]
        (ike,) = e2e.sas(left)["ike_sas"]
        assert "moves" in ike["extensions"]
        net.left.run("ip", "addr", "del", f"{old}/24", "dev", "eth0")
        net.left.run("ip", "addr", "add", f"{new}/24", "dev", "eth0")
        e2e.wait_until(lambda: ping(net.left, net.right.v4, 1, wait=1.0).lost == 0, "traffic goes on")
        assert ping(net.left, net.right.v4, 3).lost == 0, left.log + peer.log
        assert (e2e.ike_spis(left), [one.unique_id for one in peer.list_sas()]) == before, left.log + peer.log
        assert left.log.count("[moved]") == 1
        net.capture.assert_protected(packets.flow([old, new], [net.right.v4], "icmp"))


NETWORK, SERVICE = "10.9.0.0/24", "10.9.0.1"
"""Behind both gateways."""


def with_word(text: str, word: str) -> str:
    """The policy of a tunnel whose both rules have this word too."""
    psk = 'psk: {file: "{psk}"}'
    assert text.count(psk) == 2
    return text.replace(psk, f"{word}, {psk}")


def test_a_gateway_sends_its_peer_to_another_one(version: int) -> None:
    """Under traffic, while it serves and when it is asked anew (RFC 5685); the other end outlives a restart."""
    with topology.lan(3) as net:
        client, first, other = net.hosts
        for gateway in (first, other):
            gateway.run("ip", "addr", "add", f"{SERVICE}/32", "dev", "lo")
        client.run("ip", "route", "add", NETWORK, "via", first.v4)
        here, there = client.address(version), [first.address(version), other.address(version)]
        mine = f"{client.v4}/32"
        theirs = [tunnel(NETWORK, mine, own, here) for own in there]
        ours = with_word(tunnel(mine, NETWORK, here, there[0]), f"redirects: [{there[1]}]")
        with (
            xfrmd(first, theirs[0], secret=e2e.SECRET) as serving,
            xfrmd(other, theirs[1], secret=e2e.SECRET) as another,
            xfrmd(client, ours, secret=e2e.SECRET, lasting=True) as daemon,
        ):
            assert ping(client, SERVICE, 2).lost == 0, daemon.log + serving.log + another.log
            assert ends(daemon) == {there[0]}
            running = Flood(client, Ping(SERVICE), rate=RATE).start()
            running.wait_for(20)
            away, secret = with_word(theirs[0], f"redirect_to: {there[1]}"), serving.write_secret("psk", e2e.SECRET)
            serving.write_policy(away.replace("{psk}", str(secret)))
            serving.ask("reload")
            e2e.wait_until(lambda: ends(daemon) == {there[1]}, "the tunnel ends at the other gateway")
            running.wait_for(20)
            outcome = running.stop()
            print(f"redirected: {len(outcome.lost)} of {outcome.sent} packets lost, {len(outcome.lost) / RATE:.2f} s")
            assert len(outcome.lost) < 3 * RATE, daemon.log
            assert not serving.ask("sas")["child_sas"]
            daemon.kill()
            daemon.start()
            assert ping(client, SERVICE, 2).lost == 0, daemon.log
            assert (ends(daemon), daemon.log.count("[redirected]")) == ({there[1]}, 1)
            daemon.kill()
            (daemon.directory / "sas").unlink()
            daemon.start()  # it knows nothing any more, and asks the first gateway
            assert ping(client, SERVICE, 3).lost == 0, daemon.log
            assert (ends(daemon), daemon.log.count("[redirected]")) == ({there[1]}, 2)
            assert ping(client, SERVICE, 3).lost == 0
        net.capture.assert_nothing_clear(packets.flow([client.v4], [SERVICE]))
        for end in there:
            net.capture.assert_seen_esp(packets.flow([here], [end]))


def test_strongswan_goes_where_our_gateway_sends_it(
    strongswan: Callable[..., AbstractContextManager[StrongSwan]],
) -> None:
    """Under an IKE SA that stands, and at its next IKE_SA_INIT, of which it checks the nonce."""
    with topology.lan(3) as net:
        client, first, other = net.hosts
        for gateway in (first, other):
            gateway.run("ip", "addr", "add", f"{SERVICE}/32", "dev", "lo")
        client.run("ip", "route", "add", NETWORK, "via", first.v4)
        here, mine = client.v4, f"{client.v4}/32"
        stays = tunnel(NETWORK, mine, first.v4, here)
        conf = e2e.charon(here, first.v4, nets=(mine, NETWORK)).replace(f"id = {first.v4}", "id = %any")
        with (
            xfrmd(first, stays, secret=e2e.SECRET) as serving,
            xfrmd(other, tunnel(NETWORK, mine, other.v4, here), secret=e2e.SECRET) as another,
            strongswan(client, conf) as peer,
        ):
            peer.initiate("all")
            assert ping(client, SERVICE, 2).lost == 0, peer.log + serving.log
            assert ends(serving) == {here}
            away, secret = with_word(stays, f"redirect_to: {other.v4}"), serving.write_secret("psk", e2e.SECRET)
            serving.write_policy(away.replace("{psk}", str(secret)))
            serving.ask("reload")
            e2e.wait_until(lambda: ends(another) == {here} and not ends(serving), "it is at the other gateway")
            assert ping(client, SERVICE, 3).lost == 0, peer.log + another.log
            peer.terminate(ike="peer")
            peer.initiate("all")
            assert ping(client, SERVICE, 3).lost == 0, peer.log + another.log
            assert (ends(serving), ends(another)) == (set(), {here})
        net.capture.assert_nothing_clear(packets.flow([here], [SERVICE]))
        net.capture.assert_seen_esp(packets.flow([here], [other.v4]))


LIBRESWAN = """\
config setup
    {setup}
conn peer
    left={here}
    leftsubnet={network}
    right={there}
    rightsubnet={there}/32
    authby=secret
    ikev2=insist
    type=tunnel
    ike=aes_gcm128-sha2_256;dh31
    esp=aes_gcm128
    pfs=no
    {conn}
    auto=add
"""


@pytest.mark.skipif(bool(missing_libreswan()), reason=missing_libreswan() or "libreswan")
@pytest.mark.parametrize("when", ["IKE_SA_INIT", "IKE_AUTH"])
def test_we_go_where_libreswan_sends_us(when: str) -> None:
    with topology.lan(3) as net:
        client, first, other = net.hosts
        other.run("ip", "addr", "add", f"{SERVICE}/32", "dev", "lo")
        client.run("ip", "route", "add", NETWORK, "via", first.v4)
        here, mine = client.v4, f"{client.v4}/32"
        ours = with_word(tunnel(mine, NETWORK, here, first.v4), f"redirects: [{other.v4}]")
        early, late = (
            f"global-redirect=yes\n    global-redirect-to={other.v4}",
            f"send-redirect=yes\n    redirect-to={other.v4}",
        )
        words = {"setup": early, "conn": ""} if when == "IKE_SA_INIT" else {"setup": "", "conn": late}
        conf = LIBRESWAN.format(here=first.v4, there=here, network=NETWORK, **words)
        with (
            libreswan(first, conf, f'{first.v4} {here} : PSK "{e2e.SECRET}"\n') as peer,
            xfrmd(other, tunnel(NETWORK, mine, other.v4, here), secret=e2e.SECRET) as another,
            xfrmd(client, ours, secret=e2e.SECRET) as daemon,
        ):
            assert ping(client, SERVICE, 3).lost == 0, daemon.log + peer.log + another.log
            assert (ends(daemon), daemon.log.count("[redirected]")) == ({other.v4}, 1)
            (ike,) = e2e.sas(daemon)["ike_sas"]
            assert "redirected" in ike["extensions"]
        net.capture.assert_nothing_clear(packets.flow([here], [SERVICE]))
        net.capture.assert_seen_esp(packets.flow([here], [other.v4]))


def ends(daemon: XfrmdHost) -> set[str]:
    """Where its tunnels end that have SAs."""
    return {child["remote"] for child in e2e.sas(daemon)["child_sas"]}
