# SPDX-License-Identifier: GPL-2.0-or-later
"""Small parts of a running daemon: settings, failures to start, tasks that must not die silently."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.adapters.boot_files import BootFiles
from xfrmd.adapters.durable import Disk
from xfrmd.adapters.fetched_lists import FetchedLists
from xfrmd.adapters.lasting_secrets import LastingSecrets
from xfrmd.adapters.names.store import NameStore
from xfrmd.adapters.policy_files import PolicyFiles
from xfrmd.adapters.policy_stores import StoreFiles
from xfrmd.adapters.revoked_file import RevokedFile
from xfrmd.control.exits import ExitCode
from xfrmd.daemon.core import Faults
from xfrmd.errors import KernelError, XfrmdError
from xfrmd.model.store import Store


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. Without a policy file the daemon starts with no policy of its own accord."""

    policy: PolicyFiles | None
    directory: PolicyFiles | None
    control: Path
    environ: Mapping[str, str]

    @property
    def name_store(self) -> NameStore | None:
        """The file of last answers, below the state directory that systemd made (systemd.exec(5)); None without."""
        directory = self.environ.get("STATE_DIRECTORY")
        return NameStore(Path(directory) / "names.json") if directory else None

    @property
    def boot_files(self) -> BootFiles | None:
        """What the next start of the system loads; None without a state directory."""
        state, runtime = (self.environ.get(f"{name}_DIRECTORY") for name in ("STATE", "RUNTIME"))
        return BootFiles(Path(state), Path(runtime) if runtime else None) if state else None

    @property
    def crash_secrets(self) -> LastingSecrets | None:
        """The secrets of tokens that tell peers of lost SAs; None without a state directory."""
        return self._secrets("crash-secrets.json", limits.TOKEN_SECRET_AGE)

    @property
    def ticket_keys(self) -> LastingSecrets | None:
        """The keys of tickets by which lost IKE SAs go on; None without a state directory."""
        return self._secrets("ticket-keys.json", limits.TICKET_LIFETIME)

    def _secrets(self, name: str, age: float) -> LastingSecrets | None:
        directory = self.environ.get("STATE_DIRECTORY")
        return LastingSecrets(Path(directory) / name, Disk(), age) if directory else None

    @property
    def fetched_lists(self) -> FetchedLists | None:
        """Revocation lists that were fetched; None without a state directory."""
        directory = self.environ.get("STATE_DIRECTORY")
        return FetchedLists(Path(directory) / "revocation", Disk()) if directory else None

    @property
    def revoked(self) -> RevokedFile | None:
        """Whom responders have called revoked; None without a state directory."""
        directory = self.environ.get("STATE_DIRECTORY")
        return RevokedFile(Path(directory) / "revoked.json", Disk()) if directory else None

    @property
    def sources(self) -> dict[Store, PolicyFiles]:
        """Where policies are read from."""
        files = {Store.DIRECTORY: self.directory, Store.LOCAL: self.policy}
        return {store: one for store, one in files.items() if one is not None}

    @property
    def store_files(self) -> StoreFiles | None:
        """Where policies are kept; None without a state directory."""
        directory = self.environ.get("STATE_DIRECTORY")
        return StoreFiles(Path(directory) / "stores") if directory else None


class StartError(XfrmdError):
    """The daemon cannot start. One line with the remedy in it, and the program's exit code."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_EXITS: Final = {
    errno.EADDRINUSE: ExitCode.PORT_IN_USE,
    errno.EPERM: ExitCode.NO_PRIVILEGE,
    errno.EACCES: ExitCode.NO_PRIVILEGE,
    errno.EPROTONOSUPPORT: ExitCode.KERNEL_LACKS,
    errno.EAFNOSUPPORT: ExitCode.KERNEL_LACKS,
    errno.EOPNOTSUPP: ExitCode.KERNEL_LACKS,
    errno.ENOPROTOOPT: ExitCode.KERNEL_LACKS,
    errno.ENOSYS: ExitCode.KERNEL_LACKS,
}
_REMEDIES: Final = {
    ExitCode.NO_PRIVILEGE: "; run it as root, or with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE",
    ExitCode.KERNEL_LACKS: "; use a kernel with XFRM, ESP, nftables and nfnetlink_queue (any Debian kernel has them)",
}


def start_error(error: KernelError) -> StartError:
    """The end of a start that the kernel refused."""
    code = _EXITS.get(error.errno, ExitCode.ERROR)
    return StartError(f"{error}{_REMEDIES.get(code, '')}", code)


Step = Callable[[], float | Awaitable[float] | None]


async def every(seconds: float, what: str, step: Step, faults: Faults) -> None:
    """Take a step again and again; a fault in one is told and the next is taken all the same. A step may say after how
    many seconds the next one is due.
    """
    pause: float | None = None
    while True:
        await asyncio.sleep(seconds if pause is None else pause)
        pause = None
        try:
            found = step()
            pause = await found if isinstance(found, Awaitable) else found
        except Exception as error:  # noqa: BLE001 (a fault in one step must not end all later ones)
            faults(what, error)


class Errands:
    """Tasks in the background: none is lost to the garbage collector, no exception stays unheard."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, what: str, work: Awaitable[object]) -> None:
        """Run something to its end."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 (nobody awaits an errand)
                self.faults(what, error)

        task = asyncio.get_running_loop().create_task(run(), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def every(self, seconds: float, what: str, step: Step) -> None:
        """Take a step again and again (see `every`)."""
        self.start(what, every(seconds, what, step, self.faults))

    async def cancel(self) -> None:
        """End all of them."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
