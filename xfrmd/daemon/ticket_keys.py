# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys of tickets (RFC 5723): looked after while the daemon runs, as none seals for longer than tickets live."""

from __future__ import annotations

import time
from collections.abc import Callable

from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.lasting_secrets import LastingSecrets
from xfrmd.ike.events import TicketKeys
from xfrmd.model.notice import Level, Notice
from xfrmd.model.secret import Secret


class TicketKeyring:
    """Tells the engine of the keys. Without a file (no state directory) there are none, and no tickets."""

    def __init__(
        self,
        file: LastingSecrets | None,
        post: Callable[[TicketKeys], None],
        tell: Callable[[Notice], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._post = post
        self._tell = tell
        self._clock = clock
        self._known: tuple[Secret, ...] | None = None
        """None before the first look: the engine is to hear of keys only when adoption is over."""
        self._revoked = False
        """What is in the file is to be no more."""

    def revoke(self) -> None:
        """Tickets that were given so far are to be of no use, in this run and all others. The engine, which knows none
        of their keys any more, hears of another one.
        """
        self._revoked = True
        if self._known is not None:
            self._known = None
            self.look()

    def look(self) -> None:
        """Have another key follow one that has served its time. One that cannot be kept is not used."""
        if self._file is None:
            return
        keys: tuple[Secret, ...] = ()
        try:
            if self._revoked:
                self._file.forget()
                self._revoked = False
            keys = self._file.load(system_entropy, self._clock())
        except OSError as error:
            if self._known != ():
                self._tell(_cannot(self._file, error, revoked=self._revoked))
        if keys != self._known:
            self._known = keys
            self._post(TicketKeys(keys))


def _cannot(file: LastingSecrets, error: OSError, *, revoked: bool) -> Notice:
    text = f"no tickets are given, none of ours are taken: {file.path}: {error.strerror or error}"
    remedy = "make room there: it is tried again; until then IKE SAs that are lost are negotiated anew"
    if revoked:
        remedy += "; another run would take tickets again that were deleted, while the file is there"
    return Notice(Level.WARNING, "ticket-keys", text, {}, remedy)
