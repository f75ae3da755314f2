# SPDX-License-Identifier: GPL-2.0-or-later
"""ESP SAs by our own netlink: every transform carries a packet, counters count, lifetimes end, refusals say why."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import re
from collections.abc import Iterator

import pytest

from lab import topology
from lab.netns import Host
from lab.traffic import ping
from xfrmd import limits
from xfrmd.adapters.xfrm import states, uapi
from xfrmd.adapters.xfrm.events import XfrmEvent, XfrmEvents
from xfrmd.adapters.xfrm.requests import Request
from xfrmd.adapters.xfrm.sockets import XfrmSocket, add_policy
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.errors import KernelError
from xfrmd.ike.events import SaExpired
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, UDP, Ports, Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry
from xfrmd.transforms import catalog

REQID = limits.REQID_FIRST + 3
AEADS = ("AES128-GCM", "AES192-GCM", "AES256-GCM", "CHACHA20-POLY1305")
CIPHERS = ("AES128", "AES192", "AES256")
HASHES = ("SHA256", "SHA384", "SHA512")
SUITES = [(name, "") for name in AEADS] + [(cipher, hashed) for cipher in CIPHERS for hashed in HASHES]


def sa(src: str, dst: str, spi: int, encryption: str = "AES128-GCM", integrity: str = "") -> SadEntry:
    encr = catalog.encr_row(catalog.encryption(encryption))
    integ = catalog.integ_row(catalog.integrity(integrity)) if integrity else None
    assert encr is not None
    ends = (Address.parse(src), Address.parse(dst))
    return SadEntry(
        protocol=ProtocolId.ESP,
        spi=spi,
        src=ends[0],
        dst=ends[1],
        selector=Selector(Prefix.host(ends[0]), Prefix.host(ends[1])),
        reqid=REQID,
        inbound=False,
        mode=Mode.TRANSPORT,
        encryption=encr.transform,
        encryption_key=Secret(bytes(range(encr.key_len))),
        integrity=integ.transform if integ else None,
        integrity_key=Secret(bytes(range(integ.key_len)) if integ else b""),
        esn=False,
        replay_window=limits.REPLAY_WINDOW,
        soft=Lifetime(0),
        hard=Lifetime(0),
    )


class Ends:
    """Both hosts' kernels, with policies that want an SA each way between their addresses."""

    def __init__(self, net: topology.TwoHosts, version: int) -> None:
        self.net = net
        self.here, self.there = net.left.address(version), net.right.address(version)
        self.left, self.right = net.left.inside(XfrmSocket), net.right.inside(XfrmSocket)
        # So that the neighbours know each other: the neighbour discovery of IPv6 is a packet like any.
        assert ping(net.left, self.there, 1).lost == 0
        self._protect(self.left, self.here, self.there)
        self._protect(self.right, self.there, self.here)

    @staticmethod
    def _protect(xfrm: XfrmSocket, mine: str, other: str) -> None:
        out = Selector(Prefix.host(Address.parse(mine)), Prefix.host(Address.parse(other)))
        priority = limits.PRIORITY_FIRST
        entries = [
            SpdEntry(Direction.OUT, out, SpdAction.PROTECT, priority, REQID),
            SpdEntry(Direction.IN, out.reversed, SpdAction.PROTECT, priority, REQID, optional=True),
        ]
        if out.family == 6:
            entries += [
                SpdEntry(Direction.OUT, out._replace(protocol=58, sport=kinds), SpdAction.BYPASS, priority)
                for kinds in (Ports(134, 135), Ports(136, 137))
            ]
        assert xfrm.submit([add_policy(entry) for entry in entries]) == ()

    def install(self, entry: SadEntry) -> None:
        for xfrm in (self.left, self.right):
            xfrm.add_sa(entry)

    def install_pair(self, encryption: str = "AES128-GCM", integrity: str = "", spi: int = 0x1000) -> None:
        self.install(sa(self.here, self.there, spi, encryption, integrity))
        self.install(sa(self.there, self.here, spi + 1, encryption, integrity))


@pytest.fixture
def ends(two_hosts: topology.TwoHosts, version: int) -> Iterator[Ends]:
    made = Ends(two_hosts, version)
    two_hosts.capture.clear()
    yield made
    for xfrm in (made.left, made.right):
        xfrm.close()


def test_every_transform_pair_carries_packets(ends: Ends) -> None:
    for number, (encryption, integrity) in enumerate(SUITES):
        spi = 0x1000 + 2 * number
        ends.install_pair(encryption, integrity, spi)
        assert ping(ends.net.left, ends.there, 1).lost == 0, f"{encryption} {integrity}"
        counted = {one.spi: one for one in ends.left.sas()}
        assert (counted[spi].packets, counted[spi + 1].packets) == (1, 1)
        assert counted[spi].octets > 0
        for xfrm in (ends.left, ends.right):
            assert xfrm.remove_sa(ProtocolId.ESP, spi, Address.parse(ends.there))
            assert xfrm.remove_sa(ProtocolId.ESP, spi + 1, Address.parse(ends.here))
    ends.net.capture.assert_nothing_clear(topology.between(ends.net.left, ends.net.right, "icmp"))


def test_iproute2_sees_the_sa_as_meant(ends: Ends) -> None:
    wanted = dataclasses.replace(
        sa(ends.here, ends.there, 0x2000),
        esn=True,
        soft=Lifetime(90, 1000),
        hard=Lifetime(100, 1100),
        selector=sa(ends.here, ends.there, 1).selector._replace(protocol=UDP, sport=ANY_PORT, dport=Ports(53, 53)),
    )
    ends.left.add_sa(wanted)
    shown = " ".join(ends.net.left.run("ip", "-s", "xfrm", "state").stdout.split())
    for words in (
        f"src {ends.here} dst {ends.there} proto esp spi 0x00002000",
        f"reqid {REQID}",
        "esn",
        f"replay_window {limits.REPLAY_WINDOW}",
        "rfc4106(gcm(aes))",
        "(160 bits) 128",
        "proto udp dport 53",
        "limit: soft 1024000(bytes), hard 1126400(bytes)",
        "expire add: soft 90(sec), hard 100(sec)",
    ):
        assert words in shown


def test_one_sa_is_found_with_its_counters(ends: Ends) -> None:
    ends.install_pair()
    ping(ends.net.left, ends.there, 3)
    there = Address.parse(ends.there)
    found = ends.left.sa(ProtocolId.ESP, 0x1000, there)
    assert found is not None
    assert (found.packets, found.reqid, found.ours) == (3, REQID, True)
    assert ends.left.sa(ProtocolId.ESP, 0x1002, there) is None


def test_the_same_sa_twice_is_refused(ends: Ends) -> None:
    ends.install_pair()
    with pytest.raises(KernelError) as caught:
        ends.left.add_sa(sa(ends.here, ends.there, 0x1000))
    assert caught.value.errno == errno.EEXIST
    assert f"{ends.here} -> {ends.there}" in str(caught.value)
    assert "000102" not in str(caught.value)
    assert len(ends.left.sas()) == 2


def test_a_key_of_the_wrong_length_is_refused(ends: Ends) -> None:
    short = dataclasses.replace(sa(ends.here, ends.there, 0x3000), encryption_key=Secret(bytes(7)))
    with pytest.raises(KernelError):
        ends.left.add_sa(short)
    assert ends.left.sas() == ()


async def _heard(host: Host, entry: SadEntry, count: int, xfrm: XfrmSocket, traffic: str = "") -> list[XfrmEvent]:
    queue: asyncio.Queue[XfrmEvent] = asyncio.Queue()
    events = XfrmEvents(queue.put_nowait, lambda: None)
    events.open()
    with contextlib.closing(events):
        xfrm.add_sa(entry)
        if traffic:
            await asyncio.to_thread(ping, host, traffic, 4)
        return [await asyncio.wait_for(queue.get(), 10) for _ in range(count)]


def test_soft_and_hard_lifetime_in_seconds_are_told(ends: Ends) -> None:
    entry = dataclasses.replace(sa(ends.here, ends.there, 0x4000), soft=Lifetime(1), hard=Lifetime(2))
    found = ends.net.left.inside(lambda: asyncio.run(_heard(ends.net.left, entry, 2, ends.left)))
    there = Address.parse(ends.there)
    assert found == [SaExpired(0x4000, ProtocolId.ESP, there, hard=hard) for hard in (False, True)]
    assert ends.left.sas() == (), "the kernel itself removes it at its hard limit"


def test_a_soft_lifetime_in_octets_is_told(ends: Ends) -> None:
    entry = dataclasses.replace(sa(ends.here, ends.there, 0x5000), soft=Lifetime(0, 1), hard=Lifetime(0, 1000))
    ends.right.add_sa(entry)
    load = f"-s 1000 {ends.there}"

    def run() -> list[XfrmEvent]:
        return asyncio.run(_burst(ends, entry, load))

    (found,) = ends.net.left.inside(run)
    assert found == SaExpired(0x5000, ProtocolId.ESP, Address.parse(ends.there), hard=False)


async def _burst(ends: Ends, entry: SadEntry, load: str) -> list[XfrmEvent]:
    queue: asyncio.Queue[XfrmEvent] = asyncio.Queue()
    events = XfrmEvents(queue.put_nowait, lambda: None)
    events.open()
    with contextlib.closing(events):
        ends.left.add_sa(entry)
        command = ("ping", "-c", "3", "-i", "0.1", "-W", "1", *load.split())
        await asyncio.to_thread(lambda: ends.net.left.run(*command, check=False))
        return [await asyncio.wait_for(queue.get(), 10)]


def numbered(entry: SadEntry, last: int) -> Request:
    """The SA as it is after so many packets."""
    words = (entry.replay_window + 31) // 32
    fresh, worn = (uapi.REPLAY_ESN.pack(words, number, number, 0, 0, entry.replay_window) for number in (0, last))
    body = states.encode(entry)
    assert body.count(fresh) == 1
    return Request(Msg.NEWSA, body.replace(fresh, worn), str(entry))


@pytest.mark.parametrize("esn", [True, False])
def test_sequence_numbers_go_on_beyond_2_32_where_they_are_extended_and_end_there_where_not(
    ends: Ends, esn: bool
) -> None:
    """Never one twice (RFC 4303 3.3.3): such an SA is rekeyed by number of packets long before."""
    for src, dst, spi in ((ends.here, ends.there, 0x7000), (ends.there, ends.here, 0x7001)):
        entry = dataclasses.replace(sa(src, dst, spi), esn=esn)
        for xfrm in (ends.left, ends.right):
            xfrm.one(numbered(entry, 2**32 - 6))
    assert ping(ends.net.left, ends.there, 4, interval=0.05).lost == 0, "the positive control"
    outcome = ping(ends.net.left, ends.there, 12, interval=0.05)
    assert outcome.lost == (0 if esn else 11)
    if esn:
        assert "oseq-hi 0x1" in ends.net.left.run("ip", "-s", "xfrm", "state").stdout
        assert [one.replay_failures for one in ends.right.sas()] == [0, 0]


def test_esp_in_udp_is_installed_for_both_families(ends: Ends) -> None:
    entry = dataclasses.replace(sa(ends.here, ends.there, 0x6000), encap_ports=(4500, 4500))
    ends.left.add_sa(entry)
    assert "encap type espinudp sport 4500 dport 4500" in ends.net.left.run("ip", "xfrm", "state").stdout


def test_the_replay_window_takes_packets_far_out_of_order(ends: Ends) -> None:
    """One packet in ten comes 250 ms late, when a hundred have overtaken it: it is still taken.

    `ping` waits for its last answers twice as long as the longest one took, so some of the earlier ones must be late.
    """
    ends.install_pair()
    ends.net.left.run(
        "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "250ms", "reorder", "90%", "gap", "1"
    )
    outcome = ends.net.left.run("ping", "-q", "-c", "300", "-i", "0.002", "-W", "2", ends.there, check=False).stdout
    assert " 0% packet loss" in outcome
    longest = re.search(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/([\d.]+)/", outcome)
    assert longest is not None
    assert float(longest[1]) > 250, "none was late"
    failures = [one.replay_failures for one in ends.right.sas()]
    assert failures == [0, 0]
