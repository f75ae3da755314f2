# SPDX-License-Identifier: GPL-2.0-or-later
"""Refusals: how a step says no to the peer, and what the notification looks like."""

from __future__ import annotations

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload, SaPayload


class RefusalError(RemoteProtocolError):
    """A request that is answered with this notification; the SA it came under stays unless that is fatal."""

    def __init__(self, notify: int, message: str = "", *, payloads: tuple[Payload, ...] = ()) -> None:
        super().__init__(message or NotifyType(notify).name, notify)
        self.payloads = payloads or (NotifyPayload(notify),)


def answer_of(error: RemoteProtocolError) -> tuple[Payload, ...]:
    """The payloads that tell a peer what was wrong with its request."""
    return error.payloads if isinstance(error, RefusalError) else (NotifyPayload(error.notify, error.data),)


def error_of(message: Message) -> NotifyPayload | None:
    """The first error notification of a response, None when it has none."""
    return next((n for n in message.every(NotifyPayload) if NotifyType(n.notify).is_error), None)


# rfc 7296: unknown-error
def granted(message: Message) -> bool:
    """Does a response have the SA that was asked for, and no error? One that we do not know, too, means that the
    request has failed entirely (RFC 7296 3.10.1).
    """
    return message.first(SaPayload) is not None and error_of(message) is None
