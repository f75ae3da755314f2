# SPDX-License-Identifier: GPL-2.0-or-later
"""News of files by inotify(7): told when any of some paths may have changed, without looking at them all the time.

A path is watched wherever a change of it can show: the file or directory itself, the directory of each symbolic link
on the way to it and of the file, or the nearest directory that exists. What inotify cannot see (mounts, other hosts on
a network file system, renamed directories further up) its user must look for himself now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from xfrmd.adapters.files import NOTHING, stamp

_LINKS: Final = 8
"""Symbolic links on the way to a file; more are a loop."""
_BUFFER: Final = 65536
_MASK: Final = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF of <sys/inotify.h>."""


def spots(path: Path) -> Iterator[Path]:
    """What must be watched to see any change of this path: places that exist now."""
    for _ in range(_LINKS):
        directory = path.parent
        while stamp(directory) == NOTHING and directory != directory.parent:
            directory = directory.parent
        yield directory
        if directory != path.parent:
            return
        try:
            path = directory.resolve() / path.readlink()
        except OSError:  # no link, or nothing
            if stamp(path) != NOTHING:
                yield path
            return


class FileNews:
    """Calls `changed` from the event loop when something has happened at the watched paths."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._watched: dict[int, int] = {}
        """Watches, each with a descriptor of what is watched: some file systems make another inode of what nobody has
        open, which the watch of the first would not see.
        """

    def open(self) -> bool:
        """Begin to listen; False when the kernel gives no (more) inotify."""
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            return False
        asyncio.get_running_loop().add_reader(self._fd, self._news)
        return True

    def watch(self, paths: Iterable[Path]) -> bool:
        """From now on these paths; what was news until now is not told any more. False when the kernel takes no more
        watches: then they must be looked at instead.

        What has gone meanwhile, or must not be read, is left out: its directory tells when that changes.
        """
        watched, full = dict[int, int](), False
        for place in {place for path in paths for place in spots(path)}:
            try:
                held = os.open(place, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(place), _MASK)
            full = full or (number < 0 and ctypes.get_errno() in (errno.ENOSPC, errno.ENOMEM))
            if number > 0 and number not in watched:
                watched[number] = held
            else:
                os.close(held)
        for number in self._watched.keys() - watched.keys():
            self._libc.inotify_rm_watch(self._fd, number)
        self._watched, before = watched, self._watched
        for held in before.values():
            os.close(held)
        self._drain()  # of the watches just removed, too
        return not full

    def close(self) -> None:
        """Hear no more."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
        for held in self._watched.values():
            os.close(held)
        self._fd, self._watched = -1, {}

    def _news(self) -> None:
        self._drain()
        self._changed()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _BUFFER):
                pass
