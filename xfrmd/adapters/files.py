# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files that other programs write while we run: read within a bound, and looked at for changes."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from xfrmd import limits

Stamp = tuple[int, int, int]
"""What changes when a file does: it is written to, replaced, or a link to another place."""
NOTHING: Final[Stamp] = (0, 0, 0)
"""Of what is not there, or in a directory we must not enter."""


def read_text(path: Path, size: int = limits.FACTS_FILE_SIZE, *, end: bool = False) -> str | None:
    """The first octets of a regular file, or its last ones, in whole lines; None when it cannot be read. Octets that
    are no ASCII are replaced: no format read this way needs them.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            if end and status.st_size > size:
                file.seek(status.st_size - size)
                return file.read(size).partition(b"\n")[2].decode("ascii", "replace")
            found = file.read(size)
    except OSError:
        return None
    # Half a name is another name.
    return (found.rpartition(b"\n")[0] if len(found) == size else found).decode("ascii", "replace")


def _open(path: str, flags: int) -> int:
    """Without waiting for who writes into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def names_in(directory: Path) -> list[str]:
    """Names in a directory, sorted, some of too many; none when there is no directory."""
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        found.extend(entry.name for entry, _ in zip(entries, range(4 * limits.FACTS_FILES), strict=False))
    return sorted(found)[: limits.FACTS_FILES]


def stamp(path: Path) -> Stamp:
    """Of a file or directory."""
    try:
        status = path.stat()
    except OSError:
        return NOTHING
    return (status.st_ino, status.st_mtime_ns, status.st_size)
