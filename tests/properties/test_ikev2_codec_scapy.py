# SPDX-License-Identifier: GPL-2.0-or-later
"""scapy as an independent encoder and decoder of IKEv2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2 as sc

from tests.properties.ikev2_strategies import octets, ranges, spis, u8, u16, u32
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import (
    Attribute,
    AuthPayload,
    CertreqPayload,
    CpAttribute,
    CpPayload,
    DeletePayload,
    IdiPayload,
    IdrPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    VendorPayload,
    WireProposal,
    WireTransform,
)
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Address

HEADER = Header.of(b"\x01" * 8, b"\x02" * 8, 36, 9, initiator=True, response=False)


def scapy_message(header: Header, parts: list[Any]) -> bytes:
    """What scapy writes for a chain; it fills in next payloads and lengths itself."""
    packet = sc.IKEv2(
        init_SPI=header.spi_i,
        resp_SPI=header.spi_r,
        exch_type=header.exchange,
        flags=header.flags,
        id=header.message_id,
    )
    for part in parts:
        packet = packet / part
    return bytes(packet)


def scapy_transforms(transforms: tuple[WireTransform, ...]) -> Any:
    packet: Any = None
    for number, transform in enumerate(transforms):
        key = next((a.value for a in transform.attributes), None)
        more = 3 if number < len(transforms) - 1 else 0
        size: dict[str, Any] = {} if key is None else {"key_length": key, "length": 12}
        part = sc.IKEv2_Transform(next_payload=more, transform_type=transform.type, transform_id=transform.id, **size)
        packet = part if packet is None else packet / part
    return packet


def scapy_proposals(proposals: tuple[WireProposal, ...]) -> Any:
    packet: Any = None
    for number, proposal in enumerate(proposals):
        part = sc.IKEv2_Proposal(
            next_payload=2 if number < len(proposals) - 1 else 0,
            proposal=proposal.number,
            proto=proposal.protocol,
            SPI=proposal.spi,
            trans_nb=len(proposal.transforms),
            trans=scapy_transforms(proposal.transforms),
        )
        packet = part if packet is None else packet / part
    return packet


def scapy_selector(selector: TrafficSelector) -> Any:
    first, last = str(Address(selector.family, selector.first)), str(Address(selector.family, selector.last))
    common: dict[str, Any] = {
        "IP_protocol_ID": selector.protocol,
        "start_port": selector.ports[0],
        "end_port": selector.ports[1],
    }
    if selector.family == 4:
        return sc.IPv4TrafficSelector(starting_address_v4=first, ending_address_v4=last, length=16, **common)
    return sc.IPv6TrafficSelector(starting_address_v6=first, ending_address_v6=last, length=40, **common)


key_lengths = st.lists(st.builds(Attribute, st.just(14), st.integers(1, 0xFFFF)), max_size=1).map(tuple)
transforms = st.builds(WireTransform, st.integers(1, 5), u16, key_lengths)
proposals = st.builds(
    WireProposal,
    u8,
    st.integers(1, 3),
    st.sampled_from([b"", b"\x01\x02\x03\x04", b"\x01" * 8]),
    st.lists(transforms, min_size=1, max_size=5).map(tuple),
)
selector_lists = st.lists(ranges(), min_size=1, max_size=3).map(tuple)
names = st.binary(min_size=1, max_size=20)


def pair(payload: Payload, part: Any) -> tuple[Payload, Any]:
    return payload, part


pairs = st.one_of(
    st.lists(proposals, min_size=1, max_size=3).map(
        lambda p: pair(SaPayload(tuple(p)), sc.IKEv2_SA(prop=scapy_proposals(tuple(p))))
    ),
    st.builds(lambda g, d: pair(KePayload(g, d), sc.IKEv2_KE(group=g, ke=d)), u16, octets),
    names.map(lambda d: pair(IdiPayload(2, d), sc.IKEv2_IDi(IDtype=2, ID=d))),
    names.map(lambda d: pair(IdrPayload(11, d), sc.IKEv2_IDr(IDtype=11, ID=d))),
    st.just(pair(IdrPayload(1, bytes((10, 0, 0, 1))), sc.IKEv2_IDr(IDtype=1, ID="10.0.0.1"))),
    octets.map(lambda d: pair(AuthPayload(2, d), sc.IKEv2_AUTH(auth_type=2, load=d))),
    octets.map(lambda d: pair(CertreqPayload(4, d), sc.IKEv2_CERTREQ(cert_encoding=4, cert_authority=d))),
    st.binary(min_size=16, max_size=64).map(lambda d: pair(NoncePayload(d), sc.IKEv2_Nonce(nonce=d))),
    st.builds(
        lambda n, p, s, d: pair(NotifyPayload(n, d, p, s), sc.IKEv2_Notify(type=n, proto=p, SPI=s, notify=d)),
        u16.filter(lambda n: n not in (16407, 16408)),
        st.integers(0, 3),
        st.binary(max_size=8),
        octets,
    ),
    st.lists(st.binary(min_size=4, max_size=4), max_size=3).map(
        lambda s: pair(DeletePayload(3, tuple(s)), sc.IKEv2_Delete(proto=3, SPIsize=4, SPInum=len(s), SPI=list(s)))
    ),
    octets.map(lambda d: pair(VendorPayload(d), sc.IKEv2_VendorID(vendorID=d))),
    selector_lists.map(lambda t: pair(TsiPayload(t), sc.IKEv2_TSi(traffic_selector=[scapy_selector(s) for s in t]))),
    selector_lists.map(lambda t: pair(TsrPayload(t), sc.IKEv2_TSr(traffic_selector=[scapy_selector(s) for s in t]))),
    st.lists(names, max_size=3).map(
        lambda v: pair(
            CpPayload(1, tuple(CpAttribute(7, d) for d in v)),
            sc.IKEv2_CP(CFGType=1, attributes=[sc.ConfigurationAttribute(type=7, value=d) for d in v]),
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(spis, st.binary(min_size=8, max_size=8), st.integers(34, 37), u32, st.lists(pairs, min_size=1, max_size=5))
def test_both_write_and_read_the_same_octets(
    spi_i: bytes, spi_r: bytes, exchange: int, number: int, chain: list[tuple[Payload, Any]]
) -> None:
    header = Header.of(spi_i, spi_r, exchange, number, initiator=True, response=False)
    ours = build_clear(header, [payload for payload, _ in chain])
    theirs = scapy_message(header, [part for _, part in chain])
    assert ours == theirs
    assert parse_clear(theirs).payloads == tuple(payload for payload, _ in chain)
    assert bytes(sc.IKEv2(ours)) == ours


# rfc 7296: length
@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_datagram_that_scapy_shortens_is_refused(cut: int) -> None:
    octets = scapy_message(HEADER, [sc.IKEv2_Nonce(nonce=b"n" * 16), sc.IKEv2_KE(group=31, ke=b"k" * 32)])
    if cut == 0:
        assert len(parse_clear(octets).payloads) == 2
        return
    with pytest.raises(Exception, match="length"):
        parse_clear(octets[:-cut])
