# SPDX-License-Identifier: GPL-2.0-or-later
"""hypothesis strategies of IKEv2 payloads: everything that can be said on the wire, odd values included."""

from __future__ import annotations

from hypothesis import strategies as st

from xfrmd.ike.v2.constants import PayloadType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.payloads import (
    Attribute,
    AuthPayload,
    CertPayload,
    CertreqPayload,
    CpAttribute,
    CpPayload,
    DeletePayload,
    EapPayload,
    IdiPayload,
    IdrPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    UnknownPayload,
    UnknownSelector,
    VendorPayload,
    WireProposal,
    WireTransform,
)
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector
from xfrmd.model.addresses import BITS
from xfrmd.model.selector import Ports

u8, u16, u32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
u15 = st.integers(0, 0x7FFF)
octets = st.binary(max_size=40)
spis = st.binary(min_size=8, max_size=8).filter(any)

attributes = st.builds(Attribute, u15, u16 | octets)
transforms = st.builds(WireTransform, u8, u16, st.lists(attributes, max_size=2).map(tuple))
proposals = st.builds(WireProposal, u8, u8, st.binary(max_size=8), st.lists(transforms, max_size=6).map(tuple))


@st.composite
def ranges(draw: st.DrawFn) -> TrafficSelector:
    family = draw(st.sampled_from([4, 6]))
    address = st.integers(0, (1 << BITS[family]) - 1)
    first, last = sorted((draw(address), draw(address)))
    low, high = sorted((draw(u16), draw(u16)))
    return TrafficSelector(family, first, last, draw(u8), draw(st.sampled_from([OPAQUE, Ports(low, high)])))


def _eap(data: bytes) -> EapPayload:
    return EapPayload(b"\x02\x07" + (len(data) + 4).to_bytes(2) + data)


odd_selectors = st.builds(UnknownSelector, u8.filter(lambda n: n not in (7, 8)), u8, octets)
selectors = st.lists(ranges() | odd_selectors, min_size=1, max_size=4).map(tuple)
identities = (u8, octets, st.binary(min_size=3, max_size=3))
nonces = st.binary(min_size=16, max_size=256)
unknown_types = st.integers(1, 255).filter(lambda n: n not in set(PayloadType))
deletes = st.just(DeletePayload(1)) | st.builds(
    DeletePayload,
    u8.filter(lambda n: n != 1),
    st.lists(st.binary(min_size=4, max_size=4), max_size=5).map(tuple),
)

payloads: st.SearchStrategy[Payload] = st.one_of(
    st.builds(SaPayload, st.lists(proposals, min_size=1, max_size=3).map(tuple)),
    st.builds(KePayload, u16, octets),
    st.builds(IdiPayload, *identities),
    st.builds(IdrPayload, *identities),
    st.builds(CertPayload, u8, octets),
    st.builds(CertreqPayload, u8, octets),
    st.builds(AuthPayload, u8, octets),
    st.builds(NoncePayload, nonces),
    st.builds(NotifyPayload, u16, octets, u8, st.binary(max_size=8)),
    deletes,
    st.builds(VendorPayload, octets),
    st.builds(TsiPayload, selectors),
    st.builds(TsrPayload, selectors),
    st.builds(CpPayload, u8, st.lists(st.builds(CpAttribute, u15, octets), max_size=4).map(tuple)),
    st.builds(_eap, octets),
    st.builds(UnknownPayload, unknown_types, st.just(False), octets),
)
chains = st.lists(payloads, max_size=8).map(tuple)
headers = st.builds(
    lambda i, r, exchange, number, a, b: Header.of(i, r, exchange, number, initiator=a, response=b),
    spis,
    st.binary(min_size=8, max_size=8),
    u8,
    u32,
    st.booleans(),
    st.booleans(),
)
