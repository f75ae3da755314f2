# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter: lifted when the first policy is in force, and saved for the next start when a policy has changed.

While the new filter is compiled, the file blocks: a loss of power in that moment must not leave the filter of a policy
that was given up. What cannot be saved leaves no file, so that the next start blocks and says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from xfrmd.adapters.boot_files import BLOCK, BOOT
from xfrmd.compiler.boot import block_file, boot_file, boot_mode, seal_of
from xfrmd.compiler.names import names_of
from xfrmd.daemon.ports import BootStore
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.notice import Level, Notice
from xfrmd.policy import PolicyErrors
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import BootExemption, BootMode, Config, PolicySet

_BLOCKS: Final = "the next start of the system blocks all traffic but exemptions until a policy is in force"
_EARLIER: Final = "what is there cannot be removed either, so the next start loads the boot filter that was saved last"


class Saved(NamedTuple):
    """All that the file for the next start depends on."""

    policies: PolicySet
    names: Mapping[str, tuple[Address, ...]]

    def same(self, other: Saved | None) -> bool:
        """Does the other give the same file? Policies are compared by identity: equal ones are read seldom."""
        return other is not None and self.policies is other.policies and self.names == other.names


class BootState(NamedTuple):
    """The next start of the system, and this one's. `mode` and `exemptions` are those of the policy in force."""

    mode: BootMode
    exemptions: tuple[BootExemption, ...]
    had_policy: bool
    saved: Mapping[str, BootMode | str]
    """By file: its mode, or "damaged", "missing" or "unreadable". Empty: nothing is ever saved here."""
    loaded: bool
    """Does the table stand in the kernel now?"""


class BootFilter:
    """Lifts this start's filter, and saves the next one's. `lift` removes the table, and tells whether there was one.

    Without `files` nothing is saved: a daemon that was started by hand leaves the start of the system alone.
    """

    def __init__(self, files: BootStore | None, lift: Callable[[], bool], tell: Callable[[Notice], None]) -> None:
        self._files, self._lift, self._tell = files, lift, tell
        self._lifted = False
        self._wanted: Saved | None = None
        self._spoken: frozenset[str] = frozenset()
        """The DNS names in it."""
        self._saved: Saved | None = None
        self._turn = asyncio.Lock()
        self._troubles: dict[str, str] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is not as it should be."""
        return tuple(self._troubles.values())

    def lift(self) -> None:
        """A policy is in force: remove the table that stood since the start. One that stays is told, and tried again
        with the next policy.
        """
        if self._lifted:
            return
        try:
            if self._files is not None:
                self._files.lifted()
            found = self._lift()
        except (KernelError, OSError) as error:
            self._trouble("lift", Level.ERROR, f"the boot filter stays beside the policy: {error}", _LIFT_REMEDY)
            return
        self._lifted = True
        self._troubles.pop("lift", None)
        if found:
            self._tell(Notice(Level.NOTICE, "boot-filter-lifted", "the policy is in force; the boot filter is lifted"))

    def want(self, policies: PolicySet, facts: HostFacts) -> bool:
        """What is in force now. Is there anything to save?"""
        before = self._wanted
        spoken = self._spoken if before is not None and before.policies is policies else names_of(policies)
        self._spoken = spoken
        self._wanted = Saved(policies, {name: facts.names[name] for name in sorted(spoken) if name in facts.names})
        return self._files is not None and not self._wanted.same(self._saved)

    async def save(self) -> None:
        """Save what is in force for the next start of the system."""
        async with self._turn:
            wanted, files = self._wanted, self._files
            if wanted is None or files is None or wanted.same(self._saved):
                return
            renamed = self._saved is not None and self._saved.policies is wanted.policies
            try:
                await asyncio.to_thread(_save, files, wanted, renamed=renamed)
            except PolicyErrors as error:
                text = f"the boot filter cannot be compiled for an unknown host; {_BLOCKS}: {error}"
                self._trouble("save", Level.WARNING, text, "write bootmode: block, or what the errors say")
            except OSError as error:
                self._saved = None
                instead = await asyncio.to_thread(_forget, files)
                self._trouble("save", Level.ERROR, f"the boot filter cannot be saved: {error}; {instead}", _SAVE_REMEDY)
                return
            else:
                self._troubles.pop("save", None)
            self._saved = wanted

    def state(self, config: Config, *, loaded: bool) -> BootState:
        """What there is. Reads the files, which takes a while where the policy is large."""
        if self._files is None:
            return BootState(boot_mode(config, ever_assigned=True), config.bootexemptions, False, {}, loaded)
        try:
            had_policy = self._files.had_policy()
        except OSError:
            had_policy = True  # as the loader takes it
        saved = {name: _look(self._files, name) for name in (BOOT, BLOCK)}
        mode = boot_mode(config, ever_assigned=had_policy)
        return BootState(mode, config.bootexemptions, had_policy, saved, loaded)

    def _trouble(self, what: str, level: Level, text: str, remedy: str) -> None:
        self._troubles[what] = text
        self._tell(Notice(level, f"boot-filter-{what}", text, remedy=remedy))


_LIFT_REMEDY: Final = "nft delete table inet xfrmd_boot"
_SAVE_REMEDY: Final = "make room on the file system of the state directory, or have it written to; then xfrmctl reload"


def _forget(files: BootStore) -> str:
    """Leave no filter of another policy behind. What the next start does then."""
    try:
        files.remove(BOOT)
    except OSError:
        return _EARLIER
    return _BLOCKS


def _look(files: BootStore, name: str) -> BootMode | str:
    """The mode of a saved file, or what is wrong with it."""
    try:
        text = files.load(name)
    except OSError:
        return "unreadable"
    return "missing" if text is None else seal_of(text) or "damaged"


def _save(files: BootStore, wanted: Saved, *, renamed: bool) -> None:
    """Write the files. PolicyErrors: they block. `renamed`: nothing but the addresses of names has changed."""
    policies, config = wanted.policies, wanted.policies.config
    if policies.in_force:
        files.remember_policy()
    mode = boot_mode(config, ever_assigned=files.had_policy())
    if not renamed:
        block = block_file(config)
        files.save(BLOCK, block)
        if mode is not BootMode.PERMIT:
            files.save(BOOT, block)
    if mode is not BootMode.BLOCK:
        with collector_paused():
            text = boot_file(policies, HostFacts(names=dict(wanted.names)), mode)
        files.save(BOOT, text)
