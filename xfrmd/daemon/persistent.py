# SPDX-License-Identifier: GPL-2.0-or-later
"""The persistent policy: how it is assigned and unassigned, on the disk and in the kernel alike.

It goes to the disk beside the old one first, then into the kernel, then into the old one's place: whatever refuses on
the way, the old one is in force and kept. It leaves the disk first, then the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from xfrmd.adapters.policy_stores import StoreError, StoreFiles
from xfrmd.daemon.held import ASSIGN, REMEDIES, Condition, Held, Origin, Trouble
from xfrmd.errors import KernelError, PolicyError
from xfrmd.model.store import Store

if TYPE_CHECKING:
    from xfrmd.daemon.enforcement import InForce
    from xfrmd.daemon.stores import Stores
    from xfrmd.policy.package import Kept, Package

_NO_STATE: Final = "the daemon has no state directory to keep a persistent policy in; run it by its unit"
_NOTHING: Final = "no policy in it is assigned; write `assign: yes` to one of them"


class Persistent:
    """The persistent store among the others."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def assign(self, package: Package, *, allow_lockout: bool = False) -> tuple[InForce | None, bool]:
        """Let a policy be the persistent one. What is in force then, and whether that is a change. Raises PolicyError
        (StoreError when it cannot be kept) or KernelError, and nothing has changed.
        """
        stores = self._stores
        async with stores.turn:
            files = self._files()
            if await self._is(package, files, allow_lockout=allow_lockout):
                return stores.enforcement.now, False
            policies = await stores.loaded(package)
            if policies.assigned is None:
                raise PolicyError(f"{package.file}: {_NOTHING}")
            held = stores.of(policies, package, Origin.ASSIGNED, allow_lockout)
            kept = stores.kept(held, package)
            await asyncio.to_thread(files.prepare, Store.PERSISTENT, kept)
            now = await self._with_disk({**stores.held, Store.PERSISTENT: held}, files)
            stores.troubles.pop(Store.PERSISTENT, None)
            await self.duplicate(kept)
            return now, True

    async def unassign(self) -> tuple[InForce | None, bool]:
        """Have no persistent policy any more. As `assign`."""
        stores = self._stores
        async with stores.turn:
            files = self._files()
            if Store.PERSISTENT not in stores.held:
                return stores.enforcement.now, False
            rest = dict(stores.held)
            del rest[Store.PERSISTENT]
            # The disk first: what it refuses must not have been open for a moment.
            kept = await asyncio.to_thread(_readable, files)
            await asyncio.to_thread(files.forget, Store.PERSISTENT)
            try:
                now = await stores.install(rest)
            except (PolicyError, KernelError):
                await self._restore(files, kept)
                raise
            stores.troubles.pop(Store.PERSISTENT, None)
            return now, True

    async def _restore(self, files: StoreFiles, kept: Kept | None) -> None:
        """After what was kept was forgotten in vain."""
        if kept is None:
            return
        try:
            await asyncio.to_thread(files.prepare, Store.PERSISTENT, kept)
            await asyncio.to_thread(files.commit, Store.PERSISTENT)
        except PolicyError as error:
            text = f"policy {kept.policy!r} is in force, but is not kept for the next start: {error}"
            self._stores.trouble(Store.PERSISTENT, Trouble(Condition.UNSAVED, text, ASSIGN))
        else:
            await self.duplicate(kept)

    async def _is(self, package: Package, files: StoreFiles, *, allow_lockout: bool) -> bool:
        """Is this the persistent policy already, in force and on the disk?"""
        held = self._stores.held.get(Store.PERSISTENT)
        if held is None or (held.checksum, held.allow_lockout) != (package.checksum, allow_lockout):
            return False
        kept = await asyncio.to_thread(_readable, files)
        return kept is not None and kept.package == package and Store.PERSISTENT not in self._stores.troubles

    async def _with_disk(self, wanted: Mapping[Store, Held], files: StoreFiles) -> InForce:
        """Put policies in force, then let the disk say the same. What either refuses is undone in the other."""
        before = self._stores.held
        try:
            now = await self._stores.install(wanted)
        except (PolicyError, KernelError):
            await asyncio.to_thread(files.discard, Store.PERSISTENT)
            raise
        try:
            await asyncio.to_thread(files.commit, Store.PERSISTENT)
        except StoreError:
            await self._stores.install(before, allow_lockout=True)
            raise
        return now

    async def duplicate(self, kept: Kept) -> None:
        """Have the second copy equal to the first. That it cannot be written is told, and no error."""
        try:
            await asyncio.to_thread(self._files().duplicate, Store.PERSISTENT, kept)
        except PolicyError as error:
            text = f"policy {kept.policy!r} is kept once instead of twice: {error}"
            self._stores.trouble(Store.PERSISTENT, Trouble(Condition.UNSAVED, text, REMEDIES[Condition.UNSAVED]))

    async def mended(self) -> Held | None:
        """The persistent policy as it is kept, where there was trouble with it and is none any more."""
        files = self._stores.files
        if Store.PERSISTENT not in self._stores.troubles or files is None:
            return None
        try:
            kept = await asyncio.to_thread(files.load, Store.PERSISTENT)
            if kept is None:
                return None
            policies = await self._stores.loaded(kept.package)
            await asyncio.to_thread(files.duplicate, Store.PERSISTENT, kept)
        except PolicyError:
            return None
        file, checksum = kept.package.file, kept.package.checksum
        return Held(policies, file, checksum, kept.since, Origin.ASSIGNED, kept.allow_lockout)

    def _files(self) -> StoreFiles:
        if self._stores.files is None:
            raise StoreError(_NO_STATE)
        return self._stores.files


def _readable(files: StoreFiles) -> Kept | None:
    """What is kept, as far as it can be read."""
    try:
        return files.load(Store.PERSISTENT)
    except PolicyError:
        return None
