# SPDX-License-Identifier: GPL-2.0-or-later
"""Who made the peer's IKE, guessed from its Vendor IDs (RFC 7296 3.12): for people, and nothing is decided by it.

Anybody can send any Vendor ID, and most send none: strongSwan and libreswan do only when they are told to.
The numbers are public: a few makers document theirs, and tools that look at IKE list the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import VendorPayload

_WINDOWS: Final = {
    2: "2000",
    3: "XP",
    4: "Server 2003",
    5: "Vista",
    6: "Server 2008",
    7: "7",
    8: "Server 2008 R2",
    9: "8, Server 2012 or later",
}
"""The number behind "MS NT5 ISAKMPOAKLEY" (MS-IKEE)."""


class Row(NamedTuple):
    """A maker: the octets that its Vendor ID begins with, and what the rest says of the version."""

    begins: bytes
    maker: str
    version: Callable[[bytes], str]


def _md5(text: str) -> bytes:
    """How makers have made octets of a name since RFC 2408 3.16 said so."""
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _none(rest: bytes) -> str:
    del rest
    return ""


def _text(rest: bytes) -> str:
    """A version in print; anything else is left out, as it would be shown to people."""
    text = rest[: limits.VENDOR_VERSION].decode("ascii", "replace")
    return text if text and all(one.isalnum() or one in ".-_+~" for one in text) else ""


def _windows(rest: bytes) -> str:
    number = int.from_bytes(rest[:4])
    return _WINDOWS.get(number, f"(number {number})") if len(rest) >= 4 else ""


# The first row that fits counts: those that name a product stand before those that name a feature of one maker's.
TABLE: Final = (
    Row(b"xfrmd", "xfrmd", _none),
    Row(_md5("strongSwan"), "strongSwan", _none),
    Row(b"OE-Libreswan-", "libreswan", _text),
    Row(b"OE-Libreswan", "libreswan", _none),
    Row(b"OpenIKED-", "OpenIKED", _text),
    Row(b"OpenIKED", "OpenIKED", _none),
    Row(_md5("MS NT5 ISAKMPOAKLEY"), "Windows", _windows),
    Row(_md5("KAME/racoon"), "racoon", _none),
    Row(b"CISCO", "Cisco", _none),
    Row(b"FLEXVPN-SUPPORTED", "Cisco", _none),
    Row(bytes.fromhex("f4ed19e0c114eb516faaac0ee37daf2807b4381f"), "Check Point", _none),
    Row(_md5("IKE CGA version 1"), "Windows", _none),
    Row(_md5("Vid-Initial-Contact"), "Windows", _none),
)


def guess(vendors: Iterable[bytes]) -> str:
    """Maker and, where it is told, version: "libreswan 4.10"; "" when no Vendor ID is known."""
    seen = list(vendors)[: limits.PAYLOADS]
    for row in TABLE:
        for data in seen:
            if data.startswith(row.begins):
                return f"{row.maker} {row.version(data[len(row.begins) :])}".rstrip()
    return ""


def of(message: Message) -> str:
    """The guess from one message."""
    vendors = message.every(VendorPayload)
    return guess(payload.data for payload in vendors) if vendors else ""
