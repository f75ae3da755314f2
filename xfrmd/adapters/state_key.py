# SPDX-License-Identifier: GPL-2.0-or-later
"""The key of the state file: a page of memory that the service manager holds for us, so that it outlives this process.

It is on no disk and in no file system. Where the kernel has memfd_secret(2) nobody but its holders can read it, and it
is never swapped; elsewhere it is a memfd(2), locked in memory while a process of ours lives. Beside the key it says
which file is the last one and how much was written into it: an older copy, or a file that was cut, is not taken.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

SIZE: Final = 4096
SALT: Final = 16
_KEY: Final = 32
_MAGIC: Final = b"xfrmd key 1\0\0\0\0\0"
_SLOT: Final = struct.Struct(f">{SALT}sQ")
_FIRST_SLOT: Final = len(_MAGIC) + _KEY
_MEMFD_SECRET: Final = 447
"""memfd_secret(2) has this number on every architecture (<asm-generic/unistd.h>)."""
_NOTHING: Final = bytes(_SLOT.size)


class Slot(NamedTuple):
    """A state file by its salt, and how many of its frames are to be there at least."""

    salt: bytes
    frames: int


class StateKey:
    """The page. Of its two slots one is in use, both for the moment in which one file takes the other's place."""

    def __init__(self, fd: int) -> None:
        """Take over a descriptor from `fresh_page` or of an earlier run. ValueError when it holds no key."""
        self.fd = fd
        if os.fstat(fd).st_size != SIZE:
            raise ValueError("a page of another size")
        self._page = mmap.mmap(fd, SIZE)
        if self._page[: len(_MAGIC)] != _MAGIC:
            raise ValueError("a page of something else")
        self._slot = 0 if self.slot(0) is not None else 1
        self.locked = _lock(self._page)
        """Can it not be swapped out while this process lives?"""

    @property
    def master(self) -> bytes:
        """What the keys of all files are made of."""
        return self._page[len(_MAGIC) : _FIRST_SLOT]

    def slot(self, number: int) -> Slot | None:
        """One of the two, None when it is empty."""
        octets = self._page[self._at(number) : self._at(number + 1)]
        return None if octets == _NOTHING else Slot(*_SLOT.unpack(octets))

    def find(self, salt: bytes) -> Slot | None:
        """The slot of this file, None when it is none that counts."""
        for number in (0, 1):
            slot = self.slot(number)
            if slot is not None and slot.salt == salt:
                self._slot = number
                return slot
        return None

    def announce(self, slot: Slot) -> None:
        """A file is about to take the place of the last one; until `commit` both count."""
        self._write(1 - self._slot, _SLOT.pack(*slot))

    def commit(self) -> None:
        """It has: only the announced one counts."""
        self._write(self._slot, _NOTHING)
        self._slot = 1 - self._slot

    def written(self, frames: int) -> None:
        """So many frames of the file are there."""
        slot = self.slot(self._slot)
        if slot is not None:
            self._write(self._slot, _SLOT.pack(slot.salt, frames))

    def forget(self) -> None:
        """No file counts any more."""
        self._write(0, _NOTHING)
        self._write(1, _NOTHING)

    def _at(self, number: int) -> int:
        return _FIRST_SLOT + number * _SLOT.size

    def _write(self, number: int, octets: bytes) -> None:
        self._page[self._at(number) : self._at(number + 1)] = octets


def fresh_page(entropy: Callable[[int], bytes]) -> int:
    """The descriptor of a page with a new key. OSError where the kernel has no such memory."""
    fd = _secret_memory()
    if fd < 0:
        fd = os.memfd_create("xfrmd-key", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, SIZE)
        with mmap.mmap(fd, SIZE) as page:
            page[len(_MAGIC) : _FIRST_SLOT] = entropy(_KEY)
            page[: len(_MAGIC)] = _MAGIC
    except (OSError, ValueError):
        os.close(fd)
        raise
    return fd


def _secret_memory() -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(_MEMFD_SECRET, os.O_CLOEXEC))


def _lock(page: mmap.mmap) -> bool:
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CDLL(None, use_errno=True).mlock(ctypes.c_void_p(address), ctypes.c_size_t(SIZE))) == 0
