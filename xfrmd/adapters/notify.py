# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service tells systemd and gets from it: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

Without systemd (no NOTIFY_SOCKET) every call does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START: inherited descriptors count from here."""


class Notifier:
    """The datagram socket to the service manager."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._watchdog = _watchdog_interval(environ)
        self.inherited = inherited(environ)

    @property
    def present(self) -> bool:
        """Is there a service manager?"""
        return bool(self._address)

    def hold(self, name: str, fd: int) -> None:
        """Have the service manager hold a descriptor, and hand it to later runs under this name."""
        self._send(f"FDSTORE=1\nFDNAME={name}", fd)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two signs of life, half of what systemd waits; None: no watchdog."""
        return self._watchdog

    def ready(self, status: str) -> None:
        """The policy is in force and requests are answered."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """The sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def _send(self, text: str, *fds: int) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(self._address)
            socket.send_fds(sock, [text.encode()], fds)


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Half of WATCHDOG_USEC, when it is meant for this process."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 2e6 or None


class Inherited(NamedTuple):
    """What the service manager hands over: sockets in its order, and other descriptors by their names."""

    sockets: tuple[socket.socket, ...] = ()
    others: Mapping[str, int] = MappingProxyType({})


def inherited(environ: Mapping[str, str]) -> Inherited:
    """What was handed over to this process, and is ours from now on: to be asked for once."""
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not count.isdecimal() or pid != str(os.getpid()):
        return Inherited()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    sockets: list[socket.socket] = []
    others: dict[str, int] = {}
    for number in range(int(count)):
        fd = FIRST_FD + number
        os.set_inheritable(fd, False)
        name = names[number] if number < len(names) else ""
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            sockets.append(socket.socket(fileno=fd))
        elif others.setdefault(name, fd) != fd:
            os.close(fd)
    return Inherited(tuple(sockets), others)
