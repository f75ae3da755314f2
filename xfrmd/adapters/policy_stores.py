# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies that stores keep, below the daemon's state directory: what is assigned, and what was good last.

| file | what it is |
|---|---|
| persistent | the persistent policy; it exists as long as one is assigned |
| persistent.copy | the same once more, for when the first is damaged |
| local, directory | what was in force last of the local store and of the directory: their last good policy |
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.adapters.durable import Disk, FileLayer, discard, prepare, put_in_place
from xfrmd.errors import PolicyError
from xfrmd.model.store import Store
from xfrmd.policy.package import FORMAT, Kept, NewerFormatError, decode, encode, version_of

_COPY: Final = ".copy"


class StoreError(PolicyError):
    """A store cannot be written."""


class StoreFiles:
    """The files of one state directory."""

    def __init__(self, directory: Path, files: FileLayer | None = None) -> None:
        self.directory = directory
        self._files = files or Disk()
        self._before: dict[Store, bytes | None] = {}
        """What was there before that which is prepared."""

    def path(self, store: Store, *, copy: bool = False) -> Path:
        """Where a store keeps its policy; `copy`: the second one of the persistent store."""
        return self.directory / (store.value + _COPY * (copy and store is Store.PERSISTENT))

    def load(self, store: Store, *, copy: bool = False) -> Kept | None:
        """What is kept; None when there is nothing. Raises PolicyError, with place and reason."""
        path = self.path(store, copy=copy)
        try:
            octets = self._files.read(path, limits.STORE_FILE_SIZE + 1)
            return None if octets is None else decode(octets)
        except OSError as error:
            raise PolicyError(f"the file {path} cannot be read: {error.strerror or error}") from error
        except PolicyError as error:
            raise type(error)(f"the file {path} {error}") from error

    def prepare(self, store: Store, kept: Kept) -> None:
        """Have a policy on the disk, beside what is there. Raises StoreError, and nothing has changed."""
        octets = encode(kept)
        try:
            self._files.make_directory(self.directory)
            self._before[store] = self._files.read(self.path(store), limits.STORE_FILE_SIZE + 1)
            self._refuse_newer(store, self._before[store])
            prepare(self._files, self.path(store), octets)
        except OSError as error:
            raise self._unwritable(error) from error

    def commit(self, store: Store) -> None:
        """Let what was prepared be what is kept. Raises StoreError, and what was there before is there."""
        before = self._before.pop(store)
        try:
            put_in_place(self._files, self.path(store))
        except OSError as error:
            self._restore(store, before)
            raise self._unwritable(error) from error

    def duplicate(self, store: Store, kept: Kept) -> None:
        """Make the second copy of a store that has one equal to the first. Raises StoreError."""
        path = self.path(store, copy=True)
        if path == self.path(store):
            return
        octets = encode(kept)
        try:
            if self._files.read(path, limits.STORE_FILE_SIZE + 1) != octets:
                prepare(self._files, path, octets)
                put_in_place(self._files, path)
        except OSError as error:
            raise self._unwritable(error) from error

    def discard(self, store: Store) -> None:
        """Forget what was prepared."""
        self._before.pop(store, None)
        discard(self._files, self.path(store))

    def forget(self, store: Store) -> None:
        """Keep nothing any more. Raises StoreError, and the first copy may still be there."""
        try:
            # The first copy last: as long as it is there, the policy is assigned.
            for copy in (True, False):
                self._files.remove(self.path(store, copy=copy))
                self._files.sync_directory(self.directory)
        except OSError as error:
            raise self._unwritable(error) from error

    def _refuse_newer(self, store: Store, octets: bytes | None) -> None:
        version = version_of(octets or b"")
        if version is not None and version > FORMAT:
            path = self.path(store)
            raise NewerFormatError(f"the file {path} is of a newer version of xfrmd; install that, or move it away")

    def _restore(self, store: Store, before: bytes | None) -> None:
        """After a new file went in place and may not stay there: the old one again, as far as the disk allows."""
        path = self.path(store)
        try:
            if before is None:
                self._files.remove(path)
            else:
                prepare(self._files, path, before)
                put_in_place(self._files, path)
        except OSError:
            discard(self._files, path)

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"{self.directory} cannot be written: {error.strerror or error}")
