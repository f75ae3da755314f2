# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of certificates, beside refusals: what could not be found out, and what ends soon."""

from __future__ import annotations

from datetime import UTC, datetime

from xfrmd.credentials.names import spoken
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.proven import Proven
from xfrmd.model.notice import Level, Notice
from xfrmd.model.pad import RootcaAuth


def revocation_unknown(sa: IkeSa, why: str, method: RootcaAuth) -> Notice:
    """A peer is let in, though nobody tells whether its certificate still holds: strongcrlcheck is 1."""
    remedy = "put the authority's newest revocation list into the file that crl names, and run xfrmctl reload"
    if method.fetch is not None:
        remedy = "see what answers at that address (curl -v), or name another beside fetch, and run xfrmctl reload"
    return Notice(
        Level.WARNING,
        "revocation-unknown",
        f"{spoken(sa.remote_id)} at {sa.remote.address} is let in, and nobody knows whether its certificate was "
        f"revoked: {why} (rule {sa.pad.rule!r})",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule, "reason": why},
        remedy,
    )


def own_ends(sa: IkeSa, what: str) -> Notice:
    """What we prove ourselves by, or judge peers by, ends soon."""
    return Notice(
        Level.NOTICE,
        "own-certificate-ends",
        f"{what} (rule {sa.pad.rule!r})",
        {"rule": sa.pad.rule},
        "put a new one into the file that the policy names, and run xfrmctl reload",
    )


def peer_ends(sa: IkeSa, proven: Proven) -> Notice:
    """A certificate on the peer's path expires soon: its IKE SA ends with it."""
    until = datetime.fromtimestamp(proven.until or 0.0, UTC)
    return Notice(
        Level.NOTICE,
        "peer-certificate-ends",
        f"the certificate {proven.subject!r} of {sa.remote.address}, or one above it, expires at "
        f"{until:%Y-%m-%d %H:%M} UTC (rule {sa.pad.rule!r})",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule, "subject": proven.subject},
        "let the peer's administrator renew it",
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


def childless_missing(sa: IkeSa) -> Notice:
    """An IKE SA alone is wanted, and the peer has not said that it takes that."""
    return Notice(
        Level.WARNING,
        "childless-refused",
        f"{sa.remote.address} takes no IKE SA without a child SA (rule {sa.pad.rule!r}; CHILDLESS_IKEV2_SUPPORTED)",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule},
        "let the peer take it (strongSwan: childless = allow), or have traffic ask for a child SA",
    )
