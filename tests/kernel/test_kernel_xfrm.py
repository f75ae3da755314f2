# SPDX-License-Identifier: GPL-2.0-or-later
"""XFRM policies and events in the host's own kernel, with iproute2 as the second opinion. ESP is for tests/lab."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from lab.netns import Host, namespaces
from xfrmd import limits
from xfrmd.adapters.xfrm.events import XfrmEvent, XfrmEvents
from xfrmd.adapters.xfrm.sockets import XfrmSocket, add_policy, delete_policy, update_policy
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.errors import KernelError
from xfrmd.ike.events import Acquire
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.selector import ANY_PORT, ICMP, TCP, UDP, Ports, Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]

FIRST = limits.PRIORITY_FIRST
REQID = limits.REQID_FIRST + 7


def prefix(text: str) -> Prefix:
    return Prefix.parse(text)


ME_ANY = Selector(prefix("10.0.0.1"), Prefix.any(4))
ENTRIES = (
    SpdEntry(Direction.OUT, ME_ANY, SpdAction.PROTECT, FIRST + 9, REQID),
    SpdEntry(Direction.IN, ME_ANY.reversed, SpdAction.PROTECT, FIRST + 9, REQID, optional=True),
    SpdEntry(Direction.OUT, ME_ANY._replace(protocol=UDP), SpdAction.PROTECT, FIRST + 8, REQID, protocol=ProtocolId.AH),
    SpdEntry(Direction.FWD, ME_ANY.reversed, SpdAction.PROTECT, FIRST + 9, REQID),
    SpdEntry(
        Direction.OUT,
        Selector(prefix("10.0.0.1"), prefix("10.0.0.0/8"), TCP, ANY_PORT, Ports(1024, 2047)),
        SpdAction.DISCARD,
        FIRST + 5,
    ),
    SpdEntry(
        Direction.OUT,
        Selector(Prefix.any(4), Prefix.any(4), ICMP, Ports(8, 8), Ports(0, 0)),
        SpdAction.BYPASS,
        FIRST + 1,
    ),
    SpdEntry(Direction.IN, Selector(prefix("fd00::/64"), prefix("fd00::1")), SpdAction.DISCARD, limits.PRIORITY_LAST),
    SpdEntry(
        Direction.OUT,
        Selector(prefix("fd01::/64"), prefix("10.2.0.0/16")._replace(family=6, value=0xFD02 << 112, length=64)),
        SpdAction.PROTECT,
        FIRST + 3,
        REQID,
        Mode.TUNNEL,
        tunnel=(Address.parse("fd00::1"), Address.parse("fd00::2")),
    ),
)


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces("xfrm") as (made,):
        yield made


@pytest.fixture
def xfrm(host: Host) -> Iterator[XfrmSocket]:
    made = host.inside(XfrmSocket)
    yield made
    made.close()


def test_what_is_written_is_read_back(xfrm: XfrmSocket) -> None:
    assert xfrm.submit([add_policy(entry) for entry in ENTRIES]) == ()
    observed = xfrm.policies()
    assert {policy.entry for policy in observed} == set(ENTRIES)
    assert all(policy.ours for policy in observed)


def test_iproute2_sees_the_same(host: Host, xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(entry) for entry in ENTRIES])
    shown = " ".join(host.run("ip", "xfrm", "policy").stdout.split())
    esp = f"proto esp reqid {REQID} mode"
    for words in (
        f"dst 0.0.0.0/0 dir out priority {FIRST + 9} ptype main flag icmp tmpl src 0.0.0.0 dst 0.0.0.0 {esp} transport",
        f"dir in priority {FIRST + 9} ptype main tmpl src 0.0.0.0 dst 0.0.0.0 {esp} transport level use",
        f"src 10.0.0.1/32 dst 10.0.0.0/8 proto tcp dport 1024 dir out action block priority {FIRST + 5}",
        f"src 0.0.0.0/0 dst 0.0.0.0/0 proto icmp type 8 code 0 dir out priority {FIRST + 1}",
        f"tmpl src fd00::1 dst fd00::2 {esp} tunnel",
    ):
        assert words in shown


def test_a_taken_selector_is_refused_and_the_rest_is_done(xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])
    (refusal,) = xfrm.submit([add_policy(entry) for entry in ENTRIES[:3]])
    assert (refusal.place, refusal.errno) == (0, errno.EEXIST)
    assert "10.0.0.1 -> any" in refusal.message
    assert len(xfrm.policies()) == 3


def test_the_last_request_of_a_batch_can_be_the_refused_one(xfrm: XfrmSocket) -> None:
    refusals = xfrm.submit([add_policy(ENTRIES[0]), add_policy(ENTRIES[1]), add_policy(ENTRIES[1])])
    assert [refusal.place for refusal in refusals] == [2]
    assert xfrm.submit([]) == ()


def test_an_update_replaces_at_once_even_with_another_priority(xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])
    changed = dataclasses.replace(ENTRIES[0], action=SpdAction.DISCARD, reqid=0, priority=FIRST + 100)
    assert xfrm.submit([update_policy(changed)]) == ()
    assert [policy.entry for policy in xfrm.policies()] == [changed]


def test_deleting_by_index_hits_nobody_else(host: Host, xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])
    (ours,) = xfrm.policies()
    host.run("ip", "xfrm", "policy", "delete", "dir", "out", "src", "10.0.0.1/32", "dst", "0.0.0.0/0")
    host.run("ip", "xfrm", "policy", "add", "dir", "out", "src", "10.0.0.1/32", "dst", "0.0.0.0/0", "priority", "5")
    (refusal,) = xfrm.submit([delete_policy(ours.direction, ours.selector, ours.index)])
    assert refusal.errno == errno.ENOENT
    (foreign,) = xfrm.policies()
    assert not foreign.ours


def test_policies_of_others_are_seen_and_are_not_ours(host: Host, xfrm: XfrmSocket) -> None:
    for extra in (["priority", "100"], ["priority", str(FIRST), "mark", "1"], ["priority", str(FIRST), "if_id", "3"]):
        host.run("ip", "xfrm", "policy", "add", "dir", "out", "src", "10.0.0.1/32", "dst", "0.0.0.0/0", *extra)
    host.run(*f"ip xfrm policy add dir in src 10.9.0.0/16 dst 10.0.0.1 priority {FIRST}".split())
    observed = xfrm.policies()
    assert [policy.ours for policy in observed if policy.direction is Direction.OUT] == [False] * 3
    assert [policy.ours for policy in observed if policy.direction is Direction.IN] == [True], "our band is our band"


def test_batches_are_bounded(xfrm: XfrmSocket) -> None:
    with pytest.raises(ValueError, match="batch"):
        xfrm.submit([add_policy(ENTRIES[0])] * (limits.NETLINK_BATCH + 1))


def test_a_policy_is_kicked_and_stays_what_it_was(xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])
    before = xfrm.policies()
    xfrm.kick(ENTRIES[0])
    assert xfrm.policies() == before


def test_changes_of_ours_are_no_news_and_those_of_others_are(host: Host, xfrm: XfrmSocket) -> None:
    spd = host.inside(lambda: Spd((xfrm,)))
    spd.watch()
    spd.submit([add_policy(ENTRIES[0])])
    xfrm.kick(ENTRIES[0])
    assert not spd.touched()
    host.run("ip", "xfrm", "policy", "add", "src", "10.9.0.1", "dst", "10.9.0.2", "dir", "out")
    assert spd.touched()
    spd.close()


def test_hash_thresholds_are_taken(xfrm: XfrmSocket) -> None:
    xfrm.hash_thresholds((24, 24), (48, 48))
    with pytest.raises(KernelError):
        xfrm.hash_thresholds((33, 24), (48, 48))


def test_no_sa_is_no_error(xfrm: XfrmSocket) -> None:
    address = Address.parse("10.0.0.2")
    assert xfrm.sas() == ()
    assert xfrm.sa(ProtocolId.ESP, 0x1234, address) is None
    assert not xfrm.remove_sa(ProtocolId.ESP, 0x1234, address)


@pytest.fixture
def link(host: Host) -> None:
    """An address with nobody behind it."""
    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    host.run("ip", "addr", "add", "10.0.0.1/8", "dev", "eth0")
    for name in ("eth0", "other"):
        host.run("ip", "link", "set", name, "up")


def send(sender: socket.socket, address: str) -> None:
    """With net.core.xfrm_larval_drop=1 the sender may hear EREMOTE."""
    with contextlib.suppress(OSError):
        sender.sendto(b"wants an SA", (address, 53))


@contextlib.contextmanager
def sending() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("10.0.0.1", 4000))
        sender.setblocking(False)
        yield sender


@pytest.mark.usefixtures("link")
def test_a_packet_raises_an_acquire(host: Host, xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])

    async def listen() -> XfrmEvent:
        heard: asyncio.Queue[XfrmEvent] = asyncio.Queue()
        events = XfrmEvents(heard.put_nowait, lambda: None)
        events.open()
        with contextlib.closing(events), sending() as sender:
            send(sender, "10.0.0.2")
            return await asyncio.wait_for(heard.get(), 5)

    found = host.inside(lambda: asyncio.run(listen()))
    ends = (prefix("10.0.0.1"), prefix("10.0.0.2"))
    assert found == Acquire(REQID, Selector(*ends, UDP, Ports(4000, 4000), Ports(53, 53)))


@pytest.mark.usefixtures("link")
def test_lost_events_are_told_once_and_listening_goes_on(host: Host, xfrm: XfrmSocket) -> None:
    xfrm.submit([add_policy(ENTRIES[0])])

    async def listen() -> tuple[int, XfrmEvent]:
        heard: asyncio.Queue[XfrmEvent] = asyncio.Queue()
        lost: asyncio.Queue[None] = asyncio.Queue()
        events = XfrmEvents(heard.put_nowait, lambda: lost.put_nowait(None), buffer_size=4096)
        events.open()
        with contextlib.closing(events), sending() as sender:
            for number in range(100):  # more than the buffer takes before the loop runs again
                send(sender, f"10.1.0.{number}")
            await asyncio.wait_for(lost.get(), 5)
            while not heard.empty():
                heard.get_nowait()
            send(sender, "10.2.0.1")
            return lost.qsize(), await asyncio.wait_for(heard.get(), 5)

    more, event = host.inside(lambda: asyncio.run(listen()))
    assert more == 0
    assert isinstance(event, Acquire)
    assert event.packet.dst == prefix("10.2.0.1")
