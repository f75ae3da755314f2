# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators are told of gateways that send their peers elsewhere (RFC 5685)."""

from __future__ import annotations

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice


def redirected(sa: IkeSa, target: Address) -> Notice:
    """A tunnel ends at another gateway from now on."""
    return Notice(
        Level.NOTICE,
        "redirected",
        f"{sa.remote.address} sends us to the gateway {target}: the tunnel is negotiated with that one, its traffic is "
        f"held (rule {sa.pad.rule!r})",
        _who(sa) | {"gateway": str(target)},
    )


def not_followed(sa: IkeSa, why: str) -> Notice:
    """A redirect that leads nowhere."""
    return Notice(
        Level.WARNING,
        "redirect-refused",
        f"{sa.remote.address}, or somebody in its name, sends us to another gateway, and we do not go: {why} "
        f"(rule {sa.pad.rule!r})",
        _who(sa) | {"reason": why},
        "if that gateway is to be used, name its address in redirects of both rules of the tunnel",
    )


def back(sa: IkeSa, end: Address) -> Notice:
    """The gateway that we were sent to is of no use."""
    return Notice(
        Level.NOTICE,
        "redirect-over",
        f"the gateway {sa.remote.address}, to which we were sent, is of no use; the tunnel ends at {end} again "
        f"(rule {sa.pad.rule!r})",
        _who(sa) | {"gateway": str(end)},
        "why it is of no use was told before this",
    )


def _who(sa: IkeSa) -> dict[str, str]:
    return {"peer": str(sa.remote.address), "rule": sa.pad.rule}
