# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of authentications that end, and of new ones in their place."""

from __future__ import annotations

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.notices import who
from xfrmd.model.notice import Level, Notice


def begun(sa: IkeSa, left: float) -> Notice:
    """A new IKE SA is to take over before what was proved for this one ends."""
    message = f"both ends authenticate anew: what was proved for the IKE SA with {sa.remote.address} ends {_in(left)}"
    return Notice(Level.INFO, "ike-reauthentication", message, who(sa))


def again(sa: IkeSa, left: float) -> Notice:
    """That has not succeeded yet."""
    address = sa.remote.address
    message = f"the new authentication with {address} has not succeeded yet, and the old one ends {_in(left)}"
    remedy = (
        "see the notice before this one for the reason; if it is the certificate of either end, give that end its next"
        " one and say 'xfrmctl reload' there. Traffic goes on until the old IKE SA ends and is held then"
    )
    return Notice(Level.WARNING, "ike-reauthentication-failing", message, who(sa), remedy)


def _in(seconds: float) -> str:
    return f"in {round(seconds)} s" if seconds > 0 else "now"
