# SPDX-License-Identifier: GPL-2.0-or-later
"""What we write for XFRM, octet for octet as iproute2 6.1 does (its requests were recorded), and what we refuse."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from xfrmd import limits
from xfrmd.adapters.xfrm import policies, states, uapi, uses
from xfrmd.adapters.xfrm.selectors import covering_block, port_mask
from xfrmd.errors import KernelError, LocalProtocolError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import Lifetime, ProtocolId, Transform, TransformType
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, TCP, Ports, Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry
from xfrmd.transforms import catalog

PRIORITY = limits.PRIORITY_FIRST + 5
REQID = limits.REQID_FIRST + 1
NO_LIMITS = "ff" * 32 + "00" * 64

# ip xfrm policy add dir out src 10.0.0.1/32 dst 10.2.0.0/16 proto tcp dport 445 priority 1073741829
#   flag icmp tmpl proto esp reqid 1480982529 mode transport
PROTECT_OUT = (
    "0a020000000000000000000000000000" "0a000001000000000000000000000000"
    "01bdffff00000000" "0200" "1020" "06" "000000" "0000000000000000"
    f"{NO_LIMITS}" "05000040" "00000000" "01" "00" "02" "00" "00000000"
    "4400" "0500" "00000000000000000000000000000000" "00000000" "32" "000000" "0200" "0000"
    "00000000000000000000000000000000" "01004658" "00" "00" "00" "00" "ffffffffffffffffffffffff"
)  # fmt: skip

# ip xfrm policy update dir in src fd00::/64 dst fd00:1::1/128 priority 1073741829 action block
DISCARD_IN = (
    "fd000001000000000000000000000001" "fd000000000000000000000000000000"
    "0000000000000000" "0a00" "8040" "00" "000000" "0000000000000000"
    f"{NO_LIMITS}" "05000040" "00000000" "00" "01" "00" "00" "00000000"
)  # fmt: skip

# ip xfrm policy add dir fwd src 10.7.0.0/16 dst 10.8.0.0/16 priority 1073741840
#   tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1480982530 mode tunnel level use
TUNNEL_FWD = (
    "0a080000000000000000000000000000" "0a070000000000000000000000000000"
    "0000000000000000" "0200" "1010" "00" "000000" "0000000000000000"
    f"{NO_LIMITS}" "10000040" "00000000" "02" "00" "00" "00" "00000000"
    "4400" "0500" "c0000202000000000000000000000000" "00000000" "32" "000000" "0200" "0000"
    "c0000201000000000000000000000000" "02004658" "01" "00" "01" "00" "ffffffffffffffffffffffff"
)  # fmt: skip

# ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x11223344 reqid 1480982529 mode transport
#   aead "rfc4106(gcm(aes))" 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 1024 flag icmp
#   limit byte-soft 1024 limit byte-hard 2048 limit time-soft 90 limit time-hard 100
#   limit packet-soft 3221225472 limit packet-hard 4294967295
#   sel src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 445
GCM = (
    "0a000002000000000000000000000000" "0a000001000000000000000000000000"
    "01bdffff00000000" "0200" "2020" "06" "000000" "0000000000000000"
    "0a000002000000000000000000000000" "11223344" "32" "000000" "0a000001000000000000000000000000"
    "0004000000000000" "0008000000000000" "000000c000000000" "ffffffff00000000"
    "5a00000000000000" "6400000000000000" "0000000000000000" "0000000000000000"
    + "00" * 32 + "00" * 12 + "00000000" "01004658" "0200" "00" "00" "10" "00000000000000"
    "6000" "1200" + b"rfc4106(gcm(aes))".ljust(64, b"\0").hex() + "a0000000" "80000000"
    "000102030405060708090a0b0c0d0e0f10111213"
    "1c00" "1700" "20000000" "00000000" "00000000" "00000000" "00000000" "00040000"
)  # fmt: skip

# ip xfrm state add src fd00::1 dst fd00::2 proto esp spi 0x11223345 reqid 1480982529 mode transport
#   enc "cbc(aes)" 0x00..0f auth-trunc "hmac(sha256)" 0x00..1f 128 replay-window 32 flag icmp flag esn
#   encap espinudp 4500 4501 0.0.0.0 sel src fd00::1/128 dst fd00::2/128
CBC = (
    "fd000000000000000000000000000002" "fd000000000000000000000000000001"
    "0000000000000000" "0a00" "8080" "00" "000000" "0000000000000000"
    "fd000000000000000000000000000002" "11223345" "32" "000000" "fd000000000000000000000000000001"
    + "ff" * 32 + "00" * 32 + "00" * 32 + "00" * 12 + "00000000" "01004658" "0a00" "00" "00" "90" "00000000000000"
    "5800" "0200" + b"cbc(aes)".ljust(64, b"\0").hex() + "80000000" "000102030405060708090a0b0c0d0e0f"
    "6c00" "1400" + b"hmac(sha256)".ljust(64, b"\0").hex() + "00010000" "80000000"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "1c00" "0400" "0200" "1194" "1195" "0000" "00000000000000000000000000000000"
    "1c00" "1700" "01000000" "00000000" "00000000" "00000000" "00000000" "20000000"
)  # fmt: skip


def prefix(text: str) -> Prefix:
    return Prefix.parse(text)


OUT = SpdEntry(
    Direction.OUT,
    Selector(prefix("10.0.0.1"), prefix("10.2.0.0/16"), TCP, ANY_PORT, Ports(445, 445)),
    SpdAction.PROTECT,
    PRIORITY,
    REQID,
)
IN = SpdEntry(Direction.IN, Selector(prefix("fd00::/64"), prefix("fd00:1::1")), SpdAction.DISCARD, PRIORITY)
FWD = SpdEntry(
    Direction.FWD,
    Selector(prefix("10.7.0.0/16"), prefix("10.8.0.0/16")),
    SpdAction.PROTECT,
    limits.PRIORITY_FIRST + 16,
    limits.REQID_FIRST + 2,
    Mode.TUNNEL,
    optional=True,
    tunnel=(Address.parse("192.0.2.1"), Address.parse("192.0.2.2")),
)
AH_OUT = dataclasses.replace(OUT, protocol=ProtocolId.AH)
PROTECT_AH = PROTECT_OUT.replace("0000000032000000", "0000000033000000")
POLICIES = [(OUT, PROTECT_OUT), (AH_OUT, PROTECT_AH), (IN, DISCARD_IN), (FWD, TUNNEL_FWD)]

GCM_SA = SadEntry(
    protocol=ProtocolId.ESP,
    spi=0x11223344,
    src=Address.parse("10.0.0.1"),
    dst=Address.parse("10.0.0.2"),
    selector=Selector(prefix("10.0.0.1"), prefix("10.0.0.2"), TCP, ANY_PORT, Ports(445, 445)),
    reqid=REQID,
    inbound=False,
    mode=Mode.TRANSPORT,
    encryption=catalog.encryption("AES128-GCM"),
    encryption_key=Secret(bytes(range(20))),
    integrity=None,
    integrity_key=Secret(b""),
    esn=False,
    replay_window=1024,
    soft=Lifetime(90, 1),
    hard=Lifetime(100, 2),
)
CBC_SA = dataclasses.replace(
    GCM_SA,
    spi=0x11223345,
    src=Address.parse("fd00::1"),
    dst=Address.parse("fd00::2"),
    selector=Selector(prefix("fd00::1"), prefix("fd00::2")),
    encryption=catalog.encryption("AES128"),
    encryption_key=Secret(bytes(range(16))),
    integrity=catalog.integrity("SHA256"),
    integrity_key=Secret(bytes(range(32))),
    esn=True,
    replay_window=32,
    soft=Lifetime(0),
    hard=Lifetime(0),
    encap_ports=(4500, 4501),
)


@pytest.mark.parametrize(("entry", "octets"), POLICIES, ids=["protect", "protect by ah", "discard", "tunnel"])
def test_a_policy_is_encoded_as_iproute2_does(entry: SpdEntry, octets: str) -> None:
    assert policies.encode(entry).hex() == octets


@pytest.mark.parametrize(("entry", "octets"), POLICIES, ids=["protect", "protect by ah", "discard", "tunnel"])
def test_a_policy_is_read_as_it_was_written(entry: SpdEntry, octets: str) -> None:
    observed = policies.decode(bytes.fromhex(octets))
    assert observed is not None
    assert observed.entry == entry
    assert observed.ours
    assert observed.reqids == ((entry.reqid,) if entry.reqid else ())


@pytest.mark.parametrize(("sa", "octets"), [(GCM_SA, GCM), (CBC_SA, CBC)], ids=["gcm", "cbc"])
def test_an_sa_is_encoded_as_iproute2_does(sa: SadEntry, octets: str) -> None:
    assert states.encode(sa).hex() == octets


@pytest.mark.parametrize(("ends", "align4"), [(("10.0.0.1", "10.0.0.2"), 64), (("fd00::1", "fd00::2"), 0)])
def test_ah_is_as_long_as_its_ip_version_wants_it(ends: tuple[str, str], align4: int) -> None:
    """Multiples of 4 octets in IPv4 and of 8 in IPv6 (RFC 4302 3.3.3.2.1); Linux alone would take 8 for both."""
    src, dst = map(Address.parse, ends)
    hosts = Selector(Prefix.host(src), Prefix.host(dst))
    one = dataclasses.replace(
        CBC_SA,
        protocol=ProtocolId.AH,
        src=src,
        dst=dst,
        selector=hosts,
        encryption=None,
        encryption_key=Secret(b""),
        esn=False,
        encap_ports=None,
    )
    octets = states.encode(one)
    *_, flags = uapi.SA.unpack_from(octets)
    assert flags & 64 == align4
    assert octets[uapi.SA.size :].count(b"hmac(sha256)") == 1
    assert b"cbc(aes)" not in octets
    assert not states.encode(dataclasses.replace(one, protocol=ProtocolId.ESP))[uapi.SA.size - 1] & 64


@pytest.mark.parametrize(("octets", "one"), [(GCM, GCM_SA), (CBC, CBC_SA)])
def test_what_an_sa_has_carried_is_found_by_what_tells_it_from_others(octets: str, one: SadEntry) -> None:
    body = bytearray.fromhex(octets)
    current = struct.Struct("=" + uapi.CURRENT_FORMAT)
    current.pack_into(
        body, struct.calcsize(f"={uapi.SELECTOR_FORMAT}16s4sB3x16s{uapi.LIFETIME_FORMAT}"), 1 << 40, 5, 6, 7
    )
    whole = states.decode(bytes(body))
    found = uses.Uses([uses.decode(bytes(body))])
    assert found.of(one.protocol, one.spi, one.dst) == (1 << 40, 5)
    assert found.of(one.protocol, one.spi, one.src) is None
    assert found.of(one.protocol, one.spi + 1, one.dst) is None
    assert whole is not None
    assert (whole.octets, whole.packets) == (1 << 40, 5)
    with pytest.raises(KernelError):
        uses.decode(bytes(body)[: uapi.SA.size - 1])


def test_an_sa_is_read_without_its_keys() -> None:
    observed = states.decode(bytes.fromhex(GCM))
    assert observed is not None
    assert (observed.spi, observed.src, observed.dst, observed.reqid) == (0x11223344, GCM_SA.src, GCM_SA.dst, REQID)
    assert observed.ours
    assert "0001020304" not in repr(observed)
    assert not observed.due(0.0)
    assert observed._replace(packets=limits.PACKETS_SOFT).due(0.0), "its sequence numbers come to an end"


@pytest.mark.parametrize("name", ["AES128-GCM", "AES192-GCM", "AES256-GCM", "CHACHA20-POLY1305"])
def test_every_aead_names_its_key_and_icv(name: str) -> None:
    row = catalog.encr_row(catalog.encryption(name))
    assert row is not None
    key = bytes(row.key_len)
    sa = dataclasses.replace(GCM_SA, encryption=catalog.encryption(name), encryption_key=Secret(key))
    encoded = states.encode(sa)
    assert encoded[224 + 4 :].startswith(row.kernel_name.encode().ljust(64, b"\0"))
    assert encoded[224 + 68 : 224 + 76] == (len(key) * 8).to_bytes(4, "little") + (128).to_bytes(4, "little")


@pytest.mark.parametrize(
    "entry",
    [
        dataclasses.replace(OUT, priority=limits.PRIORITY_FIRST - 1),
        dataclasses.replace(OUT, priority=limits.PRIORITY_LAST + 1),
        dataclasses.replace(OUT, reqid=limits.REQID_LAST + 1),
        dataclasses.replace(OUT, optional=True),
        dataclasses.replace(OUT, mode=Mode.TUNNEL),
        dataclasses.replace(OUT, selector=OUT.selector._replace(dport=Ports(1, 2))),
    ],
    ids=["ahead of our band", "behind our band", "reqid", "optional outbound", "tunnel without ends", "no port block"],
)
def test_what_must_never_reach_the_kernel_is_refused(entry: SpdEntry) -> None:
    with pytest.raises(LocalProtocolError):
        policies.encode(entry)


def test_a_transform_without_a_name_in_the_kernel_is_refused() -> None:
    unknown = dataclasses.replace(GCM_SA, encryption=Transform(TransformType.ENCR, 99, 128))
    with pytest.raises(LocalProtocolError):
        states.encode(unknown)


@pytest.mark.parametrize(
    ("ports", "mask"), [(Ports(0, 65535), 0), (Ports(445, 445), 0xFFFF), (Ports(1024, 2047), 0xFC00)]
)
def test_a_block_of_ports_has_a_mask(ports: Ports, mask: int) -> None:
    assert port_mask(ports) == mask
    assert covering_block(ports) == ports


@pytest.mark.parametrize(
    ("ports", "around"),
    [(Ports(1, 2), Ports(0, 3)), (Ports(1000, 1023), Ports(992, 1023)), (Ports(1, 65535), Ports(0, 65535))],
)
def test_a_range_without_a_mask_gets_the_smallest_block_around_it(ports: Ports, around: Ports) -> None:
    with pytest.raises(LocalProtocolError):
        port_mask(ports)
    assert covering_block(ports) == around
