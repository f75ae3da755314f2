# SPDX-License-Identifier: GPL-2.0-or-later
"""Who was called revoked, from one run to the next (docs/decisions/0039)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from xfrmd.adapters.revoked_file import RevokedFile
from xfrmd.credentials.ocsp import Revoked
from xfrmd.ike.events import RevocationKept
from xfrmd.model.notice import Level, Notice


class Remembered:
    """Without a file (no state directory) nothing is kept."""

    def __init__(self, file: RevokedFile | None, tell: Callable[[Notice], None]) -> None:
        self._file = file
        self._tell = tell

    def keep(self, revoked: Sequence[Revoked]) -> None:
        """For later runs. What the disk does not take, this one knows all the same."""
        try:
            if self._file is not None:
                self._file.save(revoked)
        except OSError as error:
            remedy = "make room there; until then only this run knows who was revoked"
            self._trouble(f"cannot be written: {error.strerror or error}", remedy)

    def recall(self, when: datetime) -> RevocationKept | None:
        """What earlier runs have left; None when there is nothing that holds."""
        try:
            found = self._file.load(when) if self._file is not None else ()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            remedy = "responders are asked anew; strongcrlcheck: 2 lets nobody in of whom they do not tell"
            self._trouble(f"cannot be used: {why or error}", remedy)
            return None
        return RevocationKept(found) if found else None

    def _trouble(self, what: str, remedy: str) -> None:
        assert self._file is not None
        text = f"certificates that responders have called revoked: {self._file.path} {what}"
        self._tell(Notice(Level.WARNING, "revoked-file", text, {}, remedy))
