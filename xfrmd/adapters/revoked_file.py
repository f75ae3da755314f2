# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates that OCSP responders have called revoked, in a file of the state directory: who keeps us from a
responder after a restart is not to bring one of them in by that.

What is kept is the judgement and not the answer. The file is ours alone, as those of secrets are: whoever writes there
could as well change what a run knows.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from xfrmd.adapters.durable import FileLayer, prepare, put_in_place
from xfrmd.credentials.ocsp import Revoked, Status
from xfrmd.limits import fetching

_SCHEMA: Final = 1
_ROW: Final = 256
"""Octets of one in the file, at most: two names in hexadecimal digits and two dates."""
_SIZE: Final = _ROW * (fetching.OCSP_KEPT + 1)
_NAMES: Final = 64
"""Octets of a name at most: an issuer's and a number (RFC 5280 4.1.2.2: of 20 octets)."""


class RevokedFile:
    """All of them, written as a whole."""

    def __init__(self, path: Path, files: FileLayer) -> None:
        self.path = path
        self._files = files

    def save(self, revoked: Sequence[Revoked]) -> None:
        """Keep these in the place of those that were there. OSError."""
        rows = [
            (one.link.hex(), one.status.about.hex(), one.status.said.isoformat(), one.status.until.isoformat())
            for one in revoked
        ]
        prepare(self._files, self.path, json.dumps({"schema": _SCHEMA, "revoked": rows}).encode())
        put_in_place(self._files, self.path)

    def load(self, when: datetime) -> tuple[Revoked, ...]:
        """Those that hold still. OSError when it cannot be read, ValueError when it is none of ours."""
        octets = self._files.read(self.path, _SIZE + 1)
        if octets is None:
            return ()
        status = self.path.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError("others may read or write it")
        try:
            plain: Any = json.loads(octets)
            found = [_read(*row) for row in plain["revoked"]] if plain["schema"] == _SCHEMA else None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"it is damaged: {type(error).__name__}") from error
        if found is None or len(found) > fetching.OCSP_KEPT:
            raise ValueError("it is of another version, or too long")
        return tuple(one for one in found if one.status.until >= when)


def _read(link: str, about: str, said: str, until: str) -> Revoked:
    names, times = [bytes.fromhex(one) for one in (link, about)], [datetime.fromisoformat(one) for one in (said, until)]
    if not all(0 < len(one) <= _NAMES for one in names) or any(one.tzinfo is None for one in times):
        raise ValueError("a row that is none")
    return Revoked(names[0], Status(names[1], True, times[1], times[0]))
