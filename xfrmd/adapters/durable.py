# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are replaced as a whole and outlive a loss of power: at every moment there is the old one or the new one.

All access to the disk is through a `FileLayer`, so that tests can stop it after each step and each octet.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final, Protocol

_PRIVATE: Final = 0o600


class FileLayer(Protocol):
    """The operations that are needed of a disk. All raise OSError."""

    def make_directory(self, path: Path) -> None:
        """A directory for the service's user alone; one that is there stays."""

    def create(self, path: Path) -> int:
        """An empty file, for its owner alone, in the place of one of that name: a handle."""

    def write(self, handle: int, octets: bytes) -> int:
        """How many octets were written, from the first on."""

    def sync(self, handle: int) -> None:
        """Return when the file's content is on the disk."""

    def close(self, handle: int) -> None:
        """Close a handle."""

    def rename(self, old: Path, new: Path) -> None:
        """A file's new name, in the place of another file of that name."""

    def remove(self, path: Path) -> None:
        """Remove a file; none of that name is no error."""

    def sync_directory(self, path: Path) -> None:
        """Return when names that came and went in a directory are on the disk."""

    def read(self, path: Path, most: int) -> bytes | None:
        """At most so many octets from the beginning of an ordinary file; None when there is none of that name."""


class Disk:
    """The disk of this host."""

    def make_directory(self, path: Path) -> None:
        """As FileLayer says."""
        path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path) -> int:
        """As FileLayer says."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, _PRIVATE)

    def write(self, handle: int, octets: bytes) -> int:
        """As FileLayer says."""
        return os.write(handle, octets)

    def sync(self, handle: int) -> None:
        """As FileLayer says."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """As FileLayer says."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """As FileLayer says."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """As FileLayer says."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """As FileLayer says."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self, path: Path, most: int) -> bytes | None:
        """As FileLayer says."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(handle, "rb") as file:  # noqa: PTH123 (an open file)
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "it is not an ordinary file")
            return file.read(min(most, status.st_size + 1))  # room is made for what is asked for, not for what is there


def new_name(path: Path) -> Path:
    """What a file is called while it is written."""
    return path.with_name(f"{path.name}.new")


def prepare(files: FileLayer, path: Path, octets: bytes) -> None:
    """Write a file beside the one that it is to replace. OSError: nothing of it is left, as far as the disk allows."""
    try:
        _write(files, new_name(path), octets)
    except OSError:
        discard(files, path)
        raise


def _write(files: FileLayer, path: Path, octets: bytes) -> None:
    handle = files.create(path)
    try:
        done = 0
        while done < len(octets):
            done += files.write(handle, octets[done:])
        files.sync(handle)
    finally:
        files.close(handle)


def put_in_place(files: FileLayer, path: Path) -> None:
    """Let what was prepared be the file. After the return a loss of power does not bring back the old one. OSError."""
    files.rename(new_name(path), path)
    files.sync_directory(path.parent)


def discard(files: FileLayer, path: Path) -> None:
    """Forget what was prepared; what the disk refuses here is overwritten by the next one."""
    with contextlib.suppress(OSError):
        files.remove(new_name(path))
