# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators are told of addresses that change (RFC 4555)."""

from __future__ import annotations

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice


def moved(sa: IkeSa, who: str, old: Address, new: Address) -> Notice:
    """An IKE SA goes on at another address. `who` is at that, with its verb."""
    return Notice(
        Level.NOTICE,
        "moved",
        f"{who} at {new} in place of {old}: the IKE SA goes on, child SAs are made anew under it, their traffic is "
        f"held (rule {sa.pad.rule!r})",
        _who(sa) | {"old": str(old), "new": str(new)},
    )


def not_followed(sa: IkeSa, notify: int) -> Notice:
    """The peer refuses our new address."""
    answer = NotifyType(notify).name
    return Notice(
        Level.WARNING,
        "move-refused",
        f"{sa.remote.address} answers {answer} to our new address {sa.local.address}; all is negotiated anew "
        f"(rule {sa.pad.rule!r})",
        _who(sa) | {"answer": answer},
        "the peer's policy must have us at that address too; its journal says more",
    )


def not_following(sa: IkeSa, new: Address) -> Notice:
    """A peer wants to be where our policy does not have it."""
    return Notice(
        Level.WARNING,
        "move-refused",
        f"{sa.remote.address} says that it is at {new} now, where no rule has this peer with the same authentication, "
        f"or a tunnel ends elsewhere; its IKE SA stays where it was (rule {sa.pad.rule!r})",
        _who(sa) | {"new": str(new)},
        "give that address the same rule, if the peer may be there",
    )


def _who(sa: IkeSa) -> dict[str, str]:
    return {"peer": str(sa.remote.address), "local": str(sa.local.address), "rule": sa.pad.rule}
