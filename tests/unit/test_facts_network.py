# SPDX-License-Identifier: GPL-2.0-or-later
"""The network is read anew when the kernel could not tell it at one go, and otherwise not at all."""

from __future__ import annotations

import errno
import os
import struct
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd.adapters import netlink, network
from xfrmd.adapters.netlink_dump import TRIES
from xfrmd.adapters.network import GETADDR, GETLINK, GETROUTE, NEWADDR, NEWLINK, NEWROUTE
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import InterfaceKind

NAMES = {GETLINK: "links", GETADDR: "addresses", GETROUTE: "routes"}


def link(index: int, name: str) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, 0, 0) + netlink.attribute(3, name.encode() + b"\0")


def own(index: int, octets: bytes) -> bytes:
    return struct.pack("=BBBBI", 2, 24, 0, 0, index) + netlink.attribute(2, octets)


def route(gateway: bytes, table: int = 254, length: int = 0) -> bytes:
    return struct.pack("=8BI", 2, length, 0, 0, table, 0, 0, 1, 0) + netlink.attribute(5, gateway)


@dataclass
class Kernel:
    """Answers dumps; to the first of `kind`, so many `times`, with `trouble`: a number of an error, or "interrupted"
    at a message or at the end, or "silent", or "lost".
    """

    kind: int = 0
    trouble: str | int = 0
    times: int = 0
    late_link: bool = False
    """Is the link of the address known from the second look on only?"""
    asked: Counter[int] = field(default_factory=Counter)
    pauses: list[float] = field(default_factory=list)

    def open(self) -> Wire:
        return Wire(self)

    def bodies(self, kind: int) -> tuple[int, list[bytes]]:
        match kind:
            case network.GETLINK:
                late = self.late_link and self.asked[kind] == 1
                return NEWLINK, [link(2, "eth0"), *([] if late else [link(7, "eth1")])]
            case network.GETADDR:
                return NEWADDR, [own(7, bytes([10, 0, 0, 1]))]
            case _:
                return NEWROUTE, [route(bytes([10, 0, 0, 9])), route(bytes([10, 0, 0, 8]), table=9)]


@dataclass
class Wire:
    kernel: Kernel
    answers: list[bytes | OSError] = field(default_factory=list)

    def send(self, data: bytes, /) -> int:
        (request,) = netlink.messages(data)
        kernel = self.kernel
        kernel.asked[request.type] += 1
        trouble: str | int = 0
        if request.type == kernel.kind and kernel.asked[request.type] <= kernel.times:
            trouble = kernel.trouble
        if trouble == "silent":
            self.answers.append(TimeoutError())
            return len(data)
        if trouble == "lost":
            self.answers.append(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
            return len(data)
        kind, bodies = kernel.bodies(request.type)
        for body in bodies:
            flags = netlink.NLM_F_DUMP_INTR if trouble == "interrupted" else 0
            self.answers.append(netlink.HEADER.pack(16 + len(body), kind, flags, request.seq, 0) + body)
        flags = netlink.NLM_F_DUMP_INTR if trouble == "interrupted at the end" else 0
        code = -trouble if isinstance(trouble, int) else 0
        done = netlink.HEADER.pack(20, netlink.NLMSG_DONE, flags, request.seq, 0) + struct.pack("=i", code)
        self.answers.append(done)
        return len(data)

    def recv(self, size: int, /) -> bytes:
        assert size == netlink.RECEIVE_SIZE
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        self.answers.clear()


def assert_read(kernel: Kernel) -> None:
    found = network.read_network(kernel.open, kernel.pauses.append)
    assert {one.name: [str(own.address) for own in one.addresses] for one in found.interfaces} == {
        "eth0": [],
        "eth1": ["10.0.0.1"],
    }
    assert [str(one) for one in found.default_gateways] == ["10.0.0.9"]
    assert found.indexes == {2: "eth0", 7: "eth1"}


TROUBLES = ["interrupted", "interrupted at the end", "silent", "lost", errno.ENOMEM, errno.EINTR]


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_dump_that_fails_for_a_moment_is_made_again(kind: int, trouble: str | int) -> None:
    kernel = Kernel(kind, trouble, 1)
    assert_read(kernel)
    assert kernel.asked[kind] == 2


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_that_always_fails_is_told(kind: int, trouble: str | int) -> None:
    kernel = Kernel(kind, trouble, 1000)
    with pytest.raises(KernelError, match=NAMES[kind]) as raised:
        network.read_network(kernel.open, kernel.pauses.append)
    assert raised.value.errno
    assert sum(kernel.pauses) < 0.2, "an event loop waits"
    assert kernel.asked[kind] == TRIES


def test_a_refusal_that_will_stay_is_told_at_once() -> None:
    kernel = Kernel(GETADDR, errno.EPERM, 1)
    with pytest.raises(KernelError, match="addresses: Operation not permitted"):
        network.read_network(kernel.open, kernel.pauses.append)
    assert kernel.asked[GETADDR] == 1


def test_an_address_of_a_link_that_came_meanwhile_is_no_address_of_nobody() -> None:
    kernel = Kernel(late_link=True)
    assert_read(kernel)
    assert kernel.asked[GETLINK] == 2


class Telling(Kernel):
    """A kernel with these messages of one kind, and what it always has of the others."""

    def __init__(self, kind: int, *told: bytes) -> None:
        super().__init__()
        self.told = kind, list(told)

    def bodies(self, kind: int) -> tuple[int, list[bytes]]:
        found = super().bodies(kind)
        return self.told if found[0] == self.told[0] else found


def read(kind: int, *told: bytes) -> network.Network:
    return network.read_network(Telling(kind, *told).open, lambda _: None)


def test_a_name_that_is_no_text_is_told_as_its_octets() -> None:
    odd = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + netlink.attribute(3, b"wan\xff\0")
    assert read(NEWLINK, odd).indexes == {7: "wan\\xff"}


@pytest.mark.parametrize(
    ("flags", "name", "made_as", "kind"),
    [
        (0, "eth1", b"veth", InterfaceKind.LAN),
        (0x10, "ppp0", b"", InterfaceKind.DIALUP),
        (0, "wg0", b"wireguard", InterfaceKind.DIALUP),
        (0, "wwan0", b"", InterfaceKind.DIALUP),
    ],
)
def test_a_link_is_dial_up_by_its_flags_name_or_make(
    flags: int, name: str, made_as: bytes, kind: InterfaceKind
) -> None:
    body = struct.pack("=BxHiII", 0, 1, 7, flags, 0) + netlink.attribute(3, name.encode() + b"\0")
    nested = netlink.attribute(0x8000 | 18, netlink.attribute(1, made_as + b"\0"))
    (found,) = read(NEWLINK, body + nested).interfaces
    assert (found.name, found.kind, [str(own.address) for own in found.addresses]) == (name, kind, ["10.0.0.1"])


def test_the_own_end_of_a_point_to_point_link_counts_and_other_families_do_not() -> None:
    ends = netlink.attribute(1, bytes([192, 0, 2, 9])) + netlink.attribute(2, bytes([192, 0, 2, 1]))
    mine = struct.pack("=BBBBI", 2, 32, 0, 0, 2) + ends
    phonet = struct.pack("=BBBBI", 35, 0, 0, 0, 2) + netlink.attribute(2, b"\x10")
    six = struct.pack("=BBBBI", 10, 64, 0, 0, 2) + netlink.attribute(1, Address.parse("fd00::5").packed)
    found = {one.name: one.addresses for one in read(NEWADDR, mine, phonet, six).interfaces}
    assert [(str(own.address), own.length) for own in found["eth0"]] == [("192.0.2.1", 32), ("fd00::5", 64)]


def hop(gateway: bytes, length: int = 16) -> bytes:
    return struct.pack("=HBBi", length, 0, 0, 2) + netlink.attribute(5, gateway)


def test_each_hop_of_a_default_route_of_the_main_table_is_a_gateway() -> None:
    several = struct.pack("=8BI", 2, 0, 0, 0, 252, 0, 0, 1, 0) + netlink.attribute(15, struct.pack("=I", 254))
    hops = netlink.attribute(9, hop(bytes([10, 0, 0, 2])) + hop(bytes([10, 0, 0, 3])))
    other = route(bytes([10, 0, 0, 4])) + netlink.attribute(15, struct.pack("=I", 1000))
    found = read(NEWROUTE, several + hops, other, route(bytes([10, 0, 0, 5]), length=8))
    assert [str(one) for one in found.default_gateways] == ["10.0.0.2", "10.0.0.3"]


@pytest.mark.parametrize("length", [0, 7, 17])
def test_a_hop_that_does_not_fit_is_told(length: int) -> None:
    several = struct.pack("=8BI", 2, 0, 0, 0, 254, 0, 0, 1, 0) + netlink.attribute(9, hop(bytes(4), length))
    with pytest.raises(KernelError, match="routes: a message of 32 octets"):
        read(NEWROUTE, several)


@given(st.sampled_from([NEWLINK, NEWADDR, NEWROUTE]), st.binary(max_size=60))
def test_damaged_answers_are_told(kind: int, body: bytes) -> None:
    class Damaged(Kernel):
        def bodies(self, asked: int) -> tuple[int, list[bytes]]:
            found = super().bodies(asked)
            return (kind, [body]) if found[0] == kind else found

    try:
        network.read_network(Damaged().open, lambda _: None)
    except KernelError:
        return
