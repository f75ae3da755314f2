# SPDX-License-Identifier: GPL-2.0-or-later
"""SUPPORTED_AUTH_METHODS (RFC 9593): by what a peer may prove itself to us.

It spares attempts that would be refused; nothing else depends on it, as the responder's comes before any proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from xfrmd import limits
from xfrmd.credentials import signatures
from xfrmd.ike.ike_sa import Accepted, IkeSa
from xfrmd.ike.v2.constants import AuthMethodId, NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.model.pad import AuthMethod, PadEntry, PskAuth, RootcaAuth

_SHORT: Final = 2
_LINKED: Final = 3
"""Octets of an announcement without, and with a link to an authority of CERTREQ (RFC 9593 3.2)."""
_ANY: Final = 0
"""The link that names none."""


# rfc 9593: announce
def announcement(pad: PadEntry) -> list[Payload]:
    """What we verify."""
    said = b""
    if any(isinstance(one, RootcaAuth) and one.certificates for one in pad.auth):
        said += _SIGNATURES
    if any(isinstance(one, PskAuth) for one in pad.auth):
        said += bytes((_SHORT, AuthMethodId.SHARED_KEY_MIC))
    return [NotifyPayload(NotifyType.SUPPORTED_AUTH_METHODS, said)] if said else []


def _signatures() -> Iterator[bytes]:
    for one in signatures.understood():
        yield bytes((_LINKED + len(one), signatures.DIGITAL_SIGNATURE, _ANY)) + one
    for number in sorted(signatures.METHODS - {signatures.DIGITAL_SIGNATURE}):
        yield bytes((_LINKED, number, _ANY))


_SIGNATURES: Final = b"".join(_signatures())


def listen(sa: IkeSa, message: Message) -> None:
    """Remember what the peer verifies, if it tells."""
    notify = message.notify(NotifyType.SUPPORTED_AUTH_METHODS)
    if notify is None or not notify.data:
        sa.greeting.accepts = None
    elif len(notify.data) <= limits.OFFER_SIZE:
        sa.greeting.accepts = _known(notify.data)
    else:
        sa.greeting.accepts = frozenset(_each(notify.data))


@lru_cache(maxsize=limits.OFFERS)
def _known(data: bytes) -> Accepted:
    """Hosts of one kind announce the same."""
    return frozenset(_each(data))


# rfc 9593: formats
def _each(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Method and, for digital signatures, AlgorithmIdentifier of each announcement; a torn one ends them."""
    at = 0
    while at + _SHORT <= len(data) and _SHORT <= data[at] <= len(data) - at:
        yield data[at + 1], data[at + _LINKED : at + data[at]]
        at += data[at]


# rfc 9593: choice
def takes(accepted: Accepted, method: AuthMethod) -> bool:
    """Could the peer verify such a proof? Who has announced nothing may."""
    if accepted is None:
        return True
    numbers = {AuthMethodId.SHARED_KEY_MIC} if isinstance(method, PskAuth) else signatures.METHODS
    return any(number in numbers for number, _ in accepted)
