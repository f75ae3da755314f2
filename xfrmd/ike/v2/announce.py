# SPDX-License-Identifier: GPL-2.0-or-later
"""SUPPORTED_AUTH_METHODS (RFC 9593): by what a peer may prove itself to us.

It spares attempts that would be refused; nothing else depends on it, as the responder's comes before any proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

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
    said: list[bytes] = []
    if any(isinstance(one, RootcaAuth) and one.certificates for one in pad.auth):
        new, old = signatures.DIGITAL_SIGNATURE, sorted(signatures.METHODS - {signatures.DIGITAL_SIGNATURE})
        said += [bytes((_LINKED + len(one), new, _ANY)) + one for one in signatures.understood()]
        said += [bytes((_LINKED, one, _ANY)) for one in old]
    if any(isinstance(one, PskAuth) for one in pad.auth):
        said.append(bytes((_SHORT, AuthMethodId.SHARED_KEY_MIC)))
    return [NotifyPayload(NotifyType.SUPPORTED_AUTH_METHODS, b"".join(said))] if said else []


def listen(sa: IkeSa, message: Message) -> None:
    """Remember what the peer verifies, if it tells."""
    notify = message.notify(NotifyType.SUPPORTED_AUTH_METHODS)
    sa.greeting.accepts = frozenset(_each(notify.data)) if notify is not None and notify.data else None


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
