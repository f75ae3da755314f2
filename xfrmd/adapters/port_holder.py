# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds a UDP port: /proc/net/udp gives the inode, /proc/*/fd the process (proc(5))."""

from __future__ import annotations

import contextlib
from pathlib import Path


def _inodes(proc: Path, port: int) -> set[str]:
    """Inodes of UDP sockets bound to `port`, either family."""
    found: set[str] = set()
    for name in ("net/udp", "net/udp6"):
        with contextlib.suppress(OSError):
            for line in (proc / name).read_text().splitlines()[1:]:
                columns = line.split()
                if len(columns) > 9 and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(columns[9])
    return found


def _holds(process: Path, wanted: set[str]) -> bool:
    """Has this process one of the sockets open? A process that may not be looked into, or is gone: no."""
    with contextlib.suppress(OSError):
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(fd.readlink()) in wanted:
                    return True
    return False


def udp_port_holder(port: int, proc: Path = Path("/proc")) -> str:
    """The process that has a UDP socket on `port`, as "charon (pid 123)"; "another process" when it cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(proc, port)}
    for process in proc.iterdir() if wanted else ():
        if process.name.isdecimal() and _holds(process, wanted):
            with contextlib.suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "another process"
