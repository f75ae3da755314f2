# SPDX-License-Identifier: GPL-2.0-or-later
"""Custody of what outlives the process: the engine's changes into the state file, before anything follows from them.

Where that fails, nothing is kept any more: what a later run cannot know completely it must not take for the state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.notify import Notifier
from xfrmd.adapters.state_file import StateFile
from xfrmd.adapters.state_key import StateKey, fresh_page
from xfrmd.ike.saved import VERSION, Record, Saved, decode
from xfrmd.model.notice import Level, Notice

KEY_NAME: Final = "xfrmd-key"
"""By which the service manager knows the descriptor of the key."""


class Changing(Protocol):
    """What of the engine is needed here."""

    def changes(self) -> Sequence[Record]:
        """What has changed of that which outlives the process, since it was asked for last."""

    def forget_changes(self) -> None:
        """Nothing is kept."""


class Custody:
    """Without a file nothing is kept: `file` is None where there is no service manager to hold its key."""

    def __init__(self, file: StateFile | None, engine: Changing, tell: Callable[[Notice], None]) -> None:
        self._file = file
        self._engine = engine
        self._tell = tell
        self._begun = False
        self._found = Saved()

    @property
    def active(self) -> bool:
        """Will another run find what this one knows?"""
        return self._begun and self._file is not None

    def look(self) -> Saved:
        """What an earlier run has left, as far as it is to be believed. The file stays as it is."""
        if self._file is None:
            return Saved()
        try:
            self._found = decode(self._file.read().values())
        except ValueError as error:
            text = f"SAs of the run before are negotiated anew: {self._file.path}: {error}"
            remedy = "nothing is to be done: their traffic waits until then and never passes in the clear"
            self._tell(Notice(Level.NOTICE, "state-refused", text, {"reason": str(error)}, remedy))
        return self._found

    def take(self) -> Saved:
        """What was found, once. From then on the engine's state takes its place, adopted or not."""
        found, self._found, self._begun = self._found, Saved(), True
        return found

    def keep(self) -> None:
        """Keep what has changed. To be called after each event, before its effects are carried out."""
        if self._file is None:
            self._engine.forget_changes()
        elif self._begun and (records := self._engine.changes()):
            try:
                self._file.append(records)
            except Exception as error:  # noqa: BLE001 (whatever it was: what is in the file is not the state any more)
                self._give_up(error)

    def close(self) -> None:
        """Write no more; the file stays for the next run."""
        if self._file is not None:
            self._file.close()

    def forget(self) -> None:
        """Nothing is to be adopted: peers were told that all SAs end."""
        if self._file is not None and self._begun:
            self._file.discard()

    def _give_up(self, error: Exception) -> None:
        file, self._file = self._file, None
        assert file is not None
        file.discard()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        text = f"SAs of this run will not outlive it: {file.path}: {reason}"
        remedy = "make room there; after the next start they are negotiated anew, and their traffic waits for that"
        self._tell(Notice(Level.ERROR, "state-lost", text, {"reason": reason}, remedy))


def state_file(environ: Mapping[str, str], notifier: Notifier, tell: Callable[[Notice], None]) -> StateFile | None:
    """The state file of this service. Its key is the one that the service manager holds, or a new one for it to hold.

    None where there is no service manager, or no directory that it keeps over restarts.
    """
    directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not directory or not notifier.present:
        return None
    try:
        key = _key(notifier.inherited.others)
        if key is None:
            key = StateKey(fresh_page(system_entropy))
            notifier.hold(KEY_NAME, key.fd)
    except (OSError, ValueError) as error:
        tell(
            Notice(Level.WARNING, "state-key", f"no key for the state of SAs: {error}; a restart negotiates them anew")
        )
        return None
    return StateFile(Path(directory) / "sas", key, system_entropy, VERSION)


def _key(stored: Mapping[str, int]) -> StateKey | None:
    fd = stored.get(KEY_NAME)
    if fd is None:
        return None
    try:
        return StateKey(fd)
    except (OSError, ValueError):
        os.close(fd)
        return None
