# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of certificates, beside refusals: what could not be found out, and what ends soon."""

from __future__ import annotations

from xfrmd.credentials.names import spoken
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.model.notice import Level, Notice


def revocation_unknown(sa: IkeSa, why: str) -> Notice:
    """A peer is let in, though no list tells whether its certificate still holds: strongcrlcheck is 1."""
    return Notice(
        Level.WARNING,
        "revocation-unknown",
        f"{spoken(sa.remote_id)} at {sa.remote.address} is let in, and nobody knows whether its certificate was "
        f"revoked: {why} (rule {sa.pad.rule!r})",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule, "reason": why},
        "put the authority's newest revocation list into the file that crl names, and run xfrmctl reload",
    )


def ppk_missing(sa: IkeSa) -> Notice:
    """The rule demands a postquantum preshared key, and the peer has not said that it has one."""
    return Notice(
        Level.WARNING,
        "ppk-missing",
        f"{sa.remote.address} does not use a postquantum preshared key, which rule {sa.pad.rule!r} wants (USE_PPK)",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule},
        "give the peer the same key under the same name (strongSwan: ppk_id, and a ppk secret); or write required: no",
    )
