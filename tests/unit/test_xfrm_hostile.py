# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and foreign answers of the kernel: nothing but KernelError comes out, and nothing foreign looks like ours."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import events, policies, states, uapi
from xfrmd.errors import KernelError
from xfrmd.ike.events import Acquire, Endpoint, Remapped, SaExpired
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.selector import Ports, Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

REQID = limits.REQID_FIRST + 9
PACKET = Selector(Prefix.parse("10.0.0.1"), Prefix.parse("10.0.0.2"), 17, Ports(4000, 4000), Ports(53, 53))
ENTRY = SpdEntry(
    Direction.OUT,
    Selector(Prefix.parse("10.0.0.1"), Prefix.any(4)),
    SpdAction.PROTECT,
    limits.PRIORITY_FIRST,
    REQID,
)


def acquire(reqid: int = REQID) -> bytes:
    """XFRM_MSG_ACQUIRE of a UDP packet: id, saddr, selector, policy, algorithms and sequence number, template."""
    packet = policies.encode_id(Direction.OUT, PACKET)[: uapi.SELECTOR.size]
    policy = policies.encode(ENTRY)
    template = bytearray(policy[uapi.POLICY.size :])
    struct.pack_into("=I", template, 4 + 44, reqid)
    head = bytes([10, 0, 0, 2]) + bytes(12) + bytes(4) + b"\x32" + bytes(3) + bytes([10, 0, 0, 1]) + bytes(12)
    return head + packet + policy[: uapi.POLICY.size] + bytes(16) + bytes(template)


def expire(hard: int, spi: bytes = b"\0\0\x12\x34", reqid: int = REQID) -> bytes:
    sa = bytearray(uapi.SA.size)
    sa[56 : 56 + 25] = bytes([10, 0, 0, 2]) + bytes(12) + spi + b"\x32" + bytes(4)
    struct.pack_into("=IH", sa, 208, reqid, uapi.FAMILIES[4])
    return bytes(sa) + bytes([hard]) + bytes(7)


def message(kind: int, body: bytes) -> netlink.Message:
    return netlink.Message(kind, 0, 0, body)


def test_an_acquire_names_the_filter_and_the_packet() -> None:
    assert events.decode(message(uapi.Msg.ACQUIRE, acquire())) == Acquire(REQID, PACKET)


def test_an_acquire_of_another_daemon_is_nothing_to_us() -> None:
    assert events.decode(message(uapi.Msg.ACQUIRE, acquire(reqid=7))) is None


@pytest.mark.parametrize("hard", [0, 1])
def test_an_expire_names_the_sa(hard: int) -> None:
    found = events.decode(message(uapi.Msg.EXPIRE, expire(hard)))
    assert found == SaExpired(0x1234, ProtocolId.ESP, Address.parse("10.0.0.2"), hard=bool(hard))


def test_a_larval_sa_and_a_foreign_one_expire_without_us() -> None:
    assert events.decode(message(uapi.Msg.EXPIRE, expire(1, spi=bytes(4)))) is None
    assert events.decode(message(uapi.Msg.EXPIRE, expire(1, reqid=1))) is None


def mapping(reqid: int = REQID) -> bytes:
    here, before, after = (bytes([10, 0, 0, last]) + bytes(12) for last in (1, 2, 3))
    named = uapi.SA_ID.pack(here, b"\0\0\x12\x34", uapi.FAMILIES[4], 50)
    return named + struct.pack("=I", reqid) + before + after + struct.pack(">HH", 4500, 20_000)


def test_a_mapping_names_the_sa_and_where_its_packets_come_from() -> None:
    here, there = Address.parse("10.0.0.1"), Address.parse("10.0.0.3")
    found = events.decode(message(uapi.Msg.MAPPING, mapping()))
    assert found == Remapped(0x1234, ProtocolId.ESP, here, Endpoint(there, 20_000))
    assert events.decode(message(uapi.Msg.MAPPING, mapping(reqid=7))) is None
    with pytest.raises(KernelError):
        events.decode(message(uapi.Msg.MAPPING, mapping()[:-1]))


def foreign(change: Callable[[bytearray], None]) -> policies.ObservedPolicy:
    body = bytearray(policies.encode(ENTRY))
    change(body)
    observed = policies.decode(bytes(body))
    assert observed is not None
    return observed


def _set(at: int, octets: bytes) -> Callable[[bytearray], None]:
    def change(body: bytearray) -> None:
        body[at : at + len(octets)] = octets

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(48, b"\x02"),  # ifindex
        _set(34, b"\xf0\xf1"),  # a port mask with holes
        _set(152, struct.pack("=I", limits.PRIORITY_FIRST - 1)),
        _set(152, struct.pack("=I", limits.PRIORITY_LAST + 1)),
        _set(168 + 4 + 44, struct.pack("=I", 5)),  # reqid
        _set(168 + 4 + 20, b"\x6c"),  # IPComp
        lambda body: body.extend(netlink.attribute(uapi.Attr.MARK, b"\x01" + bytes(7))),
        lambda body: body.extend(netlink.attribute(uapi.Attr.IF_ID, b"\x01" + bytes(3))),
        lambda body: body.extend(netlink.attribute(uapi.Attr.TMPL, bytes(body[172 : 172 + 64]) * 2)),
    ],
    ids=["interface", "mask", "ahead", "behind", "reqid", "ipcomp", "mark", "if_id", "two templates"],
)
def test_a_policy_unlike_ours_is_not_ours(change: Callable[[bytearray], None]) -> None:
    assert policies.decode(policies.encode(ENTRY)) is not None
    assert foreign(_set(0, b"")).ours
    assert not foreign(change).ours


def test_a_socket_policy_is_left_out() -> None:
    body = bytearray(policies.encode(ENTRY))
    body[160] = 4
    assert policies.decode(bytes(body)) is None


@given(st.binary(max_size=400))
def test_octets_of_any_kind_raise_nothing_else(data: bytes) -> None:
    for read in (
        policies.decode,
        states.decode,
        lambda body: events.decode(message(uapi.Msg.ACQUIRE, body)),
        lambda body: events.decode(message(uapi.Msg.EXPIRE, body)),
        lambda body: list(netlink.messages(body)),
        lambda body: netlink.attributes(body, 0),
        lambda body: netlink.answer(netlink.Message(netlink.NLMSG_ERROR, netlink.NLM_F_ACK_TLVS, 0, body)),
    ):
        try:
            read(data)
        except KernelError:
            continue


@given(st.integers(0, 335), st.binary(min_size=1, max_size=8))
def test_a_damaged_acquire_raises_nothing_else(at: int, octets: bytes) -> None:
    body = bytearray(acquire())
    body[at : at + len(octets)] = octets
    try:
        found = events.decode(message(uapi.Msg.ACQUIRE, bytes(body)))
    except KernelError:
        return
    assert found is None or isinstance(found, Acquire)


@pytest.mark.parametrize("length", [0, 15, 17, 2**32 - 1])
def test_a_message_with_a_wrong_length_is_refused(length: int) -> None:
    data = struct.pack("=IHHII", length, 2, 0, 0, 0)
    with pytest.raises(KernelError):
        list(netlink.messages(data))


def test_the_kernels_own_words_are_read_from_a_capped_answer() -> None:
    text = netlink.attribute(1, b"Requested type not found\0")
    body = struct.pack("=i", -93) + struct.pack("=IHHII", 400, 16, 5, 1, 0) + text
    flags = netlink.NLM_F_CAPPED | netlink.NLM_F_ACK_TLVS
    found = netlink.answer(netlink.Message(netlink.NLMSG_ERROR, flags, 1, body))
    assert found == netlink.Answer(93, "Requested type not found")
    assert netlink.describe(*found) == "Protocol not supported (Requested type not found)"
