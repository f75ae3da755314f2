# SPDX-License-Identifier: GPL-2.0-or-later
"""NAT detection (RFC 7296 2.23): both sides tell hashes of the addresses they see."""

from __future__ import annotations

import hashlib

from xfrmd.ike.events import Endpoint
from xfrmd.ike.path import Nat
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload


# rfc 7296: nat-detection
def detection(
    spi_i: bytes, spi_r: bytes, local: Endpoint, remote: Endpoint, *, disguised: bool = False
) -> list[NotifyPayload]:
    """The two notifications of a message that goes from `local` to `remote`.

    `disguised`: tell a source that no packet has, so that the peer takes us for translated and encapsulates too.
    """
    source = Endpoint(local.address, 0) if disguised else local
    return [
        NotifyPayload(NotifyType.NAT_DETECTION_SOURCE_IP, _hash(spi_i, spi_r, source)),
        NotifyPayload(NotifyType.NAT_DETECTION_DESTINATION_IP, _hash(spi_i, spi_r, remote)),
    ]


# rfc 7296: nat-detection
def detected(message: Message, local: Endpoint, remote: Endpoint, *, forced: bool) -> Nat:
    """Which ends of a received message are translated. A peer that sends no hashes cannot tell: nobody's then."""
    spi_i, spi_r = message.header.spi_i, message.header.spi_r
    sources, destinations = [], []
    for notify in message.every(NotifyPayload):
        if notify.notify == NotifyType.NAT_DETECTION_SOURCE_IP:
            sources.append(notify.data)
        elif notify.notify == NotifyType.NAT_DETECTION_DESTINATION_IP:
            destinations.append(notify.data)
    knows = bool(sources and destinations)
    return Nat(
        here=knows and _hash(spi_i, spi_r, local) not in destinations,
        there=knows and _hash(spi_i, spi_r, remote) not in sources,
        forced=knows and forced,
    )


def _hash(spi_i: bytes, spi_r: bytes, end: Endpoint) -> bytes:
    data = spi_i + spi_r + end.address.packed + end.port.to_bytes(2)
    return hashlib.sha1(data, usedforsecurity=False).digest()
