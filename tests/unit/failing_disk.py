# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in memory that loses its power after a number of steps, and every state in which one could find it then."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path


class PowerCutError(Exception):
    """The power is gone."""


class _Inode:
    def __init__(self) -> None:
        self.content = b""
        self.synced: bytes | None = None
        """What is surely on the disk; None: nothing is."""

    def survivors(self) -> list[bytes]:
        """What may be read of it after a loss of power."""
        if self.synced == self.content:
            return [self.content]
        half = self.content[: len(self.content) // 2]
        found = [self.content, half, b"", bytes(len(self.content)), half + bytes(len(self.content) - len(half))]
        return list(dict.fromkeys([*found, *([] if self.synced is None else [self.synced])]))


Names = dict[Path, _Inode]


class Memory:
    """A FileLayer. `power`: steps until the power goes; `refusals`: error numbers by the number of the step that is
    refused with them. An octet that is written is a step.
    """

    def __init__(self, content: dict[Path, bytes] | None = None, power: int | None = None) -> None:
        self.names: Names = {}
        for path, octets in (content or {}).items():
            inode = self.names[path] = _Inode()
            inode.content = inode.synced = octets
        self.steps = 0
        self.power = power
        self.refusals: dict[int, int] = {}
        self._durable: Names = dict(self.names)
        self._pending: list[tuple[Path, _Inode | None]] = []
        self._handles: dict[int, _Inode] = {}

    def _step(self) -> None:
        if self.power is not None and self.steps >= self.power:
            raise PowerCutError
        self.steps += 1
        refusal = self.refusals.get(self.steps)
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))

    def _name(self, path: Path, inode: _Inode | None) -> None:
        self._pending.append((path, inode))
        _change(self.names, path, inode)

    def make_directory(self, path: Path) -> None:
        del path
        self._step()

    def create(self, path: Path) -> int:
        self._step()
        inode = self.names.get(path)
        if inode is None:
            inode = _Inode()
            self._name(path, inode)
        inode.content = b""
        handle = len(self._handles) + 3
        self._handles[handle] = inode
        return handle

    def write(self, handle: int, octets: bytes) -> int:
        self._step()
        self._handles[handle].content += octets[:1]
        return 1

    def sync(self, handle: int) -> None:
        self._step()
        self._handles[handle].synced = self._handles[handle].content

    def close(self, handle: int) -> None:
        assert handle in self._handles

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        inode = self.names[old]
        self._name(new, inode)
        self._name(old, None)

    def remove(self, path: Path) -> None:
        self._step()
        if path in self.names:
            self._name(path, None)

    def sync_directory(self, path: Path) -> None:
        del path
        self._step()
        self._durable, self._pending = dict(self.names), []

    def read(self, path: Path, most: int) -> bytes | None:
        inode = self.names.get(path)
        return None if inode is None else inode.content[:most]

    def survivors(self) -> Iterator[dict[Path, bytes]]:
        """Each state of the disk that one could find after a loss of power now: names that were not synced have come,
        in their order, as far as any of them; content that was not synced is there, in part, or as zeros.
        """
        for count in range(len(self._pending) + 1):
            names = dict(self._durable)
            for path, inode in self._pending[:count]:
                _change(names, path, inode)
            inodes = list(dict.fromkeys(names.values()))
            for contents in itertools.product(*(inode.survivors() for inode in inodes)):
                found = dict(zip(inodes, contents, strict=True))
                yield {path: found[inode] for path, inode in names.items()}


def _change(names: Names, path: Path, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


FULL, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO
