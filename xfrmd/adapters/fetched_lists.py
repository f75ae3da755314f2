# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetched revocation lists on the disk, so that a start needs no server. What is read is judged anew."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from xfrmd.adapters.durable import FileLayer, prepare, put_in_place
from xfrmd.limits import fetching

_SUFFIX: Final = ".crl"


class FetchedLists:
    """A directory with one file for each address, in DER. All raise OSError."""

    def __init__(self, directory: Path, files: FileLayer) -> None:
        self._directory = directory
        self._files = files

    def load(self, url: str) -> bytes | None:
        """What was saved for an address; None for nothing, and for what can be no list."""
        found = self._files.read(self._path(url), fetching.CRL_FETCHED + 1)
        return found if found is not None and len(found) <= fetching.CRL_FETCHED else None

    def save(self, url: str, der: bytes) -> None:
        """Keep a list in the place of the one that was there."""
        self._files.make_directory(self._directory)
        prepare(self._files, self._path(url), der)
        put_in_place(self._files, self._path(url))

    def keep(self, urls: Collection[str], gone: Collection[str], most: int) -> None:
        """Remove what was saved for the addresses in `gone`, what a crash has left half written, and of more than so
        many files the oldest that are not of `urls`.
        """
        wanted, unwanted = {self._path(url) for url in urls}, {self._path(url) for url in gone}
        found = [*self._directory.iterdir()] if self._directory.is_dir() else []
        lists = [path for path in found if path.suffix == _SUFFIX and path not in unwanted]
        lists.sort(key=lambda path: (path in wanted, path.lstat().st_mtime))
        unwanted |= {path for path in found if path.suffix != _SUFFIX} | {*lists[: max(len(lists) - most, 0)]}
        for path in unwanted:
            self._files.remove(path)

    def _path(self, url: str) -> Path:
        return self._directory / f"{hashlib.sha256(url.encode()).hexdigest()}{_SUFFIX}"
