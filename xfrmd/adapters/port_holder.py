# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds a UDP port: /proc/net/udp gives the inode, /proc/*/fd the process (proc(5)).

A sandboxed daemon may not look into other processes. Then the socket's cgroup, which anyone may ask for (sock_diag(7)),
gives the systemd unit.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink, netlink_dump
from xfrmd.errors import KernelError

# <linux/sock_diag.h>, <linux/inet_diag.h>
_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = struct.Struct("=BBBxI HH44x")
"""struct inet_diag_req_v2: family, protocol, extensions, states (a mask), then source and destination port."""
_ALL_STATES: Final = 0xFFFFFFFF
_REPLY_SIZE: Final = 72
_SOURCE_PORT: Final = struct.Struct(">4xH")
_CGROUP_ID: Final = 21
_ID: Final = struct.Struct("=Q")


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


def _opened() -> socket.socket:
    return netlink.open_socket(_NETLINK_SOCK_DIAG)


def _diagnosed(family: int, port: int) -> Iterator[bytes]:
    """What the kernel tells of each UDP socket of a family, by sock_diag. Raises KernelError."""
    body = _REQUEST.pack(family, socket.IPPROTO_UDP, 0, _ALL_STATES, socket.htons(port), 0)
    for message in netlink_dump.steady(lambda: netlink_dump.dump(_opened, "UDP sockets", _BY_FAMILY, body)):
        if len(message.body) >= _REPLY_SIZE and _SOURCE_PORT.unpack_from(message.body)[0] == port:
            yield message.body


def _cgroup(port: int) -> int | None:
    """The id of the cgroup in which the port's socket was made; None when the kernel does not tell."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(KernelError):
            for body in _diagnosed(family, port):
                found = netlink.attributes(body, _REPLY_SIZE).get(_CGROUP_ID, b"")
                if len(found) == _ID.size:
                    return int(_ID.unpack(found)[0])
    return None


def _unit(cgroup: int, root: Path) -> str | None:
    """The name of a cgroup, which is the inode of its directory (cgroups(7)); None for the root, or a strange one."""
    top = root if (root / "cgroup.controllers").exists() else root / "unified"
    for path in itertools.islice(top.rglob("*/"), limits.CGROUPS):
        with contextlib.suppress(OSError):
            if path.stat().st_ino == cgroup:
                return path.name
    return None


def udp_port_holder(port: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> str:
    """Who has a UDP socket on `port`: "charon (pid 123)", else its unit as "strongswan.service", else "another
    process".
    """
    wanted = {f"socket:[{inode}]" for inode in _inodes(proc, port)}
    for process in proc.iterdir() if wanted else ():
        if process.name.isdecimal() and _holds(process, wanted):
            with contextlib.suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    cgroup = _cgroup(port)
    return (_unit(cgroup, cgroups) if cgroup is not None else None) or "another process"
