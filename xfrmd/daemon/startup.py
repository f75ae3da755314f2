# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies that a start puts in force, store by store: the persistent one before anything else is tried.

Where a store's own policy cannot be used, `held.MATRIX` says what takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from xfrmd.control.exits import ExitCode
from xfrmd.daemon.held import ASSIGN, ENDS, REMEDIES, Condition, Held, Origin, Resort, Trouble, resort
from xfrmd.daemon.parts import StartError, start_error
from xfrmd.daemon.stores import Stores, trouble_of
from xfrmd.errors import CredentialError, KernelError, PolicyError
from xfrmd.model.notice import Level, Notice
from xfrmd.model.pad import RootcaAuth
from xfrmd.model.secret import SecretRef, StandIn
from xfrmd.model.source import Severity
from xfrmd.model.store import Store
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.package import Package
from xfrmd.policy.words import PolicySet

_STAND_IN: Final = 32
"""Octets of what stands in for a secret that cannot be read: nobody guesses it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that a start may put in force. `secrets`: why some of its secrets are not the real ones."""

    held: Held
    package: Package
    secrets: tuple[str, ...] = ()


def _unusable(policies: PolicySet) -> Iterator[str]:
    """Certificates that could be read, and are none."""
    for rule in policies.assigned.rules if policies.assigned else ():
        if any(isinstance(method, RootcaAuth) and not method.certificates for method in rule.auth):
            yield f"certificates of rule {rule.name!r}"


class Startup:
    """One start. `fresh`: the kernel has nothing of an earlier run, so that a part of what is wanted is more than
    nothing. Of an earlier run nothing may go before all of it has come again. `report` hears each mistake in a policy.
    """

    def __init__(
        self, stores: Stores, entropy: Callable[[int], bytes], report: Callable[[Notice], None], *, fresh: bool
    ) -> None:
        self._stores, self._entropy, self._report, self._fresh = stores, entropy, report, fresh
        self._wanted: dict[Store, Held] = {}
        self._error: KernelError | None = None
        """Why the kernel refused the last policy that it did refuse."""

    async def run(self) -> None:
        """Put in force what can be. Raises StartError where that is nothing, although something is assigned."""
        self._stores.starting = True
        try:
            if self._stores.files is not None:
                await self._settle(Store.PERSISTENT)
            for store in (Store.DIRECTORY, Store.LOCAL):
                if store in self._stores.sources and await self._settle(store):
                    break
            if not self._wanted and self._stores.troubles:
                raise self._end(min(self._stores.troubles, key=lambda store: store.rank))
            if self._wanted != self._stores.held:
                await self._whole()
        finally:
            self._stores.starting = False

    async def _whole(self) -> None:
        """What has waited for more that did not come."""
        one = self._wanted[min(self._wanted, key=lambda store: store.rank)]
        try:
            await self._stores.install(self._wanted, allow_lockout=True)
        except (PolicyError, KernelError) as error:
            self._tell(Store.PERSISTENT, one.file, error)
            raise self._end(Store.PERSISTENT) from error

    async def _settle(self, store: Store) -> bool:
        """What a store says, or what takes its place. False: look at the next store."""
        where = self._where(store)
        own = await self._load(store, Origin.ASSIGNED if store is Store.PERSISTENT else Origin.FILE)
        if own is not None and await self._stands(store, own, where):
            return own.held.policies.assigned is not None
        kept = await self._load(store, Origin.LAST_GOOD)
        if own is None and store not in self._stores.troubles:
            if kept is None:
                return False  # nothing is assigned
            text = f"policy {where} is missing"
            self._stores.trouble(store, Trouble(Condition.UNREADABLE, text, ASSIGN))
        found = resort(store, kept=kept is not None, persistent=Store.PERSISTENT in self._wanted)
        if found is Resort.LAST_GOOD and kept is not None:
            if await self._stands(store, kept, where):
                return kept.held.policies.assigned is not None
            found = resort(store, kept=False, persistent=Store.PERSISTENT in self._wanted)
        # An earlier run may still enforce what was good last: less than that must not take its place.
        if found is Resort.BLOCK or (found is Resort.PERSISTENT and kept is not None and not self._fresh):
            raise self._end(store)
        return found is not Resort.LOCAL

    def _where(self, store: Store) -> str:
        source, files = self._stores.sources.get(store), self._stores.files
        return source.first if source else str(files.path(store)) if files else store.value

    async def _stands(self, store: Store, one: Candidate, where: str) -> bool:
        """Put a candidate in force beside what is wanted already; False when it cannot be (told).

        What assigns nothing, and where an earlier run enforces more, the persistent policy, wait for the others.
        """
        wanted = {**self._wanted, store: one.held}
        nothing = store is Store.DIRECTORY and one.held.policies.assigned is None
        if not nothing and (self._fresh or store is not Store.PERSISTENT):
            try:
                await self._stores.install(wanted, allow_lockout=True)
            except (PolicyError, KernelError) as error:
                self._tell(store, where, error)
                return False
        self._wanted = wanted
        if one.secrets:
            text = f"policy {where} is in force, but nobody is authenticated by these secrets: {'; '.join(one.secrets)}"
            self._stores.trouble(store, Trouble(Condition.SECRETS, text, REMEDIES[Condition.SECRETS]))
        if one.held.origin is not Origin.LAST_GOOD:
            await self._stores.keep(store, one.held, one.package)
        return True

    # Reading

    async def _load(self, store: Store, origin: Origin) -> Candidate | None:
        """What a store's source says, or what is kept of it; None when there is nothing, or nothing good (told)."""
        try:
            if origin is Origin.FILE:
                policies, package = await self._stores.read(store)
                return Candidate(self._stores.of(policies, package, origin), package)
            return await self._kept(store, origin)
        except PolicyError as error:
            self._tell(store, self._where(store), error)
            return None

    async def _kept(self, store: Store, origin: Origin) -> Candidate | None:
        files, missing = self._stores.files, list[str]()
        copy = origin is Origin.LAST_GOOD
        kept = await asyncio.to_thread(files.load, store, copy=copy) if files is not None else None
        if kept is None:
            return None

        def read_secret(reference: SecretRef) -> bytes:
            try:
                return self._stores.read_secret(reference)
            except CredentialError as error:
                if not copy:
                    raise
                missing.append(str(error))
                return StandIn(self._entropy(_STAND_IN))

        package, unread = kept.package, Severity.WARNING if copy else Severity.ERROR
        sources = package.sources
        policies = await asyncio.to_thread(load, package.text, package.file, read_secret, unread, sources)
        missing = missing or [*_unusable(policies)]
        held = Held(policies, package.file, package.checksum, kept.since, origin, kept.allow_lockout)
        return Candidate(held, package, tuple(missing))

    # Telling

    def _tell(self, store: Store, where: str, error: PolicyError | KernelError) -> None:
        """What is wrong with a store. Of several things the first is what status shows: the others follow from it."""
        for problem in error.problems if isinstance(error, PolicyErrors) else ():
            if problem.severity is Severity.ERROR:
                text = f"{problem.at}: {problem.severity.value}: {problem.message}"
                self._report(Notice(Level.ERROR, "policy-problem", text, {"at": str(problem.at)}, problem.remedy))
        if isinstance(error, KernelError):
            self._error = error
        first, trouble = self._stores.troubles.get(store), trouble_of(store, where, error)
        self._stores.trouble(store, trouble)
        if first is not None:
            self._stores.troubles[store] = first

    def _end(self, store: Store) -> StartError:
        """Why nothing could be put in force."""
        if self._error is not None and (end := start_error(self._error)).exit_code is not ExitCode.ERROR:
            return end
        trouble = self._stores.troubles[store]
        text = f"not started: {store.value} store: {trouble.message}; the kernel is left as it is; {trouble.remedy}"
        return StartError(text, ENDS.get(trouble.condition, ExitCode.NO_POLICY))
