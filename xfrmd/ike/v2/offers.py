# SPDX-License-Identifier: GPL-2.0-or-later
"""Our offers told along with a refusal, so that the other end's operator sees both sides at once.

RFC 7296 gives NO_PROPOSAL_CHOSEN no data. We send ours beside it in a status notification of the private range, which
everybody else ignores (3.10.1), marked by our Vendor ID (3.12). It is text for people and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import select
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload, SaPayload, VendorPayload
from xfrmd.model.proposals import Proposal
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

VENDOR: Final = b"xfrmd"
OUR_OFFER: Final = 0xE7F0
"""Private status notification: the body of an SA payload that the sender would take."""


def refusal(ours: Iterable[Proposal]) -> tuple[Payload, ...]:
    """NO_PROPOSAL_CHOSEN, and what we would have taken."""
    writer = Writer()
    SaPayload(select.offer(ours, b"")).encode(writer)
    return (
        NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN),
        VendorPayload(VENDOR),
        NotifyPayload(OUR_OFFER, writer.octets()),
    )


def told(message: Message) -> str:
    """What the peer says that it would have taken, "" when it does not say so."""
    notify = message.notify(OUR_OFFER)
    vendors = {vendor.data for vendor in message.every(VendorPayload)}
    if notify is None or VENDOR not in vendors:
        return ""
    try:
        reader = Reader(notify.data)
        with reader:
            return select.describe_wire(SaPayload.decode(reader).proposals)
    except RemoteProtocolError:
        return ""
