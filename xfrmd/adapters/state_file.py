# SPDX-License-Identifier: GPL-2.0-or-later
"""The state file: records by name, sealed, appended a frame at a time and written anew when much of it is stale.

A frame is a length and AES-GCM over a batch of records. Each file has a key of its own, made of the master key and the
file's salt, so frames are numbered and need no random nonces: none can be left out, moved or taken from another file.
What can be cut off its end is known to the key's page.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.adapters.state_key import SALT, Slot, StateKey
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.saved import Record
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms.compute import IkeCipher, prf_plus

FORMAT: Final = 1
_MAGIC: Final = b"xfrmd sa"
_HEADER: Final = struct.Struct(f">{len(_MAGIC)}sHH{SALT}s")
_LENGTH: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">HI")
_GONE: Final = 0xFFFF_FFFF
_CIPHER, _PRF = Transform(1, 20, 256), Transform(2, 5)
_CIPHER_KEY: Final = 32 + 4
"""With salt (RFC 5282 7.1)."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class StateError(ValueError):
    """The file cannot be used; the text says why."""


class StateFile:
    """`version` is that of the records; files of a higher one are refused. Nothing is opened before it is needed."""

    def __init__(self, path: Path, key: StateKey, entropy: Callable[[int], bytes], version: int) -> None:
        self.path = path
        self._key = key
        self._entropy = entropy
        self._version = version
        self._fd = -1
        self._frames = self._size = self._live_size = 0
        self._live: dict[str, bytes] = {}
        self._cipher: IkeCipher | None = None
        self._header = b""

    def read(self) -> dict[str, bytes]:
        """What an earlier run has left, {} when there is nothing. StateError when it is not what that run wrote."""
        try:
            content = _content(self.path)
        except FileNotFoundError:
            if self._key.slot(0) is None and self._key.slot(1) is None:
                return {}
            raise StateError("it is missing") from None
        except OSError as error:
            raise StateError(f"it cannot be read: {error.strerror}") from error
        if len(content) < _HEADER.size:
            raise StateError("it is cut off")
        magic, form, version, salt = _HEADER.unpack_from(content)
        if magic != _MAGIC:
            raise StateError("it is something else")
        if form > FORMAT or version > self._version:
            raise StateError("a newer xfrmd wrote it")
        slot = self._key.find(salt)
        if slot is None:
            raise StateError("the key for it is lost, as after a stop")
        header = content[: _HEADER.size]
        records: dict[str, bytes] = {}
        for frame in _frames(content, header, self._cipher_of(salt), slot.frames):
            _apply(records, frame)
        return records

    def append(self, records: Iterable[Record]) -> None:
        """Keep records from now on. The first call begins a new file in the place of the old one. OSError."""
        records = list(records)
        for name, content in records:
            self._live_size += (len(content) if content else 0) - len(self._live.pop(name, b""))
            if content is not None:
                self._live[name] = content.reveal()
        stale = self._size > limits.STATE_STALE + 4 * self._live_size
        if self._cipher is None or stale:
            self._begin()
        else:
            self._write(_frame(records))
            self._key.written(self._frames)

    def discard(self) -> None:
        """Nothing of this run can be used by another."""
        self._key.forget()
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Write no more; what was written stays."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _begin(self) -> None:
        """Write all that counts into a new file, and only then forget the old one."""
        self.close()
        salt = self._entropy(SALT)
        self._cipher = self._cipher_of(salt)
        self._header = _HEADER.pack(_MAGIC, FORMAT, self._version, salt)
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.unlink(missing_ok=True)
        self._fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _write_all(self._fd, self._header)
        self._frames, self._size = 0, len(self._header)
        self._write(_frame([Record(name, Secret(content)) for name, content in self._live.items()]))
        self._key.announce(Slot(salt, self._frames))
        fresh.rename(self.path)
        self._key.commit()

    def _write(self, batch: bytes) -> None:
        assert self._cipher is not None
        length = _LENGTH.pack(len(batch) + self._cipher.icv_len)
        number = self._frames.to_bytes(self._cipher.iv_len)
        octets = length + self._cipher.seal(number, batch, self._header + length)
        _write_all(self._fd, octets)
        self._frames += 1
        self._size += len(octets)

    def _cipher_of(self, salt: bytes) -> IkeCipher:
        return IkeCipher.new(_CIPHER, prf_plus(_PRF, self._key.master, b"xfrmd state" + salt, _CIPHER_KEY))


def _content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & OTHERS:
            raise StateError("it is no regular file, or not ours alone")
        content = file.read(min(limits.STATE_SIZE, status.st_size) + 1)  # room is made for what is asked for
    if len(content) > limits.STATE_SIZE:
        raise StateError("it is too large")
    return content


def _frames(content: bytes, header: bytes, cipher: IkeCipher, wanted: int) -> Iterator[bytes]:
    """The batches of a file. What follows those that were announced may be torn: nothing was done after it."""
    at, number = len(header), 0
    while at < len(content):
        length = content[at : at + _LENGTH.size]
        at += _LENGTH.size
        size = int.from_bytes(length)
        try:
            batch = cipher.open(number.to_bytes(cipher.iv_len), content[at : at + size], header + length)
        except RemoteProtocolError:
            break
        yield batch
        at, number = at + size, number + 1
    if number < wanted:
        raise StateError("it is cut off, or was changed")


def _frame(records: Iterable[Record]) -> bytes:
    parts: list[bytes] = []
    for name, content in records:
        octets = b"" if content is None else content.reveal()
        parts += [_RECORD.pack(len(name), _GONE if content is None else len(octets)), name.encode("ascii"), octets]
    return b"".join(parts)


def _apply(records: dict[str, bytes], batch: bytes) -> None:
    """Of a batch that is authentic."""
    at = 0
    while at < len(batch):
        name_size, size = _RECORD.unpack_from(batch, at)
        at += _RECORD.size
        name = batch[at : at + name_size].decode("ascii")
        at += name_size
        if size == _GONE:
            records.pop(name, None)
        else:
            records[name] = batch[at : at + size]
            at += size


def _write_all(fd: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(fd, octets) :]
