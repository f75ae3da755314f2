# SPDX-License-Identifier: GPL-2.0-or-later
"""scapy as an independent encoder and decoder of IKEv2: payloads of ours beside what scapy makes of the same values,
and what scapy reads, as payloads of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st
from scapy.contrib import ikev2 as sc
from scapy.layers.eap import EAP
from scapy.layers.x509 import X509_CRL, X509_Cert
from scapy.packet import Raw

from tests.properties.ikev2_strategies import octets, ranges, u8, u16
from tests.unit.pki import crl, issue, root
from xfrmd.ike.v2.constants import NotifyType
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
    VendorPayload,
    WireProposal,
    WireTransform,
)
from xfrmd.ike.v2.payloads.ts import UnknownSelector
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector
from xfrmd.model.addresses import Address
from xfrmd.model.selector import Ports


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


def scapy_selector(selector: TrafficSelector | UnknownSelector) -> Any:
    if isinstance(selector, UnknownSelector):
        load = Raw(selector.body)
        return sc.RawTrafficSelector(TS_type=selector.type, IP_protocol_ID=selector.protocol, load=load)
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
strange_selectors = st.builds(UnknownSelector, st.integers(10, 255), u8, st.binary(min_size=12, max_size=40))
any_ranges = ranges() | ranges().map(lambda one: one._replace(ports=OPAQUE))
# A strange one is the last: scapy takes what follows it as part of it.
selector_lists = st.builds(
    lambda known, strange: (*known, *strange),
    st.lists(any_ranges, min_size=1, max_size=3),
    st.lists(strange_selectors, max_size=1),
)
names = st.binary(min_size=1, max_size=20)


def pair(payload: Payload, part: Any) -> tuple[Payload, Any]:
    return payload, part


STRANGE: dict[int, Any] = {
    49: sc.IKEv2_GSPM,
    50: sc.IKEv2_IDg,
    51: sc.IKEv2_GSA,
    52: sc.IKEv2_KD,
    54: sc.IKEv2_PS,
}
"""What scapy has a name for, and xfrmd has not."""
CA = root()
HOST = issue("host", by=CA, san=["host.example"])
LIST = x509.load_pem_x509_crl(crl(CA, HOST)).public_bytes(Encoding.DER)
_ADDRESSES = {1: 4, 5: 16}
"""Identities and attributes that are addresses: scapy writes them as text."""
_CP_ADDRESSES = {1: 4, 3: 4, 6: 4, 10: 16, 12: 16}


def text_of(packed: bytes) -> str:
    return str(Address(4 if len(packed) == 4 else 6, int.from_bytes(packed)))


def identity(kind: int, data: bytes, initiator: bool) -> tuple[Payload, Any]:
    value = text_of(data) if kind in _ADDRESSES else data
    if initiator:
        return pair(IdiPayload(kind, data), sc.IKEv2_IDi(IDtype=kind, ID=value))
    return pair(IdrPayload(kind, data), sc.IKEv2_IDr(IDtype=kind, ID=value))


def redirect(kind: int, gateway: bytes, nonce: bytes) -> tuple[Payload, Any]:
    """The only notifies that scapy takes apart (RFC 5685)."""
    number = {4: 1, 16: 2}.get(len(gateway), 3)
    value = gateway if number == 3 else text_of(gateway)
    nonce = nonce if kind == NotifyType.REDIRECT else b""
    more: dict[str, Any] = {"nonce": nonce} if kind == NotifyType.REDIRECT else {}
    size = len(gateway)
    part = sc.IKEv2_Notify(type=kind, proto=0, gw_id_type=number, gw_id_len=size, gw_id=value, **more)
    return pair(NotifyPayload(kind, bytes((number, size)) + gateway + nonce), part)


def configuration(kind: int, rows: list[tuple[int, bytes]]) -> tuple[Payload, Any]:
    attributes = [
        sc.ConfigurationAttribute(
            type=number, length=len(data), value=text_of(data) if len(data) == _CP_ADDRESSES.get(number) else data
        )
        for number, data in rows
    ]
    ours = CpPayload(kind, tuple(CpAttribute(number, data) for number, data in rows))
    return pair(ours, sc.IKEv2_CP(CFGType=kind, attributes=attributes))


def deletion(protocol: int, spis: list[bytes]) -> tuple[Payload, Any]:
    spis = spis if protocol != 1 else []
    size = 4 if protocol != 1 else 0
    part = sc.IKEv2_Delete(proto=protocol, SPIsize=size, SPInum=len(spis), SPI=spis)
    return pair(DeletePayload(protocol, tuple(spis)), part)


cp_rows = st.one_of(
    st.tuples(st.sampled_from([*_CP_ADDRESSES, 7, 13, 14, 15, 25]), st.just(b"")),
    st.tuples(st.sampled_from([7, 13, 14, 15, 25]), names),
    st.sampled_from([1, 3, 6]).flatmap(lambda n: st.tuples(st.just(n), st.binary(min_size=4, max_size=4))),
    st.sampled_from([10, 12]).flatmap(lambda n: st.tuples(st.just(n), st.binary(min_size=16, max_size=16))),
)
eap_messages = st.one_of(
    st.builds(lambda n, d: bytes(EAP(code=2, id=n, type=1, identity=d)), u8, names),
    st.builds(lambda n, d: bytes(EAP(code=1, id=n, type=6) / Raw(d)), u8, names),
    st.builds(lambda c, n: bytes(EAP(code=c, id=n)), st.sampled_from([3, 4]), u8),
)
pairs = st.one_of(
    st.lists(proposals, min_size=1, max_size=3).map(
        lambda p: pair(SaPayload(tuple(p)), sc.IKEv2_SA(prop=scapy_proposals(tuple(p))))
    ),
    st.builds(lambda g, d: pair(KePayload(g, d), sc.IKEv2_KE(group=g, ke=d)), u16, octets),
    st.builds(identity, st.sampled_from([2, 3, 9, 10, 11, 13, 201]), names, st.booleans()),
    st.sampled_from([*_ADDRESSES]).flatmap(
        lambda n: st.builds(
            identity, st.just(n), st.binary(min_size=_ADDRESSES[n], max_size=_ADDRESSES[n]), st.booleans()
        )
    ),
    st.builds(lambda m, d: pair(AuthPayload(m, d), sc.IKEv2_AUTH(auth_type=m, load=d)), u8, octets),
    st.builds(lambda n, d: pair(CertreqPayload(n, d), sc.IKEv2_CERTREQ(cert_encoding=n, cert_authority=d)), u8, octets),
    st.builds(
        lambda n, d: pair(CertPayload(n, d), sc.IKEv2_CERT(cert_encoding=n, cert_data=d)),
        u8.filter(lambda n: n not in (4, 7)),
        octets,
    ),
    st.sampled_from([CA.der, HOST.der]).map(
        lambda d: pair(CertPayload(4, d), sc.IKEv2_CERT(cert_encoding=4, cert_data=X509_Cert(d)))
    ),
    st.just(pair(CertPayload(7, LIST), sc.IKEv2_CERT(cert_encoding=7, cert_data=X509_CRL(LIST)))),
    eap_messages.map(lambda d: pair(EapPayload(d), sc.IKEv2_EAP(load=d))),
    st.binary(min_size=16, max_size=64).map(lambda d: pair(NoncePayload(d), sc.IKEv2_Nonce(nonce=d))),
    st.builds(
        lambda n, p, s, d: pair(NotifyPayload(n, d, p, s), sc.IKEv2_Notify(type=n, proto=p, SPI=s, notify=d)),
        u16.filter(lambda n: n not in (16407, 16408)),
        st.integers(0, 3),
        st.binary(max_size=8),
        octets,
    ),
    st.builds(
        lambda n, d: pair(NotifyPayload(n, d), sc.IKEv2_Notify(type=n, proto=0, notify=d)),
        st.sampled_from([n for n in NotifyType if n not in (16407, 16408)]),
        octets,
    ),
    st.builds(redirect, st.sampled_from([16407, 16408]), st.binary(min_size=4, max_size=4), names),
    st.builds(redirect, st.sampled_from([16407, 16408]), st.binary(min_size=16, max_size=16), names),
    st.builds(redirect, st.sampled_from([16407, 16408]), st.binary(min_size=5, max_size=9), names),
    st.builds(deletion, st.integers(1, 3), st.lists(st.binary(min_size=4, max_size=4), max_size=3)),
    st.sampled_from([49, 50, 51, 52, 54]).flatmap(
        lambda n: octets.map(lambda d: pair(UnknownPayload(n, False, d), STRANGE[n](load=d)))
    ),
    octets.map(lambda d: pair(VendorPayload(d), sc.IKEv2_VendorID(vendorID=d))),
    selector_lists.map(lambda t: pair(TsiPayload(t), sc.IKEv2_TSi(traffic_selector=[scapy_selector(s) for s in t]))),
    selector_lists.map(lambda t: pair(TsrPayload(t), sc.IKEv2_TSr(traffic_selector=[scapy_selector(s) for s in t]))),
    st.builds(configuration, st.integers(1, 4), st.lists(cp_rows, max_size=3)),
)


# What scapy reads


def scapy_payloads(message: bytes) -> list[Payload]:
    """The payloads of a message by scapy's fields alone."""
    return [READERS[type(layer)](layer) for layer in layers(sc.IKEv2(message).payload)]


def layers(packet: Any) -> Iterator[Any]:
    """A layer, and those after it."""
    while packet:
        yield packet
        packet = packet.payload


def _transform(layer: Any) -> WireTransform:
    key = layer.key_length
    attributes = () if key is None else (Attribute(14, key & 0xFFFF),)
    return WireTransform(layer.transform_type, layer.transform_id, attributes)


def _proposal(layer: Any) -> WireProposal:
    return WireProposal(layer.proposal, layer.proto, layer.SPI, tuple(map(_transform, layers(layer.trans))))


def _selector(layer: Any) -> TrafficSelector | UnknownSelector:
    if isinstance(layer, sc.RawTrafficSelector):
        return UnknownSelector(layer.TS_type, layer.IP_protocol_ID, bytes(layer.load))
    if isinstance(layer, sc.IPv4TrafficSelector):
        ends = (layer.starting_address_v4, layer.ending_address_v4)
    else:
        ends = (layer.starting_address_v6, layer.ending_address_v6)
    first, last = map(Address.parse, ends)
    ports = Ports(layer.start_port, layer.end_port)
    return TrafficSelector(first.family, first.value, last.value, layer.IP_protocol_ID, ports)


def _notify(layer: Any) -> NotifyPayload:
    if layer.type not in (16407, 16408):
        return NotifyPayload(layer.type, layer.notify, layer.proto, layer.SPI)
    gateway = layer.gw_id if layer.gw_id_type == 3 else Address.parse(layer.gw_id).packed
    return NotifyPayload(
        layer.type, bytes((layer.gw_id_type, layer.gw_id_len)) + gateway + (layer.nonce or b""), layer.proto, layer.SPI
    )


def _data(value: Any) -> bytes:
    """Addresses are text."""
    return Address.parse(value).packed if isinstance(value, str) else bytes(value)


READERS: dict[type, Callable[[Any], Payload]] = {
    sc.IKEv2_SA: lambda one: SaPayload(tuple(map(_proposal, layers(one.prop)))),
    sc.IKEv2_KE: lambda one: KePayload(one.group, one.ke),
    sc.IKEv2_IDi: lambda one: IdiPayload(one.IDtype, _data(one.ID)),
    sc.IKEv2_IDr: lambda one: IdrPayload(one.IDtype, _data(one.ID)),
    sc.IKEv2_AUTH: lambda one: AuthPayload(one.auth_type, one.load),
    sc.IKEv2_CERT: lambda one: CertPayload(one.cert_encoding, bytes(one.cert_data)),
    sc.IKEv2_CERTREQ: lambda one: CertreqPayload(one.cert_encoding, one.cert_authority),
    sc.IKEv2_Nonce: lambda one: NoncePayload(one.nonce),
    sc.IKEv2_Notify: _notify,
    sc.IKEv2_Delete: lambda one: DeletePayload(one.proto, tuple(one.SPI)),
    sc.IKEv2_VendorID: lambda one: VendorPayload(one.vendorID),
    sc.IKEv2_TSi: lambda one: TsiPayload(tuple(map(_selector, one.traffic_selector))),
    sc.IKEv2_TSr: lambda one: TsrPayload(tuple(map(_selector, one.traffic_selector))),
    sc.IKEv2_CP: lambda one: CpPayload(
        one.CFGType, tuple(CpAttribute(each.type, _data(each.value)) for each in one.attributes)
    ),
    sc.IKEv2_EAP: lambda one: EapPayload(one.load),
    **{
        kind: lambda one, number=number: UnknownPayload(number, False, one.load)  # type: ignore[misc]
        for number, kind in STRANGE.items()
    },
}
