# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets that outlive what the state of SAs does not, in files of the state directory: the key that the service
manager holds cannot seal them.

Of tokens of quick crash detection (RFC 6290 5.1): whoever reads it can make peers negotiate anew, and learns nothing of
what was sent. Of tickets (RFC 5723): whoever reads it, and has recorded how a ticket was shown, has the key of the IKE
SA that the ticket is of (docs/decisions/0038).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from xfrmd.adapters.durable import FileLayer, prepare, put_in_place
from xfrmd.model.secret import Secret

_SCHEMA: Final = 1
_OCTETS: Final = 32
_SIZE: Final = 4096


class LastingSecrets:
    """The newest secret and the one before it. `age`: seconds after which another one follows."""

    def __init__(self, path: Path, files: FileLayer, age: float) -> None:
        self.path = path
        self._files = files
        self._age = age

    def load(self, entropy: Callable[[int], bytes], now: float) -> tuple[Secret, ...]:
        """The secrets, the newest first; a new one where there is none, or the newest is old. `now` is wall-clock time.

        OSError when a new one cannot be kept: then none may be used. A damaged file counts as none.
        """
        since, secrets = self._read()
        if secrets and 0 <= now - since < self._age:
            return secrets
        secrets = (Secret(entropy(_OCTETS)), *secrets[:1])
        kept = {"schema": _SCHEMA, "since": now, "secrets": [one.reveal().hex() for one in secrets]}
        prepare(self._files, self.path, json.dumps(kept).encode())
        put_in_place(self._files, self.path)
        return secrets

    def forget(self) -> None:
        """None of those so far are loaded ever again. OSError: the disk has them still."""
        self._files.remove(self.path)
        self._files.sync_directory(self.path.parent)

    def _read(self) -> tuple[float, tuple[Secret, ...]]:
        octets = self._files.read(self.path, _SIZE)
        if octets is None or not _private(self.path):
            return 0.0, ()
        try:
            found: Any = json.loads(octets)
            secrets = [bytes.fromhex(one) for one in found["secrets"]]
            if found["schema"] != _SCHEMA or any(len(one) != _OCTETS for one in secrets):
                return 0.0, ()
            return float(found["since"]), tuple(map(Secret, secrets[:2]))
        except (ValueError, TypeError, KeyError, RecursionError):
            return 0.0, ()


def _private(path: Path) -> bool:
    """Is the file ours alone? What others could have read or written is not used."""
    status = path.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
