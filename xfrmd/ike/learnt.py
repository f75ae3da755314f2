# SPDX-License-Identifier: GPL-2.0-or-later
"""What has been fetched of revoked certificates, and which handshakes wait for more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from xfrmd.credentials import revocation
from xfrmd.credentials.ocsp import Status
from xfrmd.credentials.sources import Source
from xfrmd.errors import XfrmdError
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.limits import fetching
from xfrmd.model.pad import CRL_OFF, RootcaAuth


class PostponedError(XfrmdError):
    """A message cannot be judged yet. What it has led to so far may be done again."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A handshake that waits: for these sources, until then, to go on with `resume`. Or a request of a peer that has to
    prove its new address first.
    """

    open: set[Source]
    ends: float
    troubles: list[str] = field(default_factory=list)
    resume: Callable[[], None] = lambda: None


class Learnt:
    """Fetched lists by their address, answers of responders by certificate, and who waits."""

    __slots__ = ("lists", "revoked", "statuses", "waiting")

    def __init__(self) -> None:
        self.lists: dict[tuple[str, bytes], bytes] = {}
        """By address and issuer: where one authority's list is, another one's may be shown."""
        self.statuses: dict[bytes, Status] = {}
        self.revoked: dict[bytes, Status] = {}
        """What responders have said of certificates that they call revoked, by `revocation.link`. It is kept where a
        mass of other answers has pushed it out of `statuses`.
        """
        self.waiting: dict[IkeSa, Waiting] = {}

    def put_list(self, url: str, der: bytes) -> None:
        """Keep a list in the place of the one that was there. An older one may be shown again by whoever is on the way:
        what is known stays.
        """
        parsed = revocation.known(der).parsed
        name = (url, parsed.issuer.public_bytes())
        there = self.lists.get(name)
        if there is not None and revocation.known(there).parsed.last_update_utc > parsed.last_update_utc:
            return
        self.lists.pop(name, None)
        self.lists[name] = der
        while len(self.lists) > fetching.CRLS_FETCHED:
            del self.lists[next(iter(self.lists))]

    def lists_of(self, method: RootcaAuth) -> tuple[bytes, ...]:
        """Those that a method looks at: of its file, and what was fetched where that is wanted."""
        return (*method.crls, *(self.lists.values() if method.fetch is not None else ()))

    def names(self, links: Sequence[bytes], method: RootcaAuth) -> bool:
        """Does what a method looks at call one of these certificates revoked?"""
        if method.crl_check == CRL_OFF:
            return False
        answered = method.fetch is not None and any(one in self.revoked for one in links)
        return answered or revocation.listed(links, self.lists_of(method))

    def put_status(self, status: Status, link: bytes, when: datetime) -> bool:
        """Keep an answer about the certificate of this link; those that hold no more go first. What was said later
        counts, of what was said at once the worse. Is something else known now of who is revoked?
        """
        there, worse = self.statuses.get(status.about), self.revoked.get(link)
        if (worse is not None and worse.said >= status.said) or (there is not None and there.said > status.said):
            return False
        self.revoked.pop(link, None)
        if status.revoked:
            self.revoked[link] = status
        while len(self.revoked) > fetching.OCSP_KEPT:
            del self.revoked[next(iter(self.revoked))]
        self.statuses.pop(status.about, None)
        if len(self.statuses) >= fetching.OCSP_KEPT:
            self.statuses = {about: one for about, one in self.statuses.items() if one.until >= when}
        while len(self.statuses) >= fetching.OCSP_KEPT:
            del self.statuses[next(iter(self.statuses))]
        self.statuses[status.about] = status
        return status.revoked or worse is not None
