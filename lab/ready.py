# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a daemon to say that it is ready, by the protocol of sd_notify(3): an event, not a guess."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from pathlib import Path

READY_TIMEOUT = 60.0
"""Seconds until a started daemon must be ready; a slow guest on a busy machine needs up to ten."""


class NotReady(Exception):  # noqa: N818 - reads as what happened
    """A daemon ended, or stayed silent, instead of becoming ready. `status` is its exit status, if it ended."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Readiness:
    """The socket that NOTIFY_SOCKET names. One for each start."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self.lines: list[str] = []
        self.held: dict[str, int] = {}
        """Descriptors that the daemon wants held for its next life (FDSTORE=1), by name. They are the caller's."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon needs in its environment."""
        return {"NOTIFY_SOCKET": str(self.path)}

    def wait(self, process: subprocess.Popen[str], timeout: float = READY_TIMEOUT) -> None:
        """Return once the daemon has sent READY=1; NotReady when it ends before or stays silent for `timeout` s."""
        deadline = time.monotonic() + timeout
        pidfd = os.pidfd_open(process.pid)
        try:
            while "READY=1" not in self.lines:
                watched = [self._socket.fileno(), pidfd]
                ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
                if self._socket.fileno() in ready:
                    self._hear()
                elif ready:
                    raise NotReady(f"ended with status {process.wait()} before it was ready", process.wait())
                else:
                    raise NotReady(f"not ready within {timeout} s")
        finally:
            os.close(pidfd)

    def _hear(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
        lines = data.decode(errors="replace").splitlines()
        self.lines += lines
        name = next((line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")), "stored")
        self.held.update((name, fd) for fd in fds)

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        self.path.unlink(missing_ok=True)
