# SPDX-License-Identifier: GPL-2.0-or-later
"""Our offers told along with a refusal, so that the other end's operator sees both sides at once.

RFC 7296 gives NO_PROPOSAL_CHOSEN no data. We send ours beside it in a status notification of the private range, which
everybody else ignores (3.10.1), marked by our Vendor ID (3.12). It is text for people and decides nothing. Likewise
the traffic that we would protect with this peer beside TS_UNACCEPTABLE, which is sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import select
from xfrmd.ike.select import Mismatch
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload, SaPayload, VendorPayload
from xfrmd.ike.v2.payloads.ts import TsPayload
from xfrmd.ike.v2.traffic import from_selectors, to_selectors
from xfrmd.model.proposals import Proposal
from xfrmd.model.selector import Selector
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

VENDOR: Final = b"xfrmd"
OUR_OFFER: Final = 0xE7F0
"""Private status notification: the body of an SA payload that the sender would take."""
OUR_TRAFFIC: Final = 0xE7F1
"""Private status notification: the bodies of two TS payloads, the sender's end and the other, that it would take."""


def refusal(ours: Iterable[Proposal]) -> tuple[Payload, ...]:
    """NO_PROPOSAL_CHOSEN, and what we would have taken."""
    writer = Writer()
    SaPayload(select.offer(ours, b"")).encode(writer)
    return (
        NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN),
        VendorPayload(VENDOR),
        NotifyPayload(OUR_OFFER, writer.octets()),
    )


def traffic(ours: Sequence[Selector]) -> tuple[Payload, ...]:
    """TS_UNACCEPTABLE, and what we would have taken, seen from here as outbound."""
    refused = NotifyPayload(NotifyType.TS_UNACCEPTABLE)
    if not ours:
        return (refused,)
    writer = Writer()
    for ends in from_selectors(ours[: limits.SELECTORS_TOLD]):
        TsPayload(ends[: limits.PAYLOADS]).encode(writer)
    return refused, VendorPayload(VENDOR), NotifyPayload(OUR_TRAFFIC, writer.octets())


def told(ours: Sequence[Proposal], message: Message) -> Mismatch | None:
    """What the peer says that it would have taken, and how ours differs; None when it does not say so."""
    data = _data(message, OUR_OFFER)
    if data is None:
        return None
    try:
        with Reader(data) as reader:
            theirs = SaPayload.decode(reader).proposals
    except RemoteProtocolError:
        return None
    choice = select.choose(ours, theirs)
    if isinstance(choice, Mismatch):
        return choice
    return Mismatch(select.describe(ours), select.describe_wire(theirs), "none in these lists; they may have changed")


def told_traffic(message: Message) -> tuple[Selector, ...]:
    """What the peer says that it would have protected, outbound as seen from here; nothing when it does not say so."""
    data = _data(message, OUR_TRAFFIC)
    if data is None:
        return ()
    try:
        with Reader(data) as reader:
            there, here = TsPayload.decode(reader), TsPayload.decode(reader)
        return to_selectors(here.ranges, there.ranges)
    except RemoteProtocolError:
        return ()


def _data(message: Message, number: int) -> bytes | None:
    notify = message.notify(number)
    vendors = {vendor.data for vendor in message.every(VendorPayload)}
    return notify.data if notify is not None and VENDOR in vendors else None
