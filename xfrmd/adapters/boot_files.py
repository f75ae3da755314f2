# SPDX-License-Identifier: GPL-2.0-or-later
"""What the next start of the system loads before the daemon runs. The script units/boot-filter knows these names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.adapters.durable import Disk, FileLayer, prepare, put_in_place

BOOT: Final = "boot.nft"
BLOCK: Final = "block.nft"
_HAD_POLICY: Final = "had-policy"
_LIFTED: Final = "boot-lifted"


class BootFiles:
    """Files in the state directory, and one in the runtime directory, which is empty after a start of the system."""

    def __init__(self, state: Path, runtime: Path | None, disk: FileLayer | None = None) -> None:
        self._state, self._runtime = state, runtime
        self._disk = Disk() if disk is None else disk

    def had_policy(self) -> bool:
        """Has a policy ever been in force on this host? OSError."""
        return self._disk.read(self._state / _HAD_POLICY, 1) is not None

    def remember_policy(self) -> None:
        """Now one is: from here on a missing boot filter is a fault. OSError."""
        if not self.had_policy():
            self.save(_HAD_POLICY, "")

    def save(self, name: str, text: str) -> None:
        """Replace one of the files, so that it outlives a loss of power at any moment. OSError with its name."""
        path = self._state / name
        try:
            prepare(self._disk, path, text.encode("ascii"))
            put_in_place(self._disk, path)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error

    def load(self, name: str) -> str | None:
        """One of the files; None where there is none. What is not ASCII is damaged, and comes out as such. OSError."""
        octets = self._disk.read(self._state / name, limits.BOOT_FILE)
        return None if octets is None else octets.decode("ascii", "replace")

    def remove(self, name: str) -> None:
        """Remove one of the files, if it is there. OSError."""
        self._disk.remove(self._state / name)
        self._disk.sync_directory(self._state)

    def lifted(self) -> None:
        """A policy is in force: a reload of nftables.service is not to load the boot filter again. OSError."""
        if self._runtime is not None:
            (self._runtime / _LIFTED).touch(mode=0o600)
