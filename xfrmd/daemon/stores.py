# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy stores of a running daemon: what each holds, how a policy comes into one and out of it, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from xfrmd.adapters.policy_files import Loaded
from xfrmd.adapters.policy_stores import StoreFiles
from xfrmd.daemon.enforcement import Enforcement, InForce
from xfrmd.daemon.held import ASSIGN, REMEDIES, Condition, Held, Origin, Trouble, first_error
from xfrmd.daemon.persistent import Persistent
from xfrmd.daemon.ports import PolicySource
from xfrmd.errors import KernelError, PolicyError
from xfrmd.model.notice import Level, Notice
from xfrmd.model.store import Store
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.package import DamagedError, Kept, NewerFormatError, Package
from xfrmd.policy.resolve import SecretReader
from xfrmd.policy.stores import decisive, merge
from xfrmd.policy.words import PolicySet


def trouble_of(store: Store, where: str, error: PolicyError | KernelError) -> Trouble:
    """What an error about the policy of a store means."""
    match error:
        case KernelError():
            condition, told = Condition.REFUSED, f"the kernel refuses it: {error}"
        case PolicyErrors():
            condition, told = Condition.BAD, first_error(error.problems)
        case NewerFormatError():
            condition, told = Condition.NEWER, str(error)
        case DamagedError():
            condition, told = Condition.DAMAGED, str(error)
        case _:
            condition, told = Condition.UNREADABLE, str(error)
    told = told.removeprefix(f"{where}: ")
    persistent = store is Store.PERSISTENT and condition in (Condition.DAMAGED, Condition.BAD, Condition.UNREADABLE)
    return Trouble(condition, f"policy {where} cannot be used: {told}", ASSIGN if persistent else REMEDIES[condition])


class Stores:
    """Holds what the stores hold. `sources` are where policies are read from, `files` where they are kept (None:
    nowhere), `clock` is wall-clock time.
    """

    def __init__(
        self,
        enforcement: Enforcement,
        sources: Mapping[Store, PolicySource],
        files: StoreFiles | None,
        *,
        read_secret: SecretReader,
        tell: Callable[[Notice], None],
        clock: Callable[[], float],
    ) -> None:
        self.enforcement, self.sources, self.files = enforcement, sources, files
        self.read_secret, self.tell, self.clock = read_secret, tell, clock
        self.held: dict[Store, Held] = {}
        self.troubles: dict[Store, Trouble] = {}
        self.starting = False
        """Is what is in force only a part of what a start puts in force?"""
        self.persistent = Persistent(self)
        self.turn = asyncio.Lock()
        """Whoever changes what stores hold has it."""

    # What is in force

    def together(self, changed: Mapping[Store, PolicySet | None]) -> PolicySet:
        """What would be in force if these stores held these policies, None for nothing."""
        sets: dict[Store, PolicySet | None] = {store: held.policies for store, held in self.held.items()}
        return merge({store: policies for store, policies in (sets | dict(changed)).items() if policies is not None})

    async def install(self, wanted: Mapping[Store, Held], *, allow_lockout: bool = False) -> InForce:
        """Have the stores hold these policies, and put them in force. Raises PolicyError or KernelError."""
        policies = merge({store: held.policies for store, held in wanted.items()})
        if allow_lockout or any(held.allow_lockout for held in wanted.values()):
            policies = replace(policies, config=replace(policies.config, allow_lockout=True))
        store = decisive({store: held.policies for store, held in wanted.items()})
        first = wanted.get(store) or wanted.get(Store.PERSISTENT)
        now = await self.enforcement.put(policies, first.file if first else "")
        self.held = dict(wanted)
        return now

    def degraded(self) -> tuple[str, ...]:
        """What is wrong with the stores, for people."""
        troubles = sorted(self.troubles.items(), key=lambda pair: pair[0].rank)
        return tuple(
            f"{store.value} store: {one.message}{self._instead(store)}; {one.remedy}" for store, one in troubles
        )

    def _instead(self, store: Store) -> str:
        """What is in force in the place of what cannot be used."""
        held = self.held.get(store)
        if held is None:
            return "; nothing of this store is in force"
        return "; its last good policy is in force" if held.origin is Origin.LAST_GOOD else ""

    def trouble(self, store: Store, trouble: Trouble) -> None:
        """Tell what is wrong with a store, and remember it. What is known is not told again."""
        if self.troubles.get(store) == trouble:
            return
        self.troubles[store] = trouble
        fields = {"store": store.value, "condition": trouble.condition.value}
        text = f"{store.value} store: {trouble.message}"
        self.tell(Notice(Level.ERROR, "store-degraded", text, fields, trouble.remedy))

    # Changing it

    async def apply(self, package: Package, *, allow_lockout: bool = False) -> InForce:
        """Put a policy in force in the place of the local store's. Raises PolicyError or KernelError."""
        async with self.turn:
            policies = await self.loaded(package)
            held = self.of(policies, package, Origin.APPLIED, allow_lockout)
            return await self._replace(Store.LOCAL, held, package, self.held)

    async def reload(self) -> InForce:
        """Read what the directory and the local store say now. What is wrong with the directory is only told. Raises
        PolicyError or KernelError, and what was in force stays.
        """
        async with self.turn:
            wanted, mended = dict(self.held), await self.persistent.mended()
            if mended is not None:
                wanted[Store.PERSISTENT] = mended
            found = directory = await self._directory()
            if found is not None:
                wanted[Store.DIRECTORY] = found[0]
            store = decisive({store: held.policies for store, held in wanted.items()})
            if store is Store.LOCAL and Store.LOCAL in self.sources:
                policies, package = await self.read(Store.LOCAL)
                found = self.of(policies, package, Origin.FILE), package
            if found is None or store not in self.sources:
                now = await self.install(wanted)
            else:
                now = await self._replace(store, *found, wanted)
            if mended is not None:
                self.troubles.pop(Store.PERSISTENT, None)
            if directory is not None and store is not Store.DIRECTORY:
                self.troubles.pop(Store.DIRECTORY, None)
            return now

    async def ask_again(self) -> None:
        """Look whether a directory says something else now, or can be used that could not. What its policy cannot be is
        told.
        """
        if Store.DIRECTORY not in self.sources:
            return
        async with self.turn:
            found, held = await self._directory(), self.held.get(Store.DIRECTORY)
        same = found is not None and held is not None and found[0].checksum == held.checksum
        if found is None or (same and Store.DIRECTORY not in self.troubles):
            return
        try:
            await self.reload()
        except (PolicyError, KernelError) as error:
            nothing = found[0].policies.assigned is None and Store.LOCAL in self.sources
            store = Store.LOCAL if nothing else Store.DIRECTORY
            self.trouble(store, trouble_of(store, self.sources[store].first, error))

    async def _directory(self) -> tuple[Held, Package] | None:
        """The directory's policy now; None where there is no directory, or it cannot be used (told)."""
        if Store.DIRECTORY not in self.sources:
            return None
        try:
            policies, package = await self.read(Store.DIRECTORY)
        except PolicyError as error:
            self.trouble(Store.DIRECTORY, trouble_of(Store.DIRECTORY, self.sources[Store.DIRECTORY].first, error))
            return None
        return self.of(policies, package, Origin.FILE), package

    async def read(self, store: Store) -> Loaded:
        """What a store's source says now. Raises PolicyError."""
        return await asyncio.to_thread(self.sources[store].load, self.read_secret)

    async def _replace(self, store: Store, held: Held, package: Package, beside: Mapping[Store, Held]) -> InForce:
        """Let a store hold another policy beside those of others, and keep it as its last good one."""
        now = await self.install({**beside, store: held})
        self.troubles.pop(store, None)
        await self.save(store, held, package)
        return now

    async def save(self, store: Store, held: Held, package: Package) -> None:
        """Keep what is in force, if it is not kept already. That it cannot be kept is told, and no error."""
        in_force = store is decisive({each: one.policies for each, one in self.held.items()})
        if self.files is None or not in_force:
            return
        try:
            await asyncio.to_thread(_save, self.files, store, self.kept(held, package))
        except PolicyError as error:
            name = held.policies.assigned.name if held.policies.assigned else ""
            text = f"policy {name!r} is in force, but is not kept for a start at which {held.file} cannot be used: "
            self.trouble(store, Trouble(Condition.UNSAVED, f"{text}{error}", REMEDIES[Condition.UNSAVED]))

    async def keep(self, store: Store, held: Held, package: Package) -> None:
        """Keep what a start has put in force: as the last good policy, or as the second copy."""
        if store is not Store.PERSISTENT:
            await self.save(store, held, package)
        elif self.files is not None:
            await self.persistent.duplicate(self.kept(held, package))

    async def loaded(self, package: Package) -> PolicySet:
        """The policies of a package, with their secrets. Raises PolicyErrors."""
        sources = package.sources
        return await asyncio.to_thread(load, package.text, package.file, self.read_secret, sources=sources)

    def of(self, policies: PolicySet, package: Package, origin: Origin, allow_lockout: bool = False) -> Held:
        """What a store comes to hold now."""
        return Held(policies, package.file, package.checksum, self.clock(), origin, allow_lockout)

    def kept(self, held: Held, package: Package) -> Kept:
        """How a policy is kept."""
        assigned = held.policies.assigned
        return Kept(package, assigned.name if assigned else "", held.since, held.allow_lockout)


def _save(files: StoreFiles, store: Store, kept: Kept) -> None:
    try:
        before = files.load(store)
    except PolicyError:  # what is damaged is replaced; what is of a newer version is not, says `prepare`
        before = None
    if before is not None and before.package == kept.package:
        return
    files.prepare(store, kept)
    files.commit(store)
