# SPDX-License-Identifier: GPL-2.0-or-later
"""Postquantum preshared keys (RFC 8784): a secret of both ends, mixed into the keys that follow from the handshake."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xfrmd.credentials.names import printable
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.model.pad import PadEntry, Ppk
from xfrmd.transforms.keymat import with_ppk

_FIXED: Final = b"\x02"
"""PPK_ID_FIXED (RFC 8784 5.1)."""


# rfc 8784: use-ppk
def announcement(pad: PadEntry) -> list[Payload]:
    """USE_PPK, where the rule has one."""
    return [NotifyPayload(NotifyType.USE_PPK)] if pad.ppk is not None else []


def refused(pad: PadEntry, message: Message) -> bool:
    """Does the rule demand a PPK of a peer that has not said to have one?"""
    return pad.ppk is not None and pad.ppk.required and message.notify(NotifyType.USE_PPK) is None


def listen(sa: IkeSa, message: Message) -> bool:
    """Remember whether both ends can use a PPK. False when IKE_SA_INIT must not go on without one."""
    sa.greeting.ppk = sa.pad.ppk is not None and message.notify(NotifyType.USE_PPK) is not None
    return not refused(sa.pad, message)


def in_use(sa: IkeSa) -> Ppk | None:
    """The PPK of a handshake in which both ends have said that they can use one."""
    return sa.pad.ppk if sa.greeting.ppk else None


# rfc 8784: mandatory
def demanded(sa: IkeSa) -> bool:
    """Does the rule let nobody in without its PPK?"""
    return sa.pad.ppk is not None and sa.pad.ppk.required


# rfc 8784: identity
def identity(ppk: Ppk) -> NotifyPayload:
    """PPK_IDENTITY: which one we mean."""
    return NotifyPayload(NotifyType.PPK_IDENTITY, _FIXED + ppk.id)


def confirmation() -> NotifyPayload:
    """PPK_IDENTITY of a responder: the PPK is in use."""
    return NotifyPayload(NotifyType.PPK_IDENTITY)


def meant(ppk: Ppk | None, named: NotifyPayload | None) -> bool:
    """Does a PPK_IDENTITY name this PPK?"""
    return ppk is not None and named is not None and named.data == _FIXED + ppk.id


def name(pad: PadEntry) -> str:
    """The name of the rule's PPK, for people."""
    return f"'{printable(pad.ppk.id)}'" if pad.ppk is not None else "none"


def told(named: NotifyPayload | None) -> str:
    """Which PPK a peer names, for people."""
    return f"'{printable(named.data[1:])}'" if named is not None else "none"


# rfc 8784: keys-mixed
def mixed(sa: IkeSa, ppk: Ppk, key: bytes) -> bytes:
    """SK_pi or SK_pr with the PPK (RFC 8784 3)."""
    return with_ppk(sa.agreed_channel.prf, ppk.secret, key)


def apply(sa: IkeSa, ppk: Ppk) -> None:
    """From now on the keys are those with the PPK: SK_pi and SK_pr for the proofs, SK_d for all that is derived. Once:
    a handshake that has waited comes here again.
    """
    if sa.lineage.proofs.ppk:
        return
    handshake = sa.greeting
    handshake.sk_pi, handshake.sk_pr = mixed(sa, ppk, handshake.sk_pi), mixed(sa, ppk, handshake.sk_pr)
    sa.agreed_channel.mix(ppk.secret)
    sa.lineage.proofs = replace(sa.lineage.proofs, ppk=printable(ppk.id))
